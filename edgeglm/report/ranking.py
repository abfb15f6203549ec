"""Which file comes first and why, and why the others do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.choice.preference import Faults, faults, why_first
from edgeglm.report.figures import format_ms
from edgeglm.report.findings import (
    artifact_name,
    budget_limits,
    is_rejected,
    is_targets,
    state_of,
    written_artifacts,
)

if TYPE_CHECKING:
    from edgeglm.report.types import ArtifactSide, Report


def best_artifact(report: Report) -> ArtifactSide | None:
    """Return the artifact to look at first, or None when none was made: the manifest's first (`choice/`)."""
    return next(iter(report.artifacts), None)


def front_of(report: Report) -> dict[int, bool]:
    """Return id of each artifact -> whether no other is at least as good, small, fast and sound, and better in one.

    As the report says where it was asked; else by metric, size and latency on this host.
    """
    return {
        id(side): side.pareto
        if side.pareto is not None
        else not any(_beats(report, other, side) for other in report.artifacts if other is not side)
        for side in report.artifacts
    }


def _faults(report: Report, side: ArtifactSide) -> Faults:
    return faults(side, report.budget, metric_judged="metric_drop" in budget_limits(report))


def _beats(report: Report, one: ArtifactSide, other: ArtifactSide) -> bool:
    """Return whether one is better than another on this host, and no more speaks against it."""
    if not _faults(report, one).no_more_than(_faults(report, other)):
        return False
    if one.metric is None or other.metric is None or one.size_bytes is None or other.size_bytes is None:
        return False
    sign = -1 if one.metric.higher_is_better else 1
    timed = one.latency_ms is not None and other.latency_ms is not None
    mine = (sign * one.metric.value, one.size_bytes, one.latency_ms.p50 if timed and one.latency_ms else 0.0)
    others = (sign * other.metric.value, other.size_bytes, other.latency_ms.p50 if timed and other.latency_ms else 0.0)
    return mine != others and all(a <= b for a, b in zip(mine, others, strict=True))


def best_word(report: Report) -> str:
    """Return `best`, or of what it is the best when it missed the budget too."""
    best = best_artifact(report)
    if best is None or state_of(report, best) != "missed":
        return "best"
    return "best of those rejected" if is_rejected(report) else "best of those that missed"


def why_best(report: Report) -> str:
    """Return what puts the best artifact before the next one; empty when there is no other."""
    if len(report.artifacts) < 2:
        return ""
    return why_first(
        report.artifacts[0],
        report.artifacts[1],
        report.budget,
        metric_judged="metric_drop" in budget_limits(report),
        same_machine=is_targets(report),
        kept=report.order_kept,
    )


def passed_over(report: Report) -> list[str]:
    """Return a sentence for each candidate of `auto` that is no part of the result or was not made, and why."""
    found = [f"{artifact_name(side)}: {why_not(report, side)}" for side in report.artifacts if not side.chosen]
    return [*found, *(f"{s.format} {s.scheme}".rstrip() + f" was not made: {s.reason}" for s in report.skipped)]


def why_not(report: Report, artifact: ArtifactSide) -> str:
    """Return why a candidate of `auto` is no part of the result, though the file taken in its place is.

    What speaks against both alike is no reason: that of the two which ``choice/preference.py`` asks next is. So where
    another file is better than either, it is no reason; where the one taken is itself better, that is.
    """
    taken = _taken_instead(report, artifact)
    mine = _faults(report, artifact)
    others = None if taken is None else _faults(report, taken)
    lines = (v.key.removeprefix("budget.") for v in report.budget.passed_over if v.artifact == artifact.path)
    missed = ", ".join(dict.fromkeys(lines))  # a line of several splits may be missed several times
    if missed and (taken is None or others is None or not others.missed):
        return f"misses {missed}"
    if mine.broken and (others is None or not others.broken):
        return "its answers are not the network's"
    if missed and taken is not None and others is not None and mine.over > others.over:
        further = f"{mine.over:.2f} times over its limits, and {artifact_name(taken)} {others.over:.2f} times"
        return f"misses {missed}: {further}"
    better = next((side for side in report.artifacts if artifact.dominated_by == side.path), None)
    if taken is not None and taken.dominated_by and better is not None:
        better = taken if is_targets(report) and _beats(report, taken, artifact) else None
    if better is not None:
        return f"{artifact_name(better)} is no worse in anything and better in something"
    if taken is None or others is None:
        return "not needed"
    name = artifact_name(taken)
    if mine.undecided > others.undecided:
        open_ = f"{mine.undecided} line{'s' * (mine.undecided != 1)} of the budget could not be decided"
        return f"{open_}, and of {name} {others.undecided or 'none'}"
    if mine.lost and not others.lost:
        return f"it has a proven loss, and {name} has none"
    return _behind(report, artifact, taken)


def _taken_instead(report: Report, artifact: ArtifactSide) -> ArtifactSide | None:
    """Return the file of the same format that was written in its place; of another where there is none."""
    written = written_artifacts(report)
    return next((side for side in written if side.format == artifact.format), next(iter(written), None))


def _behind(report: Report, artifact: ArtifactSide, taken: ArtifactSide) -> str:
    """Return what put a candidate behind the one that was written, where as much speaks against either."""
    name = artifact_name(taken)
    if not is_targets(report):
        return f"behind {name} by the rule for the {report.target}"
    if artifact.latency_ms is None or taken.latency_ms is None:
        return f"behind {name}"
    took, taken_took = (format_ms(side.latency_ms.p50) for side in (artifact, taken) if side.latency_ms is not None)
    times = f"{took} ms against {taken_took} ms"
    if took == taken_took and not report.order_kept:
        return f"no faster on this host than {name}: both take {took} ms"
    if artifact.latency_ms.p50 > taken.latency_ms.p50:
        return f"slower on this host than {name}: {times}"
    if report.order_kept:
        return f"an earlier run of the same files chose {name} by its timing, and that is kept; in this run {times}"
    return f"not faster on this host than {name} beyond doubt: {times}"
