"""Change by class: what became of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.report.charts import axis_text, figure
from edgeglm.report.figures import format_metric, format_points, metric_title
from edgeglm.report.findings import artifact_name, by_class, tone_of, written_artifacts
from edgeglm.report.intervals import Pair, dumbbell_chart
from edgeglm.report.markup import Child, Markup, element, join
from edgeglm.report.tables import distinct_names
from edgeglm.report.types import COUNTED
from edgeglm.report.typesetting import row, scrolling, small, table, typeset

if TYPE_CHECKING:
    from edgeglm.report.types import ArtifactSide, ClassResult, Report

_CHART_CLASSES = 24  # rows of a per-class chart; above, the worst and the best
_SHOWN_WORST, _SHOWN_BEST = 16, 8
_MEANING = {
    "recall": "Share of each class that is recognised (recall)",
    "iou": "Overlap with the truth (intersection over union), class by class",
    "average_precision": "Average precision of each class",
}


def class_section(report: Report) -> Child:
    """Return a chart of the change by class for each artifact, and a table of every class."""
    before = by_class(report.baseline.per_class)
    if not before:
        return None
    figure_name = report.baseline.per_class[0].metric
    shown = {id(artifact): _shown_pairs(before, artifact) for artifact in written_artifacts(report)}
    values = [value for pairs in shown.values() for pair in pairs for value in (pair.before, pair.after)]
    low = max(0.0, min(0.95, int(min(values, default=0.9) * 20) / 20))
    figures = []
    for number, artifact in enumerate(written_artifacts(report)):
        pairs = shown[id(artifact)]
        if not pairs:
            continue
        title = f"{metric_title(figure_name, begins=True)} by class, baseline to {artifact_name(artifact)}"
        spoken = "; ".join(f"{pair.label}: {pair.text}" for pair in pairs)
        chart = dumbbell_chart(
            f"classes{number}", title, spoken, pairs, low=low, label=lambda v: axis_text(figure_name, v)
        )
        total = sum(result.n > 0 for result in artifact.per_class)
        note = f"The {len(pairs)} classes that changed most of {total}." if total > len(pairs) else None
        least = min((result.n for result in artifact.per_class if result.n >= COUNTED), default=0)
        if least and figure_name == "recall":
            note = join(note, " " if note else None, f"One answer more or less of {least} is {100 / least:.1f} pt.")
        figures.append(figure(artifact_name(artifact), chart, note))
    has_intervals = any(pair.interval is not None for pairs in shown.values() for pair in pairs)
    few = sum(result.n < COUNTED for result in before.values())
    legend = element(
        "ul",
        element("li", _mark("ring kept"), "baseline"),
        element("li", _mark("dot lost"), "artifact, lower"),
        element("li", _mark("dot unsure"), "lower, within chance; thin line: 95 % interval") if has_intervals else None,
        element("li", _mark("dot kept"), "artifact, same or higher"),
        element("li", _mark("dot few"), f"fewer than {COUNTED} samples: not judged") if few else None,
        class_="legend",
    )
    grey = (
        f" {few} of {len(before)} classes have fewer than {COUNTED} samples: they are grey and not judged."
        if few
        else ""
    )
    return join(
        element("p", f"{_MEANING.get(figure_name, metric_title(figure_name))}, worst change first.{grey}"),
        legend if figures else None,
        element("div", *figures, class_="figures") if figures else None,
        element("details", element("summary", f"All {len(before)} classes as a table"), _class_table(report)),
    )


def _shown_pairs(before: dict[tuple[str, int], ClassResult], artifact: ArtifactSide) -> list[Pair]:
    """The classes of one chart, worst change first, those of too few samples last."""
    after = by_class(artifact.per_class)
    rows = [
        (before[key].value or 0.0, result, result.value)
        for key, result in after.items()
        if result.n and result.value is not None and key in before
    ]
    rows.sort(key=lambda row: (row[1].n < COUNTED, row[2] - row[0]))
    if len(rows) > _CHART_CLASSES:
        counted = [row for row in rows if row[1].n >= COUNTED] or rows
        rows = counted if len(counted) <= _CHART_CLASSES else counted[:_SHOWN_WORST] + counted[-_SHOWN_BEST:]
    return [
        Pair(
            new.label,
            was,
            now,
            new.n >= COUNTED,
            format_points(new.metric, now - was).replace("-", "\u2212"),
            None if new.ci95 is None else (was - new.ci95[1], was - new.ci95[0]),
        )
        for was, new, now in rows
    ]


def _mark(class_: str) -> Markup:
    circle = element("circle", class_=class_, cx=7, cy=7, r=4.5)
    return element("svg", circle, class_="mark", viewBox="0 0 14 14", aria_hidden="true")


def _class_table(report: Report) -> Markup:
    """Return the figure of every class, baseline and artifacts side by side."""
    names = distinct_names(report)
    per_artifact = [by_class(artifact.per_class) for artifact in written_artifacts(report)]
    rows = []
    for key, before in by_class(report.baseline.per_class).items():
        cells: list[tuple[str, Child]] = [
            ("Samples", f"{before.n:,}"),
            ("Baseline", typeset(format_metric(before.metric, before.value) if before.n else "-")),
        ]
        for name, results in zip(names, per_artifact, strict=True):
            cells.append((name, _cell(results.get(key))))
        rows.append(row(element("bdi", before.label), cells, class_="few" if before.n < COUNTED else None))
    head = ("Class", "Samples", "Baseline", *names)
    caption = "Every class, with the change against the baseline and its 95 % interval"
    return scrolling(caption, table(caption, head, rows, class_="plain"))


def _cell(result: ClassResult | None) -> Child:
    if result is None or not result.n:
        return typeset("-")
    value = typeset(format_metric(result.metric, result.value))
    if result.drop is None:
        return value
    tone = tone_of(result.drop, result.ci95, counted=result.n >= COUNTED)
    change = element("span", typeset(format_points(result.metric, 0.0 - result.drop)), class_=f"delta {tone}".rstrip())
    return join(value, " ", change, small(typeset(_interval(result))) if result.ci95 is not None else None)


def _interval(result: ClassResult) -> str:
    low, high = result.ci95 or (0.0, 0.0)
    ends = format_points(result.metric, 0.0 - high, unit=False), format_points(result.metric, 0.0 - low)
    return f"{ends[0]} to {ends[1]}"
