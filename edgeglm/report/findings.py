"""What a report amounts to, in words: the verdict, the lines of the budget, and what things are called."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from edgeglm.boards import BOARDS
from edgeglm.report.figures import metric_title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.report.types import ArtifactSide, ClassResult, Report, Side, SliceResult, StepSide

State = Literal["met", "missed", "undecided", "none"]

BUDGET_LINES = {
    "metric_drop": "change of the metric",
    "per_class_drop": "change of the class that lost most",
    "per_slice_drop": "change of the metric in the slice that lost most",
    "size_mb": "size of the file",
    "peak_rss_mb": "peak memory on this host",
    "min_speedup": "speed-up on this host",
    "host_latency_p95_ms": "p95 latency on this host",
}

_WIDE = 0.05  # of the speed-up: an interval as wide as this is shown


@dataclass(frozen=True)
class Headline:
    """The verdict of a run: one word for machines, a title and what it means for people."""

    state: State
    title: str
    meaning: str


def budget_limits(report: Report) -> dict[str, float]:
    """Return the budget lines that the recipe sets, in the order of the design."""
    budget = report.recipe.get("budget")
    if not isinstance(budget, dict):
        return {}
    return {
        key: float(budget[key])
        for key in BUDGET_LINES
        if isinstance(budget.get(key), int | float) and not isinstance(budget[key], bool)
    }


def headline(report: Report) -> Headline:
    """Return the verdict in words."""
    result = report.budget
    if not (budget_limits(report) or result.violations or result.undecided):
        return Headline(
            "none",
            "No budget set",
            "The recipe names no limits, so nothing was judged. Add `budget:` to have the next run judged.",
        )
    if result.met is False:
        missed = sorted({verdict.artifact for verdict in result.violations})
        if report.recipe.get("on_violation") == "best-effort":
            follows = "The recipe says `on_violation: best-effort`, so the files were written all the same."
        else:
            follows = (
                "The files lie under rejected/ without a manifest, so they cannot be signed or shipped. Change the "
                "recipe or the budget and run again; steps that did not change come from the cache."
            )
        return Headline(
            "missed", "Budget missed", f"{_who_costs(missed, report)} more than the recipe allows. {follows}"
        )
    if result.met is None:
        return Headline(
            "undecided",
            "Budget undecided",
            "Nothing was clearly missed, but these measurements are not enough to say that every line is met. "
            "Each open line below says what would settle it.",
        )
    if len(written_artifacts(report)) < len(report.artifacts):
        return Headline("met", "Budget met", f"Of {files_made(report)}, each meets every line of the budget.")
    return Headline("met", "Budget met", "Every artifact meets every line of the budget.")


def files_made(report: Report) -> str:
    """Return `4 files`, or with candidates that were not taken `3 files written (14 tried)`."""
    written, tried = len(written_artifacts(report)), len(report.artifacts)
    files = f"{written} file{'s' * (written != 1)}"
    return files if written == tried else f"{files} written ({tried} tried)"


def state_of(report: Report, artifact: ArtifactSide, line: str | None = None) -> State:
    """Return how one artifact stands, by one budget line (`size_mb`) or by all of them."""
    if not budget_limits(report):
        return "none"
    key = None if line is None else f"budget.{line}"
    budget = report.budget
    if any(v.artifact == artifact.path and key in (None, v.key) for v in (*budget.violations, *budget.passed_over)):
        return "missed"
    open_ = (*budget.undecided, *budget.passed_over_undecided)
    if any(v.artifact == artifact.path and key in (None, v.key) for v in open_):
        return "undecided"
    return "met"


def written_artifacts(report: Report) -> list[ArtifactSide]:
    """Return the artifacts without the candidates of `auto` that were not chosen."""
    return [side for side in report.artifacts if side.chosen]


def metric_of(report: Report) -> str:
    """Return the name of the metric the report judges by."""
    sides: list[Side] = [report.baseline, *report.artifacts, *report.steps]
    return next((side.metric.name for side in sides if side.metric is not None), "metric")


def higher_is_better(report: Report) -> bool:
    """Return whether more of the metric is better."""
    sides: list[Side] = [report.baseline, *report.artifacts, *report.steps]
    return all(side.metric is None or side.metric.higher_is_better for side in sides)


def metric_heading(report: Report, *, begins: bool = False) -> str:
    """Return the heading of a column of the metric: `accuracy`, `RMSE, lower is better`; see ``metric_title``."""
    return metric_title(metric_of(report), begins=begins) + ("" if higher_is_better(report) else ", lower is better")


def is_rejected(report: Report) -> bool:
    """Return whether the files lie under rejected/: a line was missed, and the recipe does not allow that."""
    return bool(report.budget.violations) and report.recipe.get("on_violation") != "best-effort"


def speedup_range(artifact: ArtifactSide) -> tuple[float, float] | None:
    """Return the 95 % interval of the speed-up where the figure alone would say too much; else None."""
    if artifact.speedup is None or artifact.speedup_ci95 is None:
        return None
    low, high = artifact.speedup_ci95
    return artifact.speedup_ci95 if high - low > _WIDE * artifact.speedup or low <= 1 <= high else None


def tone_of(lost: float, interval: tuple[float, float] | None, *, counted: bool = True) -> str:
    """Return the colour of a change: ``bad`` and ``good`` are proven, ``open`` is a loss within chance, else nothing.

    Args:
        lost: In the bad direction.
        interval: Of ``lost``; None: an older report, which takes the figure at its word.
        counted: Whether there are samples enough to judge by.
    """
    low, high = interval or (lost, lost)
    if not counted:
        return ""
    return "bad" if low > 0 else "good" if high < 0 else "open" if lost > 0 else ""


def by_class(results: Sequence[ClassResult]) -> dict[tuple[str, int], ClassResult]:
    """Return results by label and how often it came before: two classes may carry one name."""
    found: dict[tuple[str, int], ClassResult] = {}
    seen: Counter[str] = Counter()
    for result in results:
        found[result.label, seen[result.label]] = result
        seen[result.label] += 1
    return found


def slices_of(side: Side) -> list[SliceResult]:
    """Return the slices of every split, those of further splits under `camera=a on night`."""
    found = list(side.slices)
    for split, result in side.splits.items():
        found += [msgspec.structs.replace(one, name=f"{one.name} on {split}") for one in result.slices]
    return found


def artifact_name(artifact: ArtifactSide) -> str:
    """Return `ONNX static-int8`, `TFLite float32`.

    `clipped` says that ranges leave out what is rare, `mixed` that a scan left layers in float.
    """
    family = {"onnx": "ONNX", "tflite": "TFLite", "openvino": "OpenVINO"}.get(artifact.format, artifact.format)
    mixed = " mixed" if any(part.kept for part in artifact.sensitivity) else ""
    clipped = " clipped" if artifact.ranges == "mean" else ""
    return f"{family} {'float32' if artifact.scheme == 'none' else artifact.scheme}{clipped}{mixed}"


def step_name(step: StepSide) -> str:
    """Return `prune` for the step that a recipe calls `steps[0].prune`."""
    return step.step.removeprefix(f"steps[{step.index}].")


def threads_text(setting: str) -> str:
    """Return `2 threads` for `threads=2`; another setting as it is."""
    name, _, value = setting.partition("=")
    return f"{value} threads" if name == "threads" else setting


def host_note(report: Report) -> str:
    """Return the sentence that says whose figures the latencies are."""
    host = report.host
    whose = f"this host ({host.machine}, {host.cpu})" if host.cpu else "this host"
    batch = 1 if report.baseline.latency_ms is None else report.baseline.latency_ms.batch
    one = "the one that will serve it" if is_targets(report) else f"the {report.target} itself"
    return (
        f"Latency, speed-up and memory are those of {whose}, batch {batch}. "
        f"Another machine gives other figures: measure on {one}."
    )


def is_targets(report: Report) -> bool:
    """Return whether this host is a machine of the target's architecture."""
    board = BOARDS.get(report.target)
    return board is not None and board.is_like(report.host.machine)


def _who_costs(paths: list[str], report: Report) -> str:
    if len(written_artifacts(report)) > 1 and set(paths) >= {artifact.path for artifact in written_artifacts(report)}:
        return "All artifacts cost"
    if len(paths) == 1:
        return f"{paths[0]} costs"
    return f"{', '.join(paths[:-1])} and {paths[-1]} cost" if paths else "An artifact costs"
