"""Real agents, a real broker and the real collector, killed in random order: all that was written is there, once."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from edgeglm.fleet.store.sqlite_reader import SqliteReader
from edgeglm.fleet.store.types import Span
from tests.e2e.agent.test_serving import model
from tests.support.agent.broker import Broker
from tests.support.agent.running import Agent, running_agent
from tests.support.fleet.collector import running_collector, until
from tests.support.tiny_models import tiny_images

__all__ = ["model"]  # the fixture
EVER = Span(-(2**61), 2**61)
BOARDS = ("gate-1", "gate-2", "gate-3")
MOST_WORKER_KILLS = 3  # of a board: each holds its next worker back for longer
TABLES = ("windows", "events", "results", "gaps", "others")


def rows_in(store: Path) -> int:
    """Return how many rows the collector has committed."""
    if not store.exists():
        return 0
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
        return sum(db.execute(f"select count(*) from {table}").fetchone()[0] for table in TABLES)


def kill_some(agent: Agent, chance: random.Random, workers: dict[str, int], name: str) -> str:
    """Kill a board's supervisor, or its worker; return which."""
    pid = agent.slot().pid
    if pid is not None and workers[name] < MOST_WORKER_KILLS and chance.random() < 0.5:
        workers[name] += 1
        os.kill(pid, signal.SIGKILL)
        return "worker"
    agent.process.kill()
    agent.process.wait()
    agent.restart()
    return "agent"


@pytest.mark.full
@pytest.mark.parametrize(("count", "seed"), [(20_000, 6)])
def test_what_real_agents_wrote_is_in_the_store_once_whoever_is_killed(
    tmp_path: Path, model: Path, count: int, seed: int
) -> None:
    chance, store = random.Random(seed), tmp_path / "fleet.db"
    np.savez(tmp_path / "samples.npz", x=tiny_images(50))
    killed = dict.fromkeys(("collector", "broker", "agent", "worker"), 0)
    workers = dict.fromkeys(BOARDS, 0)
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(tmp_path / "broker"))
        head = (
            f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
            "[telemetry]\nwindow_s = 1\ndaily_bytes = 1_000_000_000\n"
        )
        slot = (
            f'[slots.main]\nmodel = "{model}"\nfailures = 1000\nresults = [{{kind = "mqtt"}}]\n'
            f'input = {{kind = "replay", path = "{tmp_path}/samples.npz", rate = 60, loop = true}}\n'
        )
        collector = stack.enter_context(running_collector(store, f"mqtt://127.0.0.1:{broker.port}"))
        agents: dict[str, Agent] = {}
        for name in BOARDS:
            (tmp_path / name).mkdir()
            agents[name] = stack.enter_context(running_agent(tmp_path / name, head + slot, device=name))
        give_up = time.monotonic() + 840
        while rows_in(store) < count or not all(killed.values()):
            assert time.monotonic() < give_up, (killed, rows_in(store), collector.log()[-3000:])
            party = chance.choice(("collector", "broker", "agent"))
            if party == "collector":
                assert collector.process is not None
                assert collector.process.poll() is None, f"it ended by itself: {collector.log()[-3000:]}"
                collector.end(signal.SIGKILL)
                collector.start()
            elif party == "broker":
                broker.kill()
                broker.start()
            else:
                name = chance.choice(BOARDS)
                agents[name].until_slot(lambda slot: slot.answered > 20, "it serves")
                party = kill_some(agents[name], chance, workers, name)
            killed[party] += 1
            time.sleep(chance.uniform(0.1, 1.5))
        for agent in agents.values():
            assert agent.stop() == 0
            agent.set(head)  # no slot: what is left is sent
            agent.restart()
        for agent in agents.values():
            agent.until(lambda status: status.queue.rows <= 1, "an outbox that empties")
            assert agent.stop() == 0
            names = {line.get("message") for line in agent.events()}
            assert not {"outbox-rebuilt", "state-rebuilt", "worker-quarantined"} & names
        written = {name: written_by(tmp_path / name / "state" / "outbox.db") for name in BOARDS}
        until(lambda: all(through(store, name) >= written[name][1] for name in BOARDS), "the rest", collector)
        assert collector.end() == 143
    assert "Traceback" not in collector.log()
    with sqlite3.connect(store) as db:
        for table in TABLES:
            rows, distinct = db.execute(
                f"select count(*), (select count(*) from (select distinct stream, sequence from {table})) from {table}"
            ).fetchone()
            assert rows == distinct, f"a row is twice in {table}"
        streams = db.execute(
            "select d.name, s.through, s.beyond from streams s join devices d on d.id = s.device order by 1"
        ).fetchall()
    assert [name for name, *_ in streams] == [*BOARDS], "a board has an outbox of its own, and one"
    for name, reached, beyond in streams:
        high_water, least = written[name]
        assert (least <= reached <= high_water, beyond) == (True, b""), f"a row of {name} is missing"
    reader = SqliteReader(store)
    for board in reader.devices():
        assert (board.taken_back, board.lost_rows) == (0, 0)
        traces = [one.result.trace_id for one in reader.results(board.device, EVER)]
        assert len(traces) == len(set(traces)) > count / len(BOARDS) / 4, "an answer came under two numbers"
    reader.close()
    print(f"killed {killed}; {rows_in(store)} rows")


def written_by(outbox: Path) -> tuple[int, int]:
    """Return the highest number that an agent gave, and the highest below all that still wait there."""
    with sqlite3.connect(outbox) as db:
        (following,) = db.execute("select value from meta where key = 'next'").fetchone()
        (first,) = db.execute("select min(sequence) from rows").fetchone()
    return following - 1, (first or following) - 1


def through(store: Path, name: str) -> int:
    """Return up to which number all of a board's rows are accounted for."""
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
        query = "select max(through) from streams s join devices d on d.id = s.device where d.name = ?"
        (reached,) = db.execute(query, (name,)).fetchone()
    return reached or 0
