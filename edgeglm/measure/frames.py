"""What is said between a measuring process and its child: framed messages and raw arrays, nothing pickled.

A frame is the length of a msgpack message (4 bytes, little-endian), the message, then the bytes of the arrays that
the message lists.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np
from edgeglm_agent.engines import Fault
from edgeglm_agent.wire import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

_LENGTH = struct.Struct("<I")


class ArrayHead(msgspec.Struct, frozen=True):
    """One array that follows a message."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Load(msgspec.Struct, frozen=True, tag=True):
    """Load this file: the first request, and the only one of its kind."""

    path: str


class Run(msgspec.Struct, frozen=True, tag=True):
    """Run the model once on the arrays that follow."""

    arrays: list[ArrayHead]


class Time(msgspec.Struct, frozen=True, tag=True):
    """Run the model again and again on the arrays that follow."""

    arrays: list[ArrayHead]
    runs: int
    warmup: int  # runs before those, not timed


class AskPeakRss(msgspec.Struct, frozen=True, tag=True):
    """Say how much memory was resident at most."""


class AskOperators(msgspec.Struct, frozen=True, tag=True):
    """Say which operators the runtime really executes."""


class WriteOptimized(msgspec.Struct, frozen=True, tag=True):
    """Write the graph as ONNX Runtime executes it into a folder."""

    folder: str


class Profile(msgspec.Struct, frozen=True, tag=True):
    """Run the model on the arrays that follow with the runtime's profiler on."""

    arrays: list[ArrayHead]
    runs: int
    warmup: int


class Idle(msgspec.Struct, frozen=True, tag=True):
    """The runtime is imported; a file may come."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded."""

    runtime: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batch: int | None


class Outputs(msgspec.Struct, frozen=True, tag=True):
    """The outputs follow."""

    arrays: list[ArrayHead]


class Times(msgspec.Struct, frozen=True, tag=True):
    """How long each run took."""

    ms: list[float]


class PeakRss(msgspec.Struct, frozen=True, tag=True):
    """The most memory that was resident."""

    size_bytes: int


class Operator(msgspec.Struct, frozen=True):
    """One operator that a runtime executes."""

    kind: str
    layer: str = ""  # of the user's network, or the node of a file of others
    weightless: bool = False  # a product of two activations, as in attention


class Operators(msgspec.Struct, frozen=True, tag=True):
    """What is executed, in order."""

    nodes: list[Operator]


class Written(msgspec.Struct, frozen=True, tag=True):
    """What was to be written is there."""


class Profiled(msgspec.Struct, frozen=True, tag=True):
    """How long operators took: type, number, milliseconds a run."""

    types: list[tuple[str, int, float]]


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The engine raised; the child goes on when it had loaded its model."""

    fault: Fault
    message: str


class StorageFull(msgspec.Struct, frozen=True, tag=True):
    """There was no room for a temporary file; the child goes on."""


Request: TypeAlias = Load | Run | Time | AskPeakRss | AskOperators | WriteOptimized | Profile
Reply: TypeAlias = Idle | Ready | Outputs | Times | PeakRss | Operators | Written | Profiled | Failed | StorageFull

request_decoder = msgspec.msgpack.Decoder(Request)
reply_decoder = msgspec.msgpack.Decoder(Reply)
_encoder = msgspec.msgpack.Encoder()


def heads(arrays: Mapping[str, np.ndarray]) -> list[ArrayHead]:
    """Return what a message says of the arrays that follow it."""
    return [ArrayHead(name, values.dtype.name, values.shape) for name, values in arrays.items()]


def write_frame(stream: BinaryIO, message: Request | Reply, arrays: Mapping[str, np.ndarray] | None = None) -> None:
    """Write a message and its arrays, and flush."""
    encoded = _encoder.encode(message)
    stream.write(_LENGTH.pack(len(encoded)) + encoded)
    for values in (arrays or {}).values():
        stream.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    stream.flush()


def read_message(stream: BinaryIO) -> bytes:
    """Return the bytes of the next message. Raises: EOFError, when the other side is gone."""
    return _read(stream, _LENGTH.unpack(_read(stream, _LENGTH.size))[0])


def read_arrays(stream: BinaryIO, listed: list[ArrayHead]) -> dict[str, np.ndarray]:
    """Return the arrays that a message listed. Raises: EOFError, when the other side is gone."""
    arrays: dict[str, np.ndarray] = {}
    for head in listed:
        values = np.empty(head.shape, np.dtype(head.dtype))
        if values.nbytes:
            values.reshape(-1).view(np.uint8)[:] = np.frombuffer(_read(stream, values.nbytes), np.uint8)
        arrays[head.name] = values
    return arrays


def _read(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data
