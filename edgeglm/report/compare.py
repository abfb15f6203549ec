"""Compare two reports of one recipe: is the newer one worse?

Two reports hold no answers sample by sample, so metrics are compared by value. Sizes are compared as bytes; latency
as the speed-up against each run's own baseline, so that runs on two machines compare fairly.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgeglm.errors import UserError
from edgeglm.report.counterparts import counterparts
from edgeglm.report.figures import (
    MISSING,
    format_bytes,
    format_limit,
    format_metric,
    format_ratio,
    lost_text,
    metric_bounds,
)
from edgeglm.report.findings import by_class, slices_of
from edgeglm.report.markup import clean
from edgeglm.report.types import COUNTED

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeglm.report.types import ArtifactSide, ClassResult, Metric, Report

_SLACK = 1e-9  # 0.95 to 0.94 is no more than 0.01, whatever the last bit says
_CLASSES_SHOWN = 5


class MetricChange(msgspec.Struct, frozen=True, kw_only=True):
    """One metric on one split in both reports; None where a report lacks it."""

    split: str  # "" is the split that decides
    name: str
    before: float | None
    after: float | None
    loss: float | None  # in the bad direction
    worse: bool  # lost more than the threshold, or no longer measured


class ClassChange(msgspec.Struct, frozen=True, kw_only=True):
    """The figure of one class that has enough samples in both reports."""

    split: str
    label: str
    metric: str = "recall"
    before: float
    after: float


class PartChange(msgspec.Struct, frozen=True, kw_only=True):
    """The metric on a part of the data, or on disturbed data, in both reports."""

    name: str  # `in light=night`, `under noise std=0.1`
    metric: str
    before: float
    after: float
    loss: float  # in the bad direction


class ArtifactChange(msgspec.Struct, frozen=True, kw_only=True):
    """One artifact found in both reports."""

    name: str
    metrics: list[MetricChange]
    classes: list[ClassChange]  # those that changed, greatest loss first
    parts: list[PartChange] = []  # slices and disturbances that changed, greatest loss first
    size_bytes: tuple[int | None, int | None]
    speedup: tuple[float | None, float | None]  # each against its own run's baseline


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What changed from report a to report b, and whether that is worse."""

    threshold: float
    worse: bool
    reasons: list[str]  # why it is worse, a sentence each
    notes: list[str]  # what makes the comparison less sure
    artifacts: list[ArtifactChange]
    missing: list[str]  # only in a
    added: list[str]  # only in b


def compare(a: Report, b: Report, threshold: float) -> Comparison:
    """Compare b with a.

    b is worse when, in any artifact that both have and on any split, the metric is more than ``threshold`` below
    that of a (above it, for a metric that should be low), or when an artifact or a split of a is missing in b.

    Args:
        a: The report to measure against.
        b: The report in question.
        threshold: The loss that is allowed, in the metric's own unit; 0.01 is one point of accuracy.

    Raises:
        UserError: The threshold is negative, not finite or above 1 for a metric of 0 to 1, or the reports are judged by
            different metrics.
    """
    if not (math.isfinite(threshold) and threshold >= 0):
        raise UserError(
            f"a threshold of {threshold} allows nothing to be said",
            where="--threshold",
            hint="give the loss that is allowed, 0 or more: 0.01 is one point of accuracy",
            code="threshold-invalid",
        )
    pairs = counterparts(a, b)
    artifacts = [_change(name, before, after, threshold) for name, before, after in pairs if before and after]
    _refuse_any_loss(artifacts, threshold)
    missing = [name for name, _, after in pairs if after is None]
    added = [name for name, before, _ in pairs if before is None]
    reasons = [f"{name} is missing in the second report." for name in missing]
    reasons += [
        _reason(found.name, metric, threshold) for found in artifacts for metric in found.metrics if metric.worse
    ]
    return Comparison(
        threshold=threshold,
        worse=bool(reasons),
        reasons=reasons,
        notes=_notes(a, b),
        artifacts=artifacts,
        missing=missing,
        added=added,
    )


def _refuse_any_loss(artifacts: list[ArtifactChange], threshold: float) -> None:
    """Raise UserError where a metric of 0 to 1 could lose all that it has: percents were written, it seems."""
    names = {metric.name for found in artifacts for metric in found.metrics}
    shares = sorted(name for name in names if metric_bounds(name) == (0.0, 1.0))
    if threshold > 1 and shares:
        raise UserError(
            f"a threshold of {threshold:g} allows any loss: {shares[0]} lies between 0 and 1",
            where="--threshold",
            hint="0.01 is one point" + (f": write {threshold / 100:g}" if threshold <= 100 else ""),
            code="threshold-invalid",
        )


def render_comparison(comparison: Comparison) -> RenderableType:
    """Return the comparison as a terminal shows it, within 80 columns, plain where there are no colours."""
    parts: list[RenderableType] = []
    for found in comparison.artifacts:
        parts.append(Text(clean(found.name), style="bold"))
        parts += [Padding(_table(found), (0, 0, 0, 2)), Text("")]
    parts += [Text(f"only in the first: {clean(name)}") for name in comparison.missing]
    parts += [Text(f"only in the second: {clean(name)}") for name in comparison.added]
    parts += [Text(f"note: {clean(note)}") for note in comparison.notes]
    if comparison.worse:
        parts.append(Text("worse", style="bold red"))
        parts += [Padding(Text(clean(reason)), (0, 0, 0, 2)) for reason in comparison.reasons]
    elif comparison.artifacts:
        parts.append(Text(f"not worse: no metric lost more than {comparison.threshold:g}", style="bold green"))
    else:
        parts.append(Text("nothing to compare: neither report has an artifact", style="bold"))
    return Group(*parts)


def _change(name: str, a: ArtifactSide, b: ArtifactSide, threshold: float) -> ArtifactChange:
    metrics = [_metric_change("", a.metric, b.metric, threshold)]
    classes = _class_changes("", a.per_class, b.per_class)
    for split, result in a.splits.items():
        other = b.splits.get(split)
        metrics.append(_metric_change(split, result.metric, None if other is None else other.metric, threshold))
        classes += _class_changes(split, result.per_class, [] if other is None else other.per_class)
    classes.sort(key=lambda change: change.after - change.before)
    return ArtifactChange(
        name=name,
        metrics=[metric for metric in metrics if metric is not None],
        classes=classes,
        parts=_part_changes(a, b),
        size_bytes=(a.size_bytes, b.size_bytes),
        speedup=(a.speedup, b.speedup),
    )


def _metric_change(split: str, a: Metric | None, b: Metric | None, threshold: float) -> MetricChange | None:
    if a is None:
        return (
            None
            if b is None
            else MetricChange(split=split, name=b.name, before=None, after=b.value, loss=None, worse=False)
        )
    if b is None:
        return MetricChange(split=split, name=a.name, before=a.value, after=None, loss=None, worse=True)
    if (a.name, a.higher_is_better) != (b.name, b.higher_is_better):
        raise UserError(
            f"one report is judged by {a.name}, the other by {b.name}: there is nothing to compare",
            hint="compare two runs of the same task",
            code="compare-mismatch",
        )
    loss = a.value - b.value if a.higher_is_better else b.value - a.value
    return MetricChange(
        split=split, name=a.name, before=a.value, after=b.value, loss=loss, worse=loss > threshold + _SLACK
    )


def _class_changes(split: str, a: list[ClassResult], b: list[ClassResult]) -> list[ClassChange]:
    after = by_class(b)
    pairs = [(result, after[key]) for key, result in by_class(a).items() if key in after]
    return [
        ClassChange(split=split, label=old.label, metric=new.metric, before=old.value, after=new.value)
        for old, new in pairs
        if old.n >= COUNTED and new.n >= COUNTED and old.value is not None and new.value is not None
        if old.value != new.value
    ]


def _part_changes(a: ArtifactSide, b: ArtifactSide) -> list[PartChange]:
    """Return slices of enough samples and disturbances whose metric differs."""
    metric = b.metric
    if metric is None:
        return []
    before = {f"in {one.name}": one.value for one in slices_of(a) if one.n >= COUNTED}
    before |= {f"under {one.name}": one.metric.value for one in a.robustness}
    after = {f"in {one.name}": one.value for one in slices_of(b) if one.n >= COUNTED}
    after |= {f"under {one.name}": one.metric.value for one in b.robustness}
    sign = 1 if metric.higher_is_better else -1
    found = [
        PartChange(name=name, metric=metric.name, before=old, after=new, loss=sign * (old - new))
        for name, old in before.items()
        if old is not None and (new := after.get(name)) is not None and old != new
    ]
    return sorted(found, key=lambda part: -part.loss)


def _reason(name: str, metric: MetricChange, threshold: float) -> str:
    where = f" on split {metric.split}" if metric.split else ""
    if metric.after is None or metric.loss is None:
        return f"{name}: {metric.name}{where} is not in the second report."
    allowed = format_limit(metric.name, threshold)
    return f"{name}: {metric.name}{where} is {lost_text(metric.name, metric.loss)}; {allowed} is allowed."


def _notes(a: Report, b: Report) -> list[str]:
    notes: list[str] = []
    if a.name != b.name:
        notes.append(f"the reports are of two recipes, {a.name} and {b.name}")
    if a.target != b.target:
        notes.append(f"the reports are for two targets, {a.target} and {b.target}")
    first, second = a.baseline.metric, b.baseline.metric
    if first is not None and second is not None and first.n != second.n:
        notes.append(f"the metrics are of {first.n:,} and of {second.n:,} samples: not the same data")
    if a.host.cpu != b.host.cpu or a.host.machine != b.host.machine:
        notes.append("the reports are of two machines; speed-ups are each against that machine's own baseline")
    return notes


def _table(found: ArtifactChange) -> Table:
    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    table.add_column("", overflow="fold")
    for heading in ("first", "second", "change"):
        table.add_column(heading, justify="right", no_wrap=True)
    for metric in found.metrics:
        change = MISSING
        if metric.loss is not None:
            change = lost_text(metric.name, metric.loss)
        table.add_row(
            Text(clean(f"{metric.name} ({metric.split})" if metric.split else metric.name)),
            format_metric(metric.name, metric.before),
            format_metric(metric.name, metric.after),
            Text(change, style="red" if metric.worse else ""),
        )
    old, new = found.size_bytes
    grown = f"{100 * (new / old - 1):+.1f} %" if old and new is not None else MISSING
    table.add_row("size", format_bytes(old), format_bytes(new), grown)
    fast, faster = found.speedup
    gained = f"{100 * (faster / fast - 1):+.1f} %" if fast and faster is not None else MISSING
    table.add_row("speed-up, own baseline", format_ratio(fast), format_ratio(faster), gained)
    for of_class in found.classes[:_CLASSES_SHOWN]:
        where = f" ({of_class.split})" if of_class.split else ""
        table.add_row(
            Text(clean(f"{of_class.metric.replace('_', ' ')} of {of_class.label}{where}")),
            format_metric(of_class.metric, of_class.before),
            format_metric(of_class.metric, of_class.after),
            lost_text(of_class.metric, of_class.before - of_class.after),
        )
    if len(found.classes) > _CLASSES_SHOWN:
        table.add_row(f"{len(found.classes) - _CLASSES_SHOWN} more classes changed", "", "", "")
    for part in found.parts[:_CLASSES_SHOWN]:
        table.add_row(
            Text(clean(f"{part.metric} {part.name}")),
            format_metric(part.metric, part.before),
            format_metric(part.metric, part.after),
            lost_text(part.metric, part.loss),
        )
    if len(found.parts) > _CLASSES_SHOWN:
        table.add_row(f"{len(found.parts) - _CLASSES_SHOWN} more slices and disturbances changed", "", "", "")
    return table
