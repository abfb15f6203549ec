"""What a model saw, as boards sent it: bursts of raw signal, and the pieces of inputs that go with answers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from edgeglm_agent.wire.telemetry import Burst, Scalar

_TYPES = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
)
_MOST_AXES = 8
_MOST_CHANNELS = 64
_MOST_VALUES_OF_A_ROW = 16  # of a sample with one axis: more are a stretch of time, not channels
POINTS = 56  # of a curve

Piece: TypeAlias = Literal["", "jpeg", "png", "npy", "other"]


class ChannelCurve(msgspec.Struct, frozen=True):
    """One channel of a burst: its extremes, and a curve of few points that keeps its peaks."""

    low: float
    high: float
    mean: float
    points: list[float]


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """A burst: samples in a row, of which number ``at`` is the one that it is about."""

    dtype: str
    shape: list[int]  # samples first
    rate_hz: float | None
    at: int | None
    trouble: str = ""  # why it cannot be read; then there are no channels
    channels: list[ChannelCurve] = []
    data: bytes = b""  # raw, base64 in JSON: little-endian, the last axis the quickest


def signal_of(burst: Burst, detail: dict[str, Scalar]) -> Signal:
    """Return what is in a burst; a board, or who pretends to be one, may say anything of it."""
    at = detail.get("at")
    shape = [*burst.shape[:_MOST_AXES]]
    rate_hz = burst.rate_hz if burst.rate_hz is not None and math.isfinite(burst.rate_hz) else None
    known = Signal(
        dtype=burst.dtype[:32],
        shape=shape,
        rate_hz=rate_hz,
        at=at if isinstance(at, int) and shape and 0 <= at < shape[0] else None,
        data=burst.data,
    )
    values = _values(burst)
    if isinstance(values, str):
        return msgspec.structs.replace(known, trouble=values)
    return msgspec.structs.replace(known, channels=[_curve(one) for one in _channels(values)])


def _values(burst: Burst) -> np.ndarray | str:
    """Return the numbers, or why there are none."""
    if burst.dtype not in _TYPES:
        return "its type is none of numbers"
    import numpy as np

    kind = np.dtype(burst.dtype).newbyteorder("<")
    if not 1 <= len(burst.shape) <= _MOST_AXES or not all(0 < size < 2**31 for size in burst.shape):
        return "its shape is none"
    if math.prod(burst.shape) * kind.itemsize != len(burst.data):
        return f"{len(burst.data)} bytes do not fill its shape"
    return np.frombuffer(burst.data, kind).reshape(burst.shape).astype(np.float64)


def _channels(values: np.ndarray) -> list[np.ndarray]:
    """Return each channel over all samples: the last axis of a series (time, channels), else everything as one."""
    sample = values.shape[1:]
    wide = len(sample) == 1 and sample[0] <= _MOST_VALUES_OF_A_ROW
    if wide or (len(sample) == 2 and sample[1] <= _MOST_CHANNELS):
        return [*values.reshape(-1, sample[-1]).T]
    return [values.reshape(-1)]


def _curve(values: np.ndarray) -> ChannelCurve:
    import numpy as np

    sound = np.nan_to_num(values[np.isfinite(values)]) if not np.isfinite(values).all() else values
    if not sound.size:
        return ChannelCurve(0.0, 0.0, 0.0, [])
    mean = float(sound.mean())
    parts = np.array_split(sound, min(POINTS, sound.size))
    points = [float(part[np.abs(part - mean).argmax()]) for part in parts]  # what stands out within each
    return ChannelCurve(float(sound.min()), float(sound.max()), mean, points)


def piece_kind(crop: bytes) -> Piece:
    """Return what a piece of an input is, by its first bytes."""
    if not crop:
        return ""
    known: tuple[tuple[bytes, Piece], ...] = ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG", "png"), (b"\x93NUMPY", "npy"))
    return next((kind for first, kind in known if crop.startswith(first)), "other")
