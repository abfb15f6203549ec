"""Named parts of the evaluation data, and the same data disturbed: where the average hides a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.report.charts import figure
from edgeglm.report.figures import (
    as_percent,
    change_of,
    drop_text,
    format_metric,
    format_points,
    metric_title,
    significant,
    unit_of,
)
from edgeglm.report.findings import artifact_name, metric_of, slices_of, tone_of, written_artifacts
from edgeglm.report.intervals import Dot, interval_chart
from edgeglm.report.markup import Child, Markup, element, join
from edgeglm.report.tables import distinct_names
from edgeglm.report.types import COUNTED
from edgeglm.report.typesetting import row, scrolling, small, table, typeset

if TYPE_CHECKING:
    from edgeglm.report.types import ArtifactSide, Drop, Metric, Report, SliceResult

_SHOWN = 16  # slices of a chart, the worst


def slice_section(report: Report) -> Child:
    """Return a chart of the change by slice for each artifact, and a table; nothing where no slice is named."""
    before = slices_of(report.baseline)
    if not before:
        return None
    charts = [_chart(number, side) for number, side in enumerate(written_artifacts(report))]
    drawn = [chart for chart in charts if chart is not None]
    few = sum(found.n < COUNTED for found in before)
    grey = f" {few} of {len(before)} have fewer than {COUNTED} samples and are not judged." if few else ""
    return join(
        element("p", f"Change against the baseline on each named part of the data, worst first.{grey}"),
        element("div", *drawn, class_="figures") if drawn else None,
        _slice_table(report),
    )


def robustness_section(report: Report) -> Child:
    """Return a table of the metric on disturbed samples, before and after; nothing where none were asked for."""
    if not report.baseline.robustness:
        return None
    names, name = distinct_names(report), metric_of(report)
    untouched = [next((found.unchanged for found in side.robustness), None) for side in written_artifacts(report)]
    clean: list[tuple[str, Child]] = [
        (label, typeset("-" if value is None else format_metric(name, value)))
        for label, value in zip(
            ("Baseline", *names), (report.baseline.robustness[0].unchanged, *untouched), strict=True
        )
    ]
    rows: list[Markup] = [row("Undisturbed", clean)]
    for before in report.baseline.robustness:
        cells: list[tuple[str, Child]] = [("Baseline", typeset(format_metric(name, before.metric.value)))]
        for label, side in zip(names, written_artifacts(report), strict=True):
            after = next((found for found in side.robustness if found.name == before.name), None)
            cells.append(
                (label, typeset("-") if after is None else _value(after.metric.value, after.drop, after.metric))
            )
        rows.append(row(element("bdi", before.name), cells))
    title = metric_title(name, begins=True)
    caption = f"{title} on samples as they are and disturbed, and the change against the baseline on those same samples"
    head = ("Disturbance", "Baseline", *names)
    return scrolling(caption, table(caption, head, rows, class_="cards"))


def _chart(number: int, side: ArtifactSide) -> Markup | None:
    metric = side.metric
    judged = [found for found in slices_of(side) if found.drop is not None and found.value is not None]
    if metric is None or not judged:
        return None
    judged.sort(key=lambda found: (found.n < COUNTED, -(found.drop.value if found.drop else 0.0)))
    dots = [_dot(found, metric) for found in judged[:_SHOWN]]
    spoken = "; ".join(f"{dot.label}: {dot.text}" for dot in dots)
    title = f"Change of {metric.name} by slice, {artifact_name(side)}"
    chart = interval_chart(
        f"slices{number}", title, spoken, dots, label=lambda v: _points(metric.name, v), reference=0.0
    )
    note = "Line: 95 % interval, on the same samples. Dashed: no change."
    if any(dot.kind == "unsure" for dot in dots):
        note += " Amber: worse, within chance."
    if len(judged) > _SHOWN:
        note = f"The {_SHOWN} slices that lost most of {len(judged)}. {note}"
    return figure(artifact_name(side), chart, note)


def _points(name: str, change: float) -> str:
    if not as_percent(name):
        return f"{significant(change, 2)} {unit_of(name)}".rstrip().replace("-", "\u2212")
    return f"{round(100 * change, 3):+g} pt".replace("-", "\u2212") if change else "0"


def _dot(found: SliceResult, metric: Metric) -> Dot:
    assert found.drop is not None
    change, interval = change_of(found.drop, metric)
    tone = tone_of(found.drop.value, found.drop.ci95)
    kind = "few" if found.n < COUNTED else {"bad": "lost", "open": "unsure"}.get(tone, "artifact")
    text = format_points(metric.name, change).replace("-", "\u2212")
    return Dot(f"{found.name} ({found.n:,})", kind, change, interval, text)


def _slice_table(report: Report) -> Markup:
    names, name = distinct_names(report), metric_of(report)
    rows: list[Markup] = []
    for before in slices_of(report.baseline):
        cells: list[tuple[str, Child]] = [
            ("Samples", f"{before.n:,}"),
            ("Baseline", typeset(format_metric(name, before.value))),
        ]
        for label, side in zip(names, written_artifacts(report), strict=True):
            after = next((found for found in slices_of(side) if found.name == before.name), None)
            if after is None or after.value is None:
                cells.append((label, typeset("-")))
            else:
                cells.append((label, _value(after.value, after.drop, side.metric, counted=after.n >= COUNTED)))
        rows.append(row(element("bdi", before.name), cells, class_="few" if before.n < COUNTED else None))
    caption = "Every slice, with the change against the baseline and its 95 % interval"
    head = ("Slice", "Samples", "Baseline", *names)
    body = scrolling(caption, table(caption, head, rows, class_="plain"))
    summary = f"All {len(rows)} slices as a table" if len(rows) > 1 else "The slice as a table"
    return element("details", element("summary", summary), body)


def _value(value: float | None, drop: Drop | None, metric: Metric | None, *, counted: bool = True) -> Child:
    if metric is None:
        return typeset("-")
    shown = typeset(format_metric(metric.name, value))
    if drop is None:
        return shown
    change, ends = drop_text(drop, metric)
    tone = tone_of(drop.value, drop.ci95, counted=counted)
    return join(shown, " ", element("span", typeset(change), class_=f"delta {tone}".rstrip()), small(typeset(ends)))
