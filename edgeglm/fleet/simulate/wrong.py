"""Messages that a collector has to live with: those that nobody can read, and those of somebody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from edgeglm_agent.wire.telemetry import BATCH_SCHEMA, Batch, Gap, Row, encode_batch, row_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm_agent.wire.topics import Topics

    from edgeglm.fleet.simulate.dice import Dice


def unreadable(topics: Topics, dice: Dice, number: int) -> tuple[str, bytes]:
    """Return topic and payload of a message that is wrong in one of several ways, in turns.

    Whatever of it can be read speaks of an epoch that no board has.
    """
    leaf, make = _WAYS[number % len(_WAYS)]
    return f"{topics.prefix}/{leaf}", make(dice.bits().to_bytes(8, "big"))


def _noise(epoch: bytes) -> bytes:
    return b"\xc1" + epoch * 12  # no MessagePack begins so


def _cut_off(epoch: bytes) -> bytes:
    whole = encode_batch(epoch, [row_of(1, Gap("quota", b"\x01\x01", {"Window": 1}))])
    return whole[: len(whole) // 2]


def _later_schema(epoch: bytes) -> bytes:
    return msgspec.msgpack.encode(Batch(BATCH_SCHEMA + 98, epoch, 0, ()))


def _no_window(epoch: bytes) -> bytes:
    return encode_batch(epoch, [Row(1, 0, msgspec.Raw(msgspec.msgpack.encode("not a window")))])


def _broken_gap(epoch: bytes) -> bytes:
    return encode_batch(epoch, [row_of(1, Gap("quota", b"\x01", {"Window": 1}))])


def _json(_: bytes) -> bytes:
    return b'{"temperature": 21.5}'


def _nothing(_: bytes) -> bytes:
    return b""


def _deep(_: bytes) -> bytes:
    return b"\x91" * 4000 + b"\xc0"


_WAYS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    ("telemetry", _noise),
    ("events", _cut_off),
    ("telemetry", _later_schema),
    ("telemetry", _no_window),
    ("events", _broken_gap),
    ("results", _json),
    ("telemetry", _nothing),
    ("events", _deep),
    ("state", _json),
)
