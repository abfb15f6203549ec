"""One board: what it is, what it runs, how it did, what happened, what it answered."""

from __future__ import annotations

from collections import Counter, deque
from itertools import islice
from typing import TYPE_CHECKING

import msgspec
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.commands import State
from edgeglm_agent.wire.sketch import Sketch

from edgeglm.fleet.health import HealthProblem, problems, usual_models
from edgeglm.fleet.seeing.flat import FlatEvent, FlatWindow, flat_event, flat_window, percentiles
from edgeglm.fleet.store.rows import lost_rows

if TYPE_CHECKING:
    from edgeglm_agent.wire.telemetry import Window

    from edgeglm.fleet.store.base import StoreReader
    from edgeglm.fleet.store.types import DeviceSummary, IncomingReply, Span, StoredWindow

NEWEST_WINDOWS = 12  # of each slot, that are shown one by one
NEWEST_EVENTS = 10
NEWEST_REPLIES = 5


class SlotTotal(msgspec.Struct, kw_only=True):
    """One slot over the whole stretch; percentiles are those of all its samples together."""

    slot: str
    windows: int = 0
    inferences: int = 0
    errors: dict[str, int] = {}
    total_ms: dict[str, float] = {}  # p50, p95, p99: from input to result handed out
    model_ms: dict[str, float] = {}  # the model alone
    unreadable: int = 0  # windows whose histogram is damaged


class Answered(msgspec.Struct, frozen=True):
    """An answer to a command."""

    received_ms: int
    op: str
    id: str
    ok: bool
    said: str


class Lost(msgspec.Struct, frozen=True):
    """Rows that are lost for good, and why."""

    rows: int = 0
    reasons: dict[str, int] = {}


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that ``fleet show`` shows."""

    fleet: str
    device: str
    shard: str
    first_seen_ms: int
    last_seen_ms: int
    state: State | None
    state_ms: int
    clock_off_ms: int | None
    problems: list[HealthProblem]
    since_ms: int
    totals: list[SlotTotal]
    windows: list[FlatWindow]
    events: list[FlatEvent]
    more_events: int  # within the stretch, before those
    lost: Lost
    lost_rows_ever: int
    duplicates: int
    replies: list[Answered]


class _Sum:
    def __init__(self, slot: str) -> None:
        self.total = SlotTotal(slot=slot)
        self.latency, self.whole = Sketch(), Sketch()
        self.errors: Counter[str] = Counter()
        self.newest: deque[StoredWindow] = deque(maxlen=NEWEST_WINDOWS)

    def add(self, window: Window) -> None:
        self.total.windows += window.merged
        self.total.inferences += window.inferences
        self.errors.update(window.errors)
        try:
            model = Sketch.unpack(window.latency_ms)
            whole = Sketch.unpack(window.total_ms) if window.total_ms else model
        except WireError:
            self.total.unreadable += 1
            return
        self.latency.merge(model)
        self.whole.merge(whole)

    def summed(self) -> SlotTotal:
        return msgspec.structs.replace(
            self.total, errors=dict(self.errors), total_ms=_percentiles(self.whole), model_ms=_percentiles(self.latency)
        )


def card(reader: StoreReader, summary: DeviceSummary, span: Span, now_ms: int) -> Card:
    """Read what is known of a board; whatever its number of windows, few are held at a time."""
    device = summary.device
    sums: dict[str, _Sum] = {}
    for stored in reader.windows(span, device):
        one = sums.setdefault(stored.window.slot, _Sum(stored.window.slot))
        one.add(stored.window)
        one.newest.append(stored)
    events: deque[FlatEvent] = deque(maxlen=NEWEST_EVENTS)
    count = 0
    for event in reader.events(span, device):
        count += 1
        events.append(flat_event(event))
    reasons: Counter[str] = Counter()
    for gap in reader.gaps(span, device):
        reasons[gap.gap.reason] += lost_rows(gap.gap)
    replies = deque(reader.replies(device, span), maxlen=NEWEST_REPLIES)
    return Card(
        fleet=device.fleet,
        device=device.name,
        shard=summary.shard,
        first_seen_ms=summary.first_seen_ms,
        last_seen_ms=summary.last_seen_ms,
        state=summary.state,
        state_ms=summary.state_ms,
        clock_off_ms=summary.clock_off_ms,
        problems=problems(summary, now_ms, usual_models(reader.devices(device.fleet))),
        since_ms=span.since_ms,
        totals=[one.summed() for one in sums.values()],
        windows=[flat_window(stored) for one in sums.values() for stored in one.newest],
        events=[*events],
        more_events=count - len(events),
        lost=Lost(reasons.total(), dict(islice(reasons.items(), 20))),
        lost_rows_ever=summary.lost_rows,
        duplicates=summary.duplicates,
        replies=[_answered(reply) for reply in replies],
    )


def _percentiles(sketch: Sketch) -> dict[str, float]:
    found = zip(("p50", "p95", "p99"), percentiles(sketch), strict=True)
    return {name: value for name, value in found if value is not None}


def _answered(incoming: IncomingReply) -> Answered:
    reply = incoming.reply
    return Answered(incoming.received_ms, reply.op, reply.id, reply.ok, reply.said)
