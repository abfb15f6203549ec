"""What a reader should hear about a run: what did not pay, what proves nothing, what was left in float."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.boards import BOARDS
from edgeglm.report.figures import format_interval, format_metric, format_ms, format_ratio
from edgeglm.report.findings import artifact_name, is_targets, step_name, threads_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeglm.report.types import AlarmRate, ArtifactSide, Parity, Report, Side

_LAYERS = 4  # that a sentence names
_FAR_FROM_CHANCE = 0.1  # a figure so far from chance was measured on too few samples, rather than no better


def chance_doubt(side: Side, *, called: str = "the baseline") -> str | None:
    """Return in words that a network is no better than chance: of the baseline, nothing can be said of what is lost."""
    metric = side.metric
    if metric is None or metric.chance is None or not metric.no_better_than_chance:
        return None
    name, classes = metric.name, len(side.per_class)
    chance = format_metric(name, metric.chance)
    if classes and metric.chance > 1.5 / classes:
        most = max(side.per_class, key=lambda result: result.n)
        chance += f", by always answering `{most.label}`"
    figures = (
        f"{name} {format_metric(name, metric.value)}, 95 % interval {format_interval(name, metric.ci95)}, on "
        f"{metric.n:,} samples{f' of {classes} classes' if classes else ''}; {metric.chance_by or 'chance'} {chance}"
    )
    if metric.chance_by:
        return f"{called} is no better than {metric.chance_by} ({figures})"
    open_ = abs(metric.value - metric.chance) > _FAR_FROM_CHANCE and metric.ci95[0] <= metric.chance <= metric.ci95[1]
    return f"{called} {'cannot be told from' if open_ else 'is no better than'} chance ({figures})"


def did_not_pay(report: Report, artifact: ArtifactSide) -> list[str]:
    """Return a sentence for each thing that making this artifact was meant to gain and did not."""
    found: list[str] = []
    if artifact.size_ratio is not None and artifact.size_ratio <= 1:
        found.append(f"No smaller than the baseline: its size ratio is {format_ratio(artifact.size_ratio)}.")
    slower = no_faster(artifact.speedup, artifact.speedup_ci95, "1 thread")
    for setting, ratio in artifact.speedup_extra.items():
        said = no_faster(ratio, artifact.speedup_extra_ci95.get(setting), threads_text(setting))
        found += [said] if said and not slower else []
    if artifact.scheme != "none" and artifact.latency_ms is not None:
        mine = artifact.latency_ms.p50
        plain = _float_rival(report, artifact)
        if plain is not None and plain[1] <= mine:
            slower = f"{slower} Quantizing made it no faster: " if slower else "Quantizing made it no faster: "
            slower += f"{plain[0]} takes {format_ms(plain[1])} ms on this host, this file {format_ms(mine)} ms."
    if slower:
        found.append(slower + (_elsewhere(report) if artifact.scheme != "none" else ""))
    if artifact.parity is not None and not artifact.parity.passed:
        said = outputs_differ(artifact.parity)
        found.append(f"{said[0].upper()}{said[1:]}.")
    return found


def outputs_differ(parity: Parity) -> str:
    """Return in words that a file does not say what the network says that it was made from, and by how much."""
    said = "its outputs differ from the network's by more than its scheme explains"
    if parity.max_abs is None:
        return f"{said}: some are not finite (NaN or infinity)"
    figures = []
    if parity.answers:
        figures.append(f"the same answer for {100 * parity.argmax_agreement:.1f} % of the {parity.answers}")
    if parity.error_share is not None:
        error = f"{100 * parity.error_share:.3g} %" if parity.error_share < 1 else "as much as a constant's, or more,"
        figures.append(f"a squared error of {error} of what they vary by")
    if parity.cosine is not None and not parity.answers:
        figures.append(f"a mean cosine of {parity.cosine:.4f}")
    return f"{said}: {', '.join(figures)} (on {parity.samples} samples)" if figures else said


def alarms_doubt(alarms: AlarmRate | None, extra: Mapping[str, float]) -> str:
    """Return in words that the recipe's own limit sets off more false alarms than are asked for; "": none such.

    Args:
        alarms: What the limit comes to; None: there is none.
        extra: The side's other figures, the limit among them that would do.
    """
    if alarms is None or alarms.ci95[0] <= alarms.wanted:
        return ""
    low, high = (f"{100 * end:.3g}" for end in alarms.ci95)
    better = f"; `threshold` of this file would be {extra['threshold']:.4g}" if "threshold" in extra else ""
    return (
        f"too many false alarms: the limit {alarms.limit:.4g} in the recipe's `postprocess` raises one for "
        f"{100 * alarms.rate:.3g} % of the normal samples ({alarms.false_alarms:,} of {alarms.normal:,}; 95 % interval "
        f"{low} to {high} %), and `task.false_alarm_rate` asks for {100 * alarms.wanted:.3g} %{better}"
    )


def no_faster(speedup: float | None, interval: tuple[float, float] | None, setting: str) -> str:
    """Return a sentence where a file is not faster than the baseline beyond doubt, else nothing.

    Args:
        speedup: Baseline's p50 / the file's; None: not measured.
        interval: Of it, at 95 %; None: an older report, the figure stands for both ends.
        setting: What it was measured with: ``2 threads``.
    """
    low, high = interval or (speedup, speedup)
    if speedup is None or low is None or high is None or low > 1:
        return ""
    if high < 1 or interval is None or low == high:
        return f"No faster than the baseline on this host: {format_ratio(speedup)} on {setting}."
    return (
        f"No faster than the baseline on this host beyond doubt: {format_ratio(speedup)} on {setting}, 95 % interval "
        f"{low:.2f} to {high:.2f}."
    )


def notes_on(report: Report, artifact: ArtifactSide) -> list[str]:
    """Return everything to know about one artifact: what did not pay, and those of its warnings that say more."""
    unpaid = did_not_pay(report, artifact)
    said = [" ".join(text.lower().split()[:3]) for text in unpaid]
    return [*(text for text in artifact.warnings if not text.lower().startswith(tuple(said))), *unpaid]


def warnings_of(report: Report) -> list[str]:
    """Return the warnings of the whole run, its baseline and its steps; those of artifacts are in ``notes_on``."""
    found = [
        *report.warnings,
        *(f"The baseline: {text}" for text in report.baseline.warnings),
        *steps_that_did_not_pay(report),
    ]
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


def left_in_float(artifact: ArtifactSide) -> str:
    """Return which layers a scan of sensitivity left in float, in words; nothing where there was none."""
    kept = [layer for part in artifact.sensitivity if part.kept for layer in part.layers]
    if not kept:
        return ""
    total = sum(len(part.layers) for part in artifact.sensitivity)
    more = f" and {len(kept) - _LAYERS} more" if len(kept) > _LAYERS else ""
    wider = next((part.scheme for part in artifact.sensitivity if part.kept), "")
    instead = "float" if wider in ("", "none") else wider
    others = [layer for layer in artifact.ignored if layer not in kept]
    asked = f"; in float, as the recipe asks: {', '.join(others[:_LAYERS])}" if others else ""
    return f"{len(kept)} of {total} layers stay in {instead}, where {artifact.scheme} costs most: " + (
        ", ".join(kept[:_LAYERS]) + more + asked
    )


def _elsewhere(report: Report) -> str:
    if report.target not in BOARDS or is_targets(report):
        return ""
    return f" The {report.target} runs integers differently: measure there before you choose."


def _float_rival(report: Report, artifact: ArtifactSide) -> tuple[str, float] | None:
    """The same network unquantized: the float file of the same format, else the network after the last step."""
    for other in report.artifacts:
        if other.format == artifact.format and other.scheme == "none" and other.latency_ms is not None:
            return other.path if other.chosen else artifact_name(other), other.latency_ms.p50
    if report.steps and (last := report.steps[-1].latency_ms) is not None:
        return "the compressed network in float32", last.p50
    return None
