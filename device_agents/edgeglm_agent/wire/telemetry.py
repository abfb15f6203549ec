"""What a board says of itself: batches of rows, each with a sequence number, acknowledged by the collector.

Delivery is at least once. A row is known by (device, epoch, sequence): ``epoch`` is random and made with the outbox
file, sequences rise by one. The board keeps each row until the collector, after its own commit, has acknowledged it;
the collector drops what it has already. MessagePack arrays: fields are only ever added at the end, each with a
default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

import msgspec

from edgeglm_agent.wire.manifest import UNREADABLE, WireError
from edgeglm_agent.wire.sketch import pack_numbers, unpack_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BATCH_SCHEMA = 1
Scalar: TypeAlias = str | int | float | bool | None
Severity: TypeAlias = Literal["info", "warning", "error"]


class Compact(msgspec.Struct, frozen=True, array_like=True):
    """Base of what goes as an array."""


class Power(Compact, frozen=True):
    """One power rail, in the mean over a window."""

    rail: str  # as the board calls it
    mw: int


class BoardReading(Compact, frozen=True):
    """The board over one window; None where it has no such sensor."""

    cpu_permille: int | None = None  # of all cores
    memory_available_mb: int | None = None  # that programs can still have
    disk_free_mb: int | None = None  # where the state lies
    temperature_decic: int | None = None  # the hottest zone, tenths of a degree Celsius, its highest
    throttled: int | None = None  # Pi: bits of get_throttled, or-ed over the window
    undervoltage: bool | None = None  # whether the supply sagged
    gpu_permille: int | None = None  # its load
    power: tuple[Power, ...] = ()  # of each rail


class Drift(Compact, frozen=True):
    """How far one feature has moved from the manifest's reference, in thousandths; worst first in a window."""

    feature: str  # input.<name>, output.<name>, predicted
    psi_milli: int  # population stability index, less what chance makes in the mean
    js_milli: int  # Jensen-Shannon distance, 0 to 1000, likewise
    n: int  # samples that were looked at


class Window(Compact, frozen=True):
    """One slot over one window, or over several that were merged."""

    slot: str  # its name; empty: the board runs no model
    load: int  # which load of a model in this slot, counted from the outbox's making; ``state`` says what it is
    trace_id: str  # 16 hex digits, that logs name too
    start_ms: int  # by the device's clock, Unix
    uptime_ms: int  # since boot, at the start: true even where the clock was not
    duration_ms: int  # how long it was
    clock_synchronised: bool  # whether something had set the clock
    inferences: int  # samples that were answered
    errors: dict[str, int] = {}  # kind -> count: input, run, non-finite, post, dropped, sink
    latency_ms: bytes = b""  # packed Sketch: model alone, milliseconds
    total_ms: bytes = b""  # packed Sketch: from input to result handed out; empty where it says the same
    cpu_permille: int | None = None  # of one core, the slot's worker
    rss_kb: int | None = None  # its highest
    energy_uj: int | None = None  # per inference, above the board's idle power, where rails tell it
    confidence: bytes = b""  # packed counts in ten bins of 0.1
    classes: dict[int, int] = {}  # class -> times predicted
    drift: tuple[Drift, ...] = ()  # of each feature of which enough was seen
    board: BoardReading | None = None  # as it was meanwhile
    merged: int = 1  # windows in it


class Burst(Compact, frozen=True):
    """A piece of the raw signal around something."""

    dtype: str  # as numpy calls it: float32, int16, ...
    shape: tuple[int, ...]  # samples first
    data: bytes  # raw, little-endian, the last axis the quickest
    rate_hz: float | None = None  # as the settings say it


class Event(Compact, frozen=True):
    """Something that happened, told at once."""

    name: str  # one of EVENTS, or of a later version
    slot: str  # empty: the board itself
    trace_id: str  # 16 hex digits: of the sample, where it is about one
    at_ms: int  # by the device's clock, Unix
    uptime_ms: int  # since boot
    clock_synchronised: bool  # whether something had set the clock
    severity: Severity  # how bad it is
    detail: dict[str, Scalar] = {}  # figures and words; which, says the event
    burst: Burst | None = None  # of an anomaly: the signal around it, where the settings ask for it
    channels: tuple[float, ...] = ()  # of an anomaly that an autoencoder found: the mean error of each input channel


class Result(Compact, frozen=True):
    """One answer of the model."""

    slot: str  # its name
    load: int  # as in windows
    trace_id: str  # 16 hex digits
    at_ms: int  # by the device's clock, Unix
    answer: bytes  # JSON
    crop: bytes = b""  # npy or an encoded image, where samples were opted in


class Gap(Compact, frozen=True):
    """Rows that are lost for good: the collector need not wait for them."""

    reason: str  # quota, corrupt, rejected, disk
    ranges: bytes  # packed: first, length, gap to the next, length, ...
    counts: dict[str, int] = {}  # kind of row -> how many


EVENTS = {  # name -> when it is told
    "agent-started": "the agent began: its version, and the settings that commands can change",
    "model-loaded": "a model serves: which, from which file, in which runtime, and as which load",
    "model-refused": "no artifact of a slot's model can be served",
    "worker-crashed": "a worker ended by itself, or could not load its model",
    "worker-hung": "a worker was ended: an inference took too long",
    "worker-memory": "a worker was ended: it took too much memory",
    "worker-quarantined": "a worker failed so often that it is not started again",
    "worker-rejoined": "a worker that outlived its supervisor has joined the next one",
    "inputs-without-answer": "many samples in a row got no answer, from a model that is sound",
    "input-lost": "nothing comes in any more: the camera, file or connection has gone",
    "input-back": "it comes in again",
    "throttled": "firmware or kernel slows the board down",
    "undervoltage": "the supply sags",
    "drift-raised": "a feature has moved from what the model was proved on, two windows in a row",
    "drift-cleared": "it is back",
    "anomaly": "a score went over its limit",
    "disk-low": "little room is left where the agent's state lies",
    "disk-ok": "there is room again",
    "clock-stepped": "the board's clock was set",
    "outbox-rebuilt": "the outbox was damaged, and begun anew",
    "state-rebuilt": "the agent's state was damaged, and begun anew",
    "commanded": "a command changed something: which, and what it set",
    "shutdown": "the agent was told to end",
    "certificate-ends": "the board's certificate ends within 30 days, or has ended: once a day",
    "device-id-taken": "another agent bears the same name",
    "subscription-refused": "the broker does not let the board hear what it has to hear",
}

Body: TypeAlias = Window | Event | Result | Gap
KINDS: tuple[type[Body], ...] = (Window, Event, Result, Gap)  # a row's kind is the place here: append only


class Row(Compact, frozen=True):
    """One row of a batch; a kind that the reader does not know stays as it is."""

    sequence: int  # rises by one with each row of an outbox, from 1
    kind: int  # 0 window, 1 event, 2 result, 3 gap
    body: msgspec.Raw  # the row itself
    replaces: bytes = b""  # packed ranges: earlier, never sent rows that were merged into this one


class Batch(Compact, frozen=True):
    """One message."""

    schema: int  # 1
    epoch: bytes  # 8 random bytes, made with the outbox
    ack_within_s: int  # the sender asks for nothing sooner: one acknowledgement may cover what comes until then
    rows: tuple[Row, ...]  # some hundred at most


class Ack(Compact, frozen=True):
    """What the collector has committed."""

    schema: int  # 1
    epoch: bytes  # of the batches that it is about
    through: int  # every sequence up to this, or its gap, is known
    beyond: bytes = b""  # packed ranges above ``through``
    now_ms: int = 0  # the collector's clock, Unix


def row_of(sequence: int, body: Body, *, replaces: bytes = b"") -> Row:
    """Return the body as a row."""
    return Row(sequence, KINDS.index(type(body)), msgspec.Raw(msgspec.msgpack.encode(body)), replaces)


def body_of(row: Row) -> Body | None:
    """Return what a row holds; None: a kind of a later version. Raises: WireError."""
    if not 0 <= row.kind < len(KINDS):
        return None
    try:
        return msgspec.msgpack.decode(row.body, type=KINDS[row.kind])
    except UNREADABLE as error:
        raise WireError(f"row {row.sequence} is no {KINDS[row.kind].__name__}: {error}") from error


def encode_batch(epoch: bytes, rows: Sequence[Row], *, ack_within_s: int = 0) -> bytes:
    """Return one message."""
    return msgspec.msgpack.encode(Batch(BATCH_SCHEMA, epoch, ack_within_s, tuple(rows)))


def decode_batch(data: bytes) -> Batch:
    """Return the batch that a message holds. Raises: WireError."""
    return _decoded(data, Batch)


def encode_ack(epoch: bytes, through: int, beyond: bytes = b"", *, now_ms: int = 0) -> bytes:
    """Return one acknowledgement."""
    return msgspec.msgpack.encode(Ack(BATCH_SCHEMA, epoch, through, beyond, now_ms))


def decode_ack(data: bytes) -> Ack:
    """Return the acknowledgement that a message holds. Raises: WireError."""
    return _decoded(data, Ack)


_Message = TypeVar("_Message", Batch, Ack)


def _decoded(data: bytes, kind: type[_Message]) -> _Message:
    try:
        message = msgspec.msgpack.decode(data, type=kind)
    except UNREADABLE as error:
        raise WireError(f"not a {kind.__name__.lower()}: {error}") from error
    if message.schema != BATCH_SCHEMA:
        raise WireError(f"{kind.__name__.lower()} of schema {message.schema}; this version reads {BATCH_SCHEMA}")
    return message


def pack_ranges(numbers: Sequence[int]) -> bytes:
    """Return sequence numbers as runs: first, length, distance to the next, length, ..."""
    return pack_runs([(number, number) for number in numbers])


def pack_runs(runs: Iterable[tuple[int, int]]) -> bytes:
    """Return runs (first, last, both included), in any order and overlapping or not, as ``pack_ranges`` does."""
    out: list[int] = []
    end = 0  # one past the last number that is in
    for first, last in sorted(runs):
        if out and first <= end:
            grown = max(end, last + 1)
            out[-1] += grown - end
        else:
            grown = last + 1
            out += [first - end, grown - first]
        end = grown
    return pack_numbers(out)


def unpack_ranges(data: bytes) -> list[tuple[int, int]]:
    """Return runs as (first, last), both included. Raises: WireError."""
    numbers = unpack_numbers(data)
    if len(numbers) % 2:
        raise WireError("ranges end in the middle of one")
    ranges: list[tuple[int, int]] = []
    end = 0
    for distance, length in zip(numbers[::2], numbers[1::2], strict=True):
        if not length:
            raise WireError("a range of no length")
        ranges.append((end + distance, end + distance + length - 1))
        end += distance + length
    return ranges
