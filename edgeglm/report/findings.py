"""What a report amounts to, in words: the verdict, the best artifact, and what did not pay."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from edgeglm.boards import BOARDS
from edgeglm.choice.preference import why_first
from edgeglm.report.figures import format_interval, format_metric, format_ms, format_ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.report.types import ArtifactSide, ClassResult, Report, Side, SliceResult, StepSide

State = Literal["met", "missed", "undecided", "none"]

BUDGET_LINES = {
    "metric_drop": "loss of the metric",
    "per_class_drop": "loss of any class",
    "per_slice_drop": "loss of the metric, any slice",
    "size_mb": "size of the file",
    "peak_rss_mb": "peak memory on this host",
    "min_speedup": "speed-up on this host",
    "host_latency_p95_ms": "p95 latency on this host",
}

_LAYERS = 4  # that a sentence names
_WIDE = 0.05  # of the speed-up: an interval as wide as this is shown
_FAR_FROM_CHANCE = 0.1  # a figure so far from chance was measured on too few samples, rather than no better


@dataclass(frozen=True)
class Headline:
    """The verdict of a run: one word for machines, a title and what it means for people."""

    state: State
    title: str
    meaning: str


def chance_doubt(baseline: Side) -> str | None:
    """Return in words that the baseline is no better than chance, so that nothing can be said of what is lost."""
    metric = baseline.metric
    if metric is None or metric.chance is None or not metric.no_better_than_chance:
        return None
    name, classes = metric.name, len(baseline.per_class)
    chance = format_metric(name, metric.chance)
    if classes and metric.chance > 1.5 / classes:
        most = max(baseline.per_class, key=lambda result: result.n)
        chance += f", by always answering `{most.label}`"
    figures = (
        f"{name} {format_metric(name, metric.value)}, 95 % interval {format_interval(name, metric.ci95)}, on "
        f"{metric.n:,} samples{f' of {classes} classes' if classes else ''}; chance {chance}"
    )
    open_ = abs(metric.value - metric.chance) > _FAR_FROM_CHANCE and metric.ci95[0] <= metric.chance <= metric.ci95[1]
    return f"the baseline {'cannot be told from' if open_ else 'is no better than'} chance ({figures})"


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
    return Headline("met", "Budget met", "Every artifact meets every line of the budget.")


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


def best_artifact(report: Report) -> ArtifactSide | None:
    """Return the artifact to look at first, or None when none was made: the manifest's first (`choice/`)."""
    return next(iter(report.artifacts), None)


def written_artifacts(report: Report) -> list[ArtifactSide]:
    """Return the artifacts without the candidates of `auto` that were not chosen."""
    return [side for side in report.artifacts if side.chosen]


def front_of(report: Report) -> dict[int, bool]:
    """Return id of each artifact -> whether no other is at least as good, small and fast, and better in one.

    As the report says where it was asked; else by metric, size and latency on this host.
    """
    return {
        id(side): side.pareto
        if side.pareto is not None
        else not any(_beats(other, side) for other in report.artifacts if other is not side)
        for side in report.artifacts
    }


def _beats(one: ArtifactSide, other: ArtifactSide) -> bool:
    if one.metric is None or other.metric is None or one.size_bytes is None or other.size_bytes is None:
        return False
    sign = -1 if one.metric.higher_is_better else 1
    timed = one.latency_ms is not None and other.latency_ms is not None
    mine = (sign * one.metric.value, one.size_bytes, one.latency_ms.p50 if timed and one.latency_ms else 0.0)
    others = (sign * other.metric.value, other.size_bytes, other.latency_ms.p50 if timed and other.latency_ms else 0.0)
    return mine != others and all(a <= b for a, b in zip(mine, others, strict=True))


def metric_of(report: Report) -> str:
    """Return the name of the metric the report judges by."""
    sides: list[Side] = [report.baseline, *report.artifacts, *report.steps]
    return next((side.metric.name for side in sides if side.metric is not None), "metric")


def is_rejected(report: Report) -> bool:
    """Return whether the files lie under rejected/: a line was missed, and the recipe does not allow that."""
    return bool(report.budget.violations) and report.recipe.get("on_violation") != "best-effort"


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
    )


def speedup_range(artifact: ArtifactSide) -> tuple[float, float] | None:
    """Return the 95 % interval of the speed-up where the figure alone would say too much; else None."""
    if artifact.speedup is None or artifact.speedup_ci95 is None:
        return None
    low, high = artifact.speedup_ci95
    return artifact.speedup_ci95 if high - low > _WIDE * artifact.speedup or low <= 1 <= high else None


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


def left_in_float(artifact: ArtifactSide) -> str:
    """Return which layers a scan of sensitivity left in float, in words; nothing where there was none."""
    kept = [layer for part in artifact.sensitivity if part.kept for layer in part.layers]
    if not kept:
        return ""
    total = sum(len(part.layers) for part in artifact.sensitivity)
    more = f" and {len(kept) - _LAYERS} more" if len(kept) > _LAYERS else ""
    wider = next((part.scheme for part in artifact.sensitivity if part.kept), "")
    instead = "float" if wider in ("", "none") else wider
    return f"{len(kept)} of {total} layers stay in {instead}, where {artifact.scheme} costs most: " + (
        ", ".join(kept[:_LAYERS]) + more
    )


def passed_over(report: Report) -> list[str]:
    """Return a sentence for each candidate of `auto` that is no part of the result or was not made, and why."""
    found = [f"{artifact_name(side)}: {why_not(report, side)}" for side in report.artifacts if not side.chosen]
    return [*found, *(f"{s.format} {s.scheme}".rstrip() + f" was not made: {s.reason}" for s in report.skipped)]


def why_not(report: Report, artifact: ArtifactSide) -> str:
    """Return why a candidate of `auto` is no part of the result."""
    missed = [v.key.removeprefix("budget.") for v in report.budget.passed_over if v.artifact == artifact.path]
    if missed:
        return f"misses {', '.join(missed)}"
    if artifact.parity is not None and not artifact.parity.passed:
        return "its answers are not the network's"
    if artifact.dominated_by:
        return f"{artifact.dominated_by} is no worse in anything and better in something"
    open_ = [v.key for v in report.budget.passed_over_undecided if v.artifact == artifact.path]
    return f"undecided by {len(open_)} lines" if open_ else "slower, or behind by the rule for this board"


def step_name(step: StepSide) -> str:
    """Return `prune` for the step that a recipe calls `steps[0].prune`."""
    return step.step.removeprefix(f"steps[{step.index}].")


def did_not_pay(report: Report, artifact: ArtifactSide) -> list[str]:
    """Return a sentence for each thing that making this artifact was meant to gain and did not."""
    found: list[str] = []
    if artifact.size_ratio is not None and artifact.size_ratio <= 1:
        found.append(f"No smaller than the baseline: its size ratio is {format_ratio(artifact.size_ratio)}.")
    slower = ""
    if artifact.speedup is not None and artifact.speedup <= 1:
        slower = f"No faster than the baseline on this host: {format_ratio(artifact.speedup)} on 1 thread."
    for setting, ratio in artifact.speedup_extra.items():
        if ratio <= 1 and (artifact.speedup is None or artifact.speedup > 1):
            found.append(f"No faster than the baseline on this host with {setting}: {format_ratio(ratio)}.")
    if artifact.scheme != "none" and artifact.latency_ms is not None:
        mine = artifact.latency_ms.p50
        plain = _float_rival(report, artifact)
        if plain is not None and plain[1] <= mine:
            slower = f"{slower} Quantizing made it no faster: " if slower else "Quantizing made it no faster: "
            slower += f"{plain[0]} takes {format_ms(plain[1])} ms on this host, this file {format_ms(mine)} ms."
    if slower:
        found.append(slower + (_elsewhere(report) if artifact.scheme != "none" else ""))
    if artifact.parity is not None and not artifact.parity.passed:
        found.append(
            "Its outputs differ from those of the network it was made from by more than its scheme should cause."
        )
    return found


def notes_on(report: Report, artifact: ArtifactSide) -> list[str]:
    """Return everything to know about one artifact: what did not pay, and those of its warnings that say more."""
    unpaid = did_not_pay(report, artifact)
    said = [" ".join(text.lower().split()[:3]) for text in unpaid]
    return [*(text for text in artifact.warnings if not text.lower().startswith(tuple(said))), *unpaid]


def warnings_of(report: Report) -> list[str]:
    """Return the warnings of the whole run, its baseline and its steps; those of artifacts are in ``notes_on``."""
    found = [*report.warnings, *report.baseline.warnings, *steps_that_did_not_pay(report)]
    for number, step in enumerate(report.steps, start=1):
        found += [f"Step {number}, {step_name(step)}: {text}" for text in step.warnings]
    return found


def steps_that_did_not_pay(report: Report) -> list[str]:
    """Return a sentence for each step that made the network smaller but, on this host, no faster."""
    found: list[str] = []
    before = report.baseline
    for number, step in enumerate(report.steps, start=1):
        smaller = before.params is not None and step.params is not None and step.params < before.params
        if smaller and before.latency_ms is not None and step.latency_ms is not None:
            old, new = before.latency_ms.p50, step.latency_ms.p50
            if new >= old:
                found.append(
                    f"Step {number}, {step_name(step)}, removed parameters, but the network is no faster for it on "
                    f"this host: {format_ms(old)} ms before, {format_ms(new)} ms after."
                )
        before = step
    return found


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
    return board is not None and board.arch == report.host.machine


def _elsewhere(report: Report) -> str:
    if report.target not in BOARDS or is_targets(report):
        return ""
    return f" The {report.target} runs integers differently: measure there before you choose."


def _float_rival(report: Report, artifact: ArtifactSide) -> tuple[str, float] | None:
    """The same network unquantized: the float file of the same format, else the network after the last step."""
    for other in report.artifacts:
        if other.format == artifact.format and other.scheme == "none" and other.latency_ms is not None:
            return other.path, other.latency_ms.p50
    if report.steps and (last := report.steps[-1].latency_ms) is not None:
        return "the compressed network in float32", last.p50
    return None


def _who_costs(paths: list[str], report: Report) -> str:
    if len(written_artifacts(report)) > 1 and set(paths) >= {artifact.path for artifact in written_artifacts(report)}:
        return "All artifacts cost"
    if len(paths) == 1:
        return f"{paths[0]} costs"
    return f"{', '.join(paths[:-1])} and {paths[-1]} cost" if paths else "An artifact costs"
