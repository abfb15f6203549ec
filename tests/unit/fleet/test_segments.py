"""Older rows of an SQLite store in segments beside it: nobody notices, whatever comes in between."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from edgeglm_agent.wire.telemetry import Event, Gap, Result, Row, pack_ranges, row_of

from edgeglm.errors import StoreError, UserError
from edgeglm.fleet.store import placing, segment_files, segment_pages, sqlite_tables, sqlite_tending
from edgeglm.fleet.store.keeping import DAY_MS, Keeping, Tended, check_keeping
from edgeglm.fleet.store.segment_list import Segment, folder_of
from edgeglm.fleet.store.sqlite_reader import SqliteReader
from edgeglm.fleet.store.sqlite_tending import SqliteTending
from edgeglm.fleet.store.sqlite_writer import SqliteWriter
from edgeglm.fleet.store.types import Arrivals, Device, Span, Stream
from tests.support.fleet.arriving import EVER, NOW, batch, unset, window
from tests.support.fleet.by_hour import by_hour

FIRST = NOW - 6 * DAY_MS
STREAMS = [Stream(Device(fleet, name), b"epoch--1") for fleet, name in (("works", "a"), ("works", "b"), ("yard", "a"))]
TIMES = 4 * 8  # a row of each board every three hours
EACH_MS = 3 * 3_600_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteWriter]:
    one = SqliteWriter(path)
    for number in range(1, TIMES + 1):
        at_ms = FIRST + number * EACH_MS
        one.commit(
            Arrivals([batch(*rows_at(number, place), stream=s, at_ms=at_ms + 500) for place, s in enumerate(STREAMS)])
        )
    yield one
    one.close()


def rows_at(number: int, place: int) -> list[Row]:
    at_ms = FIRST + number * EACH_MS + place
    bodies: list[Any] = [window(number, at_ms=at_ms)]
    if number % 5 == 0:
        bodies.append(Event("throttled", "main", "00" * 8, at_ms - 7, 1, True, "info", {"at": number}))
        bodies.append(Result("main", 1, "00" * 8, at_ms - 3, b"{}"))
    if number % 9 == 0:
        bodies.append(Gap("quota", pack_ranges([10_000 + number]), {"Window": 1}))
    return [row_of(number * 10 + at, body) for at, body in enumerate(bodies)]


def tend(path: Path, keeping: Keeping | None = None, now_ms: int = NOW) -> Tended:
    return SqliteTending(path, keeping or Keeping(), now_ms).run()


def answers(path: Path) -> dict[str, Any]:
    reader = SqliteReader(path)
    reader.page = 7
    span, one = Span(FIRST + DAY_MS // 2, FIRST + 3 * DAY_MS), STREAMS[1].device
    try:
        return {
            "devices": reader.devices(),
            "windows": [*reader.windows(EVER)],
            "span": [*reader.windows(span)],
            "board": [*reader.windows(span, one)],
            "fleet": [*reader.windows(EVER, fleet="yard")],
            "events": [*reader.events(EVER)],
            "newest": [*reader.events(span, one, newest=3)],
            "newest packed": [reader.packed_windows(one, EVER, newest) for newest in (0, 1, 9, 20, 25, 100)],
            "newest of all": [*reader.events(EVER, newest=30)],
            "received": [*reader.events_received(FIRST + DAY_MS)],
            "results": [*reader.results(one, EVER)],
            "all results": [*reader.results(None, EVER)],
            "results of a fleet": [*reader.results(None, EVER, fleet="yard")],
            "newest of a fleet": [
                [*newest]
                for count in (0, 1, 9, 30, 100)
                for newest in (
                    reader.windows(EVER, fleet="yard", newest=count),
                    reader.events(span, fleet="yard", newest=count),
                    reader.results(None, EVER, newest=count, fleet="yard"),
                )
            ],
            "newest of nobody": [*reader.windows(EVER, fleet="nowhere", newest=9)],
            "newest results": [*reader.results(one, EVER, newest=12)],
            "gaps": [*reader.gaps(EVER)],
            "by the hour": [by_hour(reader, stream.device, "main", EVER) for stream in STREAMS],
        }
    finally:
        reader.close()


def segments(path: Path) -> dict[str, int]:
    """Return the listed files, with their rows."""
    with sqlite3.connect(path) as db:
        found = db.execute("select name, rows from segments where replaced_ms is null").fetchall()
    db.close()
    return dict(found)


def in_journal(path: Path) -> int:
    with sqlite3.connect(path) as db:
        (count,) = db.execute("select count(*) from windows").fetchone()
    db.close()
    return int(count)


def test_few_rows_with_pictures_are_held_at_a_time_and_many_without() -> None:
    bare, pictures = [Segment(1, "results", 0, "x", 100_000, size, 0, 0, 1) for size in (15_000_000, 1_600_000_000)]
    assert (segment_pages.most_rows([bare]), segment_pages.most_rows([pictures])) == (50_000, 4000)
    assert segment_pages.most_rows([]) == 50_000


@pytest.mark.parametrize("stretch", [11, 50_000])
def test_a_reader_is_answered_the_same_wherever_rows_lie(
    store: SqliteWriter, path: Path, monkeypatch: pytest.MonkeyPatch, stretch: int
) -> None:
    monkeypatch.setattr(segment_pages, "_ROWS", stretch)
    monkeypatch.setattr(sqlite_tending, "_CHUNK", 15)
    before = answers(path)
    assert len(before["windows"]) == TIMES * 3
    done = tend(path, Keeping(compact_after_ms=3 * DAY_MS))
    assert done.compacted_rows > 0
    assert 0 < in_journal(path) < TIMES * 3
    assert answers(path) == before
    tend(path)
    assert in_journal(path) == 0
    assert answers(path) == before
    assert str(tend(path)) == "", "nothing is left to do"


def test_of_days_that_are_not_over_what_fills_a_segment_moves_an_hour_after_it_came(
    store: SqliteWriter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_tending, "_CHUNK", 5)
    before, now_ms = answers(path), FIRST + 5 * DAY_MS // 2
    days_ms = [now_ms // DAY_MS * DAY_MS - DAY_MS, now_ms // DAY_MS * DAY_MS, now_ms - 3_600_000]

    def waiting(since_ms: int, until_ms: int) -> int:
        with sqlite3.connect(path) as db:
            found = db.execute("select count(*) from windows where at_ms >= ? and at_ms < ?", (since_ms, until_ms))
            return int(found.fetchone()[0])

    tend(path, Keeping(compact_after_ms=2 * DAY_MS), now_ms)
    assert waiting(days_ms[0], days_ms[2]) > 25
    assert str(tend(path, now_ms=now_ms))
    assert [waiting(0, days_ms[0]), waiting(*days_ms[:2]) < 5, waiting(*days_ms[1:]) < 5] == [0, True, True]
    assert waiting(days_ms[2], NOW) > 20, "what has just come stays"
    assert answers(path) == before
    assert str(tend(path, now_ms=now_ms)) == "", "nothing is left to do"


def test_of_rows_with_pictures_few_are_moved_at_a_time(
    store: SqliteWriter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = answers(path)
    monkeypatch.setattr(sqlite_tending, "_CHUNK_BYTES", 100)
    done = tend(path)
    assert done.segments > done.compacted_rows / 10
    assert in_journal(path) == 0
    assert answers(path) == before


def test_a_segment_grows_no_larger_than_can_be_sorted_in_memory(
    store: SqliteWriter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_tending, "_CHUNK", 4)
    monkeypatch.setattr(sqlite_tending, "_MOST_ROWS", 10)
    before = answers(path)
    for _ in range(5):
        tend(path)
    assert max(segments(path).values()) in (8, 9, 10)
    assert answers(path) == before


def test_who_reads_while_rows_move_sees_each_once(
    store: SqliteWriter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_pages, "_ROWS", 11)
    before = answers(path)["windows"]
    reader = SqliteReader(path)
    reader.page = 7
    reading = reader.windows(EVER)
    seen = [next(reading) for _ in range(10)]
    for days in (4, 3, 2, 1):
        tend(path, Keeping(compact_after_ms=days * DAY_MS))
        seen += [next(reading) for _ in range(20)]
    assert [*seen, *reading] == before
    reader.close()


def test_rows_that_come_again_after_they_have_moved_are_known(store: SqliteWriter, path: Path) -> None:
    tend(path)
    again = [batch(*rows_at(number, 0), stream=STREAMS[0], at_ms=NOW) for number in range(1, TIMES + 1)]
    done = store.commit(Arrivals(again))
    assert (done.new_rows, done.duplicates, done.taken_back) == (0, sum(len(one.rows) for one in again), 0)
    other = row_of(10, window(1, at_ms=FIRST + EACH_MS + 5))
    done = store.commit(Arrivals([batch(other, stream=STREAMS[0])]))
    assert (done.new_rows, done.taken_back) == (1, 1), "what is of a restored card is kept all the same"


def test_a_row_without_a_clock_is_known_after_it_has_moved(path: Path) -> None:
    store = SqliteWriter(path)
    rows = batch(unset(1, 1000), unset(2, 2000), at_ms=FIRST)
    store.commit(Arrivals([rows]))
    assert tend(path).compacted_rows == 2
    done = store.commit(Arrivals([msgspec.structs.replace(rows, received_ms=NOW)]))
    assert (done.new_rows, done.duplicates) == (0, 2)
    store.close()


def test_rows_of_a_board_that_claims_to_be_up_for_centuries_are_no_older_than_any_board_and_move(path: Path) -> None:
    store, year_ms = SqliteWriter(path), 365 * DAY_MS
    bodies = [window(number, at_ms=5000, uptime_ms=(30 - number) * year_ms) for number in range(1, 30)]
    ages = {"clock_synchronised": False, "duration_ms": 99 * year_ms, "inferences": 1}
    rows = [row_of(number, msgspec.structs.replace(body, **ages)) for number, body in enumerate(bodies, 1)]
    store.commit(Arrivals([batch(*rows, at_ms=FIRST)]))
    reader = SqliteReader(path)
    assert min(one.at_ms for one in reader.windows(EVER)) == placing.EARLIEST_MS
    with sqlite3.connect(path) as db:  # as an earlier version placed them
        db.execute("update windows set at_ms = at_ms - ? where sequence < 9", (9000 * year_ms,))
    db.close()
    assert tend(path).compacted_rows == len(rows)
    assert len([*reader.windows(EVER)]) == len(rows)
    reader.close()
    store.close()


def test_what_comes_late_makes_segments_of_its_own_that_become_one(store: SqliteWriter, path: Path) -> None:
    tend(path)
    day = FIRST // DAY_MS
    for turn in range(1, 4):
        late = row_of(5000 + turn, window(turn, at_ms=FIRST + EACH_MS + turn))
        store.commit(Arrivals([batch(late, stream=STREAMS[0], at_ms=NOW + turn * DAY_MS)]))
        assert tend(path, now_ms=NOW + turn * DAY_MS).compacted_rows == 0, "what came in just now waits"
        before = answers(path)
        assert tend(path, now_ms=NOW + (turn + 2) * DAY_MS).compacted_rows == 1
        assert answers(path) == before
        with sqlite3.connect(path) as db:
            (count,) = db.execute(
                "select count(*) from segments where replaced_ms is null and source = 'windows' and day = ?", (day,)
            ).fetchone()
        db.close()
        assert count == (turn + 1 if turn < 3 else 1)


def test_a_row_that_comes_in_between_is_not_removed_with_those_that_move(
    store: SqliteWriter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = segment_files.SegmentFiles.write
    came = []

    def write_slowly(self: segment_files.SegmentFiles, source: str, *given: Any, **more: Any) -> Any:
        written = write(self, source, *given, **more)
        if source == "windows" and len(came) < 3:
            number = 7000 + len(came)
            row = row_of(number, window(number, at_ms=FIRST + (len(came) + 1) * EACH_MS + 9))
            came.append(row)
            store.commit(Arrivals([batch(row, stream=STREAMS[2], at_ms=FIRST + DAY_MS)]))
        return written

    monkeypatch.setattr(segment_files.SegmentFiles, "write", write_slowly)
    tend(path)
    reader = SqliteReader(path)
    numbers = [one.sequence for one in reader.windows(EVER, STREAMS[2].device)]
    reader.close()
    assert len(numbers) == len(set(numbers)) == TIMES + 3
    assert in_journal(path) == 0
    assert {file.name for file in folder_of(path).glob("*.parquet")} >= set(segments(path))


def test_a_board_is_forgotten_in_segments_too(store: SqliteWriter, path: Path) -> None:
    tend(path)
    everything = answers(path)["windows"]
    gone = STREAMS[0].device
    rows = sum(len(rows_at(number, 0)) for number in range(1, TIMES + 1))
    assert store.forget(gone) == rows
    assert answers(path)["windows"] == [one for one in everything if one.device != gone]
    files = [str(file) for file in folder_of(path).iterdir()]
    with duckdb.connect() as database:
        query = "select count(*), count(distinct device) from read_parquet(?, union_by_name = true)"
        ((count, boards),) = database.execute(query, [files]).fetchall()
    assert (count, boards) == (rows * 2, 2), "in no file is anything left of it"
    assert store.commit(Arrivals([batch(*rows_at(1, 0), stream=STREAMS[0], at_ms=NOW)])).new_rows == 1


def test_files_that_a_kill_has_left_go_and_replaced_ones_stay_for_a_day(
    store: SqliteWriter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_tending, "_CHUNK", 15)
    tend(path)
    left = folder_of(path) / "windows-20270101-00000000.parquet"
    left.write_bytes(b"half")
    files = {file.name for file in folder_of(path).iterdir()}
    assert files > set(segments(path)) | {left.name}, "those that became one are there for who copies the store"
    tend(path, now_ms=NOW + DAY_MS // 2)
    assert {file.name for file in folder_of(path).iterdir()} == files - {left.name}
    tend(path, now_ms=NOW + DAY_MS + 1)
    assert {file.name for file in folder_of(path).iterdir()} == set(segments(path))


def test_a_copy_with_its_folder_is_a_store_and_without_it_is_refused_and_left_as_it_is(
    store: SqliteWriter, path: Path
) -> None:
    tend(path, Keeping(compact_after_ms=3 * DAY_MS))
    copy = path.with_name("copy.db")
    with sqlite3.connect(path) as whole, sqlite3.connect(copy) as into:
        whole.backup(into)
    whole.close()
    into.close()
    before = answers(path)
    tend(path)  # goes on meanwhile
    with pytest.raises(StoreError, match="missing") as caught:
        SqliteWriter(copy)
    assert caught.value.code == "store-damaged"
    shutil.copytree(folder_of(path), folder_of(copy))
    SqliteWriter(copy).close()
    assert answers(copy) == before
    for cut in folder_of(copy).glob("windows-*"):
        cut.write_bytes(cut.read_bytes()[:-100])
    for opened in (SqliteWriter, answers):
        with pytest.raises(StoreError) as caught:
            opened(copy)
        assert caught.value.code == "store-damaged"


def test_whatever_is_wrong_with_a_segment_is_told_and_never_a_bug(store: SqliteWriter, path: Path) -> None:
    tend(path)
    with sqlite3.connect(path) as db:
        names = [name for (name,) in db.execute("select name from segments where source = 'windows' order by day")]
    db.close()
    chance, file = random.Random(0), folder_of(path) / names[0]
    whole, told = file.read_bytes(), list[str]()
    for _ in range(20):
        damaged = bytearray(whole)
        at = chance.randrange(len(damaged))
        damaged[at : at + 8] = chance.randbytes(len(damaged[at : at + 8]))
        file.write_bytes(damaged)
        files = segment_files.SegmentFiles(folder_of(path), threads=1)
        for ask in (
            lambda files=files: files.devices(names[:1]),
            lambda files=files: files.rows("device, at_ms, slot, body", names[:2], "device > ?", (0,), "device"),
            lambda files=files: files.rewrite("windows", FIRST // DAY_MS, names[:1], 24, hourly=False, without=9),
        ):
            try:
                ask()
            except StoreError as error:
                told.append(error.code)
        files.close()
    assert told.count("store-damaged") > 10


def test_older_segments_than_one_that_is_damaged_wait_for_their_sums_and_nothing_else_does(
    store: SqliteWriter, path: Path
) -> None:
    tend(path, now_ms=NOW - 2 * DAY_MS)
    with sqlite3.connect(path) as db:  # as an earlier version left it
        db.execute("update segments set summed = 0")
        db.execute("delete from hour_sums")
        days = db.execute("select day, name from segments where source = 'windows' order by day").fetchall()
    (folder_of(path) / days[1][1]).write_bytes(b"PAR1" + bytes(99) + b"PAR1")
    with pytest.raises(StoreError, match="damaged"):
        tend(path)
    with sqlite3.connect(path) as db:
        left = [day for (day,) in db.execute("select day from segments where source = 'windows' and summed = 0")]
    db.close()
    assert left == [days[0][0], days[1][0]]
    assert len(days) > 2
    assert in_journal(path) == 0


def test_sums_of_a_board_that_is_forgotten_are_found_without_a_look_at_all_others(
    store: SqliteWriter, path: Path
) -> None:
    statement = f"delete from hour_sums where day in ({sqlite_tables._DAYS_OF_SUMS}) and device = 1"
    with sqlite3.connect(path) as db:
        plan = [row[3] for row in db.execute(f"explain query plan {statement}")]
    db.close()
    assert not [step for step in plan if "SCAN hour_sums" in step]


def test_segments_are_their_owners_alone(store: SqliteWriter, path: Path) -> None:
    tend(path)
    files = [folder_of(path), *folder_of(path).iterdir()]
    assert len(files) > 4
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)


@pytest.mark.parametrize(
    "keeping",
    [
        pytest.param(Keeping(compact_after_ms=1000), id="less-than-a-day"),
        pytest.param(Keeping(raw_ms=9 * DAY_MS, windows_ms=9 * DAY_MS), id="removed-before-merged"),
    ],
)
def test_ages_that_cannot_be_meant_are_refused(keeping: Keeping) -> None:
    with pytest.raises(UserError) as caught:
        check_keeping(keeping)
    assert caught.value.code == "keep-invalid"
