"""Windows as a table: which is which can be told, however narrow the terminal and whatever a board calls a time."""

from __future__ import annotations

import pytest

from edgeglm.fleet.seeing.flat import FlatWindow, flat_window
from edgeglm.fleet.seeing.times import local_iso
from edgeglm.fleet.seeing.window_text import window_table
from edgeglm.fleet.store.types import Device
from tests.support.fleet.boards import MINUTE_MS, NOW_MS, stored_window, window

GATE = Device("north", "gate-1")
DAY_MS = 1440 * MINUTE_MS


def flat(*times_ms: int) -> list[FlatWindow]:
    return [flat_window(stored_window(GATE, place, window(at_ms=at_ms))) for place, at_ms in enumerate(times_ms)]


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize("around_ms", [None, NOW_MS])
def test_rows_are_told_apart_by_their_time_at_every_width(width: int, around_ms: int | None) -> None:
    windows = flat(*(NOW_MS - number * 5 * MINUTE_MS for number in range(6, 0, -1)))
    lines = [*window_table(windows, width, around_ms=around_ms)]
    assert max(map(len, lines)) <= width
    for one in windows:
        assert sum(local_iso(one.at_ms)[11:19] in line for line in lines) == 1
    assert ".." not in "".join(lines)
    assert {"ANSWERED", "P95"} <= {*lines[0].split()}


def test_a_date_is_said_once_and_where_it_changes() -> None:
    times = NOW_MS - 2 * DAY_MS, NOW_MS - 2 * DAY_MS + MINUTE_MS, NOW_MS
    before, today = local_iso(times[0])[:10], local_iso(NOW_MS)[:10]
    _, *lines = window_table(flat(*times), 80)
    assert [line for line in lines if line.startswith("20")] == [before, today]
    assert (lines[0], lines[3]) == (before, today)
    around = [*window_table(flat(times[2]), 80, around_ms=NOW_MS)]
    assert len(around) == 2, "the date of the moment is said already"
    assert around[1].startswith(f">  {local_iso(NOW_MS)[11:19]}")


def test_a_time_that_no_calendar_has_is_shown_as_the_number_that_it_is() -> None:
    _, line = window_table(flat(2**60), 80)
    assert str(2**60) in line
