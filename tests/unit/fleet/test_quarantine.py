"""``fleet poison``: what could not be read is told, whole for programs and harmless for terminals."""

from __future__ import annotations

import base64
import json

import pytest

from edgeglm.fleet.plain import json_text
from edgeglm.fleet.seeing.quarantine import PREVIEW_BYTES, Quarantine, counts, quarantine, render
from edgeglm.fleet.store.types import Poison
from tests.support.fleet.boards import HOSTILE, NOW_MS
from tests.support.fleet.memory import ListReader

TOPIC = "edgeglm/v1/north/3f/gate-1/telemetry"


def of(*payloads: bytes, topic: str = TOPIC, reason: str = "not a batch") -> Quarantine:
    kept = [Poison(topic, reason, payload, NOW_MS + place) for place, payload in enumerate(payloads)]
    return quarantine(ListReader(stored_poison=kept), 20)


def test_the_newest_come_first_with_topic_reason_and_what_they_began_with() -> None:
    found = of(b"\x81\xa3abc", b'{"schema": 7}\n')
    first, *rest = render(found, width=None).splitlines()
    assert first.endswith(f"  {TOPIC}")
    assert rest[:2] == ["  why    not a batch", '  text   {"schema": 7}\\n (14 bytes)']
    assert rest[-1] == "  hex    81 a3 61 62 63 (5 bytes)"
    assert counts(found) == "2 messages or rows could not be read, ever; the newest 2 are shown"


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"a" * 96 + b"\xff", "a" * 96, id="text-as-far-as-it-is-looked-at"),
        pytest.param("é".encode() * 2000, "é" * 48, id="long-text"),
        pytest.param(b"x" + "é".encode() * 2000, "é" * 47, id="cut-within-a-character"),
        pytest.param(b"\xc3", "c3 (1 byte)", id="half-a-character"),
        pytest.param(b"\xff" * 4096, ".. (4096 bytes)", id="long-binary"),
        pytest.param(HOSTILE.encode(), "hex", id="control-characters"),
    ],
)
def test_a_preview_is_bounded_and_moves_no_cursor(payload: bytes, shown: str) -> None:
    for width in (80, None):
        text = render(of(payload), width=width)
        assert shown in text.replace("\n", "") or width
        assert all(line.isprintable() for line in text.split("\n"))
        assert len(text) < 8 * PREVIEW_BYTES
        assert width is None or max(map(len, text.splitlines())) <= width


def test_topics_and_reasons_are_strangers_words() -> None:
    found = of(b"?", topic=HOSTILE, reason=HOSTILE)
    for text in (render(found, width=80), json_text(found)):
        assert "red" in text
        assert all(line.isprintable() for line in text.split("\n"))


def test_as_json_the_payload_is_whole() -> None:
    payload = bytes(range(256)) * 16
    (message,) = json.loads(json_text(of(payload)))["messages"]
    assert base64.b64decode(message["payload"]) == payload
    assert (message["topic"], message["bytes_kept"], message["received_ms"]) == (TOPIC, 4096, NOW_MS)


def test_what_is_counted_may_not_be_kept() -> None:
    assert counts(Quarantine(unreadable=0, messages=[])) == "everything that came could be read"
    assert counts(Quarantine(unreadable=3, messages=[])).endswith("none of them is kept")
