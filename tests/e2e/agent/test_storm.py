"""Agent, broker and collector are killed in random order: every row that was written arrives, once.

At first an outbox and an uplink alone, which say what they write; then a whole agent that serves, its worker included.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from edgeglm_agent.wire.telemetry import Result, Row, Window, body_of, unpack_ranges
from msgspec import Raw

from tests.e2e.agent.test_serving import model
from tests.support.agent.broker import Broker
from tests.support.agent.running import running_agent
from tests.support.tiny_models import tiny_images

__all__ = ["model"]  # the fixture
ROOT = Path(__file__).parents[3]
PROGRAMS = ROOT / "tests" / "support" / "agent"


class Program:
    """A program of tests/support that is started again whenever it was killed."""

    def __init__(self, *arguments: object) -> None:
        self._arguments = [sys.executable, *map(str, arguments)]
        self._environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'device_agents'}"}
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._arguments, env=self._environment, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    @property
    def result(self) -> int | None:
        assert self.process is not None
        return self.process.poll()


@pytest.mark.parametrize(
    ("count", "apart_s", "seed"),
    [
        pytest.param(3_000, (0.3, 0.9), 1, id="short"),
        pytest.param(20_000, (0.3, 2.0), 2, id="long", marks=pytest.mark.full),
    ],
)
def test_everything_that_was_written_arrives_exactly_once(
    tmp_path: Path, count: int, apart_s: tuple[float, float], seed: int
) -> None:
    chance = random.Random(seed)
    store, folder = tmp_path / "rows.db", tmp_path / "board"
    folder.mkdir()
    killed = {"agent": 0, "broker": 0, "collector": 0}
    give_up = time.monotonic() + 800
    with Broker(tmp_path / "broker") as broker:
        keeper = Program(PROGRAMS / "collector.py", "--port", broker.port, "--store", store)
        agent = Program(PROGRAMS / "driver.py", folder, broker.port, count)
        try:
            while agent.result is None:
                assert time.monotonic() < give_up, killed
                time.sleep(chance.uniform(*apart_s))
                ledger = folder / "ledger"
                written = ledger.read_bytes().count(b"\n") if ledger.exists() else 0
                if written >= 0.95 * count and min(killed.values()) > 1:
                    agent.process.wait(400)  # the storm is over: what is left arrives
                    break
                for party in chance.sample([*killed], chance.choice([1, 1, 2, 3])):
                    killed[party] += 1
                    victim = {"agent": agent, "broker": broker, "collector": keeper}[party]
                    if party == "agent" and agent.result is not None:
                        continue
                    victim.kill()
                    victim.start()
            assert agent.result == 0
        finally:
            for program in (agent, keeper):
                program.kill()
    written = {int(number) for number in (folder / "ledger").read_text().split()}
    with sqlite3.connect(store) as db:
        rows = db.execute("select epoch, sequence, kind, body, replaces, times from rows order by sequence").fetchall()
    assert len({epoch for epoch, *_ in rows}) == 1
    arrived: list[int] = []
    windows = 0
    for _, sequence, kind, body, replaces, _ in rows:
        held = body_of(Row(sequence, kind, Raw(body)))
        arrived.append(sequence)
        arrived += [n for first, last in unpack_ranges(replaces) for n in range(first, last + 1)]
        if isinstance(held, Window):
            windows += held.inferences
        else:
            assert held.at_ms == sequence
    assert sorted(arrived) == list(range(1, count + 1)), "a row is missing, or came as itself and in a merged one"
    assert written <= set(arrived)
    assert windows == sum(1 for number in range(1, count + 1) if number % 10 > 1)
    assert min(killed.values()) > 0
    print(f"killed {killed}; {sum(times - 1 for *_, times in rows)} rows came again")


MOST_WORKER_KILLS = 5  # each holds the next worker back for longer


@pytest.mark.parametrize(
    ("count", "seed"), [pytest.param(400, 3, id="short"), pytest.param(20_000, 4, id="long", marks=pytest.mark.full)]
)
def test_what_a_whole_agent_wrote_arrives_once_whoever_of_it_is_killed(
    tmp_path: Path, model: Path, count: int, seed: int
) -> None:
    chance = random.Random(seed)
    store, database = tmp_path / "rows.db", tmp_path / "state" / "outbox.db"
    np.savez(tmp_path / "samples.npz", x=tiny_images(50))
    killed = {"worker": 0, "supervisor": 0, "broker": 0, "collector": 0}
    with Broker(tmp_path / "broker") as broker:
        head = (
            f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
            "[telemetry]\nwindow_s = 1\ndaily_bytes = 1_000_000_000\n"
        )
        slot = (
            f'[slots.main]\nmodel = "{model}"\nfailures = 1000\nresults = [{{kind = "mqtt"}}]\n'
            f'input = {{kind = "replay", path = "{tmp_path}/samples.npz", rate = 200, loop = true}}\n'
        )
        keeper = Program(PROGRAMS / "collector.py", "--port", broker.port, "--store", store)
        try:
            with running_agent(tmp_path, head + slot) as agent:
                give_up = time.monotonic() + 800
                while rows_in(store) < count or not all(killed.values()):
                    assert time.monotonic() < give_up, (killed, rows_in(store), agent.log()[-3000:])
                    agent.until_slot(lambda slot: slot.answered > 20, "it serves")
                    party = chance.choice([*killed])
                    pid = agent.slot().pid
                    if party == "worker" and (killed[party] >= MOST_WORKER_KILLS or pid is None):
                        continue
                    killed[party] += 1
                    if party == "worker":
                        os.kill(pid, signal.SIGKILL)
                    elif party == "supervisor":
                        agent.process.kill()
                        agent.process.wait()
                        agent.restart()
                    else:
                        victim = broker if party == "broker" else keeper
                        victim.kill()
                        victim.start()
                    time.sleep(chance.uniform(0.1, 1.5))
                assert agent.stop() == 0
                agent.set(head)  # no slot: what is left is sent
                agent.restart()
                agent.until(lambda status: status.queue.rows <= 1, "an outbox that empties")
                assert agent.stop() == 0
                names = {line.get("message") for line in agent.events()}
        finally:
            keeper.kill()
    assert not {"outbox-rebuilt", "state-rebuilt", "worker-quarantined"} & names
    with sqlite3.connect(database) as db:
        (high_water,) = db.execute("select value from meta where key = 'next'").fetchone()
        left = [number for (number,) in db.execute("select sequence from rows")]
    with sqlite3.connect(store) as db:
        rows = db.execute("select epoch, sequence, kind, body, replaces, times from rows").fetchall()
    assert len({epoch for epoch, *_ in rows}) == 1
    heard = [sequence for _, sequence, *_ in rows]
    heard += [n for _, _, _, _, replaces, _ in rows for a, b in unpack_ranges(replaces) for n in range(a, b + 1)]
    assert len(heard) == len(set(heard)), "a row came as itself and in a merged one"
    assert set(heard) | set(left) == set(range(1, high_water)), "a row is missing"
    traces = [
        held.trace_id for _, n, kind, body, *_ in rows if isinstance(held := body_of(Row(n, kind, Raw(body))), Result)
    ]
    assert len(traces) == len(set(traces)) > count / 2
    print(f"killed {killed}; {sum(times - 1 for *_, times in rows)} of {len(rows)} rows came again")


def rows_in(store: Path) -> int:
    """Return how many rows the collector has."""
    if not store.exists():
        return 0
    with sqlite3.connect(store) as db:
        return int(db.execute("select count(*) from rows").fetchone()[0])
