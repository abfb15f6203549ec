"""A whole agent and a real broker: birth, windows, events, results and commands, and nothing lost when it is killed."""

from __future__ import annotations

import signal
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import msgspec
import paho.mqtt.client as paho
import pytest
from edgeglm_agent.wire.commands import Command, Reply, State, decode_state, encode
from edgeglm_agent.wire.sketch import Sketch
from edgeglm_agent.wire.telemetry import KINDS, Event, Result, Row, Window, body_of
from edgeglm_agent.wire.topics import Topics

from tests.e2e.agent.test_serving import drop, folder_slot, model
from tests.support.agent.broker import Broker
from tests.support.agent.collector import Collector
from tests.support.agent.running import PATIENCE_S, running_agent
from tests.support.tiny_models import tiny_images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


__all__ = ["model"]  # the fixture
TOPICS = Topics("default", "bench-1")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as started:
        yield started


class Listener:
    """Who asks the board, and hears its state and replies."""

    def __init__(self, port: int) -> None:
        self.states: list[State] = []
        self.replies: list[Reply] = []
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, "listener")
        self._client.on_message = self._heard
        self._client.connect("127.0.0.1", port)
        self._client.subscribe([(TOPICS.state, 1), (TOPICS.reply("+"), 1)])
        self._client.loop_start()

    def ask(self, op: str, **args: object) -> Reply:
        """Send a command, and wait for its reply."""
        number = f"c{time.monotonic_ns()}"
        command = Command(1, number, "bench-1", time.time_ns() // 1_000_000 + 60_000, dict(args))
        self._client.publish(TOPICS.command(op), encode(command), 1)
        wait(lambda: any(reply.id == number for reply in self.replies), f"a reply to {op}")
        return next(reply for reply in self.replies if reply.id == number)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _heard(self, _: paho.Client, __: Any, message: Any) -> None:
        if message.topic == TOPICS.state:
            self.states.append(decode_state(message.payload))
        else:
            self.replies.append(msgspec.json.decode(message.payload, type=Reply))


def wait(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds; fail where it never does."""
    ends = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < ends, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.05)


def arrived(store: Path, kind: type) -> list[Any]:
    """Return what the collector has committed of one kind, in the order of its numbers."""
    if not store.exists():
        return []
    with sqlite3.connect(store) as db:
        rows = db.execute(
            "select sequence, kind, body from rows where kind = ? order by epoch, sequence", (KINDS.index(kind),)
        )
        return [body_of(Row(sequence, number, msgspec.Raw(body))) for sequence, number, body in rows]


def settings(broker: Broker, model: Path, tmp_path: Path) -> str:
    return (
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n[telemetry]\nwindow_s = 1\ndaily_bytes = 1_000_000_000\n'
        + folder_slot(model, tmp_path / "inbox").replace('[{kind = "jsonl"}]', '[{kind = "jsonl"}, {kind = "mqtt"}]')
    )


def test_windows_events_results_and_commands_reach_who_asks(tmp_path: Path, model: Path, broker: Broker) -> None:
    store, images = tmp_path / "rows.db", tiny_images(5)
    listener = Listener(broker.port)
    with (
        Collector(broker.port, store),
        running_agent(tmp_path, settings(broker, model, tmp_path)) as agent,
    ):
        wait(
            lambda: any(s.online and s.slots["main"].status == "serving" for s in listener.states),
            "a birth that serves",
        )
        for number, image in enumerate(images):
            drop(tmp_path / "inbox", f"{number}.npy", image)
        wait(
            lambda: sum(window.inferences for window in arrived(store, Window)) == 5, "windows that count five samples"
        )
        wait(lambda: len(arrived(store, Result)) == 5, "five results")

        windows = [window for window in arrived(store, Window) if window.inferences]
        assert all(window.slot == "main" and window.load == 1 and not window.errors for window in windows)
        assert sum(Sketch.unpack(window.latency_ms).n for window in windows) == 5
        assert sum(sum(window.classes.values()) for window in windows) == 5
        assert all(window.rss_kb and window.board and window.board.disk_free_mb for window in windows)
        assert {"agent-started", "model-loaded"} <= {event.name for event in arrived(store, Event)}
        named = [msgspec.json.decode(result.answer)[0]["label"] for result in arrived(store, Result)]
        assert set(named) <= set("abcde")

        # where the clock is not synchronised, the first acknowledgement brings the time
        wait(lambda: listener.ask("ping").ok, "an obeyed ping")
        status = listener.ask("status")
        assert status.ok, status.said
        asked = status.values
        assert asked["slots"]["main"]["answered"] == 5  # type: ignore[index]
        assert listener.ask("set", window_s=30).ok
        assert not listener.ask("set", window_s=0).ok
        for refused in (listener.ask("sample", slot="main"), listener.ask("set", sample_share=0.5)):
            assert not refused.ok
            assert "unless its settings file says `remote_samples = true`" in refused.said
        assert any("model-loaded" in line for line in listener.ask("logs", lines=20).values["lines"])  # type: ignore[union-attr]
        assert listener.ask("restart", slot="main").ok
        agent.until_slot(lambda slot: slot.state.load == 2 and slot.state.status == "serving", "the slot serves anew")
        assert agent.slot().state.failures == 0
        assert agent.stop() == 0
        wait(lambda: not listener.states[-1].online, "the farewell")
    listener.close()


def test_a_supervisor_that_is_killed_loses_no_row(tmp_path: Path, model: Path, broker: Broker) -> None:
    store = tmp_path / "rows.db"
    listener = Listener(broker.port)
    with running_agent(tmp_path, settings(broker, model, tmp_path)) as agent:
        agent.until_slot(lambda slot: slot.state.status == "serving", "the model serves")
        for number in range(4):
            drop(tmp_path / "inbox", f"{number}.npy", tiny_images(1)[0])
        agent.until_slot(lambda slot: slot.inferences == 4, "a window that counts four samples")
        agent.process.send_signal(signal.SIGKILL)
        agent.process.wait()
        wait(lambda: any(not state.online for state in listener.states), "the last will")
        with Collector(broker.port, store):
            agent.restart()
            wait(lambda: sum(window.inferences for window in arrived(store, Window)) == 4, "the windows of before")
            wait(lambda: len(arrived(store, Result)) == 4, "the results of before")
            wait(lambda: agent.status().queue.rows == 0 or len(arrived(store, Event)) >= 3, "an outbox that empties")
    listener.close()
