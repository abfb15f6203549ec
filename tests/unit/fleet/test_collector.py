"""The collector's loop against a real store, without a broker."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from edgeglm_agent.wire.telemetry import Event, decode_ack, encode_batch, row_of, unpack_ranges
from edgeglm_agent.wire.topics import Topics

from edgeglm.errors import StoreError
from edgeglm.fleet.addresses import BrokerAddress
from edgeglm.fleet.collector import run as run_module
from edgeglm.fleet.collector.acknowledging import Acknowledging
from edgeglm.fleet.collector.intake import Owed
from edgeglm.fleet.collector.run import Collector
from edgeglm.fleet.collector.shards import Part
from edgeglm.fleet.store.sqlite_reader import SqliteReader
from edgeglm.fleet.store.sqlite_writer import SqliteWriter
from edgeglm.fleet.store.types import Arrivals, Committed, Device, IncomingBatch, Known, Span, Stream
from edgeglm.log import SilentLog

NOW = 1_800_000_000_000


def arrivals(*devices: str) -> Arrivals:
    rows = (row_of(1, Event("throttled", "main", "00" * 8, NOW, 0, True, "info")),)
    return Arrivals([IncomingBatch(Stream(Device("works", one), b"epoch--1"), rows, NOW) for one in devices])


class Stumbling(SqliteWriter):
    """A store with a bug: it raises at one board, whatever comes with it."""

    def write(self, arrivals: Arrivals) -> Committed:
        done = super().write(arrivals)
        if any(one.stream.device.name == "odd" for one in arrivals.batches):
            self.discard()
            raise ValueError("what nobody thought of")
        return done


def commit(store: SqliteWriter, came: Arrivals) -> Committed | None:
    collector = Collector(BrokerAddress("127.0.0.1", 1), store, Part(), SilentLog())

    async def run() -> Committed | None:
        with ThreadPoolExecutor(1) as disk:
            return await collector._commit(came, disk)

    return asyncio.run(run())


def test_a_bug_of_ours_puts_one_message_aside_and_keeps_the_others(tmp_path: Path) -> None:
    store = Stumbling(tmp_path / "fleet.db")
    done = commit(store, arrivals("press-1", "odd", "press-2"))
    assert done is not None
    assert (done.new_rows, done.poison) == (2, 1)
    store.close()
    reader = SqliteReader(tmp_path / "fleet.db")
    assert [one.device.name for one in reader.events(Span(0, 2**60))] == ["press-1", "press-2"]
    assert "what nobody thought of" in reader.poison(1)[0].reason
    reader.close()


def test_of_a_batch_that_the_store_stumbles_over_the_row_alone_is_put_aside(tmp_path: Path) -> None:
    """Such as one whose key the store has, though it does not know of it: nothing is dropped unsaid."""
    store = SqliteWriter(tmp_path / "fleet.db")
    store.commit(arrivals("press-1"))
    store._db.execute("update streams set through = 0")
    store._boards.forget()
    (one,) = arrivals("press-1").batches
    rows = tuple(row_of(n, Event(f"e{n}", "main", "00" * 8, NOW, 0, True, "info")) for n in range(1, 8))
    came = Arrivals([IncomingBatch(one.stream, rows, NOW)])
    done = commit(store, came)
    assert done is not None
    assert (done.new_rows, done.poison, done.known[one.stream].through) == (6, 1, 7)
    assert (again := commit(store, came)) is not None
    assert (again.poison, again.taken_back) == (0, 1), "it is not put aside for ever"
    store.close()
    reader = SqliteReader(tmp_path / "fleet.db")
    found = [stored.event.name for stored in reader.events(Span(0, 2**60))]
    assert {f"e{n}" for n in range(2, 8)} <= set(found)
    (poison,) = reader.poison(9)
    assert "IntegrityError" in poison.reason
    assert poison.topic.endswith("/press-1")
    assert poison.payload == bytes(rows[0].body)
    reader.close()


def test_much_that_waits_is_more_than_one_transaction_and_all_of_it_is_kept(tmp_path: Path) -> None:
    store = SqliteWriter(tmp_path / "fleet.db")
    topics = Topics("works", "press-1")

    async def run() -> Collector:
        collector = Collector(BrokerAddress("127.0.0.1", 1), store, Part(), SilentLog())
        for first in range(1, 12_000, 4000):
            rows = [row_of(n, Event("e", "", "", NOW, 0, True, "info")) for n in range(first, first + 4000)]
            assert collector.message(topics.events, encode_batch(b"epoch--1", rows), retained=False)
        collector._stopping = True
        collector._enough.set()
        await collector._commits()
        return collector

    collector = asyncio.run(run())
    store.close()
    assert (collector.counts.commits, collector.counts.messages, collector.counts.rows) == (2, 3, 12_000)
    assert collector._in_hand == 0


def test_a_collector_that_stops_counts_all_that_it_kept_also_what_it_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_MINUTE_S", 0.05)
    store = SqliteWriter(tmp_path / "fleet.db")
    said: list[str] = []
    log = SilentLog()
    log.stage = log.note = said.append  # type: ignore[method-assign]
    stop = threading.Event()

    async def run() -> None:
        collector = Collector(BrokerAddress("127.0.0.1", 1), store, Part(), log)
        running = asyncio.ensure_future(collector.run(stop))
        for number in (1, 2):
            row = row_of(number, Event("e", "", "", NOW, 0, True, "info"))
            collector.message(Topics("works", "press-1").events, encode_batch(b"epoch--1", [row]), retained=False)
            while not any(line.startswith("1 rows") for line in said):
                await asyncio.sleep(0.01)
            said.clear()
        stop.set()
        await running

    asyncio.run(run())
    store.close()
    assert said[-1].startswith("stopped: 2 rows, 2 messages, 2 commits")


def test_many_small_rows_are_counted_by_the_memory_that_they_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_MOST_BYTES", 8 << 20)
    store = SqliteWriter(tmp_path / "fleet.db")
    rows = [row_of(n, Event("e", "", "", 0, 0, False, "info")) for n in range(1, 4097)]
    payload, topic = encode_batch(b"epoch--1", rows), Topics("works", "press-1").events

    async def run() -> int:
        collector = Collector(BrokerAddress("127.0.0.1", 1), store, Part(), SilentLog())
        paused: list[bool] = []
        monkeypatch.setattr(collector._link, "pause", paused.append)
        monkeypatch.setattr(collector._link, "taken", lambda: None)
        tracemalloc.start()
        try:
            for _ in range(40):  # 150,000 rows
                collector.message(topic, bytes(bytearray(payload)), retained=False)
                if paused:
                    return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        raise AssertionError("it takes all that comes")

    assert 4 << 20 < asyncio.run(run()) < 12 << 20
    store.close()


def test_a_batch_that_is_put_aside_whole_is_acknowledged_or_its_board_would_send_it_for_ever(tmp_path: Path) -> None:
    store = Stumbling(tmp_path / "fleet.db")
    came = arrivals("press-1", "odd")
    odd = came.batches[1].stream
    rows = tuple(row_of(n, Event("e", "", "", NOW, 0, True, "info")) for n in (4, 5, 6, 9))
    came.batches[1] = IncomingBatch(odd, rows, NOW)
    done = commit(store, came)
    assert done is not None
    assert (done.new_rows, done.poison) == (1, 1)
    assert done.known[odd] == Known(0, ((4, 6), (9, 9)))
    acknowledging = Acknowledging()
    acknowledging.committed({odd: Owed("ack", 0.0)}, done.known, 0.0)
    ((_, message),) = acknowledging.due(1.0, NOW)
    ack = decode_ack(message)
    assert (ack.through, unpack_ranges(ack.beyond)) == (0, [(4, 6), (9, 9)])
    store.close()


def test_a_store_that_is_damaged_while_it_is_written_ends_the_collector(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    store = SqliteWriter(path)
    for number in range(200):
        store.commit(arrivals(*(f"press-{number}-{one}" for one in range(20))))
    store.close()
    with path.open("r+b") as file:
        file.seek(32 * 4096)  # behind what is read to open it
        file.write(b"\xff" * (path.stat().st_size - 32 * 4096))
    store = SqliteWriter(path)
    with pytest.raises(StoreError) as caught:
        commit(store, arrivals("press-1"))
    assert caught.value.code == "store-damaged"
    store.close()


def test_the_end_comes_even_as_something_is_owed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that is cancelled while its event is being set must not go on and wait for ever."""

    async def ended(steps: int, store: SqliteWriter) -> bool:
        collector = Collector(BrokerAddress("127.0.0.1", 1), store, Part(), SilentLog())
        monkeypatch.setattr(collector._acknowledging, "due_at", lambda: asyncio.get_running_loop().time() + 3600)
        task = asyncio.ensure_future(collector._acknowledge())
        await asyncio.sleep(0.01)  # it waits
        collector._owes.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=10.0)
        if not done:
            task.cancel()
        return bool(done)

    store = SqliteWriter(tmp_path / "fleet.db")
    try:
        assert [steps for steps in range(5) if not asyncio.run(ended(steps, store))] == []
    finally:
        store.close()
