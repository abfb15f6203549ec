"""Messages that nobody should send: cut and stirred bytes, and what can be read, with values that nobody thought of."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import msgspec
from edgeglm_agent.wire.commands import Reply, SlotState, State, encode
from edgeglm_agent.wire.telemetry import KINDS, Drift, Event, Gap, Result, Row, encode_batch, pack_ranges

from tests.support.fleet.boards import HOSTILE, sketch, window

if TYPE_CHECKING:
    import random

    from edgeglm_agent.wire.topics import Topics

EPOCH = b"epoch--1"
_VALUES: list[Any] = [
    *(2**63 - 1, -(2**63), 2**64 - 1, 2**62, 2**53 + 1, 2**32, -1, 0, 1),
    *(1e308, -1e308, 5e-324, float("nan"), float("inf"), -float("inf"), 0.1),
    *("", "x" * 20_000, "\0", HOSTILE, "'; drop table windows; --", "=1+1", "<script>", "\u202e", "\ud7ff\U0010ffff"),
    *(b"", b"\xff" * 300, b"\x81" * 40, None, True, False, [], {}, [1] * 500, {"a": 2**62}, {2**62: 2**62}, [[]] * 50),
]
_BODIES = [
    window(drift=(Drift("input.x", 400, 200, 300),), errors={"run": 2}, classes={3: 7}, confidence=b"\1\2\3"),
    Event("drift-raised", "main", "0" * 16, 5, 6, True, "warning", {"feature": "input.x", "psi": 0.4}),
    Result("main", 1, "0" * 16, 5, b'[{"label": "x"}]', b"crop"),
    Gap("quota", pack_ranges([3, 4, 9]), {"window": 3}),
]
_DOCUMENTS: list[Any] = [
    State(1, "press-1", "boot", "s1", True, slots={"main": SlotState("serving", 1, "m", "00")}, window_s=5),
    Reply(1, "ops-1", "status", True, "fine"),
]


def odd_message(chance: random.Random, topics: Topics) -> tuple[str, bytes]:
    """Return a topic and a payload; as likely bytes that are none as a message that can be read in part."""
    everywhere = [topics.state, topics.events, topics.telemetry, topics.results, topics.reply("ops-1")]
    everywhere += [f"{topics.prefix}/res/..", "edgeglm/v1/works/00/press-1/telemetry", "edgeglm/v1/w'--/00/<b>/state"]
    everywhere += ["edgeglm/v1///x/telemetry", "edgeglm/v1/works/zz/press-1/results"]
    everywhere += [topics.command("ping"), f"{topics.prefix}/desired"]  # those that boards hear
    if chance.random() < 0.3:
        return chance.choice(everywhere), _stirred(chance, _batch(chance, 3))
    if chance.random() < 0.2:
        document = chance.choice(_DOCUMENTS)
        changed = json.loads(encode(document))
        _change(chance, changed, json_only=True)
        topic = topics.state if isinstance(document, State) else topics.reply("ops-1")
        return topic, json.dumps(changed, default=repr).encode(errors="replace")
    return chance.choice([topics.events, topics.telemetry, topics.results]), _batch(chance, 4)


def _batch(chance: random.Random, rows: int) -> bytes:
    made = [_row(chance) for _ in range(rows)]
    whole = msgspec.msgpack.decode(encode_batch(EPOCH, made))
    if chance.random() < 0.2:
        _change(chance, whole)
    if chance.random() < 0.5:  # of many boards' lives
        whole[1] = chance.randbytes(1) + EPOCH[1:] if len(whole) > 1 else whole
    return _packed(whole)


def _row(chance: random.Random) -> Row:
    body = chance.choice(_BODIES)
    whole = msgspec.msgpack.decode(msgspec.msgpack.encode(body))
    for _ in range(chance.randrange(3)):
        _change(chance, whole)
    if isinstance(body, type(_BODIES[0])) and chance.random() < 0.2:
        whole[9] = sketch(*[chance.uniform(-1e300, 1e300)] * 3)
    sequence = chance.choice([chance.randrange(1, 10_000), chance.choice([1, 2**62, 2**63 - 1])])
    return Row(sequence, KINDS.index(type(body)), msgspec.Raw(_packed(whole)), chance.choice([b"", b"\1\1", b"\xff"]))


def _packed(whole: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(whole)
    except (TypeError, ValueError, OverflowError):
        return b""


def _change(chance: random.Random, whole: Any, *, json_only: bool = False) -> None:
    """Put something else into one place, however deep."""
    place = chance.choice([*whole] if isinstance(whole, dict) else range(len(whole))) if whole else None
    if place is None:
        return
    if isinstance(whole[place], list | dict) and chance.random() < 0.6:
        _change(chance, whole[place], json_only=json_only)
        return
    value = copy.deepcopy(chance.choice(_VALUES))  # what is put in may itself be changed next
    whole[place] = str(value) if json_only and isinstance(value, bytes) else value


def _stirred(chance: random.Random, payload: bytes) -> bytes:
    whole = bytearray(chance.choice([payload, chance.randbytes(chance.randrange(200)), b""]))
    for _ in range(chance.randrange(1, 4)):
        if whole:
            place = chance.randrange(len(whole))
            whole[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    return bytes(whole)
