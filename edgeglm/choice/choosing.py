"""Which candidates become the result: the best, and of every other format one that an agent may fall back on."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from edgeglm.budget import judge
from edgeglm.cache import Cache, make_key
from edgeglm.choice.board_rule import compare_speed
from edgeglm.choice.preference import Faults, faults, preferred_order
from edgeglm.formats import file_name
from edgeglm.host import cpu_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.boards import Board
    from edgeglm.measure.traits import Traits
    from edgeglm.pipeline.project import Project
    from edgeglm.pipeline.sides import MadeArtifact
    from edgeglm.report.types import ArtifactSide, BudgetResult, Host, Side

ALIKE = 1.02  # two latencies within 2 % are the same: medians of one file differ by as much from run to run


@dataclass(frozen=True)
class Settled:
    """What a run comes to."""

    artifacts: list[MadeArtifact]  # the chosen ones, the best first, by the names they are written by
    sides: list[ArtifactSide]  # of the same, then of every candidate that was passed over
    budget: BudgetResult
    order_kept: bool = False  # an earlier run of the same files chose by its timing, and that choice stands


def settle(
    project: Project,
    artifacts: Sequence[MadeArtifact],
    sides: Sequence[ArtifactSide],
    *,
    baseline: Side,
    host: Host,
    cache: Cache,
    traits: Traits | None = None,
) -> Settled:
    """Choose, name, order and judge.

    What an earlier run of the same files chose by its timing is kept: a second run of one recipe gives the same files.

    Args:
        project: Its recipe says which artifacts are `auto`, its board what is judged where.
        artifacts: Everything that was made, in the order of the proposal.
        sides: The same, measured.
        baseline: The original.
        host: This machine.
        cache: Keeps the choice.
        traits: Of the network, where some artifact is `auto` or the board of another architecture: its rule of speed
            goes by them.
    """
    limits, board = project.recipe.budget, project.board
    same_machine = board.is_like(host.machine)
    trial = judge(baseline, sides, limits, board, host)
    searched = any(artifact.candidate.is_auto for artifact in artifacts)
    key = make_key(
        files=sorted(side.sha256 for side in sides),
        budget=msgspec.to_builtins(limits),
        board=board.name,
        batch=project.recipe.serve.batch,
        data=project.data.sha256,
        cpu_features=cpu_features(),
        versions=project.versions,
    )
    metric_judged = limits.metric_drop is not None
    against = [faults(side, trial, metric_judged=metric_judged) for side in sides]
    marked = mark_dominated(sides, against, same_machine=same_machine, board=board, traits=traits)
    with cache.entry("choice", key) if searched else nullcontext() as entry:
        before = list((entry.result or {}).get("order", [])) if entry is not None else []
        order = preferred_order(marked, trial, metric_judged=metric_judged, same_machine=same_machine, before=before)
        if entry is not None and not (before and same_machine):
            order = _better_first(order, artifacts, marked, against)
        if entry is not None and not before:
            entry.finish(order=[marked[index].path for index in order])
    good = {index for index, found in enumerate(against) if not found.refused}
    chosen = [index for index in order if index in _chosen(artifacts, marked, order, good)]
    names = _names([artifacts[index] for index in chosen])
    kept = [replace(artifacts[index], name=name) for index, name in zip(chosen, names, strict=True)]
    paths = {marked[index].path: name for index, name in zip(chosen, names, strict=True)}
    ordered = [
        msgspec.structs.replace(
            marked[index],
            path=paths.get(marked[index].path, marked[index].path),
            dominated_by=paths.get(marked[index].dominated_by, marked[index].dominated_by),
            chosen=index in chosen,
        )
        for index in [*chosen, *(index for index in order if index not in chosen)]
    ]
    result = judge(baseline, ordered[: len(chosen)], limits, board, host)
    others = judge(baseline, ordered[len(chosen) :], limits, board, host)
    budget = msgspec.structs.replace(result, passed_over=others.violations, passed_over_undecided=others.undecided)
    return Settled(kept, ordered, budget, order_kept=bool(before) and same_machine)


def _better_first(
    order: Sequence[int], artifacts: Sequence[MadeArtifact], sides: Sequence[ArtifactSide], against: Sequence[Faults]
) -> list[int]:
    """Return the order with each candidate behind those of the same `auto` that dominate or outpaced it.

    What outpaced it was timed further, and may have met other noise in the rounds that it has alone.
    """
    at = {side.path: index for index, side in enumerate(sides)}
    moved: list[int] = []
    begun: set[int] = set()  # noise may make each of two stand behind the other

    def outpaced_by(index: int) -> list[int]:
        mine, where = artifacts[index].config.format, artifacts[index].candidate.where
        return [
            other
            for other in order
            if sides[index].outpaced
            and not sides[other].outpaced
            and (artifacts[other].config.format, artifacts[other].candidate.where) == (mine, where)
            and against[other].order <= against[index].order
        ]

    def place(index: int) -> None:
        if index in begun:
            return
        begun.add(index)
        other, candidate = at.get(sides[index].dominated_by), artifacts[index].candidate
        rivals = other is not None and candidate.is_auto and artifacts[other].candidate.where == candidate.where
        for better in [*([other] if other is not None and rivals else []), *outpaced_by(index)]:
            place(better)
        moved.append(index)

    for index in order:
        place(index)
    return moved


def _chosen(
    artifacts: Sequence[MadeArtifact], sides: Sequence[ArtifactSide], order: Sequence[int], good: set[int]
) -> set[int]:
    """Return what is written: all that the recipe names; of an `auto` the best, and of other formats what is good."""
    chosen = {index for index in order if not artifacts[index].candidate.is_auto}
    for where in {artifacts[index].candidate.where for index in order} - {
        artifacts[index].candidate.where for index in chosen
    }:
        best, *others = [index for index in order if artifacts[index].candidate.where == where]
        chosen.add(best)
        if best not in good:
            continue
        keeps_all = artifacts[best].config.search.keep == "pareto"
        formats = {artifacts[best].config.format}
        for index in others:
            first = artifacts[index].config.format not in formats
            if index in good and (first or (keeps_all and sides[index].pareto)):
                chosen.add(index)
                formats.add(artifacts[index].config.format)
    return chosen


def _names(artifacts: Sequence[MadeArtifact]) -> list[str]:
    """Return the files' names: ``model.onnx`` where it is the only one of its format, else with the scheme."""
    formats = [artifact.config.format for artifact in artifacts]
    return [
        artifact.name if formats.count(artifact.config.format) > 1 else file_name(artifact.config.format)
        for artifact in artifacts
    ]


def mark_dominated(
    sides: Sequence[ArtifactSide],
    against: Sequence[Faults],
    *,
    same_machine: bool,
    board: Board,
    traits: Traits | None,
) -> list[ArtifactSide]:
    """Return the artifacts, each saying whether it is on the Pareto front, and if not, which one dominates it.

    One dominates another when its metric is no worse, its file no larger and it is no slower, and in one of them it is
    better; and when no more speaks against it, or a file of wrong answers would stand in the way of those that are
    written. Latencies within 2 % are the same. For another machine the board's rule stands for speed; where that does
    not say which of two is faster, either may be, and neither dominates the other.

    Args:
        sides: The artifacts.
        against: What speaks against each.
        same_machine: Whether the target's architecture is this host's.
        board: The target.
        traits: Of the network, for the board's rule; None: not known.
    """

    def compared(one: ArtifactSide, other: ArtifactSide) -> int | None:
        if not same_machine:
            return compare_speed((one.format, one.scheme), (other.format, other.scheme), board, traits)
        if one.latency_ms is None or other.latency_ms is None:
            return 0
        mine, others = one.latency_ms.p50, other.latency_ms.p50
        return 0 if others / ALIKE <= mine <= others * ALIKE else -1 if mine < others else 1

    marked = []
    for side, found in zip(sides, against, strict=True):
        better = [
            other
            for other, others in zip(sides, against, strict=True)
            if other is not side and others.no_more_than(found) and _dominates(other, side, compared(other, side))
        ]
        first = min(better, key=lambda other: other.size_bytes or 0, default=None)
        marked.append(
            msgspec.structs.replace(side, pareto=first is None, dominated_by="" if first is None else first.path)
        )
    return marked


def _dominates(one: ArtifactSide, other: ArtifactSide, speed: int | None) -> bool:
    """Tell whether one does; ``speed`` is -1 where it is the faster one, 0 where both are alike, None: not known."""
    if speed is None:
        return False
    signs = [speed]  # of each figure: -1 where it is better, 1 where it is worse
    if one.metric is not None and other.metric is not None:
        sign = -1 if one.metric.higher_is_better else 1
        signs.append(_sign(sign * one.metric.value, sign * other.metric.value))
    if one.size_bytes is not None and other.size_bytes is not None:
        signs.append(_sign(one.size_bytes, other.size_bytes))
    return max(signs) <= 0 and min(signs) < 0


def _sign(one: float, other: float) -> int:
    return (one > other) - (one < other)
