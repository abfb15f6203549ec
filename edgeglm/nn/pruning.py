"""Structured pruning: choosing the channels, heads and hidden units that matter least, and taking them out.

Read ``prune_channels`` first. Each round traces the network (``channel_groups``), scores every channel
(``importance``), plans how many go from each group (``pruning_plan``), and takes them out.
"""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edgeglm.errors import StepError
from edgeglm.nn.attention import unpackable
from edgeglm.nn.calling import call, to_tensors
from edgeglm.nn.channel_groups import IGNORED, Structure, find_groups
from edgeglm.nn.coupling import edit_of
from edgeglm.nn.determinism import reproducible, seed_all
from edgeglm.nn.importance import magnitude_scores, taylor_scores
from edgeglm.nn.macs import count_macs, count_params
from edgeglm.nn.patterns import match_layers
from edgeglm.nn.pruning_plan import Plan, Scored, plan_for, rate, search_plan
from edgeglm.nn.structure import apply_edit
from edgeglm.steps.prune import RATIO_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from edgeglm.model import Edit, Model
    from edgeglm.nn.coupling import ChannelGroup
    from edgeglm.steps import Context, Prune

_KIND_WORDS = {
    "channels": "channels",
    "ffn": "feed-forward features",
    "heads": "attention heads",
    "head-dim": "columns of attention heads",
}


def prune_channels(model: Model, config: Prune, ctx: Context) -> Model:
    """Return the network without its least important channels.

    Args:
        model: Network to prune; left as it was.
        config: Ratios by kind of structure, or one of ``macs_ratio`` and ``params_ratio``.
        ctx: Gives samples, training data for Taylor scores, seed and threads; takes the notes.

    Raises:
        StepError: ``pattern-matches-nothing``; ``prune-cannot-follow``; ``prune-removes-everything``, naming the
            layer; ``prune-target-unreachable``, saying how far it got; ``step-changed-nothing``, saying why: one of
            several ratios that took nothing is no better than a step that did not.
    """
    with reproducible(ctx.threads):
        seed_all(ctx.seed)
        ignored = match_layers(model.module, config.ignore, where=f"{ctx.key}.ignore")
        inputs = to_tensors(model, ctx.data.splits["train"].rows(np.arange(2)))
        macs, params = count_macs(model), count_params(model)
        pruned = _opened(model, config, ignored)
        initial: dict[tuple[str, str], int] = {}  # units of each group before the first round
        left: dict[tuple[str, str], int] = {}  # and after the last that saw it
        touched: set[str] = set()  # kinds that lost something
        rounds = 1 if ctx.dry_run else config.iterations
        ctx.progress(0, rounds)
        for round_number in range(1, rounds + 1):
            structure = find_groups(pruned.module, inputs, kinds=config.kinds, ignored=ignored, where=ctx.key)
            seed_all(ctx.seed)  # groups that were known already drew nothing
            initial = initial or {(group.kind, group.root): group.units for group in structure.groups}
            scored = _score(pruned, structure.groups, config, ctx, initial)
            share = round_number / rounds
            if config.ratios:
                _require_kinds(structure, config, ctx)
                _require_survivors(scored, config, ctx)
                plan = plan_for(scored, {kind: ratio * share for kind, ratio in config.ratios.items()}, config.scope)
            else:
                ratio, cost, start = (
                    (config.macs_ratio, count_macs, macs)
                    if config.macs_ratio is not None
                    else (config.params_ratio or 1.0, count_params, params)
                )
                limit = start * (1 - (1 - ratio) * share)
                plan = search_plan(
                    scored,
                    config,
                    limit=limit,
                    cost=partial(_cost_after, pruned, scored, cost),
                    start=start,
                    structure=structure,
                    ctx=ctx,
                )
            lost = {item.group.kind for item, kept in zip(scored, plan, strict=True) if kept < item.group.units}
            touched |= lost
            if lost:
                pruned = _take_out(pruned, scored, plan)
            ctx.progress(round_number, rounds)
            if round_number == 1:
                first = structure
            left |= {(item.group.kind, item.group.root): kept for item, kept in zip(scored, plan, strict=True)}
        if count_params(pruned) >= params:
            raise _changed_nothing(first, config, ctx)
        for kind in config.ratios:
            if kind not in touched:
                raise _changed_nothing(first, config, ctx, kind)
        _verify(model, pruned, inputs, ignored, ctx)
        _note(pruned, first, left, (macs, params), ctx)
    return pruned


def _opened(model: Model, config: Prune, ignored: set[str]) -> Model:
    """Return the network with torch's own attention layers in a form that can lose heads, where heads are wanted."""
    packed = [name for name in unpackable(model.module) if name not in ignored]
    if not packed or not {"heads", "head-dim"} & set(config.kinds):
        return model
    edit: Edit = {"edit": "unpack-attention", "layers": packed}
    module = deepcopy(model.module)
    apply_edit(module, edit)
    return model.with_module(module.eval(), edit)


def _score(
    model: Model,
    groups: list[ChannelGroup],
    config: Prune,
    ctx: Context,
    initial: dict[tuple[str, str], int],
) -> list[Scored]:
    if config.method == "taylor":
        scores = taylor_scores(model, groups, ctx, batches=1 if ctx.dry_run else config.taylor_batches)
    else:
        scores = magnitude_scores(model.module, groups)
    return [rate(group, score, config, initial) for group, score in zip(groups, scores, strict=True)]


def _require_kinds(structure: Structure, config: Prune, ctx: Context) -> None:
    """Refuse a ratio of something that this network has none of: the others would hide that it did nothing."""
    for kind in config.ratios:
        if kind == "channels" or any(group.kind == kind for group in structure.groups):
            continue
        reasons = "; ".join(f"{reason}: {', '.join(names)}" for reason, names in structure.left_out.items())
        raise StepError(
            f"the network has no {_KIND_WORDS[kind]} that can go" + (f" ({reasons})" if reasons else ""),
            where=f"{ctx.key}.{RATIO_KEYS[kind]}",
            code="prune-structure-missing",
            hint=f"leave out `{RATIO_KEYS[kind]}`, or ignore less",
        )


def _require_survivors(scored: list[Scored], config: Prune, ctx: Context) -> None:
    """Refuse a local ratio that leaves a layer nothing; rounding up in silence would not be what was asked for."""
    if config.scope != "local":
        return
    for item in scored:
        ratio = config.ratios[item.pool]
        if item.step <= item.initial and item.initial * (1 - ratio) < 0.5:
            key = RATIO_KEYS[item.pool]
            raise StepError(
                f"{key} {ratio} would take all {item.initial} {item.pool} of `{item.group.root}`",
                where=f"{ctx.key}.{key}",
                code="prune-removes-everything",
                hint=f"lower the ratio, or add `{item.group.root}` to `ignore`",
            )


def _cost_after(model: Model, scored: list[Scored], cost: Callable[[Model], int], plan: Plan) -> int:
    return cost(_take_out(model, scored, plan))


def _take_out(model: Model, scored: list[Scored], plan: Plan) -> Model:
    """Return the network in which each group keeps as many units as planned, those of the highest scores."""
    removed = [
        (item.group, item.scores.argsort(stable=True)[: item.group.units - kept].tolist())
        for item, kept in zip(scored, plan, strict=True)
    ]
    edit = edit_of(removed)
    if not edit["layers"]:
        return model
    module = deepcopy(model.module)
    apply_edit(module, edit)
    return model.with_module(module.eval(), edit)


def _changed_nothing(structure: Structure, config: Prune, ctx: Context, kind: str | None = None) -> StepError:
    """Return what to say when nothing was taken out, or nothing of one kind though a ratio of it was given."""
    groups = [group for group in structure.groups if kind in (None, group.kind)]
    heads = [group.root for group in groups if group.kind == "heads"]
    others = [group for group in groups if group.kind != "heads"]
    reasons = []
    if heads:
        reasons.append(f"the ratio is less than half a head of these layers: {', '.join(heads)}")
    small = [group.root for group in others if group.units * group.parts <= config.round_to]
    if small:
        reasons.append(f"round_to {config.round_to} is as much as these layers have: {', '.join(small)}")
    kept = [group.root for group in others if group.root not in small]
    if kept:
        reasons.append(f"the ratio is less than half of round_to {config.round_to} in these layers: {', '.join(kept)}")
    reasons += [f"{reason}: {', '.join(names)}" for reason, names in structure.left_out.items()]
    hint = "raise the ratio, lower `round_to`, ignore less, or remove this step"
    if not structure.groups and not any(reason == IGNORED for reason in structure.left_out):
        hint = "remove this step: nothing of this network can be pruned"
    why = "; ".join(reasons) or "the network has no layer that can be pruned"
    if kind is None:
        return StepError(f"nothing was taken out; {why}", where=ctx.key, code="step-changed-nothing", hint=hint)
    key = RATIO_KEYS[kind]
    return StepError(
        f"{key} {config.ratios[kind]:g} took no {_KIND_WORDS[kind]} out; {why}",
        where=f"{ctx.key}.{key}",
        code="step-changed-nothing",
        hint=hint.replace("this step", f"`{key}`"),
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
    return next(
        (getattr(layer, key) for key in ("out_channels", "out_features", "hidden_size") if hasattr(layer, key)), None
    )


def _note(
    pruned: Model, structure: Structure, left: dict[tuple[str, str], int], before: tuple[int, int], ctx: Context
) -> None:
    parts = []
    for kind, word in _KIND_WORDS.items():
        groups = [(group, left[kind, group.root]) for group in structure.groups if group.kind == kind]
        if not groups:
            continue
        had, has = (sum(n * group.parts for group, n in pairs) for pairs in ([(g, g.units) for g, _ in groups], groups))
        touched = sum(kept < group.units for group, kept in groups)
        parts.append(f"{had:,} -> {has:,} {word} in {touched} of {len(groups)} groups of layers")
    macs, params = count_macs(pruned), count_params(pruned)
    ctx.notes.append(
        f"{'; '.join(parts)}; {before[1]:,} -> {params:,} parameters; "
        f"{before[0]:,} -> {macs:,} MACs ({before[0] / max(macs, 1):.2f}x fewer)"
    )
    for reason, names in structure.left_out.items():
        if reason != IGNORED and not reason.startswith("the network's outputs"):
            ctx.notes.append(f"left as they are, {reason}: {', '.join(names)} and what is coupled with them")
