"""What goes into a store and what comes out: the same for every store. Times are Unix milliseconds."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from edgeglm_agent.wire.commands import Reply, State
from edgeglm_agent.wire.telemetry import Event, Gap, Result, Row, Window

from edgeglm.fleet.store.alarms import Alarm


class Device(NamedTuple):
    """A board's name: unique within its fleet."""

    fleet: str
    name: str


class Stream(NamedTuple):
    """What sequence numbers are counted in."""

    device: Device
    epoch: bytes  # 8 bytes


# what the collector hands over


class IncomingBatch(msgspec.Struct, frozen=True):
    """One batch of rows, as it came."""

    stream: Stream
    rows: tuple[Row, ...]
    received_ms: int
    refused: dict[int, str] = {}  # rows, by their place, that no store can take, and why: put aside, and accounted for


class IncomingState(msgspec.Struct, frozen=True):
    """A birth, or a last will."""

    device: Device
    state: State
    received_ms: int
    retained: bool = False  # the broker had kept it: it says nothing of now
    raw: bytes = b""  # as it came, with fields that this version does not know


class IncomingReply(msgspec.Struct, frozen=True):
    """A board's answer to a command."""

    device: Device
    reply: Reply
    received_ms: int
    raw: bytes = b""  # as it came


POISON_BYTES, POISON_TEXT = 4096, 500  # that are kept of a message, and of its topic and reason: topics may be of 64 KB


class Poison(msgspec.Struct, frozen=True):
    """A message, or a row of one, that cannot be read: kept aside, and counted."""

    topic: str
    reason: str
    payload: bytes  # cut to what a store keeps
    received_ms: int


class Arrivals(msgspec.Struct):
    """What is committed together."""

    batches: list[IncomingBatch] = []
    states: list[IncomingState] = []
    replies: list[IncomingReply] = []
    poison: list[Poison] = []


class Known(msgspec.Struct, frozen=True):
    """Which sequence numbers of a stream are accounted for: every one up to ``through``, and the runs beyond it."""

    through: int
    beyond: tuple[tuple[int, int], ...] = ()  # first, last, both included


class Committed(msgspec.Struct):
    """What became of what was handed over."""

    known: dict[Stream, Known] = {}  # of every stream that had a batch: what may be acknowledged
    new_rows: int = 0
    duplicates: int = 0  # rows that the store had already
    taken_back: int = 0  # rows whose numbers another row had: a card that was restored from an old image
    put_off: int = 0  # rows of streams with too many holes: not kept, not accounted for, sent again by the board
    poison: int = 0  # messages and rows put aside
    outdated_states: int = 0  # wills of a session that is over


# what a reader gets


class Stored(msgspec.Struct, frozen=True):
    """Where a row came from, and when."""

    device: Device
    epoch: bytes
    sequence: int
    at_ms: int  # by the device's clock where that was synchronised, else placed by the collector's
    received_ms: int


class StoredWindow(Stored, frozen=True):
    """One slot over one window."""

    window: Window


class PackedWindow(NamedTuple):
    """A window as its board packed it, for who reads many and needs little of each."""

    at_ms: int
    epoch: bytes
    sequence: int
    body: bytes


class PackedHour(NamedTuple):
    """What a slot did in an hour, packed: ``hour_sums.hour_sum`` reads it."""

    at_ms: int  # when the hour begins
    body: bytes


class Hours(NamedTuple):
    """A stretch of time by the hour: what was added up, and what was not as yet. No window is in both."""

    sums: list[PackedHour]  # the oldest first
    windows: list[PackedWindow]  # of all slots; the oldest first


class StoredEvent(Stored, frozen=True):
    """Something that happened."""

    event: Event


class StoredResult(Stored, frozen=True):
    """One answer of the model."""

    result: Result


class StoredGap(Stored, frozen=True):
    """Rows that are lost for good."""

    gap: Gap


class SlotSummary(msgspec.Struct, frozen=True):
    """What a slot did last."""

    slot: str
    at_ms: int  # of the newest window
    received_ms: int
    window: Window  # the newest
    alarms: tuple[Alarm, ...] = ()  # of drift, that stand


class DeviceSummary(msgspec.Struct, frozen=True):
    """A board at a glance; reading it costs a few rows, however long the board has been there."""

    device: Device
    shard: str
    first_seen_ms: int
    last_seen_ms: int  # when something of it last came in, by the collector's clock
    state: State | None  # the newest birth or will
    state_ms: int  # when that came
    slots: dict[str, SlotSummary]
    lost_rows: int  # rows that the board has told to be lost, ever
    lost_at_ms: int  # when it last told so; 0: never
    duplicates: int  # rows that came more than once
    clock_off_ms: int | None  # the board's clock less the collector's, by its newest rows; None: unknown
    rows: int = 0  # that came and were kept, ever
    taken_back: int = 0  # rows under numbers that the board had used before: its card was restored from an old image
    taken_back_at_ms: int = 0  # when the last of them came; 0: never


class Span(NamedTuple):
    """A stretch of time, the end not included."""

    since_ms: int
    until_ms: int
