"""What slots did by the hour: whatever is added up when, it is what the windows one by one come to, in every store."""

from __future__ import annotations

import random
import sqlite3
import threading
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from edgeglm_agent.wire.sketch import Sketch
from edgeglm_agent.wire.telemetry import BoardReading, Drift, Row, Window, row_of

from edgeglm.errors import StoreError
from edgeglm.fleet import histograms
from edgeglm.fleet.addresses import PostgresAddress, parse_store
from edgeglm.fleet.page import stretches
from edgeglm.fleet.page.life import Life, life
from edgeglm.fleet.store import hour_sums, postgres_hours
from edgeglm.fleet.store.base import StoreReader, StoreWriter
from edgeglm.fleet.store.keeping import DAY_MS, HOUR_MS, Keeping
from edgeglm.fleet.store.opening import open_reader, open_store
from edgeglm.fleet.store.postgres_tending import PostgresTending
from edgeglm.fleet.store.sqlite_tending import SqliteTending
from edgeglm.fleet.store.types import Arrivals, Device, Span, Stream
from tests.support.fleet.arriving import BOARD, NOW, STREAM, batch
from tests.support.fleet.by_hour import by_hour, one_by_one
from tests.support.fleet.damage import execute
from tests.support.fleet.postgres import Postgres

FIRST = (NOW // DAY_MS - 5) * DAY_MS
EACH_MS = 600_000
COUNT = 5 * DAY_MS // EACH_MS
OTHER = Stream(Device("works", "press-2"), b"epoch--2")
SPAN = Span(FIRST, NOW)
SLOTS = ("main", "spare")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/fleet.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def store(url: str) -> Iterator[StoreWriter]:
    one = open_store(url)
    for place, stream in enumerate((STREAM, OTHER)):
        for first in range(1, COUNT + 1, 72):
            rows = [_row(number, place) for number in range(first, first + 72)]
            one.commit(Arrivals([batch(*rows, stream=stream, at_ms=FIRST + (first + 72) * EACH_MS)]))
    yield one
    one.close()


@pytest.fixture
def reader(store: StoreWriter, url: str) -> Iterator[StoreReader]:
    one = open_reader(url)
    yield one
    one.close()


def _row(number: int, place: int = 0, *, shift_ms: int = 0) -> Row:
    chance = random.Random(f"{place} {number} {shift_ms}")
    model, whole = Sketch(), Sketch()
    for _ in range(chance.randrange(9)):
        took_ms = chance.lognormvariate(1, 1)
        model.add(took_ms)
        whole.add(took_ms + 2)
    start_ms = FIRST + (number - 1) * EACH_MS + shift_ms
    board = BoardReading(
        chance.choice([None, 200, 900]), temperature_decic=chance.choice([None, 400 + chance.randrange(300)])
    )
    window = Window(
        chance.choice(SLOTS), 1, "00" * 8, start_ms, number * EACH_MS, EACH_MS, True, chance.randrange(9),
        {chance.choice(["run", "input"]): 1} if number % 3 == 0 else {},
        b"\xff" if number % 97 == 0 else model.pack(),
        whole.pack() if number % 5 == 0 and number % 97 else b"",
        drift=tuple(Drift(f"f{at}", chance.randrange(900), 90, 50) for at in range(number % 4)),
        board=chance.choice([None, board]),
    )  # fmt: skip
    return row_of(number if not shift_ms else COUNT + number, window)


def tend(url: str, now_ms: int = NOW, keeping: Keeping | None = None) -> None:
    address, keeping = parse_store(url), keeping or Keeping()
    if isinstance(address, PostgresAddress):
        PostgresTending(address, keeping, now_ms).run()
    else:
        SqliteTending(address, keeping, now_ms).run()


def check(reader: StoreReader, *, windows: range | None = None) -> None:
    """Compare; ``windows``: how many may be left to be read by themselves."""
    for device in (BOARD, OTHER.device):
        for slot in SLOTS:
            assert by_hour(reader, device, slot, SPAN) == one_by_one(reader, device, slot, SPAN)
        if windows is not None:
            assert len(reader.hours(device, "main", SPAN, 100_000).windows) in windows


def _first_sum(url: str) -> int:
    address, statement = parse_store(url), "select min(hour) from hour_sums"
    if isinstance(address, PostgresAddress):
        with psycopg.connect(url, options="-c search_path=edgeglm") as one:
            return int((one.execute(statement).fetchone() or ())[0])
    with closing(sqlite3.connect(address)) as db:
        return int(db.execute(statement).fetchone()[0])


def _slot(row: Row) -> str:
    return msgspec.msgpack.decode(row.body, type=Window).slot


def lives(reader: StoreReader) -> list[Life]:
    found = []
    for device in (BOARD, OTHER.device):
        summary = reader.device(device)
        assert summary is not None
        found += [life(reader, summary, span, "main", NOW, {}) for span in ("7d", "30d")]
    return found


def test_hours_come_to_what_their_windows_come_to(store: StoreWriter, reader: StoreReader, url: str) -> None:
    before = lives(reader)
    assert before[0].total.windows > COUNT // 3
    assert before[0].total.unreadable > 0
    check(reader, windows=range(COUNT, COUNT + 1))
    tend(url)
    check(reader, windows=range(2 * DAY_MS // EACH_MS))
    assert lives(reader) == before
    tend(url, NOW + 2 * DAY_MS)
    check(reader, windows=range(1))
    assert lives(reader) == before


def test_what_comes_late_counts_at_once_and_is_added_up_later(
    store: StoreWriter, reader: StoreReader, url: str
) -> None:
    tend(url)
    late = [_row(number, shift_ms=1000) for number in (*range(1, 60, 7), *range(300, 320))]
    assert store.commit(Arrivals([batch(*late, at_ms=NOW)])).new_rows == len(late)
    check(reader)
    before = lives(reader)
    tend(url, NOW + 2 * DAY_MS)
    check(reader, windows=range(1))
    assert lives(reader) == before


def test_what_is_just_being_written_is_added_up_once_it_is_there(postgres: Postgres) -> None:
    url = postgres.new_database()
    store, reader = open_store(url), open_reader(url)
    store.commit(Arrivals([batch(*(_row(number) for number in range(1, COUNT + 1)), at_ms=NOW - DAY_MS)]))
    tend(url)
    store.commit(Arrivals([batch(_row(3, shift_ms=1000), at_ms=NOW)]))
    store.write(Arrivals([batch(_row(4, shift_ms=1000), at_ms=NOW)]))
    with pytest.raises(StoreError) as caught:  # of the same hour: it is noted to be late, and that is held
        tend(url, NOW + DAY_MS)
    assert caught.value.code == "store-locked"
    store.flush()
    assert by_hour(reader, BOARD, "main", SPAN) == one_by_one(reader, BOARD, "main", SPAN)
    tend(url, NOW + DAY_MS)
    assert by_hour(reader, BOARD, "main", SPAN) == one_by_one(reader, BOARD, "main", SPAN)
    assert reader.hours(BOARD, "main", SPAN, 9).windows == []
    reader.close()
    store.close()


def test_windows_that_become_one_come_to_the_same_and_so_does_what_comes_late_then(
    store: StoreWriter, reader: StoreReader, url: str
) -> None:
    tend(url)
    keeping = Keeping(raw_ms=2 * DAY_MS)
    before = by_hour(reader, BOARD, "main", SPAN)
    tend(url, NOW + DAY_MS, keeping)
    after = by_hour(reader, BOARD, "main", SPAN)
    figures = ("windows", "inferences", "errors", "psi_milli", "hottest_decic", "whole", "model")
    assert [[hour[name] for name in figures] for hour in after.values() if not hour["unreadable"]] == [
        [before[number][name] for name in figures] for number, hour in after.items() if not hour["unreadable"]
    ]
    assert store.commit(Arrivals([batch(_row(3, shift_ms=9), at_ms=NOW)])).new_rows == 1
    told = by_hour(reader, BOARD, "main", SPAN) | by_hour(reader, BOARD, "spare", SPAN)
    tend(url, NOW + 3 * DAY_MS, keeping)
    assert (by_hour(reader, BOARD, "main", SPAN) | by_hour(reader, BOARD, "spare", SPAN)).keys() == told.keys()
    assert reader.hours(BOARD, "main", SPAN, 100_000).windows == []


def test_a_board_that_is_forgotten_leaves_no_sum_and_the_others_keep_theirs(
    store: StoreWriter, reader: StoreReader, url: str
) -> None:
    tend(url, NOW + DAY_MS)
    before = by_hour(reader, OTHER.device, "main", SPAN)
    store.forget(BOARD)
    assert reader.hours(BOARD, "main", SPAN, 9) == ([], [])
    assert by_hour(reader, OTHER.device, "main", SPAN) == before
    store.commit(Arrivals([batch(_row(1), at_ms=NOW)]))
    check(reader)
    tend(url, NOW + DAY_MS)
    check(reader)


def test_a_board_that_gets_the_number_of_one_that_was_forgotten_has_none_of_its_sums(
    store: StoreWriter, reader: StoreReader, url: str
) -> None:
    tend(url, NOW + DAY_MS)
    store.forget(OTHER.device)  # the newest: SQLite gives its number again
    another = Stream(Device("works", "press-3"), b"epoch--3")
    store.commit(Arrivals([batch(_row(1), stream=another, at_ms=NOW)]))
    assert sum(len(by_hour(reader, another.device, slot, SPAN)) for slot in SLOTS) == 1


def test_what_is_removed_for_its_age_is_in_no_sum(store: StoreWriter, reader: StoreReader, url: str) -> None:
    tend(url)
    tend(url, NOW + 2 * DAY_MS, Keeping(windows_ms=4 * DAY_MS))
    first = (NOW // DAY_MS - 2) * DAY_MS // HOUR_MS
    assert min(by_hour(reader, BOARD, "main", SPAN)) >= first
    check(reader, windows=range(1))
    assert first <= _first_sum(url) < first + 2


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_whenever_removal_is_stopped_no_sum_is_of_windows_that_are_gone(
    store: StoreWriter, reader: StoreReader, url: str
) -> None:
    class After(threading.Event):
        """Stops a run after so many steps."""

        def __init__(self, steps: int) -> None:
            super().__init__()
            self.left = steps

        def wait(self, _: float | None = None) -> bool:
            self.left -= 1
            return not self.left

    tend(url, NOW + DAY_MS)
    path, keeping = parse_store(url), Keeping(windows_ms=2 * DAY_MS)
    assert not isinstance(path, PostgresAddress)
    left = {len([*reader.windows(SPAN)])}
    for steps in range(1, 9):
        SqliteTending(path, keeping, NOW + DAY_MS, After(steps)).run()
        check(reader)
        left.add(len([*reader.windows(SPAN)]))
    assert len(left) > 2, "it was stopped between two days"


def test_of_a_sum_that_is_damaged_the_windows_are_read_until_it_is_made_anew(
    store: StoreWriter, reader: StoreReader, url: str
) -> None:
    tend(url, NOW + 2 * DAY_MS)
    before = lives(reader)
    late = {at: row for at in range(200, 300, 20) if (row := _row(at, shift_ms=1000)) and _slot(row) == "main"}
    hours = [(FIRST + at * EACH_MS - EACH_MS + 1000) // HOUR_MS for at in late]
    assert len(hours) > 1
    for hour, body in zip(hours, (b"", *[b"\xc1\xff"] * 9), strict=False):
        execute(url, "update hour_sums set body = {0} where slot = 'main' and hour = {0}", body, hour)
    assert lives(reader) == before
    store.commit(Arrivals([batch(*late.values(), at_ms=NOW + 2 * DAY_MS)]))
    others = [late[at] for at in late]
    store.commit(Arrivals([batch(*others, stream=OTHER, at_ms=NOW + 2 * DAY_MS)]))
    after = lives(reader)
    assert after[0].total.windows == before[0].total.windows + len(late)
    tend(url, NOW + 4 * DAY_MS)
    check(reader, windows=range(1))
    assert lives(reader) == after


def test_windows_of_a_damaged_histogram_are_told_and_so_is_a_window_that_is_none() -> None:
    damaged = hour_sums.HourSum(hour_sums.Figures(windows=7, inferences=70), 1, b"\xff")
    drawn = stretches.Stretches(NOW, HOUR_MS)
    drawn.add_hours([(FIRST, damaged)])
    assert (drawn.unreadable, drawn.found[FIRST // HOUR_MS].inferences) == (8, 70)
    ((_, one),) = hour_sums.summed([(FIRST, 1, "main", b"\xc1")], lambda _: damaged).values()
    assert (one.unreadable, one.figures.inferences) == (9, 70)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_window_that_is_damaged_is_told_by_the_page(store: StoreWriter, reader: StoreReader, url: str) -> None:
    before = lives(reader)[0].total.unreadable
    execute(url, "update windows set body = {0} where sequence = 400 and device = 1", b"\xc1")
    assert lives(reader)[0].total.unreadable == before + 1


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_where_not_all_windows_are_read_the_first_hour_is_a_whole_one(
    store: StoreWriter, reader: StoreReader, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tend(url, NOW + 2 * DAY_MS)
    store.commit(Arrivals([batch(*(_row(number, shift_ms=1000) for number in range(300, 330)), at_ms=NOW)]))
    monkeypatch.setattr(stretches, "_MOST_NOT_SUMMED", 20)
    since_ms, drawn = stretches.by_hour(reader, BOARD, "main", SPAN)
    assert FIRST + 309 * EACH_MS < since_ms < FIRST + 320 * EACH_MS
    there = [one for one in reader.windows(Span(since_ms, NOW), BOARD) if one.window.slot == "main"]
    assert sum(one.windows for one in drawn.found.values()) == len(there)


def test_features_whose_long_names_begin_alike_are_one_curve(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/fleet.db"
    store, reader = open_store(url), open_reader(url)
    drift = tuple(Drift("x" * 70 + end, milli, 0, 9) for end, milli in (("a", 300), ("b", 200)))
    body = Window("main", 1, "00" * 8, NOW - HOUR_MS, 1000, 1000, True, 1, drift=drift)
    store.commit(Arrivals([batch(row_of(1, body), at_ms=NOW)]))
    summary = reader.device(BOARD)
    assert summary is not None
    assert [*life(reader, summary, "7d", "main", NOW, {}).curves.psi.values()] == [[0.3]]
    reader.close()
    store.close()


def test_who_asks_while_hours_are_added_up_and_merged_counts_each_window_once(
    store: StoreWriter, reader: StoreReader, url: str
) -> None:
    figures = ("windows", "inferences", "psi_milli", "whole", "model")
    before = [[hour[name] for name in figures] for hour in by_hour(reader, BOARD, "main", SPAN).values()]
    over, asked = threading.Event(), list[bool]()

    def ask() -> None:
        own = open_reader(url)
        while not over.is_set():
            found = by_hour(own, BOARD, "main", SPAN).values()
            asked.append([[hour[name] for name in figures] for hour in found] == before)
        own.close()

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for days, keeping in ((0, Keeping()), (1, Keeping(raw_ms=5 * DAY_MS)), (2, Keeping(raw_ms=3 * DAY_MS))):
            tend(url, NOW + days * DAY_MS, keeping)
    finally:
        over.set()
        asking.join()
    assert asked
    assert all(asked)


def test_of_windows_that_are_in_no_sum_the_newest_are_read(store: StoreWriter, reader: StoreReader) -> None:
    every = reader.hours(BOARD, "main", SPAN, 100_000).windows
    assert reader.hours(BOARD, "main", SPAN, 7).windows == every[-7:]


def test_segments_of_an_earlier_version_are_added_up_once(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    url = f"sqlite:///{path}"
    store = open_store(url)
    store.commit(Arrivals([batch(*(_row(number) for number in range(1, COUNT + 1)), at_ms=NOW - DAY_MS)]))
    tend(url)
    with closing(sqlite3.connect(path)) as db, db:  # as that one left it
        db.execute("update segments set summed = 0")
        db.execute("delete from hour_sums")
    reader = open_reader(url)
    assert by_hour(reader, BOARD, "main", SPAN) == one_by_one(reader, BOARD, "main", SPAN)
    assert len(reader.hours(BOARD, "main", SPAN, 100_000).windows) == COUNT
    late = [_row(number, shift_ms=1000) for number in range(1, 60, 7)]
    store.commit(Arrivals([batch(*late, at_ms=NOW)]))
    for days, left in ((1, len(late)), (2, 0), (3, 0)):
        tend(url, NOW + days * DAY_MS)
        assert by_hour(reader, BOARD, "main", SPAN) == one_by_one(reader, BOARD, "main", SPAN)
        assert len(reader.hours(BOARD, "main", SPAN, 100_000).windows) == left
    reader.close()
    store.close()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_segments_of_an_earlier_version_are_added_up_without_a_board_that_is_forgotten_before(
    store: StoreWriter, reader: StoreReader, url: str
) -> None:
    tend(url, NOW + 2 * DAY_MS)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db, db:
        db.execute("update segments set summed = 0")
        db.execute("delete from hour_sums")
    store.forget(BOARD)
    check(reader, windows=range(COUNT + 1))
    tend(url, NOW + 2 * DAY_MS)
    check(reader, windows=range(1))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_segments_that_become_one_are_not_added_up_again(store: StoreWriter, reader: StoreReader, url: str) -> None:
    for late in range(6):
        now_ms = NOW + 2 * late * DAY_MS
        store.commit(Arrivals([batch(_row(1 + late, shift_ms=1000), at_ms=now_ms)]))
        tend(url, now_ms + 2 * DAY_MS)
        check(reader, windows=range(1))
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db:
        (count,) = db.execute(
            "select count(*) from segments where day = ? and replaced_ms is null", (FIRST // DAY_MS,)
        ).fetchone()
    assert count < 6


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_what_comes_late_while_its_hour_is_added_up_does_not_wait_and_is_added_up_later(
    store: StoreWriter, reader: StoreReader, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tend(url)
    late = [_row(number, shift_ms=1000) for number in (3, 4)]
    store.commit(Arrivals([batch(late.pop(0), at_ms=NOW)]))

    def meanwhile(rows: Iterable[tuple[int, int, str, bytes]]) -> dict[hour_sums.HourKey, hour_sums.Summed]:
        found = summed(rows)
        if late:
            assert store.commit(Arrivals([batch(late.pop(0), at_ms=NOW)])).new_rows == 1
        return found

    summed = hour_sums.summed
    monkeypatch.setattr(postgres_hours, "summed", meanwhile)
    tend(url)
    check(reader)
    tend(url)
    check(reader, windows=range(2 * DAY_MS // EACH_MS))
    assert not late


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_to_add_up_a_day_the_tables_of_other_days_are_let_alone(
    store: StoreWriter, url: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched: list[int] = []

    def looked_at(rows: Iterable[tuple[int, int, str, bytes]]) -> dict[hour_sums.HourKey, hour_sums.Summed]:
        found = summed(rows)
        with postgres.connection(url) as db:
            names = db.execute(
                "select distinct relname from pg_locks join pg_class c on c.oid = relation"
                r" where relname ~ '^windows_\d+$'"
            ).fetchall()
        touched.append(len(names))
        return found

    with postgres.connection(url) as db:
        db.execute("delete from edgeglm.late_hours")  # which lie on several days
    summed = hour_sums.summed
    monkeypatch.setattr(postgres_hours, "summed", looked_at)
    tend(url)
    assert max(touched) == 1
    assert sum(touched) >= 5


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_hours_are_added_up_again_once_a_clock_that_was_years_ahead_is_right(
    store: StoreWriter, reader: StoreReader, url: str
) -> None:
    tend(url, NOW + 800 * DAY_MS)
    for number in range(COUNT + 1, COUNT + 49):  # none of them late
        store.commit(Arrivals([batch(_row(number), at_ms=FIRST + number * EACH_MS)]))
    tend(url, NOW + DAY_MS)
    check(reader, windows=range(1))


def test_whatever_strangers_send_sums_can_be_packed_and_stay_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/fleet.db"
    store = open_store(url)
    huge: dict[str, Any] = {"cpu_permille": 2**63, "temperature_decic": -(2**62)}
    wild = [
        Window(
            "main", 1, "x", FIRST + number, number, 10**6, True, 10**8,
            {f"kind {number} {at}": number + 1 for at in range(40)}, Sketch({4: 2**62, 7: 2**62}).pack(),
            Sketch({9: 2**62}).pack(), merged=2**62, board=BoardReading(**huge),
            drift=tuple(Drift(f"{number} {at}", 2**62 + at, 0, 9) for at in range(40)),
        )
        for number in range(9)
    ]  # fmt: skip
    store.commit(Arrivals([batch(*(row_of(number, one) for number, one in enumerate(wild, 1)), at_ms=NOW)]))
    monkeypatch.setattr(hour_sums, "_ROWS_AT_ONCE", 2)  # so that sums are added to sums
    tend(url, NOW + 2 * DAY_MS)
    reader = open_reader(url)
    (found,) = reader.hours(BOARD, "main", SPAN, 9).sums
    one = hour_sums.hour_sum(found.body)
    assert len(found.body) < 10_000
    assert 63 <= len(one.figures.errors) <= len(one.figures.psi_milli) == 64
    assert sum(one.figures.errors.values()) == sum(40 * (number + 1) for number in range(9)), "each is counted"
    assert one.figures.inferences == 9 * 10**8
    assert one.figures.cpu_permille_ms == one.figures.windows == 2**62
    assert Sketch.unpack(one.latency_ms).counts == {4: 2**62, 7: 2**62}
    assert Sketch.unpack(one.total_ms).counts == {9: 2**62}
    summary = reader.device(BOARD)
    assert summary is not None
    assert life(reader, summary, "30d", None, NOW, {}).total.p99_ms is not None
    reader.close()
    store.close()


@pytest.mark.parametrize("boards", [1, 300], ids=["of one board", "of many boards"])
def test_of_histograms_as_wide_as_can_be_few_are_unpacked_at_once(boards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histograms, "_UNPACKED_AT_ONCE", 20)
    monkeypatch.setattr(hour_sums, "_HOURS_AT_ONCE", 50)
    widest = Sketch(dict.fromkeys(range(-1400, 2001), 1) if boards == 1 else {-1400: 1, 2000: 1})
    row = row_of(1, Window("main", 1, "x", FIRST, 1, 1000, True, 1, {}, widest.pack(), widest.pack()))
    tracemalloc.start()
    found = hour_sums.summed([(FIRST, number % boards, "main", bytes(row.body)) for number in range(300)])
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    counted = [Sketch.unpack(one.sum.total_ms).n for one in found.values()]
    assert (len(counted), sum(counted)) == (boards, 300 * widest.n)
    assert peak_bytes < 20_000_000  # 25 MB and 100 MB where all are


def test_of_windows_that_a_page_draws_few_histograms_are_unpacked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histograms, "_UNPACKED_AT_ONCE", 20)
    widest = Sketch(dict.fromkeys(range(-1400, 2001), 1))
    one = hour_sums.seen(row_of(1, Window("main", 1, "x", FIRST, 1, 1000, True, 1, {}, widest.pack(), b"")).body)
    drawn = stretches.Stretches(NOW)
    tracemalloc.start()
    drawn.add([(NOW - number * 1000, one) for number in range(300)])
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert drawn.histograms().whole.counts.sum() == 300 * widest.n
    assert peak_bytes < 25_000_000  # 55 MB where all are
