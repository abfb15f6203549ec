"""Which file, and why: the candidates as a plot of cost against quality, and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.report.charts import Bar, axis_text, bar_chart, figure
from edgeglm.report.figures import (
    drop_text,
    format_bytes,
    format_metric,
    format_ms,
    metric_bounds,
    metric_title,
    significant,
)
from edgeglm.report.findings import (
    artifact_name,
    budget_limits,
    higher_is_better,
    is_targets,
    metric_heading,
    metric_of,
    state_of,
)
from edgeglm.report.markup import Child, Markup, element, join
from edgeglm.report.ranking import best_artifact, front_of, why_best, why_not
from edgeglm.report.scatter import Axis, Point, scatter_chart, shape_mark
from edgeglm.report.typesetting import chip, prose, row, scrolling, small, table, typeset

if TYPE_CHECKING:
    from edgeglm.report.types import LayerLoss, Report, Side

SHAPES = {"onnx": "circle", "tflite": "square", "openvino": "triangle"}
_FAMILIES = {"onnx": "ONNX", "tflite": "TFLite", "openvino": "OpenVINO"}
_SENSITIVE = 10  # groups of layers in the chart of sensitivity


def choice_section(report: Report) -> Child:
    """Return the plots, their legend and the table of candidates; nothing where there is nothing to choose from."""
    if len(report.artifacts) < 2 and not report.skipped:
        return None
    plots = [_plot(report, "size"), _plot(report, "latency")] if len(report.artifacts) > 1 else []
    drawn = [plot for plot in plots if plot is not None]
    return join(
        _reading(report) if drawn else None,
        _legend(report) if drawn else None,
        element("div", *drawn, class_="figures pair") if drawn else None,
        _candidates(report) if has_candidates(report) else None,
        _skipped(report),
        _sensitivity(report),
    )


def has_candidates(report: Report) -> bool:
    """Return whether some files were measured and not written: they have rows of their own."""
    return any(not side.chosen for side in report.artifacts)


def _reading(report: Report) -> Markup:
    """Say how to read the plots, and why the best comes first."""
    beaten = sum(not kept for kept in front_of(report).values())
    name = metric_title(metric_of(report))
    better = name if higher_is_better(report) else f"lower {name}"
    said = (
        f"Up is better ({better}), left is cheaper; a line joins the files that no other beats in both. Each mark "
        "leads to its row below."
    )
    if beaten:
        speed = "speed" if is_targets(report) else f"by the {report.target}'s rule speed"
        said += f" Hollow and grey: beaten in {name}, size and {speed} at once, by one against which no more speaks."
    first = f"1, {artifact_name(report.artifacts[0])}, comes first: {why_best(report)}."
    order = (
        "The order: what misses no line of the budget, then what misses it least; fewest lines undecided, outputs that "
        "agree, no proven loss; then speed, where the target is this kind of machine, else the recipe's."
    )
    return join(element("p", said), element("p", element("b", first), " ", order, class_="quiet"))


def _plot(report: Report, what: str) -> Markup | None:
    """Return one plot, or None where fewer than two files have both figures."""
    name = metric_of(report)
    metric = next((side.metric for side in (report.baseline, *report.artifacts) if side.metric is not None), None)
    points = [point for point in _points(report, what) if point is not None]
    if metric is None or len(points) < 2:
        return None
    label = _size_label if what == "size" else lambda value: f"{significant(value, 2)} ms"
    limits = budget_limits(report)
    cost = limits.get("size_mb") if what == "size" else None
    quality = None
    if "metric_drop" in limits and report.baseline.metric is not None:
        step = limits["metric_drop"]
        quality = report.baseline.metric.value - (step if metric.higher_is_better else -step)
    title = f"{name} against size" if what == "size" else f"{name} against latency on this host"
    chart = scatter_chart(
        f"choice-{what}",
        title,
        "; ".join(point.text for point in points),
        points,
        cost=Axis("size" if what == "size" else "p50 on this host", label),
        quality=Axis(metric_title(name), lambda value: axis_text(name, value), metric_bounds(name)),
        limits=(None if cost is None else cost * 1e6, quality),
        higher_is_better=metric.higher_is_better,
    )
    note = "Dashed: the budget's limit, judged on the same samples." if 'class="limit"' in str(chart) else None
    return figure("Size" if what == "size" else "Latency on this host", chart, note)


def _size_label(value: float) -> str:
    return format_bytes(round(value))


def _points(report: Report, what: str) -> list[Point | None]:
    name, front, best = metric_of(report), front_of(report), best_artifact(report)

    def point(side: Side, tag: str, label: str, kind: str, shape: str, href: str) -> Point | None:
        latency = None if side.latency_ms is None else side.latency_ms.p50
        cost = side.size_bytes if what == "size" else latency
        if side.metric is None or not cost:
            return None
        shown = format_bytes(side.size_bytes) if what == "size" else f"{format_ms(latency)} ms"
        text = f"{label}: {format_metric(name, side.metric.value)}, {shown}"
        return Point(tag, label, kind, shape, float(cost), side.metric.value, side.metric.ci95, text, href)

    found = [point(report.baseline, "", "baseline", "baseline", "diamond", "#file-0")]
    for number, side in enumerate(report.artifacts, start=1):
        kind = "chosen" if side is best else "front" if front[id(side)] else "dominated"
        shape = SHAPES.get(side.format, "circle")
        found.append(point(side, str(number), f"{number}. {artifact_name(side)}", kind, shape, f"#file-{number}"))
    return found


def _legend(report: Report) -> Markup:
    formats = dict.fromkeys(side.format for side in report.artifacts)
    marks = [("baseline", "diamond", "baseline"), ("chosen", SHAPES.get(report.artifacts[0].format, "circle"), "best")]
    marks += [("front", SHAPES.get(kind, "circle"), _FAMILIES.get(kind, kind)) for kind in formats]
    if not all(front_of(report).values()):
        marks.append(("dominated", "circle", "beaten in everything"))
    return element("ul", *(element("li", _key(kind, shape), label) for kind, shape, label in marks), class_="legend")


def _key(kind: str, shape: str) -> Markup:
    halo = element("circle", class_="halo", cx=11, cy=11, r=9.0) if kind == "chosen" else None
    inside = element("g", halo, shape_mark(shape, 11.0, 11.0), class_=f"point {kind}")
    return element("svg", inside, class_="mark scatter", viewBox="0 0 22 22", aria_hidden="true")


def _candidates(report: Report) -> Markup:
    """Return every file in a row of its own, with what became of it."""
    front, best = front_of(report), best_artifact(report)
    head = ("Size", "p50, ms", metric_heading(report, begins=True), "Change", "Standing")
    rows = [_candidate_row(report, report.baseline, head, "Baseline", None, "file-0")]
    for number, side in enumerate(report.artifacts, start=1):
        marks: list[Child] = []
        if side is best:
            marks.append(element("span", "best", class_="chip best"))
        if not side.chosen:
            marks.append(element("span", "not written", class_="chip"))
        state = state_of(report, side)
        marks.append(chip(state) if state != "none" else None)
        if not front[id(side)]:
            by = next((f"{n}" for n, s in enumerate(report.artifacts, 1) if s.path == side.dominated_by), "")
            marks.append(element("span", f"beaten by {by}" if by else "beaten", class_="chip"))
        told = [f"tried because: {side.reason}"] if side.reason else []
        if side.outpaced and side.latency_ms is not None:
            told.append(f"timed in {side.latency_ms.runs} runs, as far as it took to see that another is faster")
        told += [] if side.chosen else [f"not taken because: {why_not(report, side)}"]
        standing = join(element("span", *marks, class_="chips"), *(small(prose(text)) for text in told))
        title = f"{number}. {artifact_name(side)}"
        rows.append(_candidate_row(report, side, head, title, standing, f"file-{number}"))
    caption = "Every candidate, the best first"
    return scrolling(caption, table(caption, ("File", *head), rows, class_="cards"))


def _candidate_row(report: Report, side: Side, head: tuple[str, ...], title: str, standing: Child, key: str) -> Markup:
    name = metric_of(report)
    change: Child = typeset("-")
    if side.drop is not None and side.metric is not None:
        value, interval = drop_text(side.drop, side.metric)
        change = join(typeset(value), small(typeset(interval)))
    cells: list[Child] = [
        typeset(format_bytes(side.size_bytes)),
        typeset("-" if side.latency_ms is None else format_ms(side.latency_ms.p50)),
        typeset("-" if side.metric is None else format_metric(name, side.metric.value)),
        change if side is not report.baseline else "",
        standing or "",
    ]
    return row(title, list(zip(head, cells, strict=True)), id_=key)


def _skipped(report: Report) -> Markup | None:
    if not report.skipped:
        return None
    listed = [
        element("li", f"{_FAMILIES.get(one.format, one.format)} {one.scheme}".strip(), ": ", prose(one.reason))
        for one in report.skipped
    ]
    summary = f"{len(listed)} candidate{'s' * (len(listed) != 1)} not made"
    return element("details", element("summary", summary), element("ul", *listed))


def _sensitivity(report: Report) -> Markup | None:
    """Return what quantizing each layer alone costs, of the first artifact that was scanned."""
    side = next((side for side in report.artifacts if side.sensitivity), None)
    if side is None:
        return None
    bars = [
        Bar(
            ", ".join(found.layers),
            "artifact kept" if found.kept else "step",
            max(0.0, found.loss),
            f"{significant(found.loss, 2)}{_instead(found)}",
        )
        for found in side.sensitivity[:_SENSITIVE]
    ]
    chart = bar_chart("sensitivity", "Error that quantizing each layer alone causes", _spoken(bars), bars)
    note = "Share of the outputs' variance that is error: 0 is exact, 1 as bad as a constant. On calibration samples."
    title = f"What hurts when quantized: {artifact_name(side)}"
    return element("div", figure(title, chart, note), class_="figures after")


def _instead(found: LayerLoss) -> str:
    return f" kept in {'float' if found.scheme in ('', 'none') else found.scheme}" if found.kept else ""


def _spoken(bars: list[Bar]) -> str:
    return "; ".join(f"{bar.label}: {bar.text}" for bar in bars)
