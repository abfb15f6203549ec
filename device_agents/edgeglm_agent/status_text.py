"""The status document as a table for people, 80 columns wide."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from edgeglm_agent.board.pi import in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm_agent.status import AgentStatus, BoardStatus, LinkStatus, QueueStatus, SlotStatus

WIDTH = 80
_GAP = 2
_LEAST_COLUMN = 6
_IGNORED = ("refused-", "malformed-", "foreign-", "retained-", "unexpected", "overrun")  # of what came from the broker


def render(status: AgentStatus) -> str:
    """Return the whole table, lines of at most 80 characters."""
    own = f"edgeglm-agent {status.agent}, pid {status.pid}, up {duration(status.uptime_s)}"
    own += f", {amount(status.rss_kb * 1000)}" if status.rss_kb is not None else ""
    lines = [
        *_row("agent", f"{status.device} of fleet {status.fleet}; {own}"),
        *_row("board", _board(status.board)),
        *_row("link", _link(status.link)),
        *_row("queue", _queue(status.queue)),
        "",
    ]
    if not status.slots:
        return "\n".join([*lines, "no slots: no model is served here"])
    for name, slot in status.slots.items():
        lines += _slot(name, slot)
    lines += ["", *table(_FIGURES, [_figures(name, slot) for name, slot in status.slots.items()], right_from=2)]
    return "\n".join(lines)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right_from: int = 99, width: int = WIDTH) -> list[str]:
    """Return rows below a head; the widest columns are cut, with ``..``, until all fit.

    Args:
        head: One word a column.
        rows: As many cells each.
        right_from: Columns from this one on are numbers, and end in line.
        width: Characters of a line.
    """
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    while sum(widths) + _GAP * (len(widths) - 1) > width and max(widths) > _LEAST_COLUMN:
        widths[widths.index(max(widths))] -= 1
    return [
        (" " * _GAP)
        .join(
            _cut(cell, size).rjust(size) if column >= right_from else _cut(cell, size).ljust(size)
            for column, (cell, size) in enumerate(zip(row, widths, strict=True))
        )
        .rstrip()
        for row in cells
    ]


def duration(seconds: float) -> str:
    """Return a time in its two largest units: ``3 d 4 h``."""
    left = round(seconds)
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])


def amount(size: float) -> str:
    """Return bytes in the unit that leaves the fewest digits: ``84.2 KB``."""
    for unit in ("bytes", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def _row(name: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"{name:7}", subsequent_indent=" " * 7)


def _board(board: BoardStatus) -> str:
    parts = [board.model or "a board of an unknown model"]
    if board.temperature_c is not None:
        parts.append(f"{board.temperature_c:.1f} C")
    if board.throttled:
        parts.append(_throttled(board.throttled))
    if board.undervoltage:
        parts.append("UNDER-VOLTAGE")
    if board.cpu_permille is not None:
        parts.append(f"processor {board.cpu_permille / 10:.0f} %")
    if board.gpu_permille is not None:
        parts.append(f"GPU {board.gpu_permille / 10:.0f} %")
    if board.memory_available_mb is not None:
        parts.append(f"{amount(board.memory_available_mb * 1e6)} of memory free")
    if board.disk_free_mb is not None:
        parts.append(f"{amount(board.disk_free_mb * 1e6)} of disk free")
    parts += [f"{power.rail} {power.mw / 1000:.2f} W" for power in board.power]
    parts.append("clock synchronised" if board.clock_synchronised else "clock NOT synchronised")
    return "; ".join(parts)


def _throttled(bits: str) -> str:
    try:
        return in_words(int(bits, 16)) or bits
    except ValueError:  # in words already
        return bits


def _link(link: LinkStatus) -> str:
    if link.state == "off":
        return "off: the settings have no [mqtt]"
    text = f"{link.state}" + (f" to {link.broker}" if link.broker else "")
    text += f" by MQTT {link.version}" if link.version else ""
    text += f" for {duration(link.since_s)}" if link.since_s is not None else ""
    text += f" ({link.why})" if link.why else ""
    acknowledged = link.acknowledged_s
    text += "; nothing acknowledged yet" if acknowledged is None else f"; acknowledged {duration(acknowledged)} ago"
    text = f"{text}; {amount(link.bytes_today)} of {amount(link.daily_bytes)} today"
    if link.refused:
        text += f"; the broker does NOT let it hear {', '.join(link.refused)}: change this device's rights there"
    ignored = {name: count for name, count in link.counts.items() if name.startswith(_IGNORED)}
    if ignored:
        text += f"; ignored: {', '.join(f'{name} {count}' for name, count in sorted(ignored.items()))}"
    return text


def _queue(queue: QueueStatus) -> str:
    rows = f"{queue.rows} row{'' if queue.rows == 1 else 's'}"
    return f"{rows}, {amount(queue.bytes)} of {amount(queue.quota_bytes)}; {queue.lost} lost since the outbox was made"


_WHY = {"serving": "passed over", "starting": "the one before", "waiting": "the one before"}  # what `why` tells of
_FIGURES = ["SLOT", "INPUT", "IN", "PER S", "ANSWERS", "ERRORS", "P50 MS", "P95 MS", "P99 MS", "RSS MB"]


def _figures(name: str, slot: SlotStatus) -> list[str]:
    latency = (slot.latency_ms.p50, slot.latency_ms.p95, slot.latency_ms.p99)
    return [
        name,
        slot.input or "-",
        duration(slot.window_s) if slot.window_s else "-",
        (f"{slot.per_second:.4g}" if slot.per_second < 1000 else f"{slot.per_second:.0f}") if slot.window_s else "-",
        str(slot.answered),
        str(slot.failed),
        *("-" if value is None else f"{value:.3g}" for value in latency),
        "-" if slot.rss_kb is None else f"{slot.rss_kb / 1000:.0f}",
    ]


def _slot(name: str, slot: SlotStatus) -> list[str]:
    """Return what serves, and below it why, what was passed over, and which errors there were."""
    state = slot.state
    head = f"{name}: {state.status}" + (f" {state.model}" if state.model else "")
    if state.artifact:
        head += f", {state.artifact} ({state.scheme}) in {state.runtime} on {state.provider}"
    found = []
    if state.why:
        found.append(f"{_WHY.get(state.status, 'why')}: {state.why}")
    if state.failures:
        found.append(f"{state.failures} failure{'' if state.failures == 1 else 's'} in a row")
    if slot.next_start_s is not None:
        found.append(f"tried again in {duration(slot.next_start_s)}")
    if slot.input_gone:
        found.append(f"nothing comes in: {slot.input_gone}")
    if slot.errors:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(slot.errors.items()))
        found.append(
            f"errors in the last window: {kinds}" + (f"; the last: {slot.last_error}" if slot.last_error else "")
        )
    elif slot.last_error:
        found.append(f"the last error, before that window: {slot.last_error}")
    lines = textwrap.wrap(head, WIDTH, subsequent_indent="    ")
    for text in found:
        for line in text.splitlines():
            lines += textwrap.wrap(line, WIDTH, initial_indent="    ", subsequent_indent="      ")
    return lines


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 2] + ".."
