"""Windows of one slot as a table: a time of day each, and a line for each date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm_agent.status_text import table

from edgeglm.fleet.seeing.listing import figure
from edgeglm.fleet.seeing.times import local_iso

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeglm.fleet.seeing.flat import FlatWindow

_HEAD = ("", "FROM", "S", "ANSWERED", "FAILED", "P50 MS", "P95 MS", "P99 MS", "CPU", "TEMP C", "DRIFT")
_LEFT_OUT = ("S", "P50 MS", "CPU", "P99 MS", "DRIFT", "TEMP C", "FAILED")  # in turn, where there is no room
_GAP = 2  # between columns


def window_table(windows: Sequence[FlatWindow], width: int, *, around_ms: int | None = None) -> Iterator[str]:
    """Return a line a window; where they do not fit, figures are left out, for a time that is cut tells nothing.

    Args:
        windows: The oldest first.
        width: Characters of a line.
        around_ms: A moment: the window that held it is marked, drift is shown too, and its date is not said again.
    """
    rows = [_cells(window, around_ms) for window in windows]
    shown = [*(_HEAD if around_ms is not None else _HEAD[1:-1])]
    for name in _LEFT_OUT:
        widths = (max(len(name), *(len(row[name]) for row in rows)) for name in shown)
        if sum(widths) + _GAP * (len(shown) - 1) > width and name in shown:
            shown.remove(name)
    head, *lines = table(
        shown, [[row[name] for name in shown] for row in rows], right_from=shown.index("FROM") + 1, width=width
    )
    yield head
    said = "" if around_ms is None else _date_and_time(around_ms)[0]
    for window, line in zip(windows, lines, strict=True):
        date = _date_and_time(window.at_ms)[0]
        if date not in ("", said):
            yield date
            said = date
        yield line


def _cells(window: FlatWindow, around_ms: int | None) -> dict[str, str]:
    held = around_ms is not None and window.at_ms <= around_ms <= window.at_ms + window.duration_ms
    cpu = window.worker_cpu_percent
    return {
        "": ">" if held else "",
        "FROM": _date_and_time(window.at_ms)[1],
        "S": f"{window.duration_ms / 1000:.0f}",
        "ANSWERED": str(window.inferences),
        "FAILED": str(window.errors),
        "P50 MS": figure(window.total_p50_ms),
        "P95 MS": figure(window.total_p95_ms),
        "P99 MS": figure(window.total_p99_ms),
        "CPU": "-" if cpu is None else f"{cpu:.0f}%",
        "TEMP C": figure(window.board_temperature_c),
        "DRIFT": figure(window.drift_psi),
    }


def _date_and_time(at_ms: int) -> tuple[str, str]:
    """Return the local date and time of day; of a moment that no calendar has no date."""
    date, of_calendar, time = local_iso(at_ms).partition("T")
    return (date, time[:8]) if of_calendar else ("", date)
