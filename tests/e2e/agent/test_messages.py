"""What comes by MQTT, as fast and as malformed as it may be: each message is counted, and nobody else has to wait."""

from __future__ import annotations

import io
import json
import random
import sqlite3
import time
from typing import TYPE_CHECKING

import numpy as np
import paho.mqtt.client as paho
import pytest
from edgeglm_agent.wire.commands import Command, encode
from edgeglm_agent.wire.telemetry import KINDS, Row, Window, body_of, encode_ack
from edgeglm_agent.wire.topics import Topics
from msgspec import Raw

from tests.e2e.agent.test_serving import broken_model, drop, folder_slot, model, plugins
from tests.support.agent.broken_engines import BREAKS
from tests.support.agent.broker import Broker, refusing
from tests.support.agent.running import running_agent
from tests.support.mangle import mangle
from tests.support.tiny_models import tiny_images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.agent.running import Agent

__all__ = ["model", "plugins"]  # fixtures
TOPICS = Topics("default", "bench-1")
INPUT = "plant/pump"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as started:
        yield started


@pytest.fixture
def publisher(broker: Broker) -> Iterator[paho.Client]:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "publisher")
    client.max_inflight_messages_set(500)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


def settings(broker: Broker, model: Path, *more: str, window_s: int = 1, name: str = "main") -> str:
    return (
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n[telemetry]\nwindow_s = {window_s}\n'
        f'[slots.{name}]\nmodel = "{model}"\ninput = {{kind = "mqtt", topic = "{INPUT}"}}\n' + "\n".join(more) + "\n"
    )


def serves(agent: Agent, name: str = "main") -> None:
    agent.until(
        lambda status: status.slots[name].state.status == "serving" and status.link.state == "connected",
        "it serves, and is connected",
    )


def test_a_topic_that_the_broker_refuses_is_said_in_the_status_and_in_the_log(tmp_path: Path, model: Path) -> None:
    with (
        Broker(tmp_path / "broker", lines=refusing(tmp_path / "broker", INPUT)) as broker,
        running_agent(tmp_path, settings(broker, model)) as agent,
    ):
        serves(agent)
        agent.until(
            lambda status: status.slots["main"].input_gone == f"the broker does not let this device hear `{INPUT}`",
            "it says why nothing comes in",
        )
        assert agent.status().link.refused == (INPUT,)
        said = [line for line in agent.log().splitlines() if "subscription-refused" in line]
        assert len(said) == 1
        assert INPUT in said[0]


def test_a_model_that_hangs_while_messages_come_keeps_nobody_waiting(
    tmp_path: Path, model: Path, plugins: Path, broker: Broker, publisher: paho.Client
) -> None:
    bad = settings(broker, broken_model(tmp_path / "bad", "hang"), "inference_timeout_s = 3600", name="bad")
    with running_agent(
        tmp_path, bad + folder_slot(model, tmp_path / "inbox", name="good"), python_path=plugins
    ) as agent:
        serves(agent, "bad")
        while not agent.slot("bad").answered:  # until it has subscribed
            publisher.publish(INPUT, b"[1, 2, 3, 4]", qos=1).wait_for_publish(30)
        publisher.publish(INPUT, json.dumps([BREAKS, 0, 0, 0]).encode(), qos=1).wait_for_publish(30)
        for _ in range(300):  # far more than a socket's buffer takes
            publisher.publish(INPUT, bytes(50_000), qos=1).wait_for_publish(30)
        drop(tmp_path / "inbox", "image.npy", tiny_images(1)[0])
        agent.until_slot(lambda slot: slot.answered == 1, "the other model answers, and the supervisor as well", "good")
        agent.until(lambda status: status.queue.rows > 3, "windows are written as ever")
        assert agent.slot("bad").state.status == "serving", "it has not been killed yet: nothing but its worker waits"


def payload(chance: random.Random) -> bytes:
    """Return what may come in the place of a sample: mangled JSON, npy and images, and noise."""
    npy = io.BytesIO()
    np.save(npy, np.ones((3, 8, 8), np.float32))
    good = [json.dumps([chance.random() for _ in range(20)]).encode(), npy.getvalue(), b"\x89PNG\r\n\x1a\n" + bytes(40)]
    return chance.choice([mangle(chance.choice(good), chance), chance.randbytes(chance.randrange(60)), b"[" * 3000])


@pytest.mark.parametrize("count", [pytest.param(6_000, id="short"), pytest.param(100_000, marks=pytest.mark.full)])
def test_every_malformed_message_is_counted_and_the_next_good_one_answered(
    tmp_path: Path, model: Path, broker: Broker, publisher: paho.Client, count: int
) -> None:
    chance = random.Random(23)
    far = int(time.time() * 1000) + 3_600_000
    with running_agent(tmp_path, settings(broker, model)) as agent:
        serves(agent)
        good = io.BytesIO()
        np.save(good, tiny_images(1)[0])
        sent = 0
        while not agent.slot().answered:
            publisher.publish(INPUT, good.getvalue(), qos=1).wait_for_publish(30)
            sent += 1
        pid = agent.slot().pid
        for number in range(count):
            command = encode(Command(1, f"c-{number}", chance.choice(["bench-1", "other"]), far))
            ack = encode_ack(chance.randbytes(8), chance.randrange(100))
            topic, data = chance.choice(
                [
                    (INPUT, payload(chance)),
                    (INPUT, payload(chance)),
                    (TOPICS.command(chance.choice(["ping", "reboot"])), mangle(command, chance)),
                    (TOPICS.ack, mangle(ack, chance)),
                ]
            )
            publisher.publish(topic, data, qos=1 if topic != TOPICS.ack else 0)
            sent += 1
            if number % 400 == 399:  # the broker has them all; so has, nearly, the agent
                publisher.publish(INPUT, good.getvalue(), qos=1).wait_for_publish(60)
                sent += 1
        publisher.publish(INPUT, good.getvalue(), qos=1).wait_for_publish(60)
        sent += 1

        def heard() -> int:
            counts = agent.status().link.counts
            return sum(number for name, number in counts.items() if name not in ("connections", "replies-dropped"))

        agent.until(lambda _: heard() == sent, f"{sent} messages are heard of")
        status = agent.status()
        counts, inputs = status.link.counts, status.link.counts["inputs"]
        assert counts["refused-malformed"] > count / 20
        assert counts["malformed-acks"] > count / 20
        assert agent.slot().pid == pid, "the worker that began has gone through it"
        assert agent.slot().state.failures == 0
        assert agent.stop() == 0  # what was handed over is still answered
    assert accounted(tmp_path) == inputs
    assert "Traceback" not in agent.log()


def accounted(folder: Path) -> int:
    """Return how many samples the windows in the outbox tell of: answered, damaged, or passed over."""
    with sqlite3.connect(f"file:{folder}/state/outbox.db?mode=ro", uri=True) as db:
        rows = db.execute("select sequence, kind, body from rows where kind = ?", (KINDS.index(Window),)).fetchall()
    windows = [body_of(Row(sequence, kind, Raw(body))) for sequence, kind, body in rows]
    return sum(w.inferences + sum(w.errors.values()) for w in windows if isinstance(w, Window))
