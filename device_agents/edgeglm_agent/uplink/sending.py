"""Which rows leave when: in batches, within the budget, again when an acknowledgement is overdue.

The broker's answer says that it has a message, no more: a row stays in the outbox until the collector has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm_agent.outbox import EVENTS, METRICS, PRIORITIES, SAMPLES, Outbox
from edgeglm_agent.uplink.budget import MESSAGE_BYTES, Budget, group_for
from edgeglm_agent.uplink.flights import Flight, Flights
from edgeglm_agent.uplink.reports import Outgoing
from edgeglm_agent.wire.telemetry import Ack, Row, encode_batch, unpack_ranges

if TYPE_CHECKING:
    from edgeglm_agent.uplink.reports import Opened, Taken
    from edgeglm_agent.uplink.timing import Timing
    from edgeglm_agent.wire.topics import Topics

_BATCH_BYTES = 16_384
_WHOLE_BATCH = 1 << 20  # bytes: of a batch that goes again, all rows do
_MOST_STRIKES = 100
_SAMPLES_RESERVE = 0.5  # of the bucket stays for events and metrics
_LAZY_WINDOWS = 8  # that one acknowledgement may cover
_WORTH_BYTES = 4096  # of windows that a starved board waits for before it sends a message
_FAULTS = frozenset({0x81, 0x82, 0x87, 0x90, 0x95, 0x99})  # of a packet: it would end the next connection too
_QUOTA_EXCEEDED = 0x97
_AT_ONCE_S = 5.0  # a connection that ends so soon after a publish may have ended for it


class Sender:
    """What is on its way over one connection, and what goes next."""

    def __init__(
        self, outbox: Outbox, topics: Topics, budget: Budget, timing: Timing, *, window_s: int, windows_at_once: int = 1
    ) -> None:
        self.window_s = window_s
        self._windows_at_once = windows_at_once
        self.resent = self.merged = self.rejected = 0
        self._outbox = outbox
        self._budget = budget
        self._timing = timing
        self._topics = {EVENTS: topics.events, METRICS: topics.telemetry, SAMPLES: topics.results}
        self._flights = Flights(timing)
        self._after = dict.fromkeys(PRIORITIES, 0)
        self._told = 0  # events up to this have gone once: again they go within the budget, as all else
        self._put_off = 0  # bytes of some that wait for it
        self._opened: Opened | None = None
        self._aliased: set[int] = set()
        self._silent = 0  # probes since the last acknowledgement
        self._probe_at = 0.0
        self._refusals = dict.fromkeys(PRIORITIES, 0)
        self._paused_until = dict.fromkeys(PRIORITIES, 0.0)
        self._strikes: dict[int, int] = {}  # first row of a batch -> connections that ended with it unanswered
        self._alone = dict.fromkeys(PRIORITIES, 0)  # rows up to this go one by one: one of them may be poison
        self._starved, self._look_at = False, 0.0
        self._came_at: float | None = None  # when the first window that has not left was seen
        self._epoch = outbox.epoch

    @property
    def flights(self) -> int:
        """How many batches wait for an acknowledgement."""
        return len(self._flights)

    def opened(self, opened: Opened, now: float) -> None:
        """Begin with a new connection: all that is not acknowledged goes again."""
        self._opened = opened
        self._forget_flights()
        self._aliased.clear()
        self._silent, self._probe_at = 0, now

    def closed(self, code: int, now: float) -> None:
        """Note which batch the connection may have ended for."""
        unanswered = self._flights.first_unanswered()
        if unanswered is not None and (code in _FAULTS or (not code and now - unanswered.sent_at < _AT_ONCE_S)):
            first = unanswered.sequences[0]
            if len(self._strikes) > _MOST_STRIKES:
                self._strikes.clear()
            strikes = self._strikes[first] = self._strikes.get(first, 0) + 1
            if strikes >= (2 if code in _FAULTS else 5):
                del self._strikes[first]
                if len(unanswered.sequences) == 1:
                    self._reject(unanswered, now)
                else:
                    self._alone[unanswered.priority] = unanswered.sequences[-1]
        self._opened = None
        self._budget.promised = 0  # what has not left by now will not
        self._forget_flights()

    def taken(self, taken: Taken, now: float) -> None:
        """Take the broker's answer: at 128 and above it is a refusal for good."""
        flight = self._flights.find(taken.tag)
        if flight is None:
            return
        flight.taken = True
        self._strikes.pop(flight.sequences[0], None)
        if taken.code < 128:
            self._refusals[flight.priority] = 0
            return
        self._flights.land(flight)
        if taken.code == _QUOTA_EXCEEDED:  # of the broker, for now: the rows are good
            self._pause(flight.priority, now)
        else:
            self._reject(flight, now)
        self._after[flight.priority] = 0

    def acknowledged(self, ack: Ack, now: float) -> int:
        """Take the collector's word; return how many rows that lets go. Raises: WireError."""
        count = self._outbox.acknowledge(ack)
        runs = [(0, ack.through), *unpack_ranges(ack.beyond)]
        count = max(count, min(1, self._flights.arrived(runs)))
        if count:
            self._silent, self._probe_at = 0, now
        return count

    @property
    def news(self) -> bool:
        """Whether there may be events that have never gone."""
        return self._told < self._outbox.highest(EVENTS)

    def overdue_answer(self, now: float) -> bool:
        """Return whether the broker has not answered a publish in time: the connection is dead."""
        return self._flights.overdue_answer(now)

    def step(self, now: float, *, last: bool = False) -> list[Outgoing]:
        """Return what to publish now; ``last``: nothing follows that windows could wait for."""
        if self._opened is None or not self._outbox.epoch:
            return []
        if self._epoch != self._outbox.epoch:  # the file was damaged: numbers begin anew
            self._epoch = self._outbox.epoch
            self._told = 0
            self._strikes.clear()
            self._alone = dict.fromkeys(PRIORITIES, 0)
            self._forget_flights()
        if self._flights.all_taken():
            self._budget.promised = 0  # all of it has left, and was counted
        if self._put_off and self._budget.allows(self._put_off):
            self._after[EVENTS] = self._put_off = 0
        out = self._again(now)
        for priority in PRIORITIES:
            if now < self._paused_until[priority] or (priority == METRICS and self._lingers(now) and not last):
                continue
            while self._after[priority] < self._outbox.highest(priority) and self._has_room(priority):
                batch = self._next(priority, now)
                if batch is None:
                    break
                out.append(batch)
        return out

    def _again(self, now: float) -> list[Outgoing]:
        """Send overdue batches once more: all of them where the collector was heard lately, else one as a probe."""
        if now < self._probe_at:
            return []
        overdue = self._flights.overdue(now)
        out: list[Outgoing] = []
        for flight in overdue if not self._silent else sorted(overdue, key=_size)[:1]:
            if not self._budget.allows(flight.size + MESSAGE_BYTES):
                break  # it was paid for once: it goes again when there is enough for that
            self._flights.land(flight)
            first, last = flight.sequences[0], flight.sequences[-1]
            rows = self._outbox.pending(flight.priority, after=first - 1, through=last, limit_bytes=_WHOLE_BATCH)
            # all of its rows: one that stayed behind would be in no batch until the next connection
            rows = [row for row in rows if row.sequence in flight.sequences]
            if rows:
                self.resent += len(rows)
                _, batch = self._fly(flight.priority, rows, self._timing.soon_s, now)
                out.append(batch)
        if not out:
            return []
        self._silent += 1
        self._probe_at = now + _doubled(self._timing.first_probe_s, self._timing.longest_probe_s, self._silent)
        return out

    def _lingers(self, now: float) -> bool:
        """Return whether windows came so lately that others of the same moment may follow."""
        if self._after[METRICS] >= self._outbox.highest(METRICS):
            self._came_at = None
        elif self._came_at is None:
            self._came_at = now
        wait = self._timing.linger_s + (self._windows_at_once - 1) * self.window_s
        return self._came_at is not None and now - self._came_at < wait

    def _has_room(self, priority: int) -> bool:
        spare = 0 if priority == EVENTS else 4  # others never keep an event waiting
        assert self._opened is not None
        return self._flights.has_room(self._opened.at_once, spare)

    def _next(self, priority: int, now: float) -> Outgoing | None:
        limit = self._limit(priority, now)
        if limit is None:
            return None
        rows: list[Row] = []
        while not rows:
            waiting = self._outbox.pending(priority, after=self._after[priority], limit_bytes=limit)
            if not waiting:
                self._after[priority] = self._outbox.highest(priority)
                if priority == EVENTS:
                    self._told = max(self._told, self._after[EVENTS])
                return None
            if waiting[0].sequence <= self._alone[priority]:
                waiting = waiting[:1]
            last = waiting[-1].sequence
            rows = [row for row in waiting if row.sequence not in self._flights.flying]
            if not rows:
                self._after[priority] = last
        size = sum(len(row.body) + len(row.replaces) for row in rows)
        if priority == EVENTS and rows[0].sequence <= self._told and not self._budget.allows(size + MESSAGE_BYTES):
            self._after[EVENTS], self._put_off = self._told, size + MESSAGE_BYTES  # new ones do not wait for those
            return self._next(priority, now)
        if priority == SAMPLES and not self._budget.allows(size + MESSAGE_BYTES, reserve=_SAMPLES_RESERVE):
            return None
        if priority == METRICS and not self._budget.allows(min(size, limit) + MESSAGE_BYTES):
            self._starved = True
            return None
        sequences = [row.sequence for row in rows]
        if not self._outbox.mark_sent(sequences, self._budget.notes()):
            return None  # the disk does not take it: a row that left unmarked could be merged and left twice
        self._after[priority] = last
        if priority == EVENTS:
            self._told = max(self._told, last)
        more = last < self._outbox.highest(priority)
        lazy = priority == METRICS and not more
        if lazy:
            self._came_at = None
        flight, batch = self._fly(
            priority, rows, max(self._timing.soon_s, _LAZY_WINDOWS * self.window_s if lazy else 0), now
        )
        assert self._opened is not None
        if self._opened.most_bytes and len(batch.payload) + 256 > self._opened.most_bytes and len(rows) == 1:
            self._reject(flight, now)
            return None
        return batch

    def _limit(self, priority: int, now: float) -> int | None:
        """Return how many bytes of rows the next batch may have; None: none may go now."""
        assert self._opened is not None
        most = min(_BATCH_BYTES, self._opened.most_bytes - 512) if self._opened.most_bytes else _BATCH_BYTES
        if priority != METRICS:
            return max(most, 1)
        if self._starved:
            if now < self._look_at:
                return None
            self._look_at = now + self._timing.look_s
            count, size = self._outbox.unsent_windows()
            group = group_for(count, size, self._budget, horizon_s=self._timing.horizon_s)
            if group > 1:
                self.merged += self._outbox.merge_unsent_windows(group)
                size = self._outbox.unsent_windows()[1]
            if not self._budget.allows(min(size, _WORTH_BYTES) + MESSAGE_BYTES):
                return None
            self._starved = False
        return max(1, min(most, int(self._budget.level - self._budget.promised) - MESSAGE_BYTES))

    def _fly(self, priority: int, rows: list[Row], within_s: float, now: float) -> tuple[Flight, Outgoing]:
        assert self._opened is not None
        payload = encode_batch(self._outbox.epoch, rows, ack_within_s=round(within_s))
        self._budget.promised += len(payload) + MESSAGE_BYTES
        flight = self._flights.begin(priority, tuple(row.sequence for row in rows), len(payload), within_s, now)
        topic, alias = self._topics[priority], priority + 1
        if alias > self._opened.aliases:
            alias = 0
        elif alias in self._aliased:
            topic = ""
        else:
            self._aliased.add(alias)
        return flight, Outgoing(self._opened.generation, flight.tag, topic, payload, alias=alias)

    def _reject(self, flight: Flight, now: float) -> None:
        self._flights.land(flight)
        self.rejected += self._outbox.reject(flight.sequences)
        self._pause(flight.priority, now)

    def _pause(self, priority: int, now: float) -> None:
        self._refusals[priority] += 1
        pause = _doubled(self._timing.first_pause_s, self._timing.longest_pause_s, self._refusals[priority])
        self._paused_until[priority] = now + pause

    def _forget_flights(self) -> None:
        self._flights.forget()
        self._after = dict.fromkeys(PRIORITIES, 0)


def _size(flight: Flight) -> int:
    return flight.size


def _doubled(first: float, longest: float, times: int) -> float:
    return float(min(longest, first * 2.0 ** min(times - 1, 30)))
