"""Charts of size, latency and metric: the original, each step, each file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.report.charts import Bar, axis_text, bar_chart, figure
from edgeglm.report.figures import format_bytes, format_metric, format_ms, metric_bounds
from edgeglm.report.findings import artifact_name, metric_heading, metric_of, step_name, written_artifacts
from edgeglm.report.intervals import Dot, interval_chart
from edgeglm.report.markup import Child, Markup, element

if TYPE_CHECKING:
    from edgeglm.report.types import Report, Side


def stage_section(report: Report) -> Child:
    """Return the three charts, a row a stage."""
    stages = _stages(report)
    name = metric_of(report)
    sizes = [
        Bar(
            label,
            kind,
            side.size_bytes,
            format_bytes(side.size_bytes) if side.size_bytes is not None else "not measured",
        )
        for label, kind, side in stages
    ]
    times = [
        Bar(label, kind, side.latency_ms.p50, f"{format_ms(side.latency_ms.p50)} ms", side.latency_ms.p95)
        if side.latency_ms is not None
        else Bar(label, kind, None, "not measured")
        for label, kind, side in stages
    ]
    metrics = [
        Dot(label, kind, side.metric.value, side.metric.ci95, format_metric(name, side.metric.value))
        if side.metric is not None
        else Dot(label, kind, None, None, "not measured")
        for label, kind, side in stages
    ]
    latency = bar_chart("latency", "Latency on this host by stage, p50 in milliseconds", _spoken(times), times)
    metric = interval_chart(
        "metric",
        f"{name} by stage with 95 % intervals",
        _spoken(metrics),
        metrics,
        label=lambda v: axis_text(name, v),
        bounds=metric_bounds(name),
    )
    figures = [
        figure(
            "Size",
            bar_chart("size", "Size of the file by stage", _spoken(sizes), sizes),
            _whose_size(report),
        ),
        figure(
            "Latency on this host",
            latency,
            f"Bar: p50, line: p95{_beyond(latency)}. Batch {_batch(report)}, 1 thread.",
        ),
        figure(
            metric_heading(report, begins=True),
            metric,
            "Line: 95 % interval of each figure alone; changes are judged on the same samples, which tells more. "
            f"The axis does not start at zero{_beyond(metric)}.",
        ),
    ]
    return element("div", *figures, class_="figures")


def _stages(report: Report) -> list[tuple[str, str, Side]]:
    """Label, class and figures of everything measured, in the order it came about."""
    stages: list[tuple[str, str, Side]] = [("Baseline", "baseline", report.baseline)]
    stages += [(f"{number}. {step_name(step)}", "step", step) for number, step in enumerate(report.steps, start=1)]
    names = [artifact_name(artifact) for artifact in written_artifacts(report)]
    for name, artifact in zip(names, written_artifacts(report), strict=True):
        label = name if names.count(name) == 1 else f"{name} ({artifact.path})"
        stages.append((label, "artifact", artifact))
    return stages


def _whose_size(report: Report) -> str:
    model = report.recipe.get("model")
    source = model.get("source") if isinstance(model, dict) else None
    if source in ("onnx", "tflite"):
        return "For the baseline the source file without what no runtime reads, for artifacts the file itself."
    return "Stripped float32 ONNX for baseline and steps, the file itself for artifacts."


def _batch(report: Report) -> int:
    return 1 if report.baseline.latency_ms is None else report.baseline.latency_ms.batch


def _beyond(chart: Markup) -> str:
    return "; an arrow: beyond the frame" if 'class="beyond' in chart else ""


def _spoken(rows: list[Bar] | list[Dot]) -> str:
    return "; ".join(f"{row.label}: {row.text}" for row in rows)
