"""What every store keeps and for how long: old windows are merged, old rows go, and what is known of them stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeglm_agent.wire.sketch import Sketch
from edgeglm_agent.wire.telemetry import Event, Gap, Result, Row, Window, pack_ranges, row_of

from edgeglm.fleet.addresses import PostgresAddress, parse_store
from edgeglm.fleet.store.base import StoreReader, StoreWriter
from edgeglm.fleet.store.keeping import DAY_MS, HOUR_MS, Keeping, Tended
from edgeglm.fleet.store.opening import open_reader, open_store
from edgeglm.fleet.store.postgres_tending import PostgresTending
from edgeglm.fleet.store.sqlite_tending import SqliteTending
from edgeglm.fleet.store.types import Arrivals, Device, Span, StoredWindow, Stream
from tests.support.fleet.arriving import BOARD, EVER, NOW, STREAM, batch, unset
from tests.support.fleet.postgres import Postgres

FIRST = (NOW // DAY_MS - 6) * DAY_MS
EACH_MS = 600_000
COUNT = 4 * DAY_MS // EACH_MS
OTHER = Stream(Device("works", "press-2"), b"epoch--2")
KEEPING = Keeping(raw_ms=4 * DAY_MS)  # the first two days are merged


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
    for stream in (STREAM, OTHER):
        for first in range(1, COUNT + 1, 72):
            rows = [row_of(number, _window(number)) for number in range(first, first + 72)]
            one.commit(Arrivals([batch(*rows, stream=stream, at_ms=FIRST + (first + 72) * EACH_MS)]))
    yield one
    one.close()


@pytest.fixture
def reader(store: StoreWriter, url: str) -> Iterator[StoreReader]:
    one = open_reader(url)
    yield one
    one.close()


def _window(number: int, *, shift_ms: int = 0, load: int = 1) -> Window:
    sketch = Sketch()
    for sample in range(1 + number % 4):
        sketch.add(1.0 + number % 17 + 40.0 * (sample == 3))
    start_ms = FIRST + (number - 1) * EACH_MS + shift_ms
    return Window(
        "main", load, "00" * 8, start_ms, number * EACH_MS, EACH_MS, True, 1 + number % 4, {"run": 1}, sketch.pack()
    )


def tend(url: str, keeping: Keeping = KEEPING, now_ms: int = NOW) -> Tended:
    address = parse_store(url)
    if isinstance(address, PostgresAddress):
        return PostgresTending(address, keeping, now_ms).run()
    return SqliteTending(address, keeping, now_ms).run()


def percentiles(windows: list[StoredWindow]) -> list[float | None]:
    total = Sketch()
    for one in windows:
        total.merge(Sketch.unpack(one.window.latency_ms))
    return [total.quantile(share) for share in (0.1, 0.5, 0.95, 0.99, 0.999)]


def test_windows_of_an_hour_become_one_and_percentiles_stay_those_of_all_samples(
    store: StoreWriter, reader: StoreReader, url: str
) -> None:
    hours = [Span(at, at + HOUR_MS) for at in range(FIRST, FIRST + 4 * DAY_MS, HOUR_MS)]
    before = [[*reader.windows(hour, BOARD)] for hour in hours]
    done = tend(url)
    assert (done.merged_windows, done.hourly_windows) == (2 * 2 * DAY_MS // EACH_MS, 2 * 48)
    after = [[*reader.windows(hour, BOARD)] for hour in hours]
    assert [len(some) for some in after] == [1] * 48 + [6] * 48, "what is newer stays as it came"
    for old, new in zip(before, after, strict=True):
        assert percentiles(new) == percentiles(old)
        assert sum(one.window.inferences for one in new) == sum(one.window.inferences for one in old)
        assert sum(one.window.errors["run"] for one in new) == len(old)
        assert new[0].at_ms == old[0].at_ms
        assert new[0].window.duration_ms * len(new) == HOUR_MS
    (summary, _) = reader.devices()
    assert (summary.rows, summary.slots["main"].window) == (COUNT, _window(COUNT))
    assert str(tend(url)) == "", "nothing is left to do"


def test_what_comes_again_of_merged_windows_is_known_and_what_comes_late_is_merged_too(
    store: StoreWriter, reader: StoreReader, url: str
) -> None:
    tend(url)
    again = batch(*(row_of(number, _window(number)) for number in range(1, COUNT + 1)), at_ms=NOW)
    done = store.commit(Arrivals([again]))
    assert (done.new_rows, done.duplicates, done.taken_back) == (0, COUNT, 0)
    restored = [unset(1, 50_000), unset(2, 51_000)]
    done = store.commit(Arrivals([batch(*restored, stream=OTHER, at_ms=NOW)]))
    assert done.taken_back == 2, "what is of a restored card without a clock is kept"
    late = [row_of(COUNT + n, _window(n, shift_ms=1000)) for n in (1, 2)]
    other_load = row_of(COUNT + 3, _window(3, shift_ms=1000, load=2))
    assert store.commit(Arrivals([batch(*late, other_load, at_ms=NOW)])).new_rows == 3
    hour = Span(FIRST, FIRST + HOUR_MS)
    old = [*reader.windows(hour, BOARD)]
    assert len(old) == 4
    tend(url, now_ms=NOW + 2 * DAY_MS)
    new = [*reader.windows(hour, BOARD)]
    assert [(one.window.load, one.window.merged) for one in new] == [(1, 8), (2, 1)]
    assert percentiles(new) == percentiles(old)
    assert len([*reader.windows(hour, OTHER.device)]) == 1


def test_what_is_older_than_its_kind_is_kept_goes_and_does_not_come_again(
    store: StoreWriter, reader: StoreReader, url: str
) -> None:
    def told(number: int, at_ms: int) -> list[Row]:
        return [
            row_of(number, Event("throttled", "main", "00" * 8, at_ms, 1, True, "info")),
            row_of(number + 1, Result("main", 1, "00" * 8, at_ms, b"{}")),
        ]

    rows = [row for day in range(5) for row in told(COUNT + 1 + day * 2, FIRST + day * DAY_MS)]
    store.commit(Arrivals([batch(*rows, at_ms=FIRST + 4 * DAY_MS)]))
    gap = row_of(COUNT + 90, Gap("quota", pack_ranges([COUNT + 95]), {"Window": 1}))
    store.commit(Arrivals([batch(gap, at_ms=FIRST + DAY_MS)]))
    keeping = Keeping(windows_ms=5 * DAY_MS, events_ms=3 * DAY_MS, results_ms=2 * DAY_MS)
    compacted = Keeping(compact_after_ms=4 * DAY_MS)
    tend(url, compacted)  # so that some lie elsewhere
    done = tend(url, keeping)
    assert done.removed_rows == 2 * DAY_MS // EACH_MS + 3 + 1 + 4
    assert min(one.at_ms for one in reader.windows(EVER)) == FIRST + DAY_MS
    assert [one.at_ms for one in reader.events(EVER)] == [FIRST + day * DAY_MS for day in (3, 4)]
    assert [one.at_ms for one in reader.results(BOARD, EVER)] == [FIRST + 4 * DAY_MS]
    assert [*reader.gaps(EVER)] == []
    (summary, _) = reader.devices()
    assert (summary.lost_rows, summary.rows) == (1, COUNT + 11), "what was counted stays"
    again = batch(*rows, *(row_of(number, _window(number)) for number in range(1, 100)), at_ms=NOW)
    done = store.commit(Arrivals([again]))
    assert (done.new_rows, done.taken_back) == (0, 0)
    late = row_of(COUNT + 200, _window(5, shift_ms=3))
    assert store.commit(Arrivals([batch(late, at_ms=NOW)])).new_rows == 1, "also of a day that is gone"
    assert tend(url, keeping).removed_rows == 1


def test_an_alarm_stands_however_old_its_event_is(store: StoreWriter, reader: StoreReader, url: str) -> None:
    event = Event("drift-raised", "main", "00" * 8, FIRST, 1, True, "info", {"feature": "input.x"})
    flapping = [
        row_of(COUNT + n, Event("drift-cleared", "main", "00" * 8, FIRST - n, 1, True, "info", {"feature": f"f{n}"}))
        for n in range(2, 60)
    ]
    store.commit(Arrivals([batch(row_of(COUNT + 1, event), *flapping, at_ms=FIRST + DAY_MS)]))
    for keeping in (KEEPING, Keeping(events_ms=DAY_MS)):
        tend(url, keeping)
        summary = reader.device(BOARD)
        assert summary is not None
        assert [alarm.feature for alarm in summary.slots["main"].alarms] == ["input.x"]
    assert [*reader.events(EVER)] == []


def test_a_board_can_be_forgotten_after_its_windows_were_merged(
    store: StoreWriter, reader: StoreReader, url: str
) -> None:
    tend(url)
    assert store.forget(BOARD) == 48 + 2 * DAY_MS // EACH_MS
    assert {one.device for one in reader.windows(EVER)} == {OTHER.device}
    assert store.commit(Arrivals([batch(row_of(1, _window(1)), at_ms=NOW)])).new_rows == 1
