"""Which class was taken for which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.report.findings import artifact_name, written_artifacts
from edgeglm.report.markup import Child, Markup, element
from edgeglm.report.typesetting import scrolling, small

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.report.types import Report, Side

_MATRIX_CLASSES = 30
_PAIRS = 12
_HEAT_LEVELS = 5


def confusion_section(report: Report) -> Child:
    """Return the confusion of the baseline and of each artifact, folded."""
    blocks = [_confusion_block("Baseline", report.baseline)]
    blocks += [_confusion_block(f"{artifact_name(a)} ({a.path})", a) for a in written_artifacts(report)]
    return [block for block in blocks if block is not None]


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
