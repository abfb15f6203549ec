"""The SQLite store: what goes in comes out, once, whatever comes in between."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from edgeglm_agent.wire.commands import Reply, State
from edgeglm_agent.wire.telemetry import Body, Event, Gap, Result, Row, Window, pack_ranges, row_of

from edgeglm.errors import BusyError, EdgeglmError, StoreError, UserError
from edgeglm.fleet.store.opening import open_reader, open_store
from edgeglm.fleet.store.sqlite_reader import SqliteReader
from edgeglm.fleet.store.sqlite_schema import APPLICATION_ID, MIGRATIONS, SCHEMA
from edgeglm.fleet.store.sqlite_writer import SqliteWriter
from edgeglm.fleet.store.sqlite_writing import POISON_KEPT
from edgeglm.fleet.store.types import (
    Arrivals,
    Committed,
    Device,
    IncomingBatch,
    IncomingReply,
    IncomingState,
    Known,
    Poison,
    Span,
    Stream,
)

NOW = 1_800_000_000_000
EVER = Span(-(2**61), 2**61)
BOARD = Device("works", "press-1")
STREAM = Stream(BOARD, b"epoch--1")


def window(number: int, *, at_ms: int | None = None, uptime_ms: int | None = None, slot: str = "main") -> Window:
    start_ms = NOW - 20_000_000 + number * 1000 if at_ms is None else at_ms
    return Window(
        slot, 1, "00" * 8, start_ms, number * 1000 if uptime_ms is None else uptime_ms, 1000, True, inferences=number
    )


def unset(number: int, uptime_ms: int, *, start_ms: int = 5000) -> Row:
    body = Window("main", 1, "00" * 8, start_ms, uptime_ms, 1000, False, inferences=number)
    return row_of(number, body)


def event(name: str = "throttled", *, at_ms: int = NOW) -> Event:
    return Event(name, "main", "00" * 8, at_ms, 1000, True, "info", {"why": "hot"})


def state(*, session: str = "s1", online: bool = True, since_ms: int = NOW, device: str = BOARD.name) -> State:
    return State(1, device, "boot", session, online, since_ms=since_ms, clock_synchronised=True)


def batch(*rows: Row, stream: Stream = STREAM, at_ms: int = NOW) -> IncomingBatch:
    return IncomingBatch(stream, rows, at_ms)


def windows(*numbers: int) -> list[Row]:
    return [row_of(number, window(number)) for number in numbers]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteWriter]:
    one = SqliteWriter(path)
    yield one
    one.close()


@pytest.fixture
def reader(store: SqliteWriter, path: Path) -> Iterator[SqliteReader]:
    one = SqliteReader(path)
    yield one
    one.close()


def numbers_of(reader: SqliteReader, device: Device = BOARD) -> list[int]:
    return [stored.sequence for stored in reader.windows(EVER, device)]


def test_every_kind_of_row_comes_out_as_it_went_in(store: SqliteWriter, reader: SqliteReader) -> None:
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
    assert [one.gap for one in reader.gaps(EVER, BOARD)] == bodies[3:]
    summary = reader.device(BOARD)
    assert summary is not None
    assert (summary.rows, summary.lost_rows, summary.lost_at_ms) == (4, 2, NOW)
    assert summary.slots["main"].window == window(1)


def test_rows_that_come_again_are_counted_and_dropped(store: SqliteWriter, reader: SqliteReader) -> None:
    twice = batch(*windows(1, 2, 3))
    assert store.commit(Arrivals([twice, twice])).duplicates == 3
    done = store.commit(Arrivals([batch(*windows(2, 3, 4))]))
    assert (done.new_rows, done.duplicates, done.taken_back) == (1, 2, 0)
    assert numbers_of(reader) == [1, 2, 3, 4]


def test_what_is_known_is_known_after_the_store_was_opened_again(path: Path) -> None:
    for numbers, expected in (
        ((2, 3, 9), Known(0, ((2, 3), (9, 9)))),
        ((1, 5), Known(3, ((5, 5), (9, 9)))),
        ((4, 6, 7, 8), Known(9)),
    ):
        store = SqliteWriter(path)
        assert store.commit(Arrivals([batch(*windows(*numbers))])).known == {STREAM: expected}
        store.close()


def test_what_was_written_and_not_flushed_is_not_kept(path: Path) -> None:
    store = SqliteWriter(path)
    store.commit(Arrivals([batch(*windows(1))]))
    store.write(Arrivals([batch(*windows(2))]))
    store.close()
    store = SqliteWriter(path)
    assert store.commit(Arrivals([batch(*windows(2, 3))])).new_rows == 2
    store.close()


def test_rows_under_numbers_that_were_used_before_are_kept_apart_and_counted(
    store: SqliteWriter, reader: SqliteReader
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


def test_another_body_at_the_same_time_is_another_row(store: SqliteWriter, reader: SqliteReader) -> None:
    store.commit(Arrivals([batch(*windows(1))]))
    other = msgspec.structs.replace(window(1), inferences=77)
    assert store.commit(Arrivals([batch(row_of(1, other))])).taken_back == 1
    assert sorted(one.window.inferences for one in reader.windows(EVER, BOARD)) == [1, 77]


def test_a_row_that_was_told_to_be_lost_is_kept_when_it_comes_after_all(
    store: SqliteWriter, reader: SqliteReader
) -> None:
    store.commit(Arrivals([batch(row_of(3, Gap("quota", pack_ranges([1, 2]), {"Window": 2})))]))
    done = store.commit(Arrivals([batch(*windows(2))]))
    assert (done.new_rows, done.duplicates, done.taken_back) == (1, 0, 0)
    assert store.commit(Arrivals([batch(*windows(2))])).duplicates == 1
    assert [(one.epoch, one.sequence) for one in reader.windows(EVER, BOARD)] == [(STREAM.epoch, 2)]


def test_new_rows_of_a_restored_card_without_a_clock_are_kept(store: SqliteWriter, reader: SqliteReader) -> None:
    store.commit(Arrivals([batch(*windows(1, 2))]))
    store._db.execute("insert into counters values ('kept_since_ms', ?)", (NOW - 1_000_000,))
    done = store.commit(Arrivals([batch(unset(1, 50_000), unset(2, 51_000))]))
    assert (done.new_rows, done.duplicates, done.taken_back) == (2, 0, 2)
    assert len(numbers_of(reader)) == 4


def test_a_number_that_comes_with_ever_other_bodies_is_put_aside_in_the_end(
    store: SqliteWriter, reader: SqliteReader
) -> None:
    bodies = [msgspec.structs.replace(window(1), inferences=n) for n in range(200)]
    for again in (False, True):
        done = store.commit(Arrivals([batch(*(row_of(1, body) for body in bodies))]))
        assert (done.new_rows, done.duplicates, done.poison) == ((0, 17, 183) if again else (17, 0, 183))
        assert done.known == {STREAM: Known(1)}, "it is accounted for, and need not come again"
    assert [one.window.inferences for one in reader.windows(EVER, BOARD)] == list(range(17))
    (streams,) = store._db.execute("select count(*) from streams").fetchone()
    assert streams == 17
    assert msgspec.msgpack.decode(reader.poison(1)[0].payload, type=Window) == bodies[-1]


def test_a_merged_window_accounts_for_those_that_it_replaces(store: SqliteWriter) -> None:
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
    store: SqliteWriter, reader: SqliteReader, row: Row
) -> None:
    done = store.commit(Arrivals([batch(row, *windows(2))]))
    assert (done.new_rows, done.poison, done.known) == (1, 1, {STREAM: Known(2)})
    (kept,) = reader.poison(10)
    assert kept.topic.endswith("/press-1")
    assert kept.payload == bytes(row.body)
    assert store.commit(Arrivals([batch(row)])).poison == 0, "counted once"
    assert reader.poison_count() == 1


@pytest.mark.parametrize("number", [0, -1, 2**62, 2**63, 2**64 - 1])
def test_a_number_that_no_board_gives_is_put_aside_and_not_accounted_for(store: SqliteWriter, number: int) -> None:
    done = store.commit(Arrivals([batch(Row(number, 0, row_of(1, window(1)).body))]))
    assert (done.poison, done.new_rows, done.known) == (1, 0, {STREAM: Known(0)})


def test_figures_beyond_what_the_store_can_hold_are_kept_in_the_body(store: SqliteWriter, reader: SqliteReader) -> None:
    huge = msgspec.structs.replace(window(1), errors={"run": 2**63, "input": 2**63}, cpu_permille=2**63)
    assert store.commit(Arrivals([batch(row_of(1, huge))])).new_rows == 1
    assert [one.window for one in reader.windows(EVER, BOARD)] == [huge]


def test_gaps_that_tell_of_more_rows_than_there_can_be_leave_every_board_readable(
    store: SqliteWriter, reader: SqliteReader
) -> None:
    huge = [row_of(number, Gap("quota", b"", {"x": 2**62})) for number in (1, 2)]
    for epoch in (b"epoch--1", b"epoch--2", b"epoch--3"):
        store.commit(Arrivals([batch(*huge, stream=Stream(BOARD, epoch))]))
    (summary,) = reader.devices()
    assert summary.lost_rows == 6 * 2**32
    assert [one.gap.counts for one in reader.gaps(EVER)] == [{"x": 2**62}] * 6, "what the board said stays"


def test_what_a_stream_has_lost_is_counted_up_to_what_can_be_summed(store: SqliteWriter, reader: SqliteReader) -> None:
    rows = [row_of(number, Gap("quota", b"", {"x": 2**62})) for number in range(1, 300)]
    store.commit(Arrivals([batch(*rows)]))
    assert reader.devices()[0].lost_rows == 2**40


@pytest.mark.parametrize("field", ["uptime_ms", "duration_ms"])
def test_a_window_that_is_longer_than_any_board_lives_is_put_aside(
    store: SqliteWriter, reader: SqliteReader, field: str
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


def test_a_row_of_a_later_version_is_kept_and_later_fields_of_known_ones_survive(
    store: SqliteWriter, path: Path
) -> None:
    later = Row(1, 7, msgspec.Raw(msgspec.msgpack.encode(["new", "things"])))
    longer = [*msgspec.msgpack.decode(msgspec.msgpack.encode(window(2))), "a field that comes later"]
    store.commit(Arrivals([batch(later, Row(2, 0, msgspec.Raw(msgspec.msgpack.encode(longer))))]))
    with sqlite3.connect(path) as db:
        assert msgspec.msgpack.decode(db.execute("select body from others").fetchone()[0]) == ["new", "things"]
        assert msgspec.msgpack.decode(db.execute("select body from windows").fetchone()[0])[-1] == longer[-1]
    assert store.commit(Arrivals([batch(later)])).duplicates == 1


def test_the_poison_that_is_kept_is_bounded_and_all_of_it_is_counted(store: SqliteWriter, reader: SqliteReader) -> None:
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

    def test_rows_of_one_boot_keep_their_order_and_distance(self, store: SqliteWriter, reader: SqliteReader) -> None:
        store.commit(Arrivals([batch(*(unset(n, n * 10_000) for n in (1, 2, 3)))]))
        stored = list(reader.windows(EVER, BOARD))
        assert [one.sequence for one in stored] == [1, 2, 3]
        assert [one.at_ms for one in stored] == [NOW - 21_000, NOW - 11_000, NOW - 1000]
        assert {one.window.start_ms for one in stored} == {5000}, "what the board said stays"

    def test_a_clock_that_was_set_later_in_the_boot_dates_the_rows_before(
        self, store: SqliteWriter, reader: SqliteReader
    ) -> None:
        known = row_of(3, window(3, at_ms=NOW - 3_600_000, uptime_ms=90_000))
        store.commit(Arrivals([batch(unset(1, 10_000), unset(2, 50_000), known)]))
        began = NOW - 3_600_000 - 90_000
        assert [one.at_ms - began for one in reader.windows(EVER, BOARD)] == [10_000, 50_000, 90_000]

    @pytest.mark.parametrize(("hours", "same"), [(2, True), (50, False)])
    def test_a_row_without_a_clock_is_of_the_boot_before_where_that_can_be(
        self, store: SqliteWriter, reader: SqliteReader, hours: int, same: bool
    ) -> None:
        store.commit(Arrivals([batch(row_of(1, window(1, at_ms=NOW - 1000, uptime_ms=60_000)))]))
        later = NOW + hours * 3_600_000
        store.commit(Arrivals([batch(unset(2, 120_000), at_ms=later)]))
        assert [*reader.windows(EVER, BOARD)][1].at_ms == (NOW + 59_000 if same else later - 1000)

    def test_an_earlier_boot_is_put_before_the_later_one(self, store: SqliteWriter, reader: SqliteReader) -> None:
        store.commit(Arrivals([batch(unset(1, 500_000), unset(2, 501_000), unset(3, 2000))]))
        assert numbers_of(reader) == [1, 2, 3]

    def test_batches_of_a_backlog_keep_their_order(self, store: SqliteWriter, reader: SqliteReader) -> None:
        for group in range(4):
            rows = [unset(n, n * 1000) for n in range(group * 10 + 1, group * 10 + 11)]
            store.commit(Arrivals([batch(*rows, at_ms=NOW + group * 5)]))
        assert numbers_of(reader) == list(range(1, 41))

    def test_a_time_years_ahead_or_before_is_not_believed(self, store: SqliteWriter, reader: SqliteReader) -> None:
        rows = [row_of(1, window(1, at_ms=NOW + 10**11)), row_of(2, window(2, at_ms=10**9))]
        store.commit(Arrivals([batch(*rows)]))
        assert all(abs(one.at_ms - NOW) < 10_000 for one in reader.windows(EVER, BOARD))
        summary = reader.device(BOARD)
        assert summary is not None
        assert summary.clock_off_ms == 10**9 + 1000 - NOW
        assert store.commit(Arrivals([batch(*rows, at_ms=NOW + 10**12)])).duplicates == 2, "also when it has come"

    def test_a_row_that_is_held_up_does_not_put_its_clock_back(self, store: SqliteWriter, reader: SqliteReader) -> None:
        seen = []
        for number, (off_ms, late_ms) in enumerate([(0, 0), (0, 300_000), (0, 0), (70_000, 0), (0, 0)], 1):
            now = NOW + number * 10**6
            row = row_of(number, window(number, at_ms=now - 1000 + off_ms - late_ms))
            store.commit(Arrivals([batch(row, at_ms=now)]))
            summary = reader.device(BOARD)
            assert summary is not None
            seen.append(summary.clock_off_ms)
        assert seen == [0, -37_500, 0, 70_000, 0]

    def test_placed_rows_that_come_again_are_known(self, store: SqliteWriter) -> None:
        rows = batch(unset(1, 1000), unset(2, 2000), row_of(3, Gap("quota", pack_ranges([8]))))
        store.commit(Arrivals([rows]))
        done = store.commit(Arrivals([msgspec.structs.replace(rows, received_ms=NOW + 50_000)]))
        assert (done.new_rows, done.duplicates, done.taken_back) == (0, 3, 0)


class TestStates:
    """Births and wills."""

    def told(self, store: SqliteWriter, reader: SqliteReader, *states: State, retained: bool = False) -> State:
        store.commit(Arrivals(states=[IncomingState(BOARD, one, NOW, retained) for one in states]))
        summary = reader.device(BOARD)
        assert summary is not None
        assert summary.state is not None
        return summary.state

    def test_a_late_will_does_not_speak_for_a_newer_birth(self, store: SqliteWriter, reader: SqliteReader) -> None:
        born = state(session="s2", since_ms=NOW + 5)
        assert self.told(store, reader, state(), born, state(online=False)) == born

    def test_a_will_of_the_last_birth_counts(self, store: SqliteWriter, reader: SqliteReader) -> None:
        assert not self.told(store, reader, state(), state(online=False)).online

    def test_a_will_whose_birth_never_came_counts(self, store: SqliteWriter, reader: SqliteReader) -> None:
        later = state(session="s9", online=False, since_ms=NOW + 60_000)
        assert self.told(store, reader, state(), later) == later

    def test_what_the_broker_had_kept_says_nothing_of_now(self, store: SqliteWriter, reader: SqliteReader) -> None:
        self.told(store, reader, state())
        store.commit(Arrivals(states=[IncomingState(BOARD, state(), NOW + 10**6, retained=True)]))
        summary = reader.device(BOARD)
        assert summary is not None
        assert (summary.last_seen_ms, summary.state_ms) == (NOW, NOW)


def test_answers_to_commands_are_kept_once(store: SqliteWriter, reader: SqliteReader) -> None:
    answer = IncomingReply(BOARD, Reply(1, "ops-1", "ping", True), NOW)
    store.commit(Arrivals(replies=[answer, answer]))
    store.commit(Arrivals(replies=[answer]))
    assert [one.reply for one in reader.replies(BOARD, EVER)] == [answer.reply]


def test_many_holes_are_bounded_and_nothing_is_lost_for_it(store: SqliteWriter, reader: SqliteReader) -> None:
    odd = windows(*range(3, 12_003, 2))
    done = store.commit(Arrivals([batch(*odd)]))
    assert (done.new_rows, done.put_off) == (4096, 1904)
    everything = batch(*windows(*range(1, 12_003)))
    while done.known[STREAM].through < 12_002:  # as the board would: what is not acknowledged comes again
        done = store.commit(Arrivals([everything]))
    assert numbers_of(reader) == list(range(1, 12_003))


def test_rows_that_tell_of_more_holes_than_any_board_has_are_put_off_or_aside(store: SqliteWriter) -> None:
    many = [row_of(n, Gap("quota", pack_ranges(range(n * 100_000, n * 100_000 + 20_000, 2)))) for n in (1, 2, 3)]
    done = store.commit(Arrivals([batch(*many)]))
    assert (done.new_rows, done.put_off) == (1, 2)
    more = row_of(1, Gap("quota", pack_ranges(range(100, 200_000, 2))))
    done = store.commit(Arrivals([batch(more, stream=Stream(BOARD, b"epoch--2"))]))
    assert (done.new_rows, done.poison) == (0, 1)


def test_of_a_board_with_endless_slots_some_are_known_at_once(store: SqliteWriter, reader: SqliteReader) -> None:
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


def test_two_writers_are_one_too_many(store: SqliteWriter, path: Path) -> None:
    with pytest.raises(BusyError, match="another collector"):
        SqliteWriter(path)


def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    SqliteWriter(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"pragma user_version = {SCHEMA + 1}")
    db.close()
    before = path.read_bytes()
    for opened in (open_store, open_reader):
        with pytest.raises(StoreError, match=f"schema {SCHEMA + 1}") as caught:
            opened(f"sqlite:///{path}")
        assert (caught.value.code, caught.value.exit_code) == ("store-newer", 4)
    assert path.read_bytes() == before


def test_a_store_of_an_older_version_is_brought_up_to_date_with_what_is_in_it(path: Path) -> None:
    with sqlite3.connect(path) as db:
        for statement in MIGRATIONS[0].split(";"):
            db.execute(statement)
        db.execute(f"pragma application_id = {APPLICATION_ID}")
        db.execute("pragma user_version = 1")
        db.execute("insert into devices values (1, 'works', 'press-1', '00', 1, 1, null, 0)")
        db.execute("insert into streams (id, device, epoch) values (1, 1, ?)", (STREAM.epoch,))
        body = msgspec.msgpack.encode(event())
        row = (NOW, 1, 1, 7, NOW, "main", "throttled", "info", body)
        db.execute("insert into events values (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    db.close()
    with pytest.raises(StoreError) as caught:
        open_reader(f"sqlite:///{path}")
    assert caught.value.code == "store-older"
    SqliteWriter(path).close()
    reader = SqliteReader(path)
    assert [one.event for one in reader.events_received(0)] == [event()]
    reader.close()


def test_windows_of_all_boards_come_in_one_pass_by_time(store: SqliteWriter, reader: SqliteReader) -> None:
    others = [Stream(Device(fleet, f"b-{number}"), b"epoch--1") for fleet in ("works", "yard") for number in range(2)]
    for place, stream in enumerate(others):
        rows = [row_of(at + 1, window(0, at_ms=NOW - 9000 + at * 10 + place)) for at in range(400)]
        store.commit(Arrivals([batch(*rows, stream=stream)]))
    found = [*reader.windows(EVER)]
    assert [one.at_ms for one in found] == sorted(one.at_ms for one in found)
    assert len({(one.device, one.sequence) for one in found}) == 1600, "more than one page"
    assert {one.device for one in reader.windows(EVER, fleet="yard")} == {others[2].device, others[3].device}
    assert sum(1 for _ in reader.windows(EVER, others[0].device)) == 400


def test_events_come_in_the_order_in_which_they_came_in(store: SqliteWriter, reader: SqliteReader) -> None:
    for first in range(1, 1002, 2):
        rows = [row_of(number, event(at_ms=NOW - number)) for number in (first, first + 1)]
        store.commit(Arrivals([batch(*rows, at_ms=NOW + first)]))
    found = [*reader.events_received(NOW + 5)]
    assert sorted(one.sequence for one in found) == [*range(5, 1003)], "more than one page"
    assert [one.received_ms for one in found] == sorted(one.received_ms for one in found)
    assert [*reader.events_received(NOW, fleet="other")] == []


def test_an_alarm_of_drift_stands_in_the_summary_until_it_is_cleared(store: SqliteWriter, reader: SqliteReader) -> None:
    def told(number: int, name: str, feature: str = "input.x") -> Row:
        return row_of(number, Event(name, "main", "00" * 8, NOW + number, 1, True, "info", {"feature": feature}))

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


def test_a_store_that_is_taken_away_or_exchanged_is_told(store: SqliteWriter, reader: SqliteReader, path: Path) -> None:
    store.commit(Arrivals([batch(row_of(1, window(1)))]))
    aside = path.rename(path.with_name("aside.db"))
    with pytest.raises(StoreError, match="gone") as caught:
        reader.devices()
    assert caught.value.code == "store-gone"
    path.touch()
    with pytest.raises(StoreError, match="another store"):
        reader.devices()
    aside.replace(path)
    assert len(reader.devices()) == 1


def test_a_store_that_a_newer_version_took_over_is_not_read_on(
    store: SqliteWriter, reader: SqliteReader, path: Path
) -> None:
    assert reader.devices() == []
    with sqlite3.connect(path) as db:
        db.execute(f"pragma user_version = {SCHEMA + 1}")
    db.close()
    with pytest.raises(StoreError) as caught:
        reader.devices()
    assert caught.value.code == "store-newer"


def test_a_damaged_store_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 8000)
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        SqliteWriter(path)
    assert caught.value.code == "store-damaged"
    assert path.read_bytes() == before


def test_somebody_elses_database_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("create table accounts (name)")
    db.close()
    with pytest.raises(UserError) as caught:
        SqliteWriter(path)
    assert caught.value.code == "store-foreign"


def test_the_store_is_its_owners_alone(store: SqliteWriter, path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0


def test_to_look_at_a_store_that_is_not_there_makes_none(path: Path) -> None:
    with pytest.raises(UserError, match="no store"):
        SqliteReader(path)
    assert not path.exists()


def test_newest_events_come_the_oldest_first_and_only_those_of_the_fleet(
    store: SqliteWriter, reader: SqliteReader
) -> None:
    other = Stream(Device("home", "press-1"), b"epoch--2")
    rows = [row_of(n, event(f"e{n}", at_ms=NOW - 1000 + n)) for n in range(1, 6)]
    store.commit(Arrivals([batch(*rows), batch(*rows[:1], stream=other)]))
    assert [one.event.name for one in reader.events(EVER, newest=2)] == ["e4", "e5"]
    assert [one.device for one in reader.events(EVER, fleet="home")] == [other.device]
    assert [one.event.name for one in reader.events(Span(NOW - 998, NOW - 996), BOARD)] == ["e2", "e3"]


def test_long_spans_come_whole(store: SqliteWriter, reader: SqliteReader) -> None:
    for start in range(0, 1600, 400):
        store.commit(Arrivals([batch(*windows(*range(start + 1, start + 401)))]))
    assert numbers_of(reader) == list(range(1, 1601))


def test_a_board_can_be_forgotten_and_come_again(store: SqliteWriter, reader: SqliteReader) -> None:
    other = Stream(Device("works", "press-2"), b"epoch--2")
    both = [batch(*windows(1, 2)), batch(*windows(1), stream=other)]
    store.commit(Arrivals(both, [IncomingState(BOARD, state(), NOW)]))
    assert store.forget(BOARD) == 2
    assert [one.device for one in reader.devices()] == [other.device]
    assert store.forget(BOARD) == 0
    assert store.commit(Arrivals([batch(*windows(1, 2))])).new_rows == 2
    assert numbers_of(reader) == [1, 2]


def test_names_are_only_ever_data(store: SqliteWriter, reader: SqliteReader) -> None:
    odd = Device("works'); drop table windows; --", "x' or '1'='1")
    store.commit(Arrivals([batch(*windows(1), stream=Stream(odd, b"epoch--1"))]))
    assert reader.device(Device("works", "x' or '1'='1")) is None
    assert numbers_of(reader, odd) == [1]


def test_an_error_while_writing_keeps_nothing_of_it(store: SqliteWriter, path: Path) -> None:
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("begin immediate")
        store._db.execute("pragma busy_timeout = 0")
        with pytest.raises(EdgeglmError) as caught:
            store.commit(Arrivals([batch(*windows(1))]))
        assert caught.value.code == "store-locked"
        other.execute("rollback")
    other.close()
    done: Committed = store.commit(Arrivals([batch(*windows(1))]))
    assert (done.new_rows, done.duplicates) == (1, 0)
