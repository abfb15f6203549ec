"""What counts as wrong with a board: each kind on one side of its limit, and on the other."""

from __future__ import annotations

from typing import Any

import pytest
from edgeglm_agent.drift import LIMIT
from edgeglm_agent.wire.telemetry import BoardReading, Drift

from edgeglm.fleet.health import KINDS, THRESHOLDS, problems, usual_models
from edgeglm.fleet.store.alarms import Alarm, in_order, standing
from edgeglm.fleet.store.types import DeviceSummary
from tests.support.fleet.boards import HOSTILE, MINUTE_MS, NOW_MS, event, sketch, slot, state, summary, window


def found(board: DeviceSummary, others: tuple[DeviceSummary, ...] = ()) -> dict[str, str]:
    return {problem.kind: problem.reason for problem in problems(board, NOW_MS, usual_models((board, *others)))}


def test_a_board_that_does_as_it_should_has_no_problem() -> None:
    assert problems(summary(), NOW_MS) == []


def test_the_limit_of_drift_is_the_agents_own() -> None:
    assert THRESHOLDS.drift_psi == LIMIT


@pytest.mark.parametrize(
    ("window_s", "ago_s", "silent"),
    [(300, 899, False), (300, 901, True), (3600, 10_000, False), (3600, 11_000, True), (1, 14, False), (1, 16, True)],
)
def test_three_windows_of_its_own_length_without_one_are_silence(window_s: int, ago_s: int, silent: bool) -> None:
    board = summary(said=state(window_s=window_s), received_ms=NOW_MS - ago_s * 1000, state_ms=0)
    assert ("silent" in found(board)) is silent
    if silent:
        assert "its last window came" in found(board)["silent"]
        assert "it is connected" in found(board)["silent"]


def test_a_board_that_sends_several_windows_at_once_has_time_for_them() -> None:
    board = summary(said=state(windows_at_once=4), received_ms=NOW_MS - 20 * MINUTE_MS, state_ms=0)
    assert found(board) == {}
    assert "silent" in found(summary(said=state(windows_at_once=4), received_ms=NOW_MS - 61 * MINUTE_MS, state_ms=0))


def test_a_last_will_that_no_window_followed_is_silence_at_once() -> None:
    board = summary(said=state(online=False), state_ms=NOW_MS - 30_000)
    assert found(board)["silent"] == "offline: its connection ended 30 s ago; its last window came 1 min ago"


def test_a_will_that_windows_followed_is_out_of_date() -> None:
    assert found(summary(said=state(online=False), state_ms=NOW_MS - 2 * MINUTE_MS)) == {}


def test_a_board_that_has_just_come_has_time_for_its_first_window() -> None:
    born = summary(slots={}, state_ms=NOW_MS - 10 * MINUTE_MS)
    assert found(born) == {}
    late = summary(slots={}, state_ms=NOW_MS - 16 * MINUTE_MS)
    assert found(late)["silent"].startswith("no window ever came: something is due every 5 min")


def test_a_board_that_only_ever_sent_events_is_silent_by_when_it_was_heard() -> None:
    assert "silent" in found(summary(slots={}, said=None, last_seen_ms=NOW_MS - 16 * MINUTE_MS))


@pytest.mark.parametrize(("errors", "erring"), [({"input": 30}, False), ({"input": 20, "run": 11}, True)])
def test_more_than_one_percent_of_failed_samples_is_erroring(errors: dict[str, int], erring: bool) -> None:
    board = summary("gate-1", window(errors=errors, inferences=3000))
    assert ("erroring" in found(board)) is erring
    if erring:
        reason = "31 of 3031 samples failed (1.02 %; the limit is 1 %): input 20, run 11"
        assert found(board)["erroring"] == reason


@pytest.mark.parametrize(("failed", "answered", "erring"), [(1, 10, False), (5, 5, False), (6, 5, True), (1, 19, True)])
def test_of_few_samples_most_have_to_fail(failed: int, answered: int, erring: bool) -> None:
    assert ("erroring" in found(summary("gate-1", window(errors={"run": failed}, inferences=answered)))) is erring


def test_a_window_in_which_nothing_came_is_no_error_but_one_without_an_account_is() -> None:
    assert found(summary("gate-1", window(inferences=0, latency_ms=b""))) == {}
    assert (
        "no-part 1" in found(summary("gate-1", window(inferences=0, latency_ms=b"", errors={"no-part": 1})))["erroring"]
    )


def reading(**values: Any) -> DeviceSummary:
    return summary("gate-1", window(board=BoardReading(**values)))


def test_heat_slowing_and_load_are_told_from_the_boards_reading() -> None:
    assert found(reading(temperature_decic=799)) == {}
    assert found(reading(temperature_decic=800)) == {"hot": "80.0 C; the limit is 80 C"}
    assert found(reading(throttled=0xF0000)) == {}, "what was since boot is over"
    assert found(reading(throttled=0b101, temperature_decic=700)) == {
        "throttled": "under-voltage, throttled, at 70.0 C"
    }
    assert found(reading(undervoltage=True)) == {"throttled": "under-voltage"}
    assert found(reading(cpu_permille=800)) == {}
    assert found(reading(cpu_permille=801)) == {"busy": "its processors are busy for 80.1 %; the limit is 80 %"}


def test_drift_is_what_the_board_has_raised_and_not_what_one_window_says() -> None:
    alone = window(drift=(Drift("input.x", 900, 100, 500),))
    assert found(summary("gate-1", alone)) == {}, "a window alone may be chance"
    back = window(drift=(Drift("input.x", 240, 100, 500),))
    raised = Alarm("input.x", 0.41, 0.25, NOW_MS - 12 * MINUTE_MS)
    assert found(summary("gate-1", back, alarms=(raised,)))["drifting"] == (
        "input.x has moved from what the model was proved on: stability index 0.41, raised 12 min ago, "
        "0.24 in the newest window; the limit is 0.25"
    )


def test_drift_names_the_worst_feature_its_index_and_the_limit() -> None:
    alarms = (Alarm("input.x", 0.41, 0.25, NOW_MS), Alarm("predicted", 0.9, 0.31, NOW_MS))
    reason = found(summary("gate-1", window(), alarms=alarms))["drifting"]
    assert "predicted has moved" in reason
    assert "index 0.90, raised" in reason
    assert reason.endswith("the limit is 0.31, and 1 more")


def test_an_alarm_stands_until_it_is_cleared_or_the_model_is_loaded_again() -> None:
    def of(*names: tuple[str, str]) -> list[str]:
        events = [(at, event(name=name, detail={"feature": feature})) for at, (name, feature) in enumerate(names)]
        return [alarm.feature for alarm in standing(events)]

    raised, cleared, loaded = "drift-raised", "drift-cleared", "model-loaded"
    assert of((raised, "a"), (raised, "b"), (cleared, "a")) == ["b"]
    assert of((raised, "a"), (loaded, ""), (raised, "b")) == ["b"]
    assert of((cleared, "a"), (raised, "a")) == ["a"]
    (alarm,) = standing([(7, event(detail={"feature": HOSTILE, "psi": True, "limit": float("inf")}))])
    assert (alarm.psi, alarm.limit, alarm.since_ms) == (None, None, 7)


def test_what_is_cleared_is_cleared_where_the_clock_was_set_back_in_between() -> None:
    raised, cleared = (event(name=name, detail={"feature": "a"}) for name in ("drift-raised", "drift-cleared"))
    rows = [(900, 1, 6, cleared), (1000, 1, 5, raised), (500, 2, 9, raised), (950, 2, 10, cleared)]
    assert [(at_ms, one.name) for at_ms, one in in_order(rows)] == [
        (500, "drift-raised"),
        (950, "drift-cleared"),
        (1000, "drift-raised"),
        (900, "drift-cleared"),
    ]
    assert standing(in_order(rows)) == ()


def test_slow_is_told_from_input_to_result() -> None:
    quick = window(latency_ms=sketch(*[10.0] * 95, *[900.0] * 5))
    assert found(summary("gate-1", quick)) == {}, "p95 is just below the slow tenth"
    waiting = window(latency_ms=sketch(10.0), total_ms=sketch(*[720.0] * 100))
    assert found(summary("gate-1", waiting))["slow"].startswith("p95 is 7")
    assert found(summary("gate-1", window(latency_ms=b"\xff\xff"))) == {}, "a damaged histogram says nothing"


def test_the_model_that_most_boards_run_is_the_right_one() -> None:
    others = tuple(summary(f"gate-{number}") for number in range(2, 5))
    odd = summary("gate-1", said=state(slots={"main": slot("kws 1.1", "bb" * 32)}))
    reason = "it runs kws 1.1 (manifest bbbbbbbb); 3 of 4 boards run kws 1.2 (manifest aaaaaaaa)"
    assert found(odd, others) == {"wrong-model": reason}
    assert found(odd, others[:2]) == {}, "two are no majority"
    assert found(others[0], (odd, *others[1:])) == {}
    elsewhere = tuple(summary(f"gate-{number}", fleet="south") for number in range(2, 5))
    assert found(odd, elsewhere) == {}, "another fleet may run what it likes"
    half = tuple(summary(f"b-{number}", said=state(slots={"main": slot("x", "bb" * 32)})) for number in range(2, 5))
    assert found(others[0], (*others, *half)) == {}, "half is no majority"


def test_a_slot_that_gave_up_says_why_and_what_it_should_run_if_that_is_another() -> None:
    broken = slot(status="quarantined", why="5 failures in a row, the last: ended by SIGSEGV")
    alone = summary(said=state(slots={"main": broken}))
    assert found(alone) == {"down": "kws 1.2 is quarantined: 5 failures in a row, the last: ended by SIGSEGV"}
    others = tuple(summary(f"gate-{number}") for number in range(2, 5))
    refused = summary(said=state(slots={"main": slot("new 2", "cc" * 32, status="refused", why="no runtime")}))
    reason = "it runs new 2 (manifest cccccccc); 3 of 4 boards run kws 1.2 (manifest aaaaaaaa)"
    assert found(refused, others) == {"down": "new 2 is refused: no runtime", "wrong-model": reason}
    unread = summary(said=state(slots={"main": slot("kws 1.1", "", status="refused", why="not a manifest")}))
    reason = "it is given kws 1.1; 3 of 3 boards run kws 1.2 (manifest aaaaaaaa)"
    assert found(unread, others)["wrong-model"] == reason


def test_a_worker_that_crashes_again_and_again_is_told_of_though_it_comes_back() -> None:
    once = summary(said=state(slots={"main": slot(failures=1)}))
    assert found(once) == {}, "one crash is in the windows"
    twice = summary(said=state(slots={"main": slot(failures=2)}))
    assert found(twice) == {"down": "its worker failed 2 times in a row; kws 1.2 is serving"}
    waits = summary(said=state(slots={"main": slot("", status="waiting", failures=4, why="ended by SIGSEGV")}))
    assert found(waits)["down"] == "its worker failed 4 times in a row; it is waiting: ended by SIGSEGV"


def test_a_slot_to_which_nothing_comes_says_why() -> None:
    blind = summary(said=state(slots={"main": slot(input_lost="/dev/video0 is not there\x1b[2J")}))
    assert found(blind) == {"no-input": "nothing comes in: /dev/video0 is not there\\x1b[2J"}


def test_lost_rows_are_a_problem_for_a_day() -> None:
    lately = summary(lost_rows=7, lost_at_ms=NOW_MS - 3_600_000)
    assert found(lately) == {"gaps": "7 rows are lost for good, ever; it last said so 1 h ago"}
    assert found(summary(lost_rows=7, lost_at_ms=NOW_MS - 90_000_000)) == {}


def test_a_card_that_was_restored_is_told_for_a_day() -> None:
    lately = summary(taken_back=7, taken_back_at_ms=NOW_MS - 60 * MINUTE_MS)
    assert found(lately)["restored"].startswith("7 rows came under numbers that it had given before, the last 1 h ago")
    assert found(summary(taken_back=7, taken_back_at_ms=NOW_MS - 25 * 60 * MINUTE_MS)) == {}


@pytest.mark.parametrize(("off_ms", "side"), [(90_000, "1 min 30 s ahead of"), (-10_800_000, "3 h behind")])
def test_a_clock_that_is_off_says_which_way(off_ms: int, side: str) -> None:
    assert found(summary(clock_off_ms=off_ms)) == {"clock": f"its clock is {side} the collector's"}


@pytest.mark.parametrize("off_ms", [None, 59_000, -3_600_000])
def test_a_window_that_took_long_to_come_is_no_clock_that_is_off(off_ms: int | None) -> None:
    assert found(summary(clock_off_ms=off_ms)) == {}


def test_a_slot_that_was_taken_out_of_the_settings_is_no_problem_any_more() -> None:
    old = window("door", errors={"run": 3000}, inferences=1)
    assert found(summary("gate-1", window(), old)) == {}
    assert "erroring" in found(summary("gate-1", window(), old, said=state(slots={"main": slot(), "door": slot()})))


def test_the_worst_comes_first() -> None:
    hot = BoardReading(temperature_decic=900, cpu_permille=999)
    board = summary(
        "gate-1", window(board=hot, errors={"run": 900}), received_ms=NOW_MS - 3_600_000, clock_off_ms=10**9
    )
    kinds = [problem.kind for problem in problems(board, NOW_MS)]
    assert kinds == ["silent", "erroring", "hot", "busy", "clock"]
    assert kinds == sorted(kinds, key=KINDS.index)


def test_nothing_that_a_board_writes_gets_into_a_reason_raw() -> None:
    bad = window(
        errors={HOSTILE: 3000, "x" * 5000: 1},
        board=BoardReading(temperature_decic=2**62, throttled=2**40 + 1, cpu_permille=2**50),
        inferences=2**62,
    )
    wrong = slot(HOSTILE, HOSTILE, status="refused", why=HOSTILE * 50)
    board = summary(
        "gate-1",
        bad,
        said=state(slots={"main": wrong}),
        clock_off_ms=2**62,
        lost_rows=1,
        lost_at_ms=NOW_MS,
        alarms=(Alarm(HOSTILE * 100, 1e300, 1e300, -(2**60)),),
    )
    said = problems(board, NOW_MS, usual_models([board]))
    assert len(said) >= 5
    for problem in said:
        assert problem.reason.isprintable()
        assert len(problem.reason) < 400
