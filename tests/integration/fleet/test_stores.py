"""What every store must do: what goes in comes out, once, whatever comes in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from edgeglm_agent.wire.commands import Reply, State
from edgeglm_agent.wire.telemetry import Body, Event, Gap, Result, Row, Window, pack_ranges, row_of
from edgeglm_agent.wire.topics import Topics

from edgeglm.errors import StoreError
from edgeglm.fleet.seeing.quarantine import quarantine
from edgeglm.fleet.seeing.top import look
from edgeglm.fleet.seeing.twin import twin
from edgeglm.fleet.store import alarms
from edgeglm.fleet.store.base import StoreReader, StoreWriter
from edgeglm.fleet.store.boards import Boards
from edgeglm.fleet.store.opening import open_reader, open_store
from edgeglm.fleet.store.types import (
    Arrivals,
    Device,
    IncomingReply,
    IncomingState,
    Known,
    Poison,
    Span,
    Stream,
)
from edgeglm.fleet.store.writing import POISON_KEPT
from tests.support.fleet.arriving import BOARD, EVER, NOW, STREAM, batch, event, state, unset, window, windows
from tests.support.fleet.damage import execute
from tests.support.fleet.postgres import Postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> str:
    return postgres.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/fleet.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.emptied(request.getfixturevalue("database"))


@pytest.fixture
def store(url: str) -> Iterator[StoreWriter]:
    one = open_store(url)
    yield one
    one.close()


@pytest.fixture
def reader(store: StoreWriter, url: str) -> Iterator[StoreReader]:
    one = open_reader(url)
    yield one
    one.close()


def test_the_fleets_are_those_of_the_boards_that_are_known(store: StoreWriter, reader: StoreReader) -> None:
    assert reader.fleets() == []
    for name in ("south", "North", "east"):
        store.commit(Arrivals(states=[IncomingState(Device(name, f"{name}-{n}"), state(), NOW) for n in (1, 2)]))
    assert reader.fleets() == ["North", "east", "south"]


def numbers_of(reader: StoreReader, device: Device = BOARD) -> list[int]:
    return [stored.sequence for stored in reader.windows(EVER, device)]


def test_every_kind_of_row_comes_out_as_it_went_in(store: StoreWriter, reader: StoreReader) -> None:
    bodies: list[Body] = [
        window(1),
        event(),
        Result("main", 1, "00" * 8, NOW, b'{"class": "cat"}'),
        Gap("quota", pack_ranges([6, 7]), {"Window": 2}),
    ]
    done = store.commit(Arrivals([batch(*(row_of(n, body) for n, body in enumerate(bodies, 1)))]))
    assert (done.new_rows, done.duplicates, done.poison) == (4, 0, 0)
    assert done.known == {STREAM: Known(4, ((6, 7),))}
    (got,) = reader.windows(EVER, BOARD)
    assert (got.device, got.epoch, got.sequence, got.received_ms) == (BOARD, STREAM.epoch, 1, NOW)
    assert got.at_ms == window(1).start_ms
    assert [got.window] == bodies[:1]
    assert [one.event for one in reader.events(EVER)] == bodies[1:2]
    assert [one.result for one in reader.results(BOARD, EVER)] == bodies[2:3]
    assert [one.result for one in reader.results(None, EVER, fleet=BOARD.fleet)] == bodies[2:3]
    assert [*reader.results(None, EVER, fleet="another")] == []
    assert [one.gap for one in reader.gaps(EVER, BOARD)] == bodies[3:]
    summary = reader.device(BOARD)
    assert summary is not None
    assert (summary.rows, summary.lost_rows, summary.lost_at_ms) == (4, 2, NOW)
    assert summary.slots["main"].window == window(1)


def test_rows_that_come_again_are_counted_and_dropped(store: StoreWriter, reader: StoreReader) -> None:
    twice = batch(*windows(1, 2, 3))
    assert store.commit(Arrivals([twice, twice])).duplicates == 3
    done = store.commit(Arrivals([batch(*windows(2, 3, 4))]))
    assert (done.new_rows, done.duplicates, done.taken_back) == (1, 2, 0)
    assert numbers_of(reader) == [1, 2, 3, 4]


def test_rows_under_numbers_that_were_used_before_are_kept_apart_and_counted(
    store: StoreWriter, reader: StoreReader
) -> None:
    store.commit(Arrivals([batch(*windows(1, 2, 3))]))
    restored = [row_of(number, window(number, at_ms=NOW + number)) for number in (2, 3, 4)]
    for expected in ((3, 0, 2), (0, 3, 0)):  # and what comes again of them is known
        done = store.commit(Arrivals([batch(*restored)]))
        assert (done.new_rows, done.duplicates, done.taken_back) == expected
        assert done.known == {STREAM: Known(4)}, "all of it is acknowledged"
    again = [row_of(2, window(2, at_ms=NOW + 50))]  # restored a second time
    assert store.commit(Arrivals([batch(*again)])).taken_back == 1
    stored = list(reader.windows(EVER, BOARD))
    assert [one.sequence for one in stored] == [1, 2, 3, 2, 3, 4, 2]
    assert len({(one.epoch, one.sequence) for one in stored}) == 7
    summary = reader.device(BOARD)
    assert summary is not None
    assert (summary.taken_back, summary.taken_back_at_ms, summary.duplicates, summary.rows) == (3, NOW, 3, 7)


def test_another_body_at_the_same_time_is_another_row(store: StoreWriter, reader: StoreReader) -> None:
    store.commit(Arrivals([batch(*windows(1))]))
    other = msgspec.structs.replace(window(1), inferences=77)
    assert store.commit(Arrivals([batch(row_of(1, other))])).taken_back == 1
    assert sorted(one.window.inferences for one in reader.windows(EVER, BOARD)) == [1, 77]


def test_a_row_that_was_told_to_be_lost_is_kept_when_it_comes_after_all(
    store: StoreWriter, reader: StoreReader
) -> None:
    store.commit(Arrivals([batch(row_of(3, Gap("quota", pack_ranges([1, 2]), {"Window": 2})))]))
    done = store.commit(Arrivals([batch(*windows(2))]))
    assert (done.new_rows, done.duplicates, done.taken_back) == (1, 0, 0)
    assert store.commit(Arrivals([batch(*windows(2))])).duplicates == 1
    assert [(one.epoch, one.sequence) for one in reader.windows(EVER, BOARD)] == [(STREAM.epoch, 2)]


def test_new_rows_of_a_restored_card_without_a_clock_are_kept(store: StoreWriter, reader: StoreReader) -> None:
    store.commit(Arrivals([batch(*windows(1, 2))]))
    done = store.commit(Arrivals([batch(unset(1, 50_000), unset(2, 51_000))]))
    assert (done.new_rows, done.duplicates, done.taken_back) == (2, 0, 2)
    assert len(numbers_of(reader)) == 4


def test_a_number_that_comes_with_ever_other_bodies_is_put_aside_in_the_end(
    store: StoreWriter, reader: StoreReader
) -> None:
    bodies = [msgspec.structs.replace(window(1), inferences=n) for n in range(200)]
    for again in (False, True):
        done = store.commit(Arrivals([batch(*(row_of(1, body) for body in bodies))]))
        assert (done.new_rows, done.duplicates, done.poison) == ((0, 17, 183) if again else (17, 0, 183))
        assert done.known == {STREAM: Known(1)}, "it is accounted for, and need not come again"
    assert [one.window.inferences for one in reader.windows(EVER, BOARD)] == list(range(17))
    assert len({one.epoch for one in reader.windows(EVER, BOARD)}) == 17
    assert msgspec.msgpack.decode(reader.poison(1)[0].payload, type=Window) == bodies[-1]


def test_a_merged_window_accounts_for_those_that_it_replaces(store: StoreWriter) -> None:
    merged = row_of(9, window(9), replaces=pack_ranges([4, 5, 6, 7, 8]))
    assert store.commit(Arrivals([batch(merged)])).known == {STREAM: Known(0, ((4, 9),))}


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(Row(1, 0, msgspec.Raw(b"\x93\x01\x02\x03")), id="no-window"),
        pytest.param(Row(1, 3, msgspec.Raw(msgspec.msgpack.encode(["quota", b"\x80"]))), id="gap-cut-off"),
        pytest.param(Row(1, 0, row_of(1, window(1)).body, b"\x01"), id="replaces-cut-off"),
        pytest.param(row_of(1, window(1, at_ms=2**63)), id="time-beyond-integers"),
        pytest.param(row_of(1, window(1, slot="<script>")), id="slot-no-name"),
        pytest.param(row_of(1, Gap("quota", pack_ranges([2**63]), {})), id="gap-beyond-integers"),
    ],
)
def test_a_row_that_cannot_be_read_is_put_aside_and_accounted_for(
    store: StoreWriter, reader: StoreReader, row: Row
) -> None:
    done = store.commit(Arrivals([batch(row, *windows(2))]))
    assert (done.new_rows, done.poison, done.known) == (1, 1, {STREAM: Known(2)})
    (kept,) = reader.poison(10)
    assert kept.topic.endswith("/press-1")
    assert kept.payload == bytes(row.body)
    assert store.commit(Arrivals([batch(row)])).poison == 0, "counted once"
    assert reader.poison_count() == 1


@pytest.mark.parametrize("number", [0, -1, 2**62, 2**63, 2**64 - 1])
def test_a_number_that_no_board_gives_is_put_aside_and_not_accounted_for(store: StoreWriter, number: int) -> None:
    done = store.commit(Arrivals([batch(Row(number, 0, row_of(1, window(1)).body))]))
    assert (done.poison, done.new_rows, done.known) == (1, 0, {STREAM: Known(0)})


def test_figures_beyond_what_the_store_can_hold_are_kept_in_the_body(store: StoreWriter, reader: StoreReader) -> None:
    huge = msgspec.structs.replace(window(1), rss_kb=2**63, cpu_permille=2**63)
    assert store.commit(Arrivals([batch(row_of(1, huge))])).new_rows == 1
    assert [one.window for one in reader.windows(EVER, BOARD)] == [huge]


@pytest.mark.parametrize(
    "told", [{"inferences": 2**61}, {"errors": {"run": 2**62, "input": 2**62}}, {"inferences": -1}]
)
def test_a_window_that_counts_more_than_any_model_answers_is_put_aside(
    store: StoreWriter, reader: StoreReader, told: dict[str, object]
) -> None:
    most = msgspec.structs.replace(window(1), inferences=600_000, errors={"run": 400_000})
    bad = msgspec.structs.replace(window(2), **told)
    assert store.commit(Arrivals([batch(row_of(1, most), row_of(2, bad))])).poison == 1
    assert [one.window for one in reader.windows(EVER, BOARD)] == [most]


def test_gaps_that_tell_of_more_rows_than_there_can_be_leave_every_board_readable(
    store: StoreWriter, reader: StoreReader
) -> None:
    huge = [row_of(number, Gap("quota", b"", {"x": 2**62})) for number in (1, 2)]
    for epoch in (b"epoch--1", b"epoch--2", b"epoch--3"):
        store.commit(Arrivals([batch(*huge, stream=Stream(BOARD, epoch))]))
    (summary,) = reader.devices()
    assert summary.lost_rows == 6 * 2**32
    assert [one.gap.counts for one in reader.gaps(EVER)] == [{"x": 2**62}] * 6, "what the board said stays"


def test_what_a_stream_has_lost_is_counted_up_to_what_can_be_summed(store: StoreWriter, reader: StoreReader) -> None:
    rows = [row_of(number, Gap("quota", b"", {"x": 2**62})) for number in range(1, 300)]
    store.commit(Arrivals([batch(*rows)]))
    assert reader.devices()[0].lost_rows == 2**40


@pytest.mark.parametrize("field", ["uptime_ms", "duration_ms"])
def test_a_window_that_is_longer_than_any_board_lives_is_put_aside(
    store: StoreWriter, reader: StoreReader, field: str
) -> None:
    most = 100 * 365 * 86_400_000

    def rows(value: int, first: int) -> list[Row]:
        bodies = [
            msgspec.structs.replace(window(n, at_ms=5000), clock_synchronised=False, **{field: value - n})
            for n in range(200)
        ]
        return [row_of(first + n, body) for n, body in enumerate(bodies)]

    done = store.commit(Arrivals([batch(*rows(most, 1)), batch(*rows(2**62 - 1, 1001))]))
    assert (done.new_rows, done.poison) == (200, 200)
    assert done.known == {STREAM: Known(200, ((1001, 1200),))}
    assert sorted(numbers_of(reader)) == list(range(1, 201))


def test_the_poison_that_is_kept_is_bounded_and_all_of_it_is_counted(store: StoreWriter, reader: StoreReader) -> None:
    for start in (0, 800):
        store.commit(
            Arrivals(poison=[Poison(f"t\ud800{n}", "bad", b"x" * 50_000, NOW) for n in range(start, start + 800)])
        )
    kept = reader.poison(10_000)
    assert len(kept) == POISON_KEPT
    assert kept[0].topic == "t?1599"
    assert sum(len(one.payload) for one in kept) < 5_000_000
    assert reader.poison_count() == 1600


class TestTimes:
    """Where a row is put when its board's clock cannot tell."""

    def test_rows_of_one_boot_keep_their_order_and_distance(self, store: StoreWriter, reader: StoreReader) -> None:
        store.commit(Arrivals([batch(*(unset(n, n * 10_000) for n in (1, 2, 3)))]))
        stored = list(reader.windows(EVER, BOARD))
        assert [one.sequence for one in stored] == [1, 2, 3]
        assert [one.at_ms for one in stored] == [NOW - 21_000, NOW - 11_000, NOW - 1000]
        assert {one.window.start_ms for one in stored} == {5000}, "what the board said stays"

    def test_a_clock_that_was_set_later_in_the_boot_dates_the_rows_before(
        self, store: StoreWriter, reader: StoreReader
    ) -> None:
        known = row_of(3, window(3, at_ms=NOW - 3_600_000, uptime_ms=90_000))
        store.commit(Arrivals([batch(unset(1, 10_000), unset(2, 50_000), known)]))
        began = NOW - 3_600_000 - 90_000
        assert [one.at_ms - began for one in reader.windows(EVER, BOARD)] == [10_000, 50_000, 90_000]

    @pytest.mark.parametrize(("hours", "same"), [(2, True), (50, False)])
    def test_a_row_without_a_clock_is_of_the_boot_before_where_that_can_be(
        self, store: StoreWriter, reader: StoreReader, hours: int, same: bool
    ) -> None:
        store.commit(Arrivals([batch(row_of(1, window(1, at_ms=NOW - 1000, uptime_ms=60_000)))]))
        later = NOW + hours * 3_600_000
        store.commit(Arrivals([batch(unset(2, 120_000), at_ms=later)]))
        assert [*reader.windows(EVER, BOARD)][1].at_ms == (NOW + 59_000 if same else later - 1000)

    def test_an_earlier_boot_is_put_before_the_later_one(self, store: StoreWriter, reader: StoreReader) -> None:
        store.commit(Arrivals([batch(unset(1, 500_000), unset(2, 501_000), unset(3, 2000))]))
        assert numbers_of(reader) == [1, 2, 3]

    def test_batches_of_a_backlog_keep_their_order(self, store: StoreWriter, reader: StoreReader) -> None:
        for group in range(4):
            rows = [unset(n, n * 1000) for n in range(group * 10 + 1, group * 10 + 11)]
            store.commit(Arrivals([batch(*rows, at_ms=NOW + group * 5)]))
        assert numbers_of(reader) == list(range(1, 41))

    def test_a_time_years_ahead_or_before_is_not_believed(self, store: StoreWriter, reader: StoreReader) -> None:
        rows = [row_of(1, window(1, at_ms=NOW + 10**11)), row_of(2, window(2, at_ms=10**9))]
        store.commit(Arrivals([batch(*rows)]))
        assert all(abs(one.at_ms - NOW) < 10_000 for one in reader.windows(EVER, BOARD))
        summary = reader.device(BOARD)
        assert summary is not None
        assert summary.clock_off_ms == 10**9 + 1000 - NOW
        assert store.commit(Arrivals([batch(*rows, at_ms=NOW + 10**12)])).duplicates == 2, "also when it has come"

    def test_a_row_that_is_held_up_does_not_put_its_clock_back(self, store: StoreWriter, reader: StoreReader) -> None:
        seen = []
        for number, (off_ms, late_ms) in enumerate([(0, 0), (0, 300_000), (0, 0), (70_000, 0), (0, 0)], 1):
            now = NOW + number * 10**6
            row = row_of(number, window(number, at_ms=now - 1000 + off_ms - late_ms))
            store.commit(Arrivals([batch(row, at_ms=now)]))
            summary = reader.device(BOARD)
            assert summary is not None
            seen.append(summary.clock_off_ms)
        assert seen == [0, -37_500, 0, 70_000, 0]

    def test_placed_rows_that_come_again_are_known(self, store: StoreWriter) -> None:
        rows = batch(unset(1, 1000), unset(2, 2000), row_of(3, Gap("quota", pack_ranges([8]))))
        store.commit(Arrivals([rows]))
        done = store.commit(Arrivals([msgspec.structs.replace(rows, received_ms=NOW + 50_000)]))
        assert (done.new_rows, done.duplicates, done.taken_back) == (0, 3, 0)


class TestStates:
    """Births and wills."""

    def told(self, store: StoreWriter, reader: StoreReader, *states: State, retained: bool = False) -> State:
        store.commit(Arrivals(states=[IncomingState(BOARD, one, NOW, retained) for one in states]))
        summary = reader.device(BOARD)
        assert summary is not None
        assert summary.state is not None
        return summary.state

    def test_a_late_will_does_not_speak_for_a_newer_birth(self, store: StoreWriter, reader: StoreReader) -> None:
        born = state(session="s2", since_ms=NOW + 5)
        assert self.told(store, reader, state(), born, state(online=False)) == born

    def test_a_will_of_the_last_birth_counts(self, store: StoreWriter, reader: StoreReader) -> None:
        assert not self.told(store, reader, state(), state(online=False)).online

    def test_a_will_whose_birth_never_came_counts(self, store: StoreWriter, reader: StoreReader) -> None:
        later = state(session="s9", online=False, since_ms=NOW + 60_000)
        assert self.told(store, reader, state(), later) == later

    def test_what_the_broker_had_kept_says_nothing_of_now(self, store: StoreWriter, reader: StoreReader) -> None:
        self.told(store, reader, state())
        store.commit(Arrivals(states=[IncomingState(BOARD, state(), NOW + 10**6, retained=True)]))
        summary = reader.device(BOARD)
        assert summary is not None
        assert (summary.last_seen_ms, summary.state_ms) == (NOW, NOW)


def test_answers_to_commands_are_kept_once(store: StoreWriter, reader: StoreReader) -> None:
    answer = IncomingReply(BOARD, Reply(1, "ops-1", "ping", True), NOW)
    store.commit(Arrivals(replies=[answer, answer]))
    store.commit(Arrivals(replies=[answer]))
    assert [one.reply for one in reader.replies(BOARD, EVER)] == [answer.reply]


def test_many_holes_are_bounded_and_nothing_is_lost_for_it(store: StoreWriter, reader: StoreReader) -> None:
    odd = windows(*range(3, 12_003, 2))
    done = store.commit(Arrivals([batch(*odd)]))
    assert (done.new_rows, done.put_off) == (4096, 1904)
    everything = batch(*windows(*range(1, 12_003)))
    while done.known[STREAM].through < 12_002:  # as the board would: what is not acknowledged comes again
        done = store.commit(Arrivals([everything]))
    assert numbers_of(reader) == list(range(1, 12_003))


def test_rows_that_tell_of_more_holes_than_any_board_has_are_put_off_or_aside(store: StoreWriter) -> None:
    many = [row_of(n, Gap("quota", pack_ranges(range(n * 100_000, n * 100_000 + 20_000, 2)))) for n in (1, 2, 3)]
    done = store.commit(Arrivals([batch(*many)]))
    assert (done.new_rows, done.put_off) == (1, 2)
    more = row_of(1, Gap("quota", pack_ranges(range(100, 200_000, 2))))
    done = store.commit(Arrivals([batch(more, stream=Stream(BOARD, b"epoch--2"))]))
    assert (done.new_rows, done.poison) == (0, 1)


def test_of_a_board_with_endless_slots_some_are_known_at_once(store: StoreWriter, reader: StoreReader) -> None:
    for start in (1, 151):
        rows = [row_of(n, window(n, slot=f"s{n}")) for n in range(start, start + 150)]
        store.commit(Arrivals([batch(*rows)]))
    summary = reader.device(BOARD)
    assert summary is not None
    assert (len(summary.slots), summary.rows) == (64, 300)
    newer = window(400, slot="s3")
    store.commit(Arrivals([batch(row_of(400, newer))]))
    summary = reader.device(BOARD)
    assert summary is not None
    assert summary.slots["s3"].window == newer


def test_windows_of_all_boards_come_in_one_pass_by_time(store: StoreWriter, reader: StoreReader) -> None:
    others = [Stream(Device(fleet, f"b-{number}"), b"epoch--1") for fleet in ("works", "yard") for number in range(2)]
    for place, stream in enumerate(others):
        rows = [row_of(at + 1, window(0, at_ms=NOW - 9000 + at * 10 + place)) for at in range(400)]
        store.commit(Arrivals([batch(*rows, stream=stream)]))
    found = [*reader.windows(EVER)]
    assert [one.at_ms for one in found] == sorted(one.at_ms for one in found)
    assert len({(one.device, one.sequence) for one in found}) == 1600, "more than one page"
    assert {one.device for one in reader.windows(EVER, fleet="yard")} == {others[2].device, others[3].device}
    assert sum(1 for _ in reader.windows(EVER, others[0].device)) == 400
    assert [*reader.windows(EVER, newest=700)] == found[-700:]
    packed = reader.packed_windows(others[1].device, EVER, 150)
    newest = [*reader.windows(EVER, others[1].device)][-150:]
    assert [(*one[:3], msgspec.msgpack.decode(one.body, type=Window)) for one in packed] == [
        (one.at_ms, one.epoch, one.sequence, one.window) for one in newest
    ]


def test_events_come_in_the_order_in_which_they_came_in(store: StoreWriter, reader: StoreReader) -> None:
    for first in range(1, 1002, 2):
        rows = [row_of(number, event(at_ms=NOW - number)) for number in (first, first + 1)]
        store.commit(Arrivals([batch(*rows, at_ms=NOW + first)]))
    found = [*reader.events_received(NOW + 5)]
    assert sorted(one.sequence for one in found) == [*range(5, 1003)], "more than one page"
    assert [one.received_ms for one in found] == sorted(one.received_ms for one in found)
    assert [*reader.events_received(NOW, fleet="other")] == []


def test_an_alarm_of_drift_stands_in_the_summary_until_it_is_cleared(store: StoreWriter, reader: StoreReader) -> None:
    def told(number: int, name: str, feature: str = "input.x", set_back: int = 0) -> Row:
        at_ms = NOW + number - set_back
        return row_of(number, Event(name, "main", "00" * 8, at_ms, 1, True, "info", {"feature": feature}))

    def stands() -> list[str]:
        (summary,) = reader.devices()
        assert reader.device(BOARD) == summary
        return [alarm.feature for alarm in summary.slots["main"].alarms]

    store.commit(Arrivals([batch(row_of(1, window(1)), told(2, "drift-raised"), told(3, "drift-raised", "predicted"))]))
    assert stands() == ["input.x", "predicted"]
    store.commit(Arrivals([batch(row_of(4, window(4)), told(5, "throttled"), told(6, "drift-cleared"))]))
    assert stands() == ["predicted"]
    flapping = [told(10 + at, ("drift-raised", "drift-cleared")[at % 2]) for at in range(40)]
    store.commit(Arrivals([batch(*flapping, told(60, "drift-raised", "output.y"))]))
    assert stands() == ["output.y"], "a bounded number of events is looked at"
    store.commit(Arrivals([batch(told(61, "drift-cleared", "output.y", set_back=5))]))
    assert stands() == [], "its clock was set back in between"


def test_newest_events_come_the_oldest_first_and_only_those_of_the_fleet(
    store: StoreWriter, reader: StoreReader
) -> None:
    other = Stream(Device("home", "press-1"), b"epoch--2")
    rows = [row_of(n, event(f"e{n}", at_ms=NOW - 1000 + n)) for n in range(1, 6)]
    store.commit(Arrivals([batch(*rows), batch(*rows[:1], stream=other)]))
    assert [one.event.name for one in reader.events(EVER, newest=2)] == ["e4", "e5"]
    assert [one.device for one in reader.events(EVER, fleet="home")] == [other.device]
    assert [one.event.name for one in reader.events(Span(NOW - 998, NOW - 996), BOARD)] == ["e2", "e3"]


def test_long_spans_come_whole(store: StoreWriter, reader: StoreReader) -> None:
    for start in range(0, 1600, 400):
        store.commit(Arrivals([batch(*windows(*range(start + 1, start + 401)))]))
    assert numbers_of(reader) == list(range(1, 1601))


def test_a_board_can_be_forgotten_and_come_again(store: StoreWriter, reader: StoreReader) -> None:
    other = Stream(Device("works", "press-2"), b"epoch--2")
    both = [batch(*windows(1, 2)), batch(*windows(1), stream=other)]
    store.commit(Arrivals(both, [IncomingState(BOARD, state(), NOW)]))
    assert store.forget(BOARD) == 2
    assert [one.device for one in reader.devices()] == [other.device]
    assert store.forget(BOARD) == 0
    assert store.commit(Arrivals([batch(*windows(1, 2))])).new_rows == 2
    assert numbers_of(reader) == [1, 2]


@pytest.mark.parametrize(
    "table", ["windows", "events", "results", "gaps", "latest", "alarm_events", "devices", "replies"]
)
def test_what_a_disk_has_damaged_is_told_by_whose_it_is_until_that_board_is_forgotten_or_speaks_again(
    store: StoreWriter, reader: StoreReader, url: str, table: str
) -> None:
    def read() -> int:
        found = [*reader.windows(EVER), *reader.events(EVER), *reader.results(None, EVER), *reader.gaps(EVER)]
        return len([*found, *reader.replies(BOARD, EVER), *reader.devices(), reader.device(BOARD)])

    bodies: list[Body] = [
        window(1),
        event(alarms.RAISED),
        Result("main", 1, "00" * 8, NOW, b"{}"),
        Gap("quota", pack_ranges([6]), {"Window": 1}),
    ]
    rows = batch(*(row_of(n, body) for n, body in enumerate(bodies, 1)))
    reply = IncomingReply(BOARD, Reply(1, "1", "ping", ok=True), NOW)
    arrivals = Arrivals([rows], [IncomingState(BOARD, state(), NOW)], [reply])
    store.commit(arrivals)
    assert read() == 7
    column = "state" if table == "devices" else "body"
    execute(url, f"update {table} set {column} = {{0}}", b"\xc1\xff")
    with pytest.raises(StoreError, match="is damaged") as caught:
        read()
    assert (caught.value.code, caught.value.problems[0].where) == ("store-damaged", "/".join(BOARD))
    if table == "devices":
        store.commit(arrivals)
    else:
        assert store.forget(BOARD) == 4
        store.commit(arrivals)
    assert read() == 7


def test_what_the_broker_had_kept_does_not_bring_a_forgotten_board_back(
    store: StoreWriter, reader: StoreReader
) -> None:
    other = Device("works", "press-2")
    bad = [Poison(f"{Topics(*board).prefix}/telemetry", "bad", b"x", NOW) for board in (BOARD, other)]
    store.commit(Arrivals([batch(*windows(1))], [IncomingState(BOARD, state(), NOW)], poison=bad))
    store.forget(BOARD)
    assert [one.topic for one in reader.poison(9)] == [bad[1].topic]
    kept = IncomingState(BOARD, state(), NOW + 5000, retained=True)
    store.commit(Arrivals(states=[kept, kept]))
    assert reader.devices() == []
    store.commit(Arrivals([batch(*windows(2), at_ms=NOW + 9000)], [kept]))
    (summary,) = reader.devices()
    assert (summary.first_seen_ms, summary.rows, summary.state) == (NOW + 9000, 1, state())
    store.commit(Arrivals(states=[msgspec.structs.replace(kept, received_ms=NOW + 20_000)]))
    assert reader.devices()[0].state is not None, "it is forgotten no more"


def test_a_board_of_which_the_broker_had_kept_a_birth_was_last_seen_at_its_birth(
    store: StoreWriter, reader: StoreReader
) -> None:
    born = state(since_ms=NOW - 7_000_000)
    unset_clock = msgspec.structs.replace(state(device="press-2", since_ms=5000), clock_synchronised=False)
    store.commit(
        Arrivals(
            states=[
                IncomingState(BOARD, born, NOW, retained=True),
                IncomingState(Device("works", "press-2"), unset_clock, NOW, retained=True),
            ]
        )
    )
    assert [(one.first_seen_ms, one.last_seen_ms) for one in reader.devices()] == [(NOW, NOW - 7_000_000), (NOW, 0)]


def test_a_board_that_begins_anew_without_end_is_bounded(
    store: StoreWriter, reader: StoreReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeglm.fleet.store.boards.MOST_STREAMS", 5)
    streams = [Stream(BOARD, bytes([n]) * 8) for n in range(8)]
    done = store.commit(Arrivals([batch(*windows(1), stream=stream) for stream in streams]))
    assert (done.new_rows, done.put_off, len(done.known)) == (5, 3, 5), "what is not kept is not acknowledged"
    stream = next(iter(done.known))
    done = store.commit(Arrivals([batch(*windows(1, 2), stream=stream), batch(*windows(1), stream=streams[-1])]))
    assert (done.new_rows, done.duplicates, done.known[stream]) == (1, 1, Known(2))
    restored = [row_of(1, window(1, at_ms=NOW))]
    done = store.commit(Arrivals([batch(*restored, stream=stream)]))
    assert (done.taken_back, done.poison, done.known[stream]) == (0, 1, Known(2))
    other = Stream(Device("works", "press-2"), b"epoch--1")
    assert store.commit(Arrivals([batch(*windows(1), stream=other)])).new_rows == 1


def test_more_boards_than_are_remembered_are_known_all_the_same(store: StoreWriter, reader: StoreReader) -> None:
    store._boards = Boards(store._tables, remembered=10)
    boards = [Stream(Device("works", f"press-{n}"), b"epoch--1") for n in range(30)]
    for numbers, expected in (((1, 2), (60, 0)), ((2, 3), (30, 30))):
        done = store.commit(Arrivals([batch(*windows(*numbers), stream=stream) for stream in boards]))
        assert (done.new_rows, done.duplicates) == expected
    assert {one.rows for one in reader.devices()} == {3}
    remembered = (store._boards._devices, store._boards._streams, store._boards._slots)
    assert [len(one) for one in remembered] == [10, 10, 10]


def test_names_are_only_ever_data(store: StoreWriter, reader: StoreReader) -> None:
    odd = Device("works'); drop table windows; --", "x' or '1'='1")
    store.commit(Arrivals([batch(*windows(1), stream=Stream(odd, b"epoch--1"))]))
    assert reader.device(Device("works", "x' or '1'='1")) is None
    assert numbers_of(reader, odd) == [1]


def test_a_moment_of_a_board_the_live_table_and_the_quarantine_are_read_from_every_store(
    store: StoreWriter, reader: StoreReader
) -> None:
    other = Stream(Device(BOARD.fleet, "press-2"), b"epoch--2")
    told = Event("anomaly", "main", "00" * 8, NOW, 1000, True, "warning", {"score": 2.0}, channels=(0.5, 0.25))
    rows = [row_of(1, window(1, at_ms=NOW - 500)), row_of(2, told), row_of(3, Result("main", 1, "00" * 8, NOW, b"[1]"))]
    store.commit(Arrivals([batch(*rows), batch(row_of(1, window(1, at_ms=NOW - 400)), stream=other)]))
    store.commit(Arrivals(poison=[Poison("a/topic", "no batch", b"?", NOW)]))
    summary = reader.device(BOARD)
    assert summary is not None
    found = twin(reader, summary, NOW, 60_000)
    assert [one.at_ms for one in found.windows] == [NOW - 500]
    assert [one.channels for one in found.events] == [[0.5, 0.25]]
    assert [one.answer for one in found.results] == ["[1]"]
    assert [(one.device, one.silent) for one in found.neighbours.boards] == [("press-2", False)]
    assert found.signs == ["anomaly"]
    assert [line.name for line in look(reader.devices(), NOW).lines] == ["press-1", "press-2"]
    assert [one.text for one in quarantine(reader, 5).messages] == ["?"]
