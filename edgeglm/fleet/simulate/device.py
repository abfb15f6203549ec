"""One simulated device: its rows until the collector has them, and what goes over the wire. No network in here.

As a real board does: a row leaves in a batch, is kept until the collector acknowledges it, and goes again on a new
connection or when its acknowledgement is overdue.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.commands import encode
from edgeglm_agent.wire.sketch import Sketch
from edgeglm_agent.wire.telemetry import (
    Event,
    Gap,
    Result,
    Row,
    Window,
    decode_ack,
    encode_batch,
    row_of,
    unpack_ranges,
)
from edgeglm_agent.wire.topics import Topics

from edgeglm.fleet.simulate.answers import Answers
from edgeglm.fleet.simulate.board import Board
from edgeglm.fleet.simulate.cuts import cuts_of
from edgeglm.fleet.simulate.dice import Dice
from edgeglm.fleet.simulate.faults import (
    Duplicating,
    Impostor,
    LostAcks,
    Malformed,
    RestoredCard,
    Silent,
)
from edgeglm.fleet.simulate.wrong import unreadable

if TYPE_CHECKING:
    from edgeglm_agent.wire.telemetry import Body

    from edgeglm.fleet.simulate.fleet import Fleet

_BATCH_BYTES = 16_384
_MOST_FLYING = 128  # rows of a slot without an acknowledgement; what happens beyond them waits, and takes no memory
_SOON_S = 2.0  # what the collector is granted for all but the newest windows
_LONGEST_PROBE_S = 900.0
_TELEMETRY, _EVENTS, _RESULTS = range(3)
_LEAF = {Window: _TELEMETRY, Event: _EVENTS, Gap: _EVENTS, Result: _RESULTS}
_COUNTS = {Window: "windows", Event: "events", Gap: "gaps", Result: "results"}


class Message(NamedTuple):
    """What is published, at QoS 1."""

    topic: str
    payload: bytes
    retain: bool = False


class _Flying:
    """A row that has left."""

    __slots__ = ("due_at", "first_at", "leaf", "row")

    def __init__(self, leaf: int, row: Row, now: float, due_at: float) -> None:
        self.leaf, self.row, self.first_at, self.due_at = leaf, row, now, due_at


class Device:
    """One device; times are seconds since the run began.

    Attributes:
        flying: Rows that left and are not acknowledged, by sequence, in order.
    """

    def __init__(self, fleet: Fleet, index: int) -> None:
        self._fleet = fleet
        self.index = index
        self.name = fleet.name(index)
        self.topics = Topics(fleet.profile.fleet, self.name)
        self._leaves = (self.topics.telemetry, self.topics.events, self.topics.results)
        self.flying: dict[int, _Flying] = {}
        self._unsent: deque[tuple[int, Row]] = deque()
        self._sequence = 0  # the last that was given
        self._given = 0  # the highest that was ever given: above it where the card was put back
        self._silent_probes, self._probe_at = 0, 0.0
        self._answers = Answers(self)
        self._wrong = 0
        self._timing = Dice("timing", fleet.profile.seed, index)  # what depends on how messages happen to go
        self._latency = Sketch()
        self._latency.counts = fleet.tally.latency_ms  # all devices count into one
        self.board = Board(fleet, index, self._put, self._skip)
        faults = self.board.faults
        self._silences = [fault for fault in faults if isinstance(fault, Silent)]
        self._mutes = [fault for fault in self._silences if fault.connected]
        self._wrongs = [fault for fault in faults if isinstance(fault, Duplicating | Malformed)]
        self._lossy = [fault for fault in faults if isinstance(fault, LostAcks)]
        self._restores = [fault for fault in faults if isinstance(fault, RestoredCard)]
        self._impostures = [(fault.after_s, fault) for fault in faults if isinstance(fault, Impostor)]
        self.cuts = cuts_of(faults, self._timing, fleet.profile.duration_s)  # the first last

    @property
    def next_at(self) -> float:
        """When there is something to do next, but for what comes and what is overdue."""
        if self._fleet.profile.in_flight is not None:
            return math.inf
        if not (self._restores or self._impostures):
            return self.board.next_at
        times = [self.board.next_at, *(fault.after_s for fault in self._restores), *(at for at, _ in self._impostures)]
        return min(times)

    def wall_ms(self, now: float) -> int:
        """Return Unix milliseconds, as the collector's acknowledgements tell them."""
        return self._fleet.start_ms + round(now * 1000)

    @property
    def waiting(self) -> int:
        """How many rows have no acknowledgement."""
        return len(self.flying) + len(self._unsent)

    def withholds(self, now: float) -> bool:
        """Return whether nobody can acknowledge its rows now: it is silent, or its card was put back."""
        return self._sequence < self._given or any(fault.active(now) for fault in self._silences)

    # what goes out

    def birth(self) -> Message:
        """Return the birth, retained."""
        self.board.changed = False
        return Message(self.topics.state, encode(self.board.state()), retain=True)

    def will(self) -> Message:
        """Return the last will, which is also what it says when it goes in order."""
        return Message(self.topics.state, encode(self.board.state(online=False)), retain=True)

    def opened(self, now: float) -> list[Message]:
        """Begin with a new connection: the birth, and all that is not acknowledged once more."""
        self._silent_probes, self._probe_at = 0, now
        return [self.birth(), *self._again(list(self.flying), now)]

    def step(self, now: float) -> list[Message]:
        """Return what to publish now over a connection that stands."""
        if self._mutes and any(fault.active(now) for fault in self._mutes):
            return []
        if self._restores:
            self._put_back(now)
        room = _MOST_FLYING * len(self.board.slots) - len(self.flying) - len(self._unsent)
        if self._fleet.profile.in_flight is None:
            if room > 0:
                self.board.live(now, room)
            messages = self._batches(now)
        else:
            messages = self._loop(now, self._fleet.profile.in_flight)
        if self.board.changed:
            messages.append(self.birth())
        if self._impostures:
            messages += self._of_others(now)
        return messages

    def overdue(self, now: float) -> list[Message]:
        """Return once more what should have been acknowledged by now; the longer nothing is heard, the rarer."""
        if not self.flying or now < self._probe_at or next(iter(self.flying.values())).due_at > now:
            return []
        late = [sequence for sequence, flying in self.flying.items() if flying.due_at <= now]
        self._silent_probes += 1
        wait = self._fleet.profile.resend_after_s * 2.0 ** min(self._silent_probes - 1, 20)
        self._probe_at = now + min(_LONGEST_PROBE_S, wait)
        return self._again(late, now)

    # what comes in

    def acknowledged(self, payload: bytes, now: float) -> int:
        """Take an acknowledgement; return how many rows that lets go."""
        tally = self._fleet.tally
        tally.acks += 1
        if self._lossy and any(fault.active(now) and self._timing.unit() < fault.rate for fault in self._lossy):
            tally.acks_lost += 1
            return 0
        try:
            ack = decode_ack(payload)
            runs = unpack_ranges(ack.beyond)
        except WireError:
            tally.acks_foreign += 1
            return 0
        highest = max([ack.through, *(last for _, last in runs)])
        if ack.epoch != self.board.epoch or highest > self._sequence:
            tally.acks_foreign += 1
            return 0
        gone = []
        for sequence in self.flying:
            if sequence > ack.through:
                break
            gone.append(sequence)
        if runs:
            gone += [s for s in self.flying if s > ack.through and any(first <= s <= last for first, last in runs)]
        for sequence in gone:
            self._latency.add((now - self.flying.pop(sequence).first_at) * 1000)
        if gone:
            self._silent_probes, self._probe_at = 0, now
            tally.acknowledged += len(gone)
        return len(gone)

    def command(self, topic: str, payload: bytes, now: float, *, retained: bool) -> Message | None:
        """Obey a command; return the answer, None: there is none to give."""
        reply = self._answers.to(topic.rpartition("/")[2], payload, now, retained=retained)
        if reply is None:
            return None
        self._fleet.tally.commands += 1
        return Message(self.topics.reply(reply.id), encode(reply))

    # rows

    def _put(self, body: Body) -> None:
        self._sequence += 1
        self._unsent.append((_LEAF[type(body)], row_of(self._sequence, body)))
        if self._sequence > self._given:
            self._given = self._sequence
        tally, name = self._fleet.tally, _COUNTS[type(body)]
        setattr(tally, name, getattr(tally, name) + 1)

    def _skip(self, count: int) -> int:
        first = self._sequence + 1
        self._sequence += count
        self._given = max(self._given, self._sequence)
        return first

    def _put_back(self, now: float) -> None:
        """Be what the card was, where it is time for that."""
        for fault in [fault for fault in self._restores if fault.after_s <= now]:
            self._restores.remove(fault)
            self._fleet.tally.dropped += len(self.flying) + len(self._unsent)
            self.flying.clear()
            self._unsent.clear()
            self._sequence = max(0, self._sequence - fault.rows)

    def _loop(self, now: float, most: int) -> list[Message]:
        """Send windows for as long as there is room for another: as fast as they are acknowledged."""
        messages: list[Message] = self._batches(now)
        while len(self.flying) < most:
            self.board.window(now)
            messages += self._batches(now)
        return messages

    def _batches(self, now: float) -> list[Message]:
        """Send what was put, in its order: neighbours of one topic go together."""
        messages: list[Message] = []
        while self._unsent:
            leaf, row = self._unsent.popleft()
            rows, size = [row], len(row.body)
            while self._unsent and self._unsent[0][0] == leaf and size < _BATCH_BYTES:
                rows.append(self._unsent.popleft()[1])
                size += len(rows[-1].body)
            granted_s = self._granted_s(now)
            if leaf != _TELEMETRY or self._unsent:
                granted_s = min(_SOON_S, granted_s)
            due_at = now + granted_s + self._fleet.profile.resend_after_s
            for row in rows:
                self.flying[row.sequence] = _Flying(leaf, row, now, due_at)
            messages += self._messages(leaf, rows, granted_s, now)
        return messages

    def _granted_s(self, now: float) -> float:
        """Return how long an acknowledgement may take: not beyond the end of the run."""
        granted_s, ends = self._fleet.profile.granted_s(), self._fleet.profile.duration_s
        return granted_s if ends is None else max(0.0, min(granted_s, ends - now))

    def _again(self, sequences: list[int], now: float) -> list[Message]:
        messages: list[Message] = []
        granted_s = min(_SOON_S, self._granted_s(now))
        for leaf in (_EVENTS, _TELEMETRY, _RESULTS):
            rows: list[Row] = []
            size = 0
            for sequence in sequences:
                flying = self.flying[sequence]
                if flying.leaf != leaf:
                    continue
                flying.due_at = now + granted_s + self._fleet.profile.resend_after_s
                rows.append(flying.row)
                size += len(flying.row.body)
                if size >= _BATCH_BYTES:
                    messages += self._messages(leaf, rows, granted_s, now)
                    rows, size = [], 0
            if rows:
                messages += self._messages(leaf, rows, granted_s, now)
        self._fleet.tally.resent += len(sequences)
        return messages

    def _messages(self, leaf: int, rows: list[Row], granted_s: float, now: float) -> list[Message]:
        """Return a batch, and what goes wrong beside it."""
        message = Message(self._leaves[leaf], encode_batch(self.board.epoch, rows, ack_within_s=round(granted_s)))
        messages, tally = [message], self._fleet.tally
        for fault in self._wrongs:
            if not fault.active(now) or self._timing.unit() >= fault.rate:
                continue
            if isinstance(fault, Duplicating):
                tally.duplicated += 1
                messages.append(message)
            else:
                tally.malformed += 1
                messages.append(Message(*unreadable(self.topics, self._timing, self._wrong)))
                self._wrong += 1
        return messages

    def _of_others(self, now: float) -> list[Message]:
        """Return what an impostor says: a window, and a birth under its own name, on its neighbour's topics."""
        messages: list[Message] = []
        for place, (at, fault) in enumerate(self._impostures):
            if at > now:
                continue
            self._impostures[place] = (now + fault.every_s, fault)
            if not fault.active(now):
                continue
            victim = Topics(self._fleet.profile.fleet, self._fleet.name(self.index + 1))
            rows = [row_of(1, Gap("quota", b"\x01\x01", {"Window": 1}))]
            epoch = self._fleet.random_bytes("imposture", self.name)[:8]
            messages += [
                Message(victim.events, encode_batch(epoch, rows)),
                Message(victim.state, encode(self.board.state())),
            ]
            self._fleet.tally.impostures += 2
        return messages
