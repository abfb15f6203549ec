"""Agent, broker and collector are killed in random order: every row that was written is in the store, once."""

from __future__ import annotations

import random
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from edgeglm.fleet.store.sqlite_reader import SqliteReader
from edgeglm.fleet.store.types import Span
from tests.e2e.agent.test_storm import PROGRAMS, Program
from tests.support.agent.broker import Broker
from tests.support.fleet.collector import RunningCollector

EVER = Span(-(2**61), 2**61)


@pytest.mark.parametrize(
    ("count", "apart_s", "seed"),
    [
        pytest.param(3_000, (0.3, 0.9), 1, id="short"),
        pytest.param(20_000, (0.3, 2.0), 2, id="long", marks=pytest.mark.full),
    ],
)
def test_everything_that_was_written_is_in_the_store_once(
    tmp_path: Path, count: int, apart_s: tuple[float, float], seed: int
) -> None:
    chance = random.Random(seed)
    store, folder = tmp_path / "fleet.db", tmp_path / "board"
    folder.mkdir()
    killed = {"agent": 0, "broker": 0, "collector": 0}
    give_up = time.monotonic() + 800
    with Broker(tmp_path / "broker") as broker:
        collector = RunningCollector(store, f"mqtt://127.0.0.1:{broker.port}")
        collector.start()
        agent = Program(PROGRAMS / "driver.py", folder, broker.port, count)
        try:
            while agent.result is None:
                assert time.monotonic() < give_up, (killed, collector.log()[-3000:])
                time.sleep(chance.uniform(*apart_s))
                ledger = folder / "ledger"
                written = ledger.read_bytes().count(b"\n") if ledger.exists() else 0
                if written >= 0.95 * count and min(killed.values()) > 1:
                    agent.process.wait(400)  # the storm is over: what is left arrives
                    break
                for party in chance.sample([*killed], chance.choice([1, 1, 2, 3])):
                    if party == "agent" and agent.result is not None:
                        continue
                    killed[party] += 1
                    if party == "collector":
                        assert collector.process is not None
                        assert collector.process.poll() is None, f"it ended by itself: {collector.log()[-3000:]}"
                        collector.end(signal.SIGKILL)
                        collector.start()
                    else:
                        victim = agent if party == "agent" else broker
                        victim.kill()
                        victim.start()
            assert agent.result == 0
            assert collector.end() == 143
        finally:
            agent.kill()
            if collector.process is not None and collector.process.poll() is None:
                collector.end(signal.SIGKILL)
    reader = SqliteReader(store)
    (board,) = reader.devices()
    windows = [*reader.windows(EVER, board.device)]
    others = [*reader.results(board.device, EVER), *reader.events(EVER)]
    reader.close()
    with sqlite3.connect(store) as db:
        assert db.execute("select through, beyond from streams").fetchall() == [(count, b"")], "all is accounted for"
    sequences = [one.sequence for one in [*windows, *others]]
    assert len(sequences) == len(set(sequences)), "a row is there twice"
    assert sum(one.window.inferences for one in windows) == sum(1 for n in range(1, count + 1) if n % 10 > 1)
    assert len(others) == sum(1 for n in range(1, count + 1) if n % 10 <= 1)
    assert (board.taken_back, board.lost_rows) == (0, 0)
    assert min(killed.values()) > 0
    assert "Traceback" not in collector.log()
    print(f"killed {killed}; {board.duplicates} rows came again")
