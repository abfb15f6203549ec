"""What came of a run: for programs as JSON, for people as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from edgeglm.fleet.simulate.tally import Tally


class Latency(msgspec.Struct, frozen=True):
    """From a row's sending to its acknowledgement, milliseconds; None: none came."""

    p50: float | None
    p95: float | None
    p99: float | None


class Rows(msgspec.Struct, frozen=True):
    """Rows, each counted once however often it was sent."""

    sent: int
    windows: int
    events: int
    results: int
    gaps: int
    acknowledged: int
    outstanding: int  # without an acknowledgement at the end, though somebody could have given one
    withheld: int  # likewise, of devices that were silent then, or whose card was put back
    dropped: int  # forgotten as a card was put back
    resent: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The document."""

    schema: int = 1
    devices: int
    connected: int  # when the run ended
    never: int  # devices that had no connection, though they were to have one
    processes: int
    seconds: float
    messages: int
    messages_per_second: float
    payload_bytes: int
    rows: Rows
    acknowledged_per_second: float
    latency_ms: Latency
    connections: int
    reconnects: int
    refused: int  # attempts to connect that failed
    last_failure: str
    acks: int
    acks_lost: int
    acks_foreign: int
    duplicated: int
    malformed: int
    impostures: int
    commands: int
    cpu_s: float
    cpu_us_per_message: float
    peak_rss_bytes: int  # of all processes together


def summarize(tally: Tally, *, seconds: float, processes: int) -> Summary:
    """Return the summary of a run that took so long."""
    return Summary(
        devices=tally.devices,
        connected=tally.connected,
        never=tally.never,
        processes=processes,
        seconds=round(seconds, 3),
        messages=tally.messages,
        messages_per_second=_per(tally.messages, seconds),
        payload_bytes=tally.payload_bytes,
        rows=Rows(
            tally.rows,
            tally.windows,
            tally.events,
            tally.results,
            tally.gaps,
            tally.acknowledged,
            tally.outstanding,
            tally.withheld,
            tally.dropped,
            tally.resent,
        ),
        acknowledged_per_second=_per(tally.acknowledged, seconds),
        latency_ms=Latency(*(_rounded(tally.quantile_ms(share)) for share in (0.5, 0.95, 0.99))),
        connections=tally.connections,
        reconnects=max(0, tally.connections - tally.devices),
        refused=tally.refused,
        last_failure=tally.last_failure,
        acks=tally.acks,
        acks_lost=tally.acks_lost,
        acks_foreign=tally.acks_foreign,
        duplicated=tally.duplicated,
        malformed=tally.malformed,
        impostures=tally.impostures,
        commands=tally.commands,
        cpu_s=round(tally.cpu_s, 3),
        cpu_us_per_message=_per(tally.cpu_s * 1e6, tally.messages),
        peak_rss_bytes=tally.peak_rss_bytes,
    )


def render(summary: Summary) -> str:
    """Return the summary as text."""
    rows, late = summary.rows, summary.latency_ms
    kinds = f"{rows.windows:,} windows, {rows.events:,} events, {rows.results:,} results, {rows.gaps:,} gaps"
    withheld = f", and {rows.withheld:,} of silent devices" if rows.withheld else ""
    failure = f", the last: {summary.last_failure}" if summary.refused else ""
    megabytes = summary.payload_bytes / 1e6
    connections = f"{summary.connections:,}, {summary.reconnects:,} of them anew; {summary.refused:,} refused{failure}"
    never = f", {summary.never:,} never" if summary.never else ""
    lines = [
        ("devices", f"{summary.devices:,}, {summary.connected:,} connected at the end{never}"),
        ("time", f"{summary.seconds:,.1f} s"),
        ("messages", f"{summary.messages:,}, {summary.messages_per_second:,.0f} a second, {megabytes:,.1f} MB"),
        ("rows sent", f"{rows.sent:,}: {kinds}"),
        ("acknowledged", f"{rows.acknowledged:,}, {summary.acknowledged_per_second:,.0f} a second"),
        ("outstanding", f"{rows.outstanding:,}{withheld}"),
        ("sent again", f"{rows.resent:,} rows"),
        ("latency", _late(late)),
        ("connections", connections),
        ("cpu", f"{summary.cpu_s:,.1f} s, {summary.cpu_us_per_message:,.0f} us a message"),
        ("memory", f"{summary.peak_rss_bytes / 1e6:,.0f} MB"),
    ]
    wrong = [
        f"{count:,} {what}"
        for count, what in (
            (summary.malformed, "malformed messages"),
            (summary.duplicated, "messages sent twice"),
            (summary.impostures, "on others' topics"),
            (summary.acks_lost, "acknowledgements lost"),
            (summary.acks_foreign, "acknowledgements not for these rows"),
            (rows.dropped, "rows forgotten by a card that was put back"),
        )
        if count
    ]
    if wrong:
        lines.append(("on purpose", ", ".join(wrong)))
    if summary.commands:
        lines.append(("commands", f"{summary.commands:,} answered"))
    return "\n".join(f"{name:<13} {text}" for name, text in lines)


def progress(tally: Tally, seconds: float) -> str:
    """Return a line about a run that goes on."""
    p99 = tally.quantile_ms(0.99)
    late = "" if p99 is None else f", p99 {p99:,.0f} ms"
    return (
        f"{seconds:,.0f} s: {tally.connected:,} of {tally.devices:,} connected, {tally.rows:,} rows sent, "
        f"{tally.acknowledged:,} acknowledged{late}"
    )


def _late(late: Latency) -> str:
    if late.p50 is None:
        return "no acknowledgement came"
    return f"p50 {late.p50:,.0f} ms, p95 {late.p95:,.0f} ms, p99 {late.p99:,.0f} ms, from sent to acknowledged"


def _per(count: float, of: float) -> float:
    return round(count / of, 2) if of else 0.0


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
