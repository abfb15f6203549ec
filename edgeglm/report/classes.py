"""Change by class and confusion: what became of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.report.charts import Pair, axis_text, dumbbell_chart, figure
from edgeglm.report.figures import format_metric, format_points
from edgeglm.report.findings import artifact_name, by_class
from edgeglm.report.markup import Child, Markup, element, join
from edgeglm.report.tables import distinct_names, row, scrolling, small, table, typeset
from edgeglm.report.types import COUNTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.report.types import ArtifactSide, ClassResult, Report, Side

_CHART_CLASSES = 24  # rows of a per-class chart; above, the worst and the best
_SHOWN_WORST, _SHOWN_BEST = 16, 8
_MATRIX_CLASSES = 30
_PAIRS = 12
_HEAT_LEVELS = 5


def class_section(report: Report) -> Child:
    """Return a chart of the change by class for each artifact, and a table of every class."""
    before = by_class(report.baseline.per_class)
    if not before:
        return None
    shown = {id(artifact): _shown_pairs(before, artifact) for artifact in report.artifacts}
    values = [value for pairs in shown.values() for pair in pairs for value in (pair.before, pair.after)]
    low = max(0.0, min(0.95, int(min(values, default=0.9) * 20) / 20))
    figures = []
    for number, artifact in enumerate(report.artifacts):
        pairs = shown[id(artifact)]
        if not pairs:
            continue
        title = f"Recall by class, baseline to {artifact_name(artifact)}"
        spoken = "; ".join(f"{pair.label}: {pair.text}" for pair in pairs)
        chart = dumbbell_chart(
            f"classes{number}", title, spoken, pairs, low=low, label=lambda v: axis_text("recall", v)
        )
        total = sum(result.n > 0 for result in artifact.per_class)
        note = f"The {len(pairs)} classes that changed most of {total}." if total > len(pairs) else None
        least = min((result.n for result in artifact.per_class if result.n >= COUNTED), default=0)
        if least:
            note = join(note, " " if note else None, f"One answer more or less of {least} is {100 / least:.1f} pt.")
        figures.append(figure(artifact_name(artifact), chart, note))
    few = sum(result.n < COUNTED for result in before.values())
    legend = element(
        "ul",
        element("li", _mark("ring kept"), "baseline"),
        element("li", _mark("dot lost"), "artifact, lower"),
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
        element("p", f"Share of each class that is recognised (recall), worst change first.{grey}"),
        legend if figures else None,
        element("div", *figures, class_="figures") if figures else None,
        element("details", element("summary", f"All {len(before)} classes as a table"), _class_table(report)),
    )


def confusion_section(report: Report) -> Child:
    """Return the confusion of the baseline and of each artifact, folded."""
    blocks = [_confusion_block("Baseline", report.baseline)]
    blocks += [_confusion_block(f"{artifact_name(a)} ({a.path})", a) for a in report.artifacts]
    return [block for block in blocks if block is not None]


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
            format_points("recall", now - was).replace("-", "\u2212"),
        )
        for was, new, now in rows
    ]


def _mark(class_: str) -> Markup:
    circle = element("circle", class_=class_, cx=7, cy=7, r=4.5)
    return element("svg", circle, class_="mark", viewBox="0 0 14 14", aria_hidden="true")


def _class_table(report: Report) -> Markup:
    """Return the recall of every class, baseline and artifacts side by side."""
    names = distinct_names(report)
    per_artifact = [by_class(artifact.per_class) for artifact in report.artifacts]
    rows = []
    for key, before in by_class(report.baseline.per_class).items():
        cells: list[tuple[str, Child]] = [
            ("Samples", f"{before.n:,}"),
            ("Baseline", typeset(format_metric("recall", before.value) if before.n else "-")),
        ]
        for name, results in zip(names, per_artifact, strict=True):
            cells.append((name, _recall_cell(results.get(key))))
        rows.append(row(element("bdi", before.label), cells, class_="few" if before.n < COUNTED else None))
    head = ("Class", "Samples", "Baseline", *names)
    return scrolling("Recall of every class", table("Recall of every class", head, rows, class_="plain"))


def _confusion_block(name: str, side: Side) -> Markup | None:
    """Return one side's confusion, folded: the pairs mixed up most, and the matrix where it fits a page."""
    matrix = side.confusion
    if not matrix:
        return None
    labels = [result.label for result in side.per_class]
    if len(labels) != len(matrix):
        labels = [str(number) for number in range(len(matrix))]
    wrong = sorted(
        ((count, t, p) for t, counts in enumerate(matrix) for p, count in enumerate(counts) if t != p and count),
        reverse=True,
        key=lambda item: item[0],
    )
    total, missed = sum(map(sum, matrix)), sum(count for count, _, _ in wrong)
    parts: list[Child] = []
    if wrong:
        pairs = [
            element(
                "li",
                element("bdi", labels[t]),
                " taken for ",
                element("bdi", labels[p]),
                f": {count:,} of {sum(matrix[t]):,}",
            )
            for count, t, p in wrong[:_PAIRS]
        ]
        more = f" The {_PAIRS} most frequent of {len(wrong)} pairs." if len(wrong) > _PAIRS else ""
        parts += [element("p", f"Most often confused.{more}"), element("ol", *pairs, class_="pairs")]
    if len(matrix) <= _MATRIX_CLASSES:
        parts.append(scrolling(f"Confusion matrix of {name}", _matrix(labels, matrix)))
    else:
        parts.append(element("p", f"The matrix of {len(matrix)} classes is in report.json.", class_="quiet"))
    summary = f"{name}: {missed:,} of {total:,} wrong"
    return element("details", element("summary", summary), *parts)


def _matrix(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Markup:
    head = element(
        "tr",
        element("td", small("actual \u2193 taken for \u2192")),
        *(element("th", element("span", element("bdi", label)), scope="col") for label in labels),
    )
    rows = []
    for number, (label, counts) in enumerate(zip(labels, matrix, strict=True)):
        total = sum(counts) or 1
        cells = []
        for predicted, count in enumerate(counts):
            level = -(-count * _HEAT_LEVELS // total)  # rounded up: a single mistake shows
            tone = "hit" if predicted == number else "miss"
            cells.append(element("td", str(count) if count else "", class_=f"{tone}{level}" if count else None))
        rows.append(element("tr", element("th", element("bdi", label), scope="row"), *cells))
    return element(
        "table",
        element("caption", "Rows: the true class. Columns: the class it was taken for."),
        element("thead", head),
        element("tbody", *rows),
        class_="matrix",
    )


def _recall_cell(result: ClassResult | None) -> Child:
    if result is None or not result.n:
        return typeset("-")
    recall = typeset(format_metric("recall", result.value))
    if result.drop is None:
        return recall
    tone = (
        "bad" if result.drop > 0 and result.n >= COUNTED else "good" if result.drop < 0 and result.n >= COUNTED else ""
    )
    return join(
        recall, " ", element("span", typeset(format_points("recall", 0.0 - result.drop)), class_=f"delta {tone}")
    )
