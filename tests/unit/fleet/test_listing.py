"""``fleet ls``: the table, the problems, and what is said of none."""

from __future__ import annotations

import json

import msgspec
from edgeglm_agent.wire.telemetry import BoardReading

from edgeglm.fleet.plain import json_text
from edgeglm.fleet.seeing.listing import board_lines, counts, render, render_problems, worst_first
from tests.support.fleet.boards import HOSTILE, NOW_MS, sketch, slot, state, summary, window

HOT = window(board=BoardReading(temperature_decic=871), errors={"run": 300})


def table(*boards: object, width: int | None = 80) -> list[list[str]]:
    """Return the cells of what is shown."""
    text = render(board_lines(list(boards), NOW_MS), NOW_MS, width=width)  # type: ignore[arg-type]
    assert width is None or max(map(len, text.splitlines())) <= width
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


def test_a_line_says_what_a_board_is_and_how_it_does() -> None:
    head, line, hot = table(summary(), summary("gate-2", HOT))
    assert head == ["DEVICE", "MODEL", "STATUS", "SEEN", "P95 MS", "PER S", "ERR %", "TEMP", "PROBLEM"]
    assert line == ["gate-1", "kws 1.2", "serving", "60 s", "20.1", "10", "0", "61.2", "-"]
    assert hot == ["gate-2", "kws 1.2", "serving", "60 s", "20.1", "10", "9.09", "87.1", "erroring +1"]


def test_long_names_fit_a_terminal_and_are_whole_in_a_pipe() -> None:
    long = summary("a" * 63, said=state(slots={"main": slot("m" * 200, "bb" * 32)}))
    assert table(long)[1][0].endswith("..")
    assert table(long, width=None)[1][:2] == ["a" * 63, "m" * 78 + ".."]


def test_several_slots_are_a_line_each_and_each_has_its_own_problems() -> None:
    said = state(slots={"main": slot(), "door": slot("bell 2", status="quarantined", why="it crashed")})
    slow = window("door", latency_ms=sketch(900.0), inferences=300)
    _, main, door = table(summary("gate-1", window(), slow, said=said))
    assert main[-1] == "-"
    assert door[:3] == ["gate-1:door", "bell 2", "quarantined"]
    assert door[-1] == "down +1"
    assert table(summary("gate-1", window(), slow, said=said), width=None)[2][-1] == "down,slow"


def test_boards_of_several_fleets_are_named_with_theirs() -> None:
    assert [line[0] for line in table(summary(), summary(fleet="south"))] == ["DEVICE", "north/gate-1", "south/gate-1"]


def test_a_board_without_windows_state_or_model_has_a_line_too() -> None:
    _, line = table(summary(slots={}, said=None))
    assert line == ["gate-1", "-", "-", "60 s", "-", "-", "-", "-", "-"]
    _, bare = table(summary("gate-1", window("", inferences=0, latency_ms=b""), said=state(slots={})))
    assert bare[:4] == ["gate-1", "-", "no model", "60 s"]
    _, off = table(summary(said=state(online=False), state_ms=NOW_MS))
    assert off[2] == "offline"


def test_problems_come_worst_first_each_with_its_reason() -> None:
    boards = board_lines(
        [summary("warm", window(board=BoardReading(temperature_decic=850))), summary(), summary("gone", received_ms=0)],
        NOW_MS,
    )
    ill = worst_first(boards)
    assert [board.device for board in ill] == ["gone", "warm"]
    head, gone, *more = render_problems(ill, width=80).splitlines()
    assert head.split() == ["DEVICE", "PROBLEM", "REASON"]
    assert gone.startswith("gone    silent   its last window came 20833 d 8 h ago")
    assert more[-1] == "warm    hot      85.0 C; the limit is 80 C"
    assert all(len(line) <= 80 for line in (gone, *more))
    assert len(render_problems(ill, width=None).splitlines()) == 3, "in a pipe a problem is one line"
    assert counts(boards) == "3 boards, 2 with problems: 1 silent, 1 hot"
    assert counts(boards[1:2]) == "1 board, no problems"


def test_a_problem_of_a_slot_names_it() -> None:
    said = state(slots={"main": slot(), "door": slot(status="refused", why="no runtime")})
    (_, line) = render_problems(board_lines([summary(said=said)], NOW_MS), width=None).splitlines()
    assert line.endswith("door: kws 1.2 is refused: no runtime")


def test_hostile_boards_move_no_cursor() -> None:
    said = state(slots={HOSTILE: slot(HOSTILE, HOSTILE, status="refused", why=HOSTILE)})
    hostile = summary(HOSTILE, window(HOSTILE, errors={HOSTILE: 2**60}), fleet=HOSTILE, said=said)
    boards = board_lines([hostile, summary()], NOW_MS)
    for text in (
        render(boards, NOW_MS, width=80),
        render(boards, NOW_MS, width=None),
        render_problems(boards, width=80),
    ):
        assert all(line.isprintable() for line in text.split("\n"))
    document = json.loads(json_text(boards))
    assert document[0]["device"] == HOSTILE
    assert all(line.isprintable() for line in json_text(boards).split("\n"))


def test_a_fleet_of_thousands_is_told_in_one_go() -> None:
    one = summary()
    boards = [msgspec.structs.replace(one, device=one.device._replace(name=f"gate-{number}")) for number in range(5000)]
    assert len(render(board_lines(boards, NOW_MS), NOW_MS, width=None).splitlines()) == 5001
