"""``fleet show``, ``fleet logs`` and finding a board by its name."""

from __future__ import annotations

import json
import threading

import msgspec
import pytest
from edgeglm_agent.wire.commands import Reply
from edgeglm_agent.wire.telemetry import Gap, pack_ranges

from edgeglm.errors import UserError
from edgeglm.fleet.plain import json_text
from edgeglm.fleet.seeing.card import Card, card
from edgeglm.fleet.seeing.card_text import render
from edgeglm.fleet.seeing.events import event_line, follow
from edgeglm.fleet.seeing.finding import find
from edgeglm.fleet.seeing.flat import flat_gap
from edgeglm.fleet.seeing.times import local_iso
from edgeglm.fleet.store.rows import lost_rows
from edgeglm.fleet.store.types import Device, IncomingReply, Span, StoredGap
from edgeglm.log import SilentLog
from tests.support.fleet.boards import (
    HOSTILE,
    MINUTE_MS,
    NOW_MS,
    sketch,
    slot,
    state,
    stored_event,
    stored_gap,
    stored_window,
    summary,
    window,
)
from tests.support.fleet.memory import ListReader

GATE = Device("north", "gate-1")
DAY = Span(NOW_MS - 86_400_000, 1 << 53)


def made(reader: ListReader) -> tuple[Card, str]:
    found = card(reader, reader.boards[0], DAY, NOW_MS)
    text = render(found, NOW_MS, width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert all(line.isprintable() for line in text.split("\n"))
    return found, text


def test_percentiles_of_a_day_are_those_of_all_samples_and_no_mean_of_percentiles() -> None:
    slow_and_quick = [sketch(*[1.0] * 990), sketch(*[1000.0] * 10)]  # p99 of each: 1 and 1000; of all: 1
    windows = [
        stored_window(GATE, number, window(at_ms=NOW_MS - (9 - number) * MINUTE_MS, latency_ms=one, inferences=500))
        for number, one in enumerate(slow_and_quick)
    ]
    found, text = made(ListReader([summary()], windows))
    (total,) = found.totals
    assert total.inferences == 1000
    assert total.total_ms["p99"] == pytest.approx(1.0, rel=0.01)
    assert "main: 1000 answered, in 2 windows; from input to result p50" in " ".join(text.split())
    assert "the model alone" not in text, "it says the same"


def test_a_card_says_what_it_is_what_it_runs_what_happened_and_what_it_answered() -> None:
    said = state(
        agent="0.1.0",
        board={"model": "Raspberry Pi 5", "cores": 4},
        slots={"main": slot(artifact="model.onnx", scheme="static-int8", runtime="onnxruntime 1.31.1", provider="cpu")},
    )
    reader = ListReader(
        [summary(said=said, clock_off_ms=3_600_000, lost_rows=3, lost_at_ms=NOW_MS)],
        [
            stored_window(GATE, number, window(at_ms=NOW_MS - (30 - number) * 5 * MINUTE_MS, errors={"run": 1}))
            for number in range(30)
        ],
        [stored_event(GATE, number, at_ms=NOW_MS - (40 - number) * 1000) for number in range(12)],
        [stored_gap(GATE, 50, [7, 8, 9])],
        [IncomingReply(GATE, Reply(1, "ops-1", "set", False, "bad-args: window_s"), NOW_MS)],
    )
    found, text = made(reader)
    flat = " ".join(text.split())
    for expected in (
        "board gate-1 of fleet north, shard ",
        'model="Raspberry Pi 5" cores=4',
        "edgeglm-agent 0.1.0; windows of 5 min; clock NOT synchronised",
        "main: serving kws 1.2, model.onnx (static-int8) in onnxruntime 1.31.1 on cpu; manifest aaaaaaaaaaaa",
        "clock: its clock is 1 h ahead of the collector's",
        "main: 90000 answered, 30 failed (0.03%; run=30), in 30 windows",
        "(and 2 earlier ones: edgeglm fleet logs)",
        "warning main drift-raised feature=input.x psi=0.412",
        "lost for good: 3 rows in this time (quota=3), 3 ever",
        "set (ops-1) refused: bad-args: window_s",
    ):
        assert expected in flat, expected
    assert len(found.windows) == 12, "the newest of them, and no more"
    for one in found.windows:
        assert f"\n{local_iso(one.at_ms)[11:19]}  " in text


def test_what_is_lost_is_counted_as_the_store_counts_it() -> None:
    gap = Gap("quota", pack_ranges(range(10)), {"window": 3})
    stored = StoredGap(GATE, b"12345678", 50, NOW_MS, NOW_MS, gap)
    found, _ = made(ListReader([summary(lost_rows=lost_rows(gap), lost_at_ms=NOW_MS)], stored_gaps=[stored]))
    assert found.lost.rows == found.lost_rows_ever == flat_gap(stored).rows


def test_a_board_of_which_nothing_but_a_will_came_has_a_card() -> None:
    found, text = made(ListReader([summary(slots={}, said=None)]))
    assert "it has not said what it is" in text
    assert "no window came" in text
    assert found.windows == []


def test_damaged_histograms_and_hostile_texts_are_shown_for_what_they_are() -> None:
    bad = window(HOSTILE, latency_ms=b"\xff\xff\xff", errors={HOSTILE: 4})
    said = state(board={HOSTILE: HOSTILE}, agent=HOSTILE, slots={HOSTILE: slot(HOSTILE, why=HOSTILE * 20, failures=2)})
    reader = ListReader(
        [summary("gate-1", bad, said=said)],
        [stored_window(GATE, 1, bad), stored_window(GATE, 2, window(at_ms=NOW_MS - 1))],
        [stored_event(GATE, 3, at_ms=NOW_MS - 1, name=HOSTILE, slot=HOSTILE, detail={HOSTILE: HOSTILE})],
        [stored_gap(GATE, 4, [1], HOSTILE)],
        [IncomingReply(GATE, Reply(1, HOSTILE, HOSTILE, True, HOSTILE), NOW_MS)],
    )
    found, text = made(reader)
    assert "1 windows with a damaged histogram" in " ".join(text.split())
    assert all(line.isprintable() for line in json_text(found).split("\n"))


def test_an_event_is_a_line_with_local_time_severity_board_and_detail() -> None:
    line = event_line(stored_event(GATE, 1))
    assert line.endswith(" warning gate-1 main drift-raised feature=input.x psi=0.412")
    assert event_line(stored_event(GATE, 1, slot=""), with_fleet=True).split()[2:4] == ["north/gate-1", "-"]
    hostile = event_line(stored_event(Device(HOSTILE, HOSTILE), 1, name=HOSTILE, slot="a b", detail={"x\n": HOSTILE}))
    assert hostile.isprintable()
    assert " a_b " in hostile


def test_following_tells_each_event_once_and_what_comes_late_as_well() -> None:
    reader = ListReader(stored_events=[stored_event(GATE, 1, at_ms=NOW_MS)])
    told: list[int] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            assert timeout >= 1
            assert len(reader.stored_events) == len(told), "what came in was not told"
            if len(told) == 3:
                self.set()
            late = stored_event(GATE, 2 + len(told), at_ms=NOW_MS - 60_000 * len(told))  # each happened before the last
            reader.stored_events.append(msgspec.structs.replace(late, received_ms=NOW_MS + 1000 + len(told)))
            return self.is_set()

    for stored in follow(reader, 0, None, None, stop=Stop(), log=SilentLog()):
        told.append(stored.sequence)  # noqa: PERF401 - it is looked at in between
    assert told == [1, 3, 4]


def test_a_board_is_found_by_its_name_alone_where_one_fleet_has_it() -> None:
    reader = ListReader([summary(), summary("gate-2"), summary("gate-2", fleet="south")])
    assert find(reader, "gate-1").device == GATE
    assert find(reader, "south/gate-2").device == find(reader, "gate-2", "south").device == Device("south", "gate-2")
    with pytest.raises(UserError, match="2 fleets have a board `gate-2`: north/gate-2, south/gate-2") as error:
        find(reader, "gate-2")
    assert (error.value.code, error.value.exit_code) == ("device-ambiguous", 2)


@pytest.mark.parametrize(
    ("name", "fleet", "hint"),
    [
        ("gatf-1", None, "did you mean `gate-1`?"),
        ("gate-1", "south", "there is one in fleet north"),
        ("wholly-else", None, "`edgeglm fleet ls` lists the 1 that are known"),
        ("gate-1", "eest", "there is one in fleet north"),
        ("x", "eest", "nothing has been heard of fleet eest"),
    ],
)
def test_a_board_that_is_not_known_is_an_error_that_helps(name: str, fleet: str | None, hint: str) -> None:
    with pytest.raises(UserError) as error:
        find(ListReader([summary()]), name, fleet)
    assert error.value.code == "device-unknown"
    assert hint in str(error.value)


def test_names_in_errors_move_no_cursor() -> None:
    for name, reader in ((HOSTILE, ListReader()), (f"{HOSTILE}x", ListReader([summary(HOSTILE)]))):
        with pytest.raises(UserError) as error:
            find(reader, name)
        assert all(line.isprintable() for line in str(error.value).split("\n"))


def test_json_of_a_card_reads_back() -> None:
    found, _ = made(ListReader([summary()], [stored_window(GATE, 1, window(at_ms=NOW_MS - 1))]))
    document = json.loads(json_text(found))
    assert document["totals"][0]["total_ms"]["p50"] == pytest.approx(10.0, rel=0.01)
    assert document["windows"][0]["total_p95_ms"] == pytest.approx(20.0, rel=0.01)
