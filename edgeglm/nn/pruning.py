"""Structured pruning: choosing the channels that matter least, and taking them out.

Read ``prune_channels`` first. Each round traces the network (``channel_groups``), scores every channel
(``importance``), plans how many go from each group, and takes them out. A target of MACs or parameters is met by
searching for the smallest ratio whose plan meets it.
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edgeglm.errors import StepError
from edgeglm.nn.calling import call, to_tensors
from edgeglm.nn.channel_groups import ChannelGroup, Structure, edit_of, find_groups, slices_of
from edgeglm.nn.determinism import reproducible, seed_all
from edgeglm.nn.importance import magnitude_scores, taylor_scores
from edgeglm.nn.macs import count_macs, count_params
from edgeglm.nn.patterns import match_layers
from edgeglm.nn.structure import apply_edit

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from edgeglm.model import Edit, Model
    from edgeglm.steps import Context, Prune

_SEARCH_STEPS = 12  # halvings of the ratio: a 4,096th is finer than any layer has channels


@dataclass(frozen=True)
class Scored:
    """One group in one round."""

    group: ChannelGroup
    scores: Tensor  # (units,)
    initial: int  # units before the step
    step: int  # units go in multiples of this, so that channel counts stay multiples of round_to
    least: int  # units that must stay


Plan = list[int]  # units kept, one number a group


def prune_channels(model: Model, config: Prune, ctx: Context) -> Model:
    """Return the network without its least important channels.

    Args:
        model: Network to prune; left as it was.
        config: Exactly one of ``channel_ratio``, ``macs_ratio`` and ``params_ratio`` is set.
        ctx: Gives samples, training data for Taylor scores, seed and threads; takes the notes.

    Raises:
        StepError: ``pattern-matches-nothing``; ``prune-cannot-follow``; ``prune-removes-everything``, naming the
            layer; ``prune-target-unreachable``, saying how far it got; ``step-changed-nothing``, saying why.
    """
    with reproducible(ctx.threads):
        seed_all(ctx.seed)
        ignored = match_layers(model.module, config.ignore, where=f"{ctx.key}.ignore")
        inputs = to_tensors(model, ctx.data.splits["train"].rows(np.arange(2)))
        macs, params = count_macs(model), count_params(model)
        pruned = model
        initial: dict[str, int] = {}  # units of each group before the first round
        rounds = 1 if ctx.dry_run else config.iterations
        ctx.progress(0, rounds)
        for round_number in range(1, rounds + 1):
            structure = find_groups(pruned.module, inputs, ignored=ignored, where=ctx.key)
            seed_all(ctx.seed)  # groups that were known already drew nothing
            initial = initial or {group.root: group.units for group in structure.groups}
            scored = _score(pruned, structure.groups, config, ctx, initial)
            share = round_number / rounds
            if config.channel_ratio is not None:
                _require_survivors(scored, config, ctx)
                plan = _plan(scored, config.channel_ratio * share, config.scope)
            else:
                ratio, cost, start = (
                    (config.macs_ratio, count_macs, macs)
                    if config.macs_ratio is not None
                    else (config.params_ratio or 1.0, count_params, params)
                )
                limit = start * (1 - (1 - ratio) * share)
                plan = _search(
                    pruned, scored, config, limit=limit, cost=cost, start=start, structure=structure, ctx=ctx
                )
            if any(kept < item.group.units for item, kept in zip(scored, plan, strict=True)):
                pruned = _take_out(pruned, scored, plan)
            ctx.progress(round_number, rounds)
            if round_number == 1:
                first = structure
        if count_params(pruned) >= params:
            raise _changed_nothing(first, config, ctx)
        _verify(model, pruned, inputs, ignored, ctx)
        _note(pruned, first, (macs, params), ctx)
    return pruned


def _score(
    model: Model, groups: list[ChannelGroup], config: Prune, ctx: Context, initial: dict[str, int]
) -> list[Scored]:
    if config.method == "taylor":
        scores = taylor_scores(model, groups, ctx, batches=1 if ctx.dry_run else config.taylor_batches)
    else:
        scores = magnitude_scores(model.module, groups)
    return [
        Scored(
            group,
            score,
            initial=(before := initial.get(group.root, group.units)),
            step=(step := config.round_to // math.gcd(config.round_to, group.parts)),
            least=step * math.ceil(max(1.0, before * (1 - config.max_ratio) - 1e-9) / step),
        )
        for group, score in zip(groups, scores, strict=True)
    ]


def _plan(scored: list[Scored], ratio: float, scope: str) -> Plan:
    """Return how many units each group keeps when this share of all that there were has gone.

    The count is rounded to the nearest that ``round_to`` allows (halves up), and never above what is there now.
    """
    if scope == "local":
        wanted = [item.initial * (1 - ratio) for item in scored]
    else:
        everything = torch.cat([item.scores.repeat_interleave(item.group.parts) for item in scored] or [torch.zeros(0)])
        gone = sum((item.initial - item.group.units) * item.group.parts for item in scored)
        count = min(max(round((gone + len(everything)) * ratio) - gone, 0), len(everything))
        limit = everything.sort().values[count - 1] if count else -math.inf
        wanted = [float((item.scores > limit).sum()) for item in scored]
    return [_rounded(item, units) for item, units in zip(scored, wanted, strict=True)]


def _rounded(item: Scored, units: float) -> int:
    kept = item.step * math.floor(units / item.step + 0.5)
    return min(max(kept, item.least), item.group.units)


def _require_survivors(scored: list[Scored], config: Prune, ctx: Context) -> None:
    """Refuse a local ratio that leaves a layer nothing; rounding up in silence would not be what was asked for."""
    if config.scope != "local" or config.channel_ratio is None:
        return
    for item in scored:
        if item.step <= item.initial and item.initial * (1 - config.channel_ratio) < 0.5:
            raise StepError(
                f"channel_ratio {config.channel_ratio} would take all {item.initial} channels of `{item.group.root}`",
                where=f"{ctx.key}.channel_ratio",
                code="prune-removes-everything",
                hint=f"lower the ratio, or add `{item.group.root}` to `ignore`",
            )


def _search(
    model: Model,
    scored: list[Scored],
    config: Prune,
    *,
    limit: float,
    cost: Callable[[Model], int],
    start: int,
    structure: Structure,
    ctx: Context,
) -> Plan:
    """Return the mildest plan whose cost is at most the limit.

    First the ratio is halved in on; then, between the plan that just misses and the one that just meets, groups go
    over one by one, those that lose least first, as far as needed.
    """
    known: dict[tuple[int, ...], int] = {}

    def cost_of(plan: Plan) -> int:
        if tuple(plan) not in known:
            known[tuple(plan)] = cost(_take_out(model, scored, plan))
        return known[tuple(plan)]

    low, high = 0.0, 1.0
    mild, strong = _plan(scored, low, config.scope), _plan(scored, high, config.scope)
    if cost_of(mild) <= limit:
        return mild
    if cost_of(strong) > limit:
        key = "macs_ratio" if config.macs_ratio is not None else "params_ratio"
        left_out = "; ".join(f"{reason}: {', '.join(names)}" for reason, names in structure.left_out.items())
        raise StepError(
            f"{key} {getattr(config, key)} cannot be reached: {cost_of(strong) / start:.3f} is the least that "
            f"round_to {config.round_to} and max_ratio {config.max_ratio} allow",
            where=f"{ctx.key}.{key}",
            code="prune-target-unreachable",
            hint="raise the ratio, lower `round_to`, raise `max_ratio`, or ignore less"
            + (f"; left as they are: {left_out}" if left_out else ""),
        )
    for _ in range(_SEARCH_STEPS):
        middle = (low + high) / 2
        plan = _plan(scored, middle, config.scope)
        if cost_of(plan) <= limit:
            high, strong = middle, plan
        else:
            low, mild = middle, plan
    return _between(scored, mild, strong, lambda plan: cost_of(plan) <= limit)


def _between(scored: list[Scored], mild: Plan, strong: Plan, meets: Callable[[Plan], bool]) -> Plan:
    """Return the first plan on the way from mild to strong that meets; groups that lose least go over first."""

    def loss(index: int) -> float:
        ordered = scored[index].scores.sort().values
        return float(ordered[: scored[index].group.units - strong[index]].sum())

    order = sorted((index for index in range(len(mild)) if mild[index] != strong[index]), key=loss)
    low, high = 0, len(order)  # meets at high, not at low
    while high - low > 1:
        middle = (low + high) // 2
        over = set(order[:middle])
        if meets([strong[index] if index in over else kept for index, kept in enumerate(mild)]):
            high = middle
        else:
            low = middle
    over = set(order[:high])
    return [strong[index] if index in over else kept for index, kept in enumerate(mild)]


def _take_out(model: Model, scored: list[Scored], plan: Plan) -> Model:
    """Return the network in which each group keeps as many units as planned, those of the highest scores."""
    removed = [
        (item.group, item.scores.argsort(stable=True)[: item.group.units - kept].tolist())
        for item, kept in zip(scored, plan, strict=True)
    ]
    edit: Edit = edit_of(slices_of(removed))
    if not edit["layers"]:
        return model
    module = deepcopy(model.module)
    apply_edit(module, edit)
    return model.with_module(module.eval(), edit)


def _changed_nothing(structure: Structure, config: Prune, ctx: Context) -> StepError:
    reasons = []
    small = [group.root for group in structure.groups if group.channels <= config.round_to]
    if small:
        reasons.append(f"round_to {config.round_to} is as much as these layers have: {', '.join(small)}")
    kept = [group.root for group in structure.groups if group.channels > config.round_to]
    if kept:
        reasons.append(f"the ratio is less than half of round_to {config.round_to} in these layers: {', '.join(kept)}")
    reasons += [f"{reason}: {', '.join(names)}" for reason, names in structure.left_out.items()]
    return StepError(
        "no channel was taken out; " + ("; ".join(reasons) or "the network has no layer that can be pruned"),
        where=ctx.key,
        code="step-changed-nothing",
        hint="raise the ratio, lower `round_to`, ignore less, or remove this step"
        if structure.groups or any(reason.startswith("ignored") for reason in structure.left_out)
        else "remove this step: nothing of this network can be pruned",
    )


def _verify(model: Model, pruned: Model, inputs: dict[str, Tensor], ignored: set[str], ctx: Context) -> None:
    """Run what was made, and hold it against what was promised."""
    with torch.no_grad():
        before, after = call(model.module.eval(), inputs), call(pruned.module, inputs)
    for name, tensor in before.items():
        if after[name].shape != tensor.shape or not after[name].isfinite().all():
            raise StepError(
                f"the pruned network answers with {tuple(after[name].shape)} or NaN in `{name}`, "
                f"where the original gave {tuple(tensor.shape)}",
                where=ctx.key,
                code="prune-broke-network",
                hint="add the layers in question to `ignore`",
            )
    changed = [name for name in ignored if _width(model.module, name) != _width(pruned.module, name)]
    if changed:
        raise StepError(
            f"these layers lost output channels although they are ignored: {', '.join(sorted(changed))}",
            where=f"{ctx.key}.ignore",
            code="prune-broke-network",
            hint="ignore the layers that they are added to, too",
        )


def _width(module: nn.Module, name: str) -> int | None:
    layer = module.get_submodule(name)
    return getattr(layer, "out_channels", getattr(layer, "out_features", None))


def _note(pruned: Model, structure: Structure, before: tuple[int, int], ctx: Context) -> None:
    widths = {group.root: _width(pruned.module, group.root) or 0 for group in structure.groups}
    channels = sum(group.channels for group in structure.groups)
    touched = sum(widths[group.root] < group.channels for group in structure.groups)
    macs, params = count_macs(pruned), count_params(pruned)
    ctx.notes.append(
        f"{channels:,} -> {sum(widths.values()):,} channels in {touched} of {len(widths)} groups of layers; "
        f"{before[1]:,} -> {params:,} parameters; "
        f"{before[0]:,} -> {macs:,} MACs ({before[0] / max(macs, 1):.2f}x fewer)"
    )
    for reason, names in structure.left_out.items():
        if not reason.startswith(("ignored", "the network's outputs")):
            ctx.notes.append(f"left as they are, {reason}: {', '.join(names)} and what is coupled with them")
