"""How many units of each group stay: for a ratio, or for what the network may cost.

A target of MACs or parameters is met by searching for the smallest ratio whose plan meets it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from edgeglm.errors import StepError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from edgeglm.nn.channel_groups import Structure
    from edgeglm.nn.coupling import ChannelGroup
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
    pool: str  # groups of one pool compete under ``scope: global``, and share a ratio


Plan = list[int]  # units kept, one number a group


def rate(group: ChannelGroup, scores: Tensor, config: Prune, initial: dict[tuple[str, str], int]) -> Scored:
    """Return a group with what its units are worth, from the scores of its channels, and how many may go."""
    group, of_units = group.in_units(scores)
    before = initial.get((group.kind, group.root), group.units)
    if group.kind == "heads":
        step = 1
    elif group.free:  # what the others see is the size of one part
        step = config.round_to
    else:
        step = config.round_to // math.gcd(config.round_to, group.parts)
    least = step * math.ceil(max(1.0, before * (1 - config.max_ratio) - 1e-9) / step)
    return Scored(group, of_units, initial=before, step=step, least=least, pool=group.kind if config.ratios else "")


def plan_for(scored: list[Scored], ratios: dict[str, float], scope: str) -> Plan:
    """Return how many units each group keeps when its pool's share of all that there were has gone.

    The count is rounded to the nearest that ``round_to`` allows (halves up), and never above what is there now.

    Args:
        scored: The groups.
        ratios: Pool -> share, 0 to 1, of what there was before the step.
        scope: ``local``: the share holds in each group; ``global``: in the pool.
    """
    if scope == "local":
        return [_rounded(item, item.initial * (1 - ratios[item.pool])) for item in scored]
    limits = {pool: _limit([item for item in scored if item.pool == pool], ratio) for pool, ratio in ratios.items()}
    return [_rounded(item, float((item.scores > limits[item.pool]).sum())) for item in scored]


def _limit(scored: list[Scored], ratio: float) -> float:
    """Return the score up to which units go, so that this share of all columns has gone."""
    if not scored:
        return -math.inf
    columns = [item.group.parts * item.group.width for item in scored]  # that a unit of each group takes
    everything = torch.cat([item.scores.repeat_interleave(n) for item, n in zip(scored, columns, strict=True)])
    gone = sum((item.initial - item.group.units) * n for item, n in zip(scored, columns, strict=True))
    count = min(max(round((gone + len(everything)) * ratio) - gone, 0), len(everything))
    return float(everything.sort().values[count - 1]) if count else -math.inf


def _rounded(item: Scored, units: float) -> int:
    kept = item.step * math.floor(units / item.step + 0.5)
    return min(max(kept, item.least), item.group.units)


def search_plan(
    scored: list[Scored],
    config: Prune,
    *,
    limit: float,
    cost: Callable[[Plan], int],
    start: int,
    structure: Structure,
    ctx: Context,
) -> Plan:
    """Return the mildest plan whose cost is at most the limit.

    First the ratio is halved in on; then, between the plan that just misses and the one that just meets, groups go
    over one by one, those that lose least first, as far as needed.

    Args:
        scored: The groups, all of one pool.
        config: The step's settings, for errors.
        limit: What the result may cost.
        cost: Returns what the network costs when a plan is carried out; slow.
        start: What it cost at first, for errors.
        structure: What was left out, for errors.
        ctx: The step's place, for errors.

    Raises:
        StepError: ``prune-target-unreachable``, saying how far it got.
    """
    known: dict[tuple[int, ...], int] = {}

    def cost_of(plan: Plan) -> int:
        if tuple(plan) not in known:
            known[tuple(plan)] = cost(plan)
        return known[tuple(plan)]

    low, high = 0.0, 1.0
    mild, strong = plan_for(scored, {"": low}, config.scope), plan_for(scored, {"": high}, config.scope)
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
        plan = plan_for(scored, {"": middle}, config.scope)
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
