"""The tables of the page: artifacts, budget, splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.report.advice import with_advice
from edgeglm.report.figures import (
    drop_text,
    format_bytes,
    format_interval,
    format_limit,
    format_metric,
    format_ms,
    format_ratio,
    lost_text,
    metric_title,
    significant,
)
from edgeglm.report.findings import (
    BUDGET_LINES,
    artifact_name,
    budget_limits,
    metric_heading,
    metric_of,
    slices_of,
    speedup_range,
    state_of,
    threads_text,
    written_artifacts,
)
from edgeglm.report.markup import Child, Markup, element, join
from edgeglm.report.ranking import best_artifact, best_word
from edgeglm.report.remarks import left_in_float, notes_on
from edgeglm.report.types import COUNTED, ArtifactSide
from edgeglm.report.typesetting import chip, row, scrolling, small, table, typeset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeglm.report.types import Drop, Latency, Metric, Report, Side


def artifact_table(report: Report) -> Markup:
    """Return the baseline and every artifact, one row each, with what is wrong with it below."""
    best = best_artifact(report)
    numbered = len(report.artifacts) > 1 and all(side.chosen for side in report.artifacts)  # else candidates are
    columns = (
        "Size",
        "Latency p50 / p95, ms",
        "Speed-up",
        "Peak memory",
        metric_heading(report, begins=True),
        "Change",
        "Agreement",
        "Weights",
    )
    rows = [
        row(
            join(element("b", "Baseline"), small("the original, float32")),
            _cells(columns, report, report.baseline),
            id_="file-0" if numbered else None,
        )
    ]
    for number, artifact in enumerate(written_artifacts(report), start=1):
        state = state_of(report, artifact)
        head = join(
            element("b", f"{number}. {artifact_name(artifact)}" if numbered else artifact_name(artifact)),
            small(element("code", artifact.path)),
            element(
                "span",
                element("span", best_word(report), class_="chip best")
                if artifact is best and len(written_artifacts(report)) > 1
                else None,
                chip(state) if state != "none" else None,
                class_="chips",
            ),
        )
        rows.append(row(head, _cells(columns, report, artifact), id_=f"file-{number}" if numbered else None))
        notes = [*filter(None, [left_in_float(artifact)]), *notes_on(report, artifact)]
        if notes:
            listed = element("ul", *(with_advice(note) for note in notes))
            cell = element("td", listed, colspan=len(columns) + 1, role="cell")
            rows.append(element("tr", cell, class_="notes", role="row"))
    caption = "The original network and every file made from it"
    return scrolling(caption, table(caption, ("Artifact", *columns), rows, class_="cards wide"))


def budget_table(report: Report) -> Markup | None:
    """Return every line of the budget against every artifact, or None when the recipe sets no budget."""
    limits = budget_limits(report)
    if not limits or not written_artifacts(report):
        return None
    names = distinct_names(report)
    rows = []
    for line, limit in limits.items():
        cells: list[tuple[str, Child]] = [("Limit", typeset(_limit_text(report, line, limit)))]
        for artifact, name in zip(written_artifacts(report), names, strict=True):
            judged = _judged(artifact) if line == "per_class_drop" else None
            measured = small(typeset(_measured(line, artifact)))
            cells.append((name, join(chip(state_of(report, artifact, line)), measured, judged)))
        rows.append(row(join(BUDGET_LINES[line], small(element("code", f"budget.{line}"))), cells))
    caption = "The budget, line by line"
    return scrolling(caption, table(caption, ("Line", "Limit", *names), rows, class_="cards"))


def split_table(report: Report) -> Markup | None:
    """Return the metric on the further evaluation splits, or None when there is but one."""
    if not report.baseline.splits:
        return None
    names = distinct_names(report)
    rows = []
    for split, before in report.baseline.splits.items():
        cells: list[tuple[str, Child]] = [("Baseline", _metric_cell(before.metric, None))]
        for artifact, name in zip(written_artifacts(report), names, strict=True):
            result = artifact.splits.get(split)
            cells.append((name, typeset("-") if result is None else _metric_cell(result.metric, result.drop)))
        rows.append(row(split, cells))
    head = ("Split", "Baseline", *names)
    caption = "The further evaluation splits: metric, and change against the baseline"
    return scrolling(caption, table(caption, head, rows, class_="cards"))


def _cells(columns: Sequence[str], report: Report, side: Side) -> list[tuple[str, Child]]:
    size: Child = typeset(format_bytes(side.size_bytes))
    speed: Child = ""
    parity: Child = ""
    weights: Child = ""
    change: Child = ""
    if side is not report.baseline:
        change = typeset("-")
        if side.drop is not None and side.metric is not None:
            value, interval = drop_text(side.drop, side.metric)
            change = join(typeset(value), small(typeset(interval)))
    if (artifact := _as_artifact(report, side)) is not None:
        if artifact.size_ratio is not None:
            size = join(
                size, small(typeset(format_ratio(artifact.size_ratio)), " smaller" if artifact.size_ratio > 1 else "")
            )
        bounds = speedup_range(artifact)
        speed = join(
            typeset(format_ratio(artifact.speedup)),
            small(typeset(f"{bounds[0]:.2f} to {bounds[1]:.2f}x")) if bounds else None,
            *(
                small(f"{threads_text(key)}: ", typeset(format_ratio(ratio)))
                for key, ratio in artifact.speedup_extra.items()
            ),
        )
        parity = _parity_cell(artifact)
        weights = _weights_cell(artifact.dtypes)
        if artifact.activation_type:
            weights = join(weights, small(f"activations {artifact.activation_type}"))
    metric = _metric_cell(side.metric, None, interval=True)
    extra = [
        small(f"{metric_title(name)} ", typeset(format_metric(name, value)))
        for name, value in side.metrics_extra.items()
    ]
    if (alarms := side.alarms) is not None:
        extra.append(
            small(
                f"False alarms at the recipe's limit {alarms.limit:.4g}: ",
                typeset(f"{100 * alarms.rate:.3g} %"),
                f" of {alarms.normal:,}; {100 * alarms.wanted:.3g} % asked for",
            )
        )
    values = (
        size,
        _latency_cell(side),
        speed,
        typeset(format_bytes(side.peak_rss_bytes)),
        join(metric, *extra),
        change,
        parity,
        weights,
    )
    return list(zip(columns, values, strict=True))


def _weights_cell(dtypes: Mapping[str, int]) -> Child:
    """Return bytes by type, the most first; types of less than a hundredth of them all are only counted."""
    ordered = sorted(dtypes.items(), key=lambda item: -item[1])
    least = sum(dtypes.values()) / 100
    shown = [(kind, n) for kind, n in ordered if n >= least]
    few = [kind for kind, n in ordered if n < least]
    rest = small(f"and a little {', '.join(few)}") if few else None
    return join(*(element("div", f"{kind} ", typeset(format_bytes(n))) for kind, n in shown), rest)


def _as_artifact(report: Report, side: Side) -> ArtifactSide | None:
    return next((artifact for artifact in written_artifacts(report) if artifact is side), None)


def _latency_cell(side: Side) -> Child:
    if side.latency_ms is None:
        return typeset("-")

    buckets = side.buckets if isinstance(side, ArtifactSide) else []

    def pair(latency: Latency) -> Markup:
        return typeset(f"{format_ms(latency.p50)} / {format_ms(latency.p95)}")

    return join(
        pair(side.latency_ms),
        *(small(f"{latency.threads} threads: ", pair(latency)) for latency in side.latency_ms_extra),
        *(small(f"cut to {cut.length} ({cut.share:.0%} of samples): ", pair(cut.latency_ms)) for cut in buckets),
        small(side.latency_ms.runtime),
    )


def _metric_cell(metric: Metric | None, drop: Drop | None, *, interval: bool = False) -> Child:
    if metric is None:
        return typeset("-")
    shown = typeset(format_metric(metric.name, metric.value))
    if drop is not None:
        value, ends = drop_text(drop, metric)
        return join(shown, small(typeset(value), " (", typeset(ends), ")"))
    return join(shown, small(typeset(format_interval(metric.name, metric.ci95)))) if interval else shown


def _parity_cell(artifact: ArtifactSide) -> Child:
    parity = artifact.parity
    if parity is None:
        return typeset("-")
    word = element("span", "agrees" if parity.passed else "differs", class_="" if parity.passed else "bad")
    answers = parity.answers
    if not answers and parity.error_share is None and any(one.metric == "recall" for one in artifact.per_class):
        answers = "samples"  # a report of before it was said
    figures: list[tuple[str, str, str]] = []
    if answers:
        named = ("same class ", " of pixels") if answers == "pixels" else ("same answer ", "")
        figures.append((named[0], f"{100 * parity.argmax_agreement:.1f} %", named[1]))
    if parity.cosine is not None:
        figures.append(("cosine ", significant(parity.cosine, 4), ""))
    if parity.error_share is not None:
        figures.append(("error ", _share_text(parity.error_share), " of variance"))
    return join(word, *(small(name, typeset(figure), unit) for name, figure, unit in figures))


def _share_text(share: float) -> str:
    if share >= 1:
        return "over 100 %"
    return f"{100 * share:.2g} %" if share >= 1e-4 else "below 0.01 %"


def distinct_names(report: Report) -> list[str]:
    """Return a name for each artifact: format and scheme, or the path where two share those."""
    names = [artifact_name(artifact) for artifact in written_artifacts(report)]
    return [
        name if names.count(name) == 1 else artifact.path
        for name, artifact in zip(names, written_artifacts(report), strict=True)
    ]


def _limit_text(report: Report, line: str, limit: float) -> str:
    if line in ("metric_drop", "per_class_drop", "per_slice_drop"):
        name = "recall" if line == "per_class_drop" else metric_of(report)
        return f"{format_limit(name, limit)} worse"
    if line == "min_speedup":
        return f"{limit:g}x"
    return f"{limit:g} {'ms' if line.endswith('_ms') else 'MB'}"


def _judged(artifact: ArtifactSide) -> Child:
    """Say how many classes were judged, where some have too few samples."""
    judged, total = sum(result.n >= COUNTED for result in artifact.per_class), len(artifact.per_class)
    return small(f"{judged} of {total} classes judged") if judged < total else None


def _measured(line: str, artifact: ArtifactSide) -> str:
    if line == "metric_drop":
        if artifact.drop is None or artifact.metric is None:
            return "-"
        return lost_text(artifact.metric.name, artifact.drop.value)
    if line == "per_class_drop":
        drops = [(one.drop, one.metric) for one in artifact.per_class if one.drop is not None and one.n >= COUNTED]
        return lost_text(*max(drops)[::-1]) if drops else "-"
    if line == "per_slice_drop":
        lost = [one.drop for one in slices_of(artifact) if one.drop is not None and one.n >= COUNTED]
        if not lost or artifact.metric is None:
            return "-"
        return lost_text(artifact.metric.name, max(drop.value for drop in lost))
    if line == "min_speedup":
        return format_ratio(artifact.speedup)
    if line == "host_latency_p95_ms":
        return "-" if artifact.latency_ms is None else f"{format_ms(artifact.latency_ms.p95)} ms"
    return format_bytes(artifact.size_bytes if line == "size_mb" else artifact.peak_rss_bytes)
