"""Which candidates become the result: the best, and of every other format one that an agent may fall back on."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from edgeglm.budget import judge
from edgeglm.cache import Cache, make_key
from edgeglm.choice.preference import Faults, faults, preferred_order
from edgeglm.formats import file_name
from edgeglm.host import cpu_features

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """
    limits, board = project.recipe.budget, project.board
    same_machine = host.machine == board.arch
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
    marked = mark_dominated(sides, same_machine=same_machine)
    against = [faults(side, trial, metric_judged=metric_judged) for side in marked]
    with cache.entry("choice", key) if searched else nullcontext() as entry:
        before = list((entry.result or {}).get("order", [])) if entry is not None else []
        order = preferred_order(marked, trial, metric_judged=metric_judged, same_machine=same_machine, before=before)
        if entry is not None and not before:
            order = _dominating_first(order, artifacts, marked, against)
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


def _dominating_first(
    order: Sequence[int],
    artifacts: Sequence[MadeArtifact],
    sides: Sequence[ArtifactSide],
    against: Sequence[Faults],
) -> list[int]:
    """Return the order with each candidate behind those of the same `auto` that dominate it and have no more faults."""
    at = {side.path: index for index, side in enumerate(sides)}
    moved: list[int] = []

    def place(index: int) -> None:
        if index in moved:
            return
        other = at.get(sides[index].dominated_by)
        candidate = artifacts[index].candidate
        rivals = other is not None and candidate.is_auto and artifacts[other].candidate.where == candidate.where
        if other is not None and rivals and against[other].order <= against[index].order:
            place(other)
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


def mark_dominated(sides: Sequence[ArtifactSide], *, same_machine: bool) -> list[ArtifactSide]:
    """Return the artifacts, each saying whether it is on the Pareto front, and if not, which one dominates it.

    One dominates another when its metric is no worse, its file no larger and it is no slower, and in one of them it is
    better. Latencies within 2 % are the same. For another machine the order given, which is that of the rule, stands
    for speed.
    """
    speeds = [
        ((side.latency_ms.p50 if side.latency_ms else None) if same_machine else float(place))
        for place, side in enumerate(sides)
    ]
    marked = []
    for side, speed in zip(sides, speeds, strict=True):
        better = [
            other
            for other, others in zip(sides, speeds, strict=True)
            if other is not side and _dominates(other, side, others, speed)
        ]
        first = min(better, key=lambda other: other.size_bytes or 0, default=None)
        marked.append(
            msgspec.structs.replace(side, pareto=first is None, dominated_by="" if first is None else first.path)
        )
    return marked


def _dominates(one: ArtifactSide, other: ArtifactSide, time: float | None, others: float | None) -> bool:
    pairs: list[tuple[float, float, float]] = []  # the smaller the better; how far apart is no difference
    if one.metric is not None and other.metric is not None:
        sign = -1 if one.metric.higher_is_better else 1
        pairs.append((sign * one.metric.value, sign * other.metric.value, 0.0))
    if one.size_bytes is not None and other.size_bytes is not None:
        pairs.append((one.size_bytes, other.size_bytes, 0.0))
    if time is not None and others is not None:
        pairs.append((time, others, (ALIKE - 1) * others))
    return all(a <= b + slack for a, b, slack in pairs) and any(a < b - slack for a, b, slack in pairs)
