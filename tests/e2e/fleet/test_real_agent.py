"""A real agent, a real broker and the collector: what the board says is in the store, whoever is killed meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeglm_agent.wire.sketch import Sketch

from edgeglm.fleet.store.sqlite_reader import SqliteReader
from edgeglm.fleet.store.types import Device, DeviceSummary, Span, StoredEvent, StoredResult, StoredWindow
from tests.e2e.agent.test_reporting import settings
from tests.e2e.agent.test_serving import drop, model
from tests.support.agent.broker import Broker
from tests.support.agent.running import running_agent
from tests.support.fleet.collector import running_collector, until
from tests.support.tiny_models import tiny_images

__all__ = ["model"]  # the fixture
BOARD = Device("default", "bench-1")
EVER = Span(-(2**61), 2**61)


class Seen:
    """What is in the store at one moment."""

    def __init__(self, path: Path) -> None:
        reader = SqliteReader(path)
        self.windows: list[StoredWindow] = [*reader.windows(EVER, BOARD)]
        self.results: list[StoredResult] = [*reader.results(BOARD, EVER)]
        self.events: list[StoredEvent] = [*reader.events(EVER, BOARD)]
        self.summary: DeviceSummary | None = reader.device(BOARD)
        self.poison = reader.poison_count()
        reader.close()

    @property
    def inferences(self) -> int:
        return sum(one.window.inferences for one in self.windows)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as started:
        yield started


def test_what_an_agent_says_is_in_the_store_once_whoever_is_killed(tmp_path: Path, model: Path, broker: Broker) -> None:
    store, images = tmp_path / "fleet.db", tiny_images(15)
    with (
        running_collector(store, f"mqtt://127.0.0.1:{broker.port}") as collector,
        running_agent(tmp_path, settings(broker, model, tmp_path)) as agent,
    ):
        for number, image in enumerate(images[:5]):
            drop(tmp_path / "inbox", f"{number}.npy", image)
        until(lambda: Seen(store).inferences == 5, "five samples in the store", collector)

        collector.end(signal.SIGKILL)
        for number, image in enumerate(images[5:10], 5):
            drop(tmp_path / "inbox", f"{number}.npy", image)
        agent.until_slot(lambda slot: slot.answered == 10, "ten answers")
        collector.start()
        until(lambda: Seen(store).inferences == 10, "ten samples in the store", collector)

        agent.process.send_signal(signal.SIGKILL)
        agent.process.wait(30)
        broker.kill()
        broker.start()
        agent.restart()
        for number, image in enumerate(images[10:], 10):
            drop(tmp_path / "inbox", f"{number}.npy", image)
        until(lambda: Seen(store).inferences == 15, "fifteen samples in the store", collector)
        until(lambda: len(Seen(store).results) == 15, "fifteen results in the store", collector)
        assert agent.stop() == 0
        until(lambda: not is_online(store), "the farewell in the store", collector)

        seen = Seen(store)
        rows = [(one.epoch, one.sequence) for one in [*seen.windows, *seen.results, *seen.events]]
        assert len(set(rows)) == len(rows)
        assert sum(Sketch.unpack(one.window.latency_ms).n for one in seen.windows) == 15
        assert {"agent-started", "model-loaded"} <= {one.event.name for one in seen.events}
        assert seen.summary is not None
        assert seen.summary.slots["main"].window == seen.windows[-1].window
        assert (seen.summary.taken_back, seen.summary.lost_rows, seen.poison) == (0, 0, 0)
        assert collector.end() == 143
        assert "Traceback" not in collector.log()


def is_online(store: Path) -> bool:
    summary = Seen(store).summary
    return summary is not None and summary.state is not None and summary.state.online
