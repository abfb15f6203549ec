"""A message of the broker's as something for the store, or as poison: never an exception."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.commands import COMMAND_SCHEMA, Reply, decode_state
from edgeglm_agent.wire.manifest import UNREADABLE
from edgeglm_agent.wire.telemetry import decode_batch
from edgeglm_agent.wire.topics import check_name, parse_topic

from edgeglm.fleet.store.types import (
    POISON_BYTES,
    POISON_TEXT,
    Arrivals,
    Device,
    IncomingBatch,
    IncomingReply,
    IncomingState,
    Poison,
    Stream,
)
from edgeglm.log import SilentLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm.fleet.collector.shards import Part
    from edgeglm.log import Log

MOST_BYTES = 4 << 20  # of a message: a board's batches are of 16 KB, and a long one holds one row
_MOST_JSON = 1 << 16
_MOST_ROWS = 4096  # of a batch: a board's 16 KB hold a few hundred
_MESSAGE_BYTES = 512  # of memory, beside topic and payload
_ROW_BYTES = 150  # of memory, beside its part of the payload
_MOST_TOPICS = 200_000  # that are remembered
_MOST_WAIT_S = 3600.0
_LONGEST_WINDOW_S = 86_400
_MOST_AT_ONCE = 100


class Owed(NamedTuple):
    """An acknowledgement that a board waits for."""

    topic: str
    within_s: float


class _Known(NamedTuple):
    """What a topic was found to be."""

    device: Device
    leaf: str
    ack: str


class Intake:
    """What came since it was last taken away."""

    def __init__(
        self,
        part: Part,
        log: Log | None = None,
        *,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._part = part
        self._log = log or SilentLog()
        self._clock_ms = clock_ms
        self._topics: dict[str, _Known] = {}
        self.clear()

    def clear(self) -> None:
        """Begin anew: what came so far is somebody else's now."""
        self.arrivals = Arrivals()
        self.owed: dict[Stream, Owed] = {}
        self.messages = 0
        self.bytes = 0  # of memory, about
        self.rows = 0

    def take(self, topic: str | bytes, payload: bytes, *, retained: bool = False) -> int:
        """Take one message; return about how many bytes of memory it takes."""
        self.messages += 1
        rows_before = self.rows
        received_ms = self._clock_ms()
        try:
            known = self._topics.get(topic) or self._place(topic)  # type: ignore[arg-type]
            if len(payload) > MOST_BYTES:
                raise WireError(f"a message of {len(payload)} bytes; at most {MOST_BYTES} are read")
            if known.leaf == "state":
                self._state(known, payload, received_ms, retained)
            elif known.leaf.startswith("res/"):
                self._reply(known, payload, received_ms)
            else:
                self._batch(known, payload, received_ms)
        except WireError as error:
            self._put_aside(topic, payload, str(error), received_ms)
        except Exception as error:  # a fault of ours: the message must not come again for ever, nor hold its place
            self._log.warn(f"{topic!r:.200}: a bug of edgeglm: {error!r:.200}; it is put aside")
            self._put_aside(topic, payload, f"a bug of edgeglm: {error!r}", received_ms)
        taken = len(topic) + len(payload) + _MESSAGE_BYTES + (self.rows - rows_before) * _ROW_BYTES
        self.bytes += taken
        return taken

    def _put_aside(self, topic: str | bytes, payload: bytes, reason: str, received_ms: int) -> None:
        named = topic[:POISON_TEXT] if isinstance(topic, str) else repr(topic[:POISON_TEXT])
        self.arrivals.poison.append(Poison(named, reason[:POISON_TEXT], payload[:POISON_BYTES], received_ms))

    def _place(self, topic: str | bytes) -> _Known:
        if not isinstance(topic, str):
            raise WireError("a topic that is no UTF-8")
        place = parse_topic(topic)
        if not self._part.has(place):
            raise WireError(f"`{topic}` is of no shard or fleet that this collector takes")
        leaf, _, request = place.leaf.partition("/")
        if leaf == "res":
            check_name(request, "request")
        elif place.leaf not in ("state", "events", "telemetry", "results"):
            raise WireError(f"`{topic}` is none that a board says anything on")
        device = Device(place.fleet, place.device)
        known = _Known(device, place.leaf, f"{topic[: -len(place.leaf)]}ack")
        if leaf != "res":  # those come once each
            if len(self._topics) >= _MOST_TOPICS:
                self._topics.clear()
            self._topics[topic] = known
        return known

    def _batch(self, known: _Known, payload: bytes, received_ms: int) -> None:
        batch = decode_batch(payload)
        if len(batch.epoch) != 8:
            raise WireError(f"an epoch of {len(batch.epoch)} bytes; every one is of 8")
        if len(batch.rows) > _MOST_ROWS:
            raise WireError(f"a batch of {len(batch.rows)} rows; at most {_MOST_ROWS} are read")
        stream = Stream(known.device, batch.epoch)
        self.rows += len(batch.rows)
        self.arrivals.batches.append(IncomingBatch(stream, batch.rows, received_ms))
        within_s = min(max(float(batch.ack_within_s), 0.0), _MOST_WAIT_S)
        owed = self.owed.get(stream)
        if owed is None or within_s < owed.within_s:
            self.owed[stream] = Owed(known.ack, within_s)

    def _state(self, known: _Known, payload: bytes, received_ms: int, retained: bool) -> None:
        if not payload:  # somebody took away what the broker had kept
            return
        if len(payload) > _MOST_JSON:
            raise WireError(f"a state of {len(payload)} bytes; at most {_MOST_JSON} are read")
        state = decode_state(payload)
        if state.device != known.device.name:
            raise WireError(f"a state of `{state.device[:64]}` on a topic of `{known.device.name}`")
        if not 0 <= state.window_s <= _LONGEST_WINDOW_S:
            raise WireError(f"a state with windows of {state.window_s} s; there are none beyond a day")
        if not 1 <= state.windows_at_once <= _MOST_AT_ONCE:
            raise WireError(f"a state with {state.windows_at_once} windows at once; there are at most {_MOST_AT_ONCE}")
        self.arrivals.states.append(IncomingState(known.device, state, received_ms, retained, payload))

    def _reply(self, known: _Known, payload: bytes, received_ms: int) -> None:
        if len(payload) > _MOST_JSON * 16:
            raise WireError(f"a reply of {len(payload)} bytes; at most {_MOST_JSON * 16} are read")
        try:
            reply = msgspec.json.decode(payload, type=Reply)
        except UNREADABLE as error:
            raise WireError(f"not a reply: {error}") from error
        if reply.schema != COMMAND_SCHEMA:
            raise WireError(f"a reply of schema {reply.schema}; this version reads {COMMAND_SCHEMA}")
        if f"res/{reply.id}" != known.leaf:
            raise WireError(f"a reply to `{reply.id[:64]}` on `{known.leaf}`")
        self.arrivals.replies.append(IncomingReply(known.device, reply, received_ms, payload))
