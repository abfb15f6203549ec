"""``fleet top``: what hurts comes first, and it fits every terminal."""

from __future__ import annotations

import pytest
from edgeglm_agent.wire.telemetry import BoardReading, Drift

from edgeglm.fleet.seeing.screen import keys_in
from edgeglm.fleet.seeing.top import SORTS, Board, Look, in_order, look, page_of, place_of, press, screen, table
from edgeglm.fleet.store.alarms import Alarm
from tests.support.fleet.boards import HOSTILE, NOW_MS, sketch, slot, state, summary, window

HOT = window(board=BoardReading(temperature_decic=871), latency_ms=sketch(*[3.0] * 99, 900.0))
SLOW = window(latency_ms=sketch(*[700.0] * 100), inferences=30)
DRIFTING = window(drift=(Drift("input.x", 412, 200, 900), Drift("input.y", 90, 20, 900)))


def fleet(*boards: object) -> Look:
    return look(list(boards) or [summary(), summary("hot", HOT), summary("slow", SLOW)], NOW_MS)  # type: ignore[arg-type]


def names(seen: Look, sort: str, *, backwards: bool = False) -> list[str]:
    return [line.name for line in in_order(seen.lines, sort, backwards=backwards)]  # type: ignore[arg-type]


def test_a_line_has_rate_percentiles_errors_temperature_drift_and_the_worst_problem() -> None:
    head, line = table(fleet(summary("gate-1", DRIFTING)).lines, 80)
    assert head.split() == ["DEVICE", "PER", "S", "P50", "P95", "P99", "ERR", "%", "TEMP", "DRIFT", "PROBLEM"]
    assert line.split() == ["gate-1", "10", "10", "20.1", "20.1", "0", "61.2", "0.412", "-"]
    raised = fleet(summary("gate-1", alarms=(Alarm("input.x", 0.9, 0.25, NOW_MS),)))
    assert table(raised.lines, 80)[1].split()[-2:] == ["0.9", "drifting"]
    assert table(fleet(summary(slots={}, said=None)).lines, 80)[1].split() == ["gate-1", *["-"] * 8]


def test_boards_that_are_silent_infer_nothing() -> None:
    seen = fleet(summary(), summary("gone", received_ms=0))
    lines, _, _ = screen(seen, in_order(seen.lines, "problem"), Board(), 80, 24)
    assert lines[1].startswith("10 inferences a second")


def test_what_hurts_comes_first_in_every_order() -> None:
    seen = fleet(summary(), summary("hot", HOT), summary("slow", SLOW), summary("gone", received_ms=0))
    assert names(seen, "problem") == ["gone", "hot", "slow", "gate-1"]
    assert names(seen, "p95") == ["slow", "gate-1", "gone", "hot"]
    assert names(seen, "temperature")[0] == "hot"
    assert names(seen, "rate")[-1] == "slow"
    assert names(seen, "device") == sorted(names(seen, "device"))
    assert names(seen, "problem", backwards=True) == ["gate-1", "slow", "hot", "gone"]
    silent_of_all = fleet(summary(slots={}, said=None), summary("known"))
    assert all(names(silent_of_all, sort)[0] == "known" for sort in ("p95", "errors", "temperature", "rate"))


@pytest.mark.parametrize(
    ("width", "height"), [(80, 24), (200, 50), (100, 10), (40, 9), (40, 8), (20, 5), (8, 2), (1, 1)]
)
def test_it_fits_every_terminal_and_hostile_boards_move_no_cursor(width: int, height: int) -> None:
    said = state(slots={HOSTILE: slot(HOSTILE, HOSTILE, status="refused", why=HOSTILE)})
    hostile = summary(HOSTILE, window(HOSTILE, errors={HOSTILE: 2**60}), fleet=HOSTILE, said=said)
    seen = fleet(hostile, *(summary(f"{'long-' * 8}{number}", HOT) for number in range(60)))
    lines, heading, chosen = screen(seen, in_order(seen.lines, "problem"), Board(), width, height, HOSTILE[:0])
    assert len(lines) == height
    assert max(map(len, lines)) <= max(2, width)
    assert all(line.isprintable() for line in lines)
    assert chosen == heading + 1
    if width >= 40:
        assert "P95" in lines[heading]
        assert "TEMP" in lines[heading]
    assert ("MODEL" in lines[heading]) is (width >= 100)


def test_the_chosen_board_says_why_it_is_ill_and_stays_chosen_when_others_come() -> None:
    seen, board = fleet(), Board()
    lines = in_order(seen.lines, board.sort)
    shown, _, chosen = screen(seen, lines, board, 120, 12)
    assert chosen == 3
    assert shown[-3].startswith("hot: hot: 87.1 C; the limit is 80 C")
    press(board, "down", lines, page_of(12))
    assert screen(seen, lines, board, 120, 12)[0][-3].startswith("slow: slow: p95 is 696 ms")
    press(board, "end", lines, page_of(12))
    assert screen(seen, lines, board, 120, 12)[0][-3] == "gate-1: no problems; kws 1.2 is serving"
    more = fleet(summary("gone", received_ms=0), summary(), summary("hot", HOT), summary("slow", SLOW))
    assert lines[place_of(board, lines)].name == "gate-1"
    assert in_order(more.lines, "problem")[place_of(board, in_order(more.lines, "problem"))].name == "gate-1"
    assert place_of(board, in_order(fleet(summary("new")).lines, "problem")) == 0, "it is gone"


def test_a_long_fleet_scrolls_by_lines_and_pages() -> None:
    seen, board = fleet(*(summary(f"gate-{number:03}") for number in range(100))), Board()
    lines = in_order(seen.lines, board.sort)
    page = page_of(24)

    def first() -> str:
        return screen(seen, lines, board, 80, 24)[0][3].split()[0]

    assert first() == "gate-000"
    for key, shown in (("page-down", "gate-001"), ("down", "gate-002"), ("end", "gate-082"), ("home", "gate-000")):
        press(board, key, lines, page)
        assert first() == shown
    press(board, "page-down", lines, page)
    press(board, "up", lines, page)
    assert screen(seen, lines, board, 80, 24)[0][-1].endswith("18 of 100")
    for key in ("x", "up", "home"):
        press(board, key, [], page)


def test_a_long_reason_goes_on_in_a_second_line() -> None:
    gone = fleet(summary("gone", received_ms=0))
    first, second, _ = screen(gone, gone.lines, Board(), 80, 12)[0][-3:]
    assert first.startswith("gone: silent: its last window came 20833 d 8 h ago")
    assert second.endswith("as the broker knows it is connected")


def test_keys_change_the_order_and_turn_it_round() -> None:
    board, lines = Board(), in_order(fleet().lines, "problem")
    press(board, "right", lines, 10)
    assert board.sort == SORTS[1]
    press(board, "<", lines, 10)
    press(board, "left", lines, 10)
    assert board.sort == SORTS[-1]
    press(board, "r", lines, 10)
    assert screen(fleet(), lines, board, 80, 24)[0][-1] == (
        "q quit  up/down board  left/right sort: device (reversed)  r reverse"
    )


def test_what_terminals_send_for_keys_is_known() -> None:
    assert keys_in(b"q\x1b[A\x1bOB\x1b[C\x1b[D\x1b[5~\x1b[6~\x1b[H\x1b[4~ r") == [
        "q", "up", "down", "right", "left", "page-up", "page-down", "home", "end", " ", "r",
    ]  # fmt: skip
    assert keys_in(b"\x1b\x00\xff\x1b[99~\x1b[200~") == []
    assert keys_in(b"\x1b[1;5A") == [], "with Ctrl it is another key"


def test_a_store_that_cannot_be_read_any_more_is_said_over_what_was() -> None:
    seen = fleet()
    shown = screen(seen, in_order(seen.lines, "problem"), Board(), 80, 24, "the store is gone")[0]
    assert shown[1] == "store: the store is gone"
    assert shown[0].endswith("3 boards, 2 with problems: 1 hot, 1 slow")


def test_an_empty_fleet_has_a_screen_too() -> None:
    lines, _, chosen = screen(look([], NOW_MS), [], Board(), 80, 24)
    assert (lines[-3], chosen) == ("no board has said anything yet", None)
