"""One transaction of any store: what came in, row by row, and what it does to boards and streams."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.commands import State
from edgeglm_agent.wire.telemetry import Gap, Window
from edgeglm_agent.wire.topics import ROOT, shard_of

from edgeglm.errors import StoreError
from edgeglm.fleet.store import alarms
from edgeglm.fleet.store.again import Again, take_again
from edgeglm.fleet.store.boards import may_have
from edgeglm.fleet.store.bodies import document
from edgeglm.fleet.store.known import HIGHEST
from edgeglm.fleet.store.placing import believed, note_boot, place
from edgeglm.fleet.store.rows import TABLE_OF, Read, columns, lost_rows, read_row
from edgeglm.fleet.store.tables import NewDevice
from edgeglm.fleet.store.types import POISON_BYTES, POISON_TEXT, Committed, Known, Poison

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeglm_agent.wire.telemetry import Row

    from edgeglm.fleet.store.boards import Boards, StreamState
    from edgeglm.fleet.store.tables import Tables
    from edgeglm.fleet.store.types import Arrivals, Device, IncomingBatch, IncomingReply, IncomingState, Stream

POISON_KEPT = 1000  # the newest
_MOST_HOLES = 4096  # of a stream: beyond them rows that make one more are put off
_MOST_RUNS = 16_384  # of a stream: beyond them rows that account for more than themselves are put off


class Writing:
    """One transaction."""

    def __init__(self, tables: Tables, boards: Boards) -> None:
        self.done = Committed()
        self._tables = tables
        self._boards = boards
        self._numbers: dict[Device, int] = {}
        self._touched: dict[tuple[int, bytes], StreamState] = {}
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        self._placed: list[tuple[int, int, int]] = []
        self._latest: dict[tuple[int, str], tuple[int, int, msgspec.Raw]] = {}
        self._heard: dict[int, int] = {}
        self._again: list[Again] = []
        self._poison: list[Poison] = []

    def write(self, arrivals: Arrivals) -> None:
        """Write it all; ``done`` is what became of it."""
        self._number_devices(arrivals)
        self._write_states(arrivals.states)
        self._write_replies(arrivals.replies)
        self._tables.save_heard(self._heard)
        self._write_batches(arrivals.batches)
        self._write_poison(arrivals.poison)

    def _number_devices(self, arrivals: Arrivals) -> None:
        """Know every board that is spoken of; of one that was forgotten, what the broker had kept says nothing."""
        speaking: dict[Device, int] = {}  # when each was first heard
        for batch in arrivals.batches:
            speaking.setdefault(batch.stream.device, batch.received_ms)
        for reply in arrivals.replies:
            speaking.setdefault(reply.device, reply.received_ms)
        kept: dict[Device, IncomingState] = {}
        for state in arrivals.states:
            if state.retained:
                kept.setdefault(state.device, state)
            else:
                speaking.setdefault(state.device, state.received_ms)
        numbers = self._numbers = self._boards.devices(speaking.keys() | kept.keys())
        new = [NewDevice(one, shard_of(one.name), at, at) for one, at in speaking.items() if one not in numbers]
        silent = [device for device in kept if device not in numbers and device not in speaking]
        if silent:
            forgotten = self._tables.forgotten(silent)
            new += [
                NewDevice(one, shard_of(one.name), kept[one].received_ms, _born_ms(kept[one]))
                for one in silent
                if one not in forgotten
            ]
        if new:
            numbers.update(self._boards.add_devices(sorted(new)))

    def _write_states(self, states: list[IncomingState]) -> None:
        """Write births and wills."""
        if not states:
            return
        newest = self._tables.states({self._numbers[one.device] for one in states if one.device in self._numbers})
        changed: dict[int, tuple[bytes, int]] = {}
        for incoming in states:
            number = self._numbers.get(incoming.device)
            if number is None:
                continue
            state, raw = incoming.state, newest.get(number)
            before = None
            if raw is not None:
                with suppress(StoreError):  # it is damaged, and the one that comes takes its place
                    before = document(raw, State, incoming.device)
            if before is not None and is_outdated(state, before):
                self.done.outdated_states += 1
                continue
            came = incoming.raw or msgspec.json.encode(state)
            if came != raw or not incoming.retained:
                newest[number] = came
                changed[number] = (came, incoming.received_ms)
            if state.online and not incoming.retained:
                self._hear(number, incoming.received_ms)
        self._tables.save_states(changed)

    def _write_replies(self, replies: list[IncomingReply]) -> None:
        """Write answers to commands; one that came before is known by its id."""
        if not replies:
            return
        self._tables.add_replies(
            (self._numbers[one.device], one.reply.id, one.received_ms, one.raw or msgspec.json.encode(one.reply))
            for one in replies
        )
        for one in replies:
            self._hear(self._numbers[one.device], one.received_ms)

    def _hear(self, number: int, received_ms: int) -> None:
        self._heard[number] = max(self._heard.get(number, 0), received_ms)

    def _write_batches(self, batches: list[IncomingBatch]) -> None:
        """Write rows."""
        if not batches:
            return
        keys = [(self._numbers[one.stream.device], one.stream.epoch) for one in batches]
        touched = self.streams(set(keys), {})
        named: dict[Stream, StreamState] = {}
        for batch, key in zip(batches, keys, strict=True):
            stream = touched.get(key)
            if stream is None:  # of a board that begins anew without end
                self.done.put_off += len(batch.rows)
            else:
                self._take(batch, stream)
                named[batch.stream] = stream
        self.flush_rows()
        if self._again:  # what is new is in the tables now, to be compared with
            take_again(self, self._tables, self._again)
        slots = self._boards.slots({device for device, _ in self._latest})
        self._tables.save_latest(
            [(*key, *value) for key, value in self._latest.items() if may_have(slots[key[0]], key[1])]
        )
        self._boards.save(self._touched.values())
        for name, stream in named.items():
            self.done.known[name] = Known(stream.known.through, tuple(stream.known.beyond))

    def streams(
        self, keys: Iterable[tuple[int, bytes]], copy_of: dict[tuple[int, bytes], int]
    ) -> dict[tuple[int, bytes], StreamState]:
        """Return every stream of this transaction, these included where their boards may have them."""
        missing = {key for key in keys if key not in self._touched}
        if missing:
            self._touched.update(self._boards.streams(missing, copy_of=copy_of))
        return self._touched

    def _take(self, batch: IncomingBatch, stream: StreamState) -> None:
        received_ms = batch.received_ms
        stream.last_ms = max(stream.last_ms, received_ms)
        known = stream.known
        new: list[Read] = []
        own = True
        for index, row in enumerate(batch.rows):
            number = row.sequence
            if not 0 < number < HIGHEST:
                self.put_aside(batch, row, f"sequence number {number} is none that a board gives")
                continue
            if index in batch.refused:
                known.add(number, number)
                self.put_aside(batch, row, batch.refused[index])
                continue
            if number in known:
                self._again.append(Again(batch, row, stream))
                continue
            if len(known.beyond) >= _MOST_HOLES and number - 1 not in known and number + 1 not in known:
                self.done.put_off += 1
                continue
            try:
                read = read_row(row, received_ms)
            except WireError as error:
                known.add(number, number)
                self.put_aside(batch, row, str(error))
                continue
            if len(known.beyond) + len(read.replaces) + len(read.lost) > _MOST_RUNS:
                self.done.put_off += 1
                continue
            for first, last in read.replaces:
                known.add(first, last)
            if isinstance(read.body, Gap):
                stream.tell_lost(read.lost, lost_rows(read.body), received_ms)
            moment = read.moment
            if number > known.highest and moment.uptime_ms is not None:
                stream.tell_clock(moment.at_ms + moment.length_ms - received_ms)
            known.add(number, number)
            own = own and moment.own
            new.append(read)
        if own:
            for read in new:
                self.add(read, read.moment.at_ms, stream, received_ms)
            if new:
                note_boot(new[-1].moment, stream.boot)
        else:
            new.sort(key=_sequence)
            times = place([read.moment for read in new], received_ms, stream.boot)
            for read, at_ms in zip(new, times, strict=True):
                self.add(read, at_ms, stream, received_ms)

    def add(self, read: Read, at_ms: int, stream: StreamState, received_ms: int) -> None:
        """Take a row that the store does not have."""
        sequence = read.row.sequence
        row = columns(read, at_ms, stream.device, stream.id, received_ms)
        self._rows.setdefault(TABLE_OF[type(read.body)], []).append(row)
        if not read.moment.own:
            self._placed.append((stream.id, sequence, at_ms))
        if isinstance(read.body, Window):
            key = (stream.device, read.body.slot)
            if at_ms >= self._latest.get(key, (at_ms,))[0]:
                self._latest[key] = (at_ms, received_ms, read.row.body)
        stream.rows += 1
        self.done.new_rows += 1

    def add_again(self, read: Read, stream: StreamState, received_ms: int) -> None:
        """Take a row whose number is accounted for, and which the store does not have all the same."""
        (at_ms,) = place([read.moment], received_ms, stream.boot)
        self.add(read, at_ms, stream, received_ms)

    def flush_rows(self) -> None:
        """Write the rows that were taken so far."""
        for table, rows in self._rows.items():
            self._tables.add_rows(table, rows)
        self._tables.add_alarm_events(
            [
                (device, slot, at_ms, stream, sequence, body)
                for at_ms, device, stream, sequence, _, slot, name, _, body in self._rows.get("events", ())
                if name in alarms.EVENTS
            ]
        )
        self._tables.add_placed(self._placed)
        self._rows = {}
        self._placed = []

    def put_aside(self, batch: IncomingBatch, row: Row, reason: str) -> None:
        """Take a row for one that cannot be read."""
        fleet, name = batch.stream.device
        topic = f"{ROOT}/{fleet}/{shard_of(name)}/{name}"
        self._poison.append(Poison(topic, reason, bytes(row.body)[:POISON_BYTES], batch.received_ms))

    def _write_poison(self, poison: list[Poison]) -> None:
        """Put aside what cannot be read, this transaction's bad rows too: the newest are kept, all are counted."""
        everything = [*self._poison, *poison]
        self.done.poison = len(everything)
        if everything:
            kept = [
                (_text(one.topic), _text(one.reason), one.payload[:POISON_BYTES], one.received_ms)
                for one in everything[-POISON_KEPT:]
            ]
            self._tables.add_poison(kept, counted=len(everything), kept=POISON_KEPT)


def is_outdated(state: State, before: State) -> bool:
    """Return whether a last will speaks for a session that is over: a newer birth has come since."""
    if state.online or state.session == before.session:
        return False
    set_clocks = state.clock_synchronised and before.clock_synchronised
    return not (set_clocks and state.since_ms > before.since_ms)


def _born_ms(incoming: IncomingState) -> int:
    """Return when a board was last heard of which the broker had kept a state: when it said that, or 0."""
    state, received_ms = incoming.state, incoming.received_ms
    known = believed(state.since_ms, received_ms, synchronised=state.clock_synchronised)
    return min(state.since_ms, received_ms) if known else 0


def _text(text: str) -> str:
    """Return what any store takes of a text that a stranger wrote."""
    return text[:POISON_TEXT].replace("\0", "?").encode(errors="replace").decode()


def _sequence(read: Read) -> int:
    return read.row.sequence
