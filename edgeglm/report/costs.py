"""Where the bytes and the milliseconds are: by type, by layer, by operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.report.charts import REST, Bar, Part, bar_chart, figure, shorten, stacked_chart
from edgeglm.report.figures import format_bytes, significant
from edgeglm.report.findings import artifact_name, written_artifacts
from edgeglm.report.markup import Child, Markup, element, join
from edgeglm.report.ranking import best_artifact

if TYPE_CHECKING:
    from edgeglm.report.types import Report, Side

_ROWS = 8  # of a chart; the rest is one more row
_TYPE_ROOM = 80.0  # units of a chart
_ROUGH_FROM = 1.5  # times the latency that operators add up to: their times say little then
_FEW_BYTES = 0.005  # of a file: a type of less is not worth a colour


def costs_section(report: Report) -> Child:
    """Return what each file consists of, then bytes by layer and time by operator of baseline and best artifact."""
    best = best_artifact(report)
    if best is None:
        return None
    sides: list[tuple[str, Side]] = [("baseline", report.baseline), (artifact_name(best), best)]
    figures = [_types(report)]
    figures += [_layers(number, name, side) for number, (name, side) in enumerate(sides)]
    timed = next((side for side in (best, *written_artifacts(report)) if side.operator_ms), best)
    figures += [_operators(0, "baseline", report.baseline), _operators(1, artifact_name(timed), timed)]
    drawn = [chart for chart in figures if chart is not None]
    if not drawn:
        return None
    silent = [name for name, side in sides if side.layer_bytes and not side.operator_ms and side.latency_ms is not None]
    said = f"The runtime of {' and '.join(silent)} does not tell operators apart." if silent else None
    return join(element("div", *drawn, class_="figures"), element("p", said, class_="quiet after") if said else None)


def _types(report: Report) -> Markup | None:
    """Return one bar a file, divided by the type of its weights; what is no weight is its graph."""
    rows: list[tuple[str, list[Part]]] = []
    for name, side in [("Baseline", report.baseline), *((artifact_name(a), a) for a in written_artifacts(report))]:
        if side.size_bytes is None:
            continue
        kinds: dict[str, int] = {}
        for layer in side.layer_bytes:
            for kind, count in layer.dtypes.items():
                kinds[kind] = kinds.get(kind, 0) + count
        kinds = kinds or dict(getattr(side, "dtypes", {}))
        if kinds:
            parts = [Part(kind, count) for kind, count in sorted(kinds.items(), key=lambda item: -item[1])]
            parts = [part for part in parts if part.value >= _FEW_BYTES * side.size_bytes]
            rest = max(0, side.size_bytes - round(sum(part.value for part in parts)))
            rows.append((name, [*parts, Part(REST, rest)]))
    if not rows:
        return None
    spoken = "; ".join(
        f"{name}: {', '.join(f'{part.name} {format_bytes(part.value)}' for part in parts)}" for name, parts in rows
    )
    chart = stacked_chart("types", "Bytes of each file by type of weight", spoken, rows, write=format_bytes)
    return figure("Bytes by type", chart, None)


def _layers(number: int, name: str, side: Side) -> Markup | None:
    if not side.layer_bytes:
        return None
    named = [row for row in side.layer_bytes if row.layer]
    shown, hidden = named[:_ROWS], [*named[_ROWS:], *(row for row in side.layer_bytes if not row.layer)]
    kind = "artifact" if number else "baseline"
    totals = [float(sum(row.dtypes.values())) for row in shown]
    bars = [
        Bar(row.layer, kind, total, _bytes_text(row.dtypes), keeps_end=True)
        for row, total in zip(shown, totals, strict=True)
    ]
    if hidden:
        count = sum(sum(row.dtypes.values()) for row in hidden)
        layers = sum(row.layers for row in hidden)
        bars.append(Bar(f"{layers} more layer{'s' * (layers != 1)}", "rest", float(count), format_bytes(count)))
    title = f"Bytes by layer, {name}"
    return figure(title, bar_chart(f"layers{number}", title, _spoken(bars), bars), None)


def _bytes_text(dtypes: dict[str, int]) -> str:
    largest = max(dtypes, key=lambda kind: dtypes[kind])
    return f"{format_bytes(sum(dtypes.values()))} {shorten(largest, _TYPE_ROOM)}"


def _operators(number: int, name: str, side: Side) -> Markup | None:
    if not side.operator_ms:
        return None
    total = sum(row.ms for row in side.operator_ms) or 1.0
    took = side.latency_ms.p50 if side.latency_ms is not None else total
    rough = total > _ROUGH_FROM * took  # of what takes a few microseconds, most is the profiler's own

    def told(ms: float) -> str:
        share = f"{100 * ms / total:.0f} %"
        return share if rough else f"{significant(ms, 2)} ms, {share}"

    shown, hidden = side.operator_ms[:_ROWS], side.operator_ms[_ROWS:]
    kind = "artifact" if number else "baseline"
    bars = [
        Bar(
            f"{row.operator}{f' ({row.count})' if row.count > 1 else ''}",
            kind,
            row.ms,
            told(row.ms),
        )
        for row in shown
    ]
    if hidden:
        rest = sum(row.ms for row in hidden)
        label = f"{len(hidden)} more kind{'s' * (len(hidden) != 1)}"
        bars.append(Bar(label, "rest", rest, told(rest)))
    title = f"Time by operator, {name}"
    note = "On this host, 1 thread, the profiler on: look at the shares. In brackets how many there are."
    if rough:
        note = (
            "On this host, 1 thread. The profiler counts whole microseconds and takes some itself: its times add up "
            f"to {total / took:.1f} times the latency, so they are shares alone, and rough ones. In brackets how many."
        )
    return figure(title, bar_chart(f"operators{number}", title, _spoken(bars), bars), note)


def _spoken(bars: list[Bar]) -> str:
    return "; ".join(f"{bar.label}: {bar.text}" for bar in bars)
