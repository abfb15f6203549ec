"""The summary of a run on a terminal: 80 columns, plain text where there is no colour, nothing animated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from edgeglm.report.figure_table import FigureRow, FigureTable
from edgeglm.report.figures import (
    MISSING,
    format_bytes,
    format_metric,
    format_ms,
    format_ratio,
    format_seconds,
)
from edgeglm.report.findings import (
    State,
    artifact_name,
    headline,
    host_note,
    is_rejected,
    metric_heading,
    metric_of,
    slices_of,
    speedup_range,
    state_of,
    step_name,
    written_artifacts,
)
from edgeglm.report.markup import clean
from edgeglm.report.ranking import best_artifact, best_word, passed_over, why_best
from edgeglm.report.remarks import left_in_float, notes_on, warnings_of

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console, RenderableType

    from edgeglm.report.types import ArtifactSide, Drop, Metric, Report, Side, SliceResult

_SLICES_SHOWN = 10
_STYLES: dict[State, str] = {"met": "green", "missed": "red", "undecided": "yellow", "none": ""}


def render_summary(report: Report, folder: Path | None = None) -> RenderableType:
    """Return the summary: verdict, table, what is missed or open, warnings, where the report lies.

    Args:
        report: What to summarise.
        folder: The output folder as the user gave it; None leaves the last line out.
    """
    verdict = headline(report)
    parts: list[RenderableType] = [
        Text.assemble(
            (clean(report.name), "bold"),
            f" for {clean(report.target)}: ",
            (verdict.title.lower(), f"bold {_STYLES[verdict.state]}"),
        ),
        Text(clean(verdict.meaning)),
        Text(""),
        _table(report),
        *_splits(report),
        *_slices(report),
        *_robustness(report),
        Text(""),
        Text(clean(host_note(report)), style="dim"),
    ]
    best = best_artifact(report)
    if best is not None and len(report.artifacts) > 1:
        path = f"rejected/{best.path}" if is_rejected(report) else best.path
        word = best_word(report)
        line = f"* {'the best' if word == 'best' else word}: {artifact_name(best)}, {path}: {why_best(report)}"
        parts.append(Text(clean(line)))
    lines = [
        *(_line("missed", "red", verdict.message) for verdict in report.budget.violations),
        *(_line("undecided", "yellow", verdict.message) for verdict in report.budget.undecided),
        *(_line("warning", "yellow", text) for text in _warnings(report)),
        *(_line("not taken", "dim", text) for text in passed_over(report)),
    ]
    if lines:
        parts += [Text(""), *lines]
    if folder is not None:
        took = f" ({format_seconds(report.seconds)})" if report.seconds else ""
        parts += [Text(""), Text(clean(f"report: {folder / 'report.html'}{took}"), overflow="fold")]
    return Group(*parts)


def print_summary(report: Report, console: Console, folder: Path | None = None) -> None:
    """Print the summary to a console; what users wrote is never read as markup."""
    console.print(render_summary(report, folder), highlight=False, markup=False)


def _warnings(report: Report) -> list[str]:
    found = warnings_of(report)
    for artifact in written_artifacts(report):
        found += [f"{artifact.path}: {text}" for text in (left_in_float(artifact),) if text]
        found += [f"{artifact.path}: {text}" for text in notes_on(report, artifact)]
    return found


def _line(word: str, style: str, text: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=9, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(word, style=style), Text(clean(text)))
    return grid


def _table(report: Report) -> FigureTable:
    rows = [FigureRow((Text("baseline"),), *_figures(report.baseline, None))]
    if report.steps:
        last = report.steps[-1]
        rows.append(FigureRow((Text(clean(f"after {step_name(last)}")),), *_figures(last, None)))
    best = best_artifact(report)
    written = written_artifacts(report)
    for artifact in report.artifacts:
        if not artifact.chosen and written and report.artifacts[len(written)] is artifact:
            rows.append(FigureRow((Text("passed over", style="dim"),)))
        star = " *" if artifact is best and len(report.artifacts) > 1 else ""
        name = Text(clean(artifact_name(artifact)) + star, style=_STYLES[state_of(report, artifact)])
        rows.append(FigureRow((name,), *_figures(artifact, artifact), style="" if artifact.chosen else "dim"))
    named = ("size", "smaller", "p50 ms", "faster", clean(metric_heading(report)))
    return FigureTable(("",), named, metric_of(report), rows, below=True)


def _splits(report: Report) -> list[RenderableType]:
    """Return a table of the metric on the further evaluation splits, where there are any."""
    if not report.baseline.splits:
        return []
    rows: list[FigureRow] = []
    for split, before in report.baseline.splits.items():
        sides = [("baseline", before), *((artifact_name(a), a.splits.get(split)) for a in written_artifacts(report))]
        for number, (name, result) in enumerate(sides):
            value = MISSING if result is None else format_metric(result.metric.name, result.metric.value)
            names = Text(clean(split) if number == 0 else ""), Text(clean(name))
            change = (None, None) if result is None else (result.drop, result.metric)
            rows.append(FigureRow(names, (value,), change))
    table = FigureTable(("also on", ""), (clean(metric_heading(report)),), metric_of(report), rows)
    return [Text(""), table]


def _slices(report: Report) -> list[RenderableType]:
    """Return a table of the slices that the best artifact harms most, where there are any."""
    best = best_artifact(report)
    if best is None:
        return []
    pairs = _paired(slices_of(report.baseline), slices_of(best))
    if not pairs:
        return []
    pairs.sort(key=lambda pair: 0.0 if pair[1].drop is None else -pair[1].drop.value)
    metric = metric_of(report)
    rows = []
    for before, after in pairs[:_SLICES_SHOWN]:
        values = [MISSING if one.value is None else format_metric(metric, one.value) for one in (before, after)]
        rows.append(FigureRow((Text(clean(after.name)),), (str(after.n), *values), (after.drop, best.metric)))
    table = _parts_table(report, best, "in", rows)
    more = len(pairs) - _SLICES_SHOWN
    return [Text(""), table, *([Text(f"and {more} more slices in report.json", style="dim")] if more > 0 else [])]


def _robustness(report: Report) -> list[RenderableType]:
    """Return a table of the best artifact's metric on changed samples, where the recipe asks for that."""
    best = best_artifact(report)
    if best is None or not best.robustness:
        return []
    metric = metric_of(report)
    before = {result.name: result for result in report.baseline.robustness}
    rows = []
    for result in best.robustness:
        values = [
            MISSING if one is None else format_metric(metric, one.metric.value)
            for one in (before.get(result.name), result)
        ]
        figures = f"{result.metric.n:,}", *values
        rows.append(FigureRow((Text(clean(result.name)),), figures, (result.drop, result.metric)))
    return [Text(""), _parts_table(report, best, "under", rows)]


def _parts_table(report: Report, best: ArtifactSide, word: str, rows: list[FigureRow]) -> FigureTable:
    figures = ("n", "baseline", clean(metric_heading(report)))
    return FigureTable((clean(f"{artifact_name(best)} {word}"),), figures, metric_of(report), rows)


def _paired(before: list[SliceResult], after: list[SliceResult]) -> list[tuple[SliceResult, SliceResult]]:
    known = {result.name: result for result in before}
    return [(known[result.name], result) for result in after if result.name in known]


def _faster(artifact: ArtifactSide) -> str:
    """Return the speed-up, and below it its interval where that is wide."""
    interval = speedup_range(artifact)
    return format_ratio(artifact.speedup) + ("" if interval is None else f"\n{interval[0]:.2f}-{interval[1]:.2f}")


def _figures(side: Side, artifact: ArtifactSide | None) -> tuple[tuple[str, ...], tuple[Drop | None, Metric | None]]:
    """Return the figures of a row, and its change."""
    figures = (
        format_bytes(side.size_bytes),
        "" if artifact is None else format_ratio(artifact.size_ratio),
        MISSING if side.latency_ms is None else format_ms(side.latency_ms.p50),
        "" if artifact is None else _faster(artifact),
        MISSING if side.metric is None else format_metric(side.metric.name, side.metric.value),
    )
    return figures, (side.drop, side.metric)
