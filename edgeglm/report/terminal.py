"""The summary of a run on a terminal: 80 columns, plain text where there is no colour, nothing animated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from edgeglm.report.figures import (
    MISSING,
    as_percent,
    change_of,
    format_bytes,
    format_metric,
    format_ms,
    format_points,
    format_ratio,
    format_seconds,
    points_unit,
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


def _table(report: Report) -> Table:
    metric = metric_of(report)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("", overflow="fold", min_width=12)
    named = clean(metric_heading(report))  # in several lines, where it is long
    for heading in ("size", "smaller", "p50 ms", "faster", named, _change_heading(metric)):
        least = min(8, len(named)) if heading == named else None
        table.add_column(heading, justify="right", no_wrap=heading != named, min_width=least)
    table.add_row("baseline", *_figures(report.baseline, None))
    if report.steps:
        last = report.steps[-1]
        table.add_row(Text(clean(f"after {step_name(last)}")), *_figures(last, None))
    best = best_artifact(report)
    written = written_artifacts(report)
    for artifact in report.artifacts:
        if not artifact.chosen and written and report.artifacts[len(written)] is artifact:
            table.add_row(Text("passed over", style="dim"))
        star = " *" if artifact is best and len(report.artifacts) > 1 else ""
        name = Text(clean(artifact_name(artifact)) + star, style=_STYLES[state_of(report, artifact)])
        table.add_row(name, *_figures(artifact, artifact), style="" if artifact.chosen else "dim")
    return table


def _splits(report: Report) -> list[RenderableType]:
    """Return a table of the metric on the further evaluation splits, where there are any."""
    if not report.baseline.splits:
        return []
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("also on", overflow="fold")
    table.add_column("", overflow="fold", min_width=12)
    for heading in (clean(metric_heading(report)), _change_heading(metric_of(report))):
        table.add_column(heading, justify="right", no_wrap=True)
    for split, before in report.baseline.splits.items():
        sides = [("baseline", before), *((artifact_name(a), a.splits.get(split)) for a in written_artifacts(report))]
        for number, (name, result) in enumerate(sides):
            value = MISSING if result is None else format_metric(result.metric.name, result.metric.value)
            change = "" if result is None else _change(result.drop, result.metric)
            table.add_row(Text(clean(split) if number == 0 else ""), Text(clean(name)), value, change)
    return [Text(""), table]


def _slices(report: Report) -> list[RenderableType]:
    """Return a table of the slices that the best artifact harms most, where there are any."""
    best = best_artifact(report)
    if best is None:
        return []
    rows = _paired(slices_of(report.baseline), slices_of(best))
    if not rows:
        return []
    rows.sort(key=lambda row: 0.0 if row[1].drop is None else -row[1].drop.value)
    metric = metric_of(report)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column(f"{artifact_name(best)} in", overflow="fold")
    for heading in ("n", "baseline", clean(metric_heading(report)), _change_heading(metric)):
        table.add_column(heading, justify="right", no_wrap=True)
    for before, after in rows[:_SLICES_SHOWN]:
        values = [MISSING if one.value is None else format_metric(metric, one.value) for one in (before, after)]
        table.add_row(Text(clean(after.name)), str(after.n), *values, _change(after.drop, best.metric))
    more = len(rows) - _SLICES_SHOWN
    return [Text(""), table, *([Text(f"and {more} more slices in report.json", style="dim")] if more > 0 else [])]


def _robustness(report: Report) -> list[RenderableType]:
    """Return a table of the best artifact's metric on changed samples, where the recipe asks for that."""
    best = best_artifact(report)
    if best is None or not best.robustness:
        return []
    metric = metric_of(report)
    before = {result.name: result for result in report.baseline.robustness}
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column(f"{artifact_name(best)} under", overflow="fold")
    for heading in ("n", "baseline", clean(metric_heading(report)), _change_heading(metric)):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in best.robustness:
        values = [
            MISSING if one is None else format_metric(metric, one.metric.value)
            for one in (before.get(result.name), result)
        ]
        table.add_row(Text(clean(result.name)), f"{result.metric.n:,}", *values, _change(result.drop, result.metric))
    return [Text(""), table]


def _paired(before: list[SliceResult], after: list[SliceResult]) -> list[tuple[SliceResult, SliceResult]]:
    known = {result.name: result for result in before}
    return [(known[result.name], result) for result in after if result.name in known]


def _change_heading(metric: str) -> str:
    """Return `change, pt [95 %]`: what a change is counted in stands above it, since the column is narrow."""
    return f"change{f', {unit}' if (unit := points_unit(metric)) else ''} [95 %]"


def _change(drop: Drop | None, metric: Metric | None, *, lines: bool = False) -> str:
    """Return a change and its interval; with ``lines`` that of a metric with many digits below it."""
    if drop is None or metric is None:
        return ""
    value, interval = change_of(drop, metric)
    low, high = (format_points(metric.name, end, unit=False) for end in interval)
    apart = "\n" if lines and not as_percent(metric.name) else " "
    return f"{format_points(metric.name, value, unit=False)}{apart}[{low}, {high}]"


def _faster(artifact: ArtifactSide) -> str:
    """Return the speed-up, and below it its interval where that is wide."""
    interval = speedup_range(artifact)
    return format_ratio(artifact.speedup) + ("" if interval is None else f"\n{interval[0]:.2f}-{interval[1]:.2f}")


def _figures(side: Side, artifact: ArtifactSide | None) -> tuple[str, ...]:
    return (
        format_bytes(side.size_bytes),
        "" if artifact is None else format_ratio(artifact.size_ratio),
        MISSING if side.latency_ms is None else format_ms(side.latency_ms.p50),
        "" if artifact is None else _faster(artifact),
        MISSING if side.metric is None else format_metric(side.metric.name, side.metric.value),
        _change(side.drop, side.metric, lines=True),
    )
