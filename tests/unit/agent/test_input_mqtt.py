from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeglm_agent.inputs._base import EndOfInput, InputError
from edgeglm_agent.inputs.mqtt import MqttInput
from edgeglm_agent.ipc import Arrived
from edgeglm_agent.worker.arrived import Waiting
from PIL import Image

from tests.support.inputs import context, read_one


def npy(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def png(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG")
    return out.getvalue()


PIXELS = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("payload", "sample"),
    [
        pytest.param(b"[1.5, 2]", np.array([1.5, 2], np.float32), id="json"),
        pytest.param(npy(np.arange(4.0)), np.arange(4.0), id="npy"),
        pytest.param(png(PIXELS), PIXELS, id="image"),
    ],
)
def test_a_message_is_known_by_its_look(tmp_path: Path, payload: bytes, sample: np.ndarray) -> None:
    source = MqttInput(topic="plant/+/pump").open(context(tmp_path, messages=[Arrived("plant/3/pump", payload)]))
    arrival = read_one(source)
    assert not arrival.fault
    assert arrival.name == "plant/3/pump"
    assert arrival.at_ns
    assert np.array_equal(arrival.sample, sample)


def test_a_model_of_texts_gets_texts_whatever_they_look_like(tmp_path: Path) -> None:
    messages = [Arrived("t", b"[1] \xc3\xa4"), Arrived("t", b"\xff\xfe")]
    source = MqttInput(topic="t").open(context(tmp_path, messages=messages, takes_texts=True))
    assert read_one(source).sample == "[1] \u00e4"
    assert "not UTF-8" in read_one(source).fault


@pytest.mark.parametrize(
    ("settings", "payload", "says"),
    [
        pytest.param({}, b"{", "truncated", id="json"),
        pytest.param({}, b"[1, 2, 3, 4, 5]", "5 numbers, and the model takes 4", id="too many"),
        pytest.param({"payload": "npy"}, b"[1]", "no .npy", id="another kind than was said"),
        pytest.param({}, png(PIXELS)[:60], "cannot be read as an image", id="cut short"),
        pytest.param({"most_bytes": 10}, b"[1, 2, 3, 4]", "12 bytes; at most 10", id="too long"),
    ],
)
def test_a_damaged_message_is_a_fault_and_the_next_one_is_read(
    tmp_path: Path, settings: Any, payload: bytes, says: str
) -> None:
    source = MqttInput(topic="t", **settings).open(
        context(tmp_path, messages=[Arrived("t", payload), Arrived("t", b"[1]")], most_values=4)
    )
    assert says in read_one(source).fault
    assert read_one(source).name == "t"


def test_what_was_handed_over_before_the_end_is_still_read(tmp_path: Path) -> None:
    source = MqttInput(topic="t").open(context(tmp_path, messages=[Arrived("t", b"[1]"), Arrived("t", b"[2]")]))
    source.stop()
    assert [read_one(source).sample.tolist() for _ in range(2)] == [[1], [2]]
    with pytest.raises(EndOfInput):
        source.read(1.0)


def test_without_a_message_the_wait_ends(tmp_path: Path) -> None:
    assert MqttInput(topic="t").open(context(tmp_path)).read(0.0) == []


@pytest.mark.parametrize("topic", ["a/#/b", "a#", "a/b+", "#", "+/x", "a\0b", "edgeglm/v1/fleet/+/+/telemetry"])
def test_a_topic_that_cannot_be_meant_is_refused(tmp_path: Path, topic: str) -> None:
    with pytest.raises(InputError) as raised:
        MqttInput(topic=topic).open(context(tmp_path))
    assert raised.value.key == "topic"


def test_messages_that_come_too_fast_give_way_to_newer_ones_and_are_counted(tmp_path: Path) -> None:
    waiting = Waiting(most_messages=3, most_bytes=100)
    for number in range(5):
        waiting.put(Arrived(str(number), b"[1]", dropped=10 if number == 0 else 0))
    taken = [waiting.take(0.0) for _ in range(4)]
    assert [(one.topic, one.dropped) for one in taken if one] == [("2", 12), ("3", 0), ("4", 0)]
    assert taken[3] is None
    waiting.put(Arrived("a", b"x" * 60))
    waiting.put(Arrived("large", b"x" * 300))
    only = waiting.take(0.0)
    assert only is not None
    assert (only.topic, only.dropped, waiting.take(0.0)) == ("large", 1, None)


@pytest.mark.parametrize("payload", [b"[1]", b"{"])
def test_what_was_dropped_is_told_with_the_next_sample(tmp_path: Path, payload: bytes) -> None:
    source = MqttInput(topic="t").open(context(tmp_path, messages=[Arrived("t", payload, dropped=7)]))
    assert read_one(source).dropped == 7
