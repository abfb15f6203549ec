"""One transaction of the SQLite store: what came in, row by row, and what it does to boards and streams."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.telemetry import Gap, Window
from edgeglm_agent.wire.topics import ROOT, shard_of

from edgeglm.fleet.store.known import HIGHEST
from edgeglm.fleet.store.placing import note_boot, place
from edgeglm.fleet.store.rows import INSERT, TABLE_OF, Read, columns, lost_rows, read_row
from edgeglm.fleet.store.sqlite_schema import ROW_TABLES
from edgeglm.fleet.store.types import Committed, Known, Poison, Stream

if TYPE_CHECKING:
    import sqlite3

    from edgeglm_agent.wire.commands import State
    from edgeglm_agent.wire.telemetry import Row

    from edgeglm.fleet.store.sqlite_streams import Boards, StreamState
    from edgeglm.fleet.store.types import IncomingBatch, IncomingReply, IncomingState

POISON_KEPT = 1000  # the newest
POISON_BYTES = 4096  # of one
_MOST_HOLES = 4096  # of a stream: beyond them rows that make one more are put off
_MOST_RUNS = 16_384  # of a stream: beyond them rows that account for more than themselves are put off
_MOST_COPIES = 16  # of a stream: how often a card may be restored to before the same number
_POISON_TEXT = 500


class Writing:
    """One transaction."""

    def __init__(self, db: sqlite3.Connection, boards: Boards) -> None:
        self.done = Committed()
        self._db = db
        self._boards = boards
        self._tables: dict[str, list[tuple[Any, ...]]] = {}
        self._placed: list[tuple[int, int, int]] = []
        self._latest: dict[tuple[int, str], tuple[int, int, int]] = {}
        self._touched: dict[Stream, StreamState] = {}
        self._again: list[tuple[IncomingBatch, StreamState, Row]] = []
        self._poison: list[Poison] = []

    def batches(self, batches: list[IncomingBatch]) -> None:
        """Write rows."""
        for batch in batches:
            self._batch(batch)
        self._insert()
        for batch, stream, row in self._again:  # what is new is in the tables now, to be compared with
            self._known_row(batch, stream, row)
        self._db.executemany(
            "insert into latest (device, slot, at_ms, stream, sequence) values (?, ?, ?, ?, ?) on conflict do update"
            " set at_ms = excluded.at_ms, stream = excluded.stream, sequence = excluded.sequence"
            " where excluded.at_ms >= at_ms",
            [(*key, *value) for key, value in self._latest.items() if self._boards.has_slot(*key)],
        )
        self._boards.save([*self._touched.values()])
        told_of = {batch.stream for batch in batches}
        for named in told_of:
            known = self._touched[named].known
            self.done.known[named] = Known(known.through, tuple(known.beyond))

    def _stream(self, stream: Stream, received_ms: int, *, copy_of: int | None = None) -> StreamState:
        state = self._touched.get(stream)
        if state is None:
            state = self._touched[stream] = self._boards.stream(stream, received_ms, copy_of=copy_of)
        state.last_ms = max(state.last_ms, received_ms)
        return state

    def _batch(self, batch: IncomingBatch) -> None:
        received_ms = batch.received_ms
        stream = self._stream(batch.stream, received_ms)
        known = stream.known
        new: list[Read] = []
        believed = True
        for index, row in enumerate(batch.rows):
            number = row.sequence
            if not 0 < number < HIGHEST:
                self._bad(batch, row, f"sequence number {number} is none that a board gives")
                continue
            if index in batch.refused:
                known.add(number, number)
                self._bad(batch, row, batch.refused[index])
                continue
            if number in known:
                self._again.append((batch, stream, row))
                continue
            if len(known.beyond) >= _MOST_HOLES and number - 1 not in known and number + 1 not in known:
                self.done.put_off += 1
                continue
            try:
                read = read_row(row, received_ms)
            except WireError as error:
                known.add(number, number)
                self._bad(batch, row, str(error))
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
            believed = believed and moment.own
            new.append(read)
        if believed:
            for read in new:
                self._new(read, read.moment.at_ms, stream, received_ms)
            if new:
                note_boot(new[-1].moment, stream.boot)
        else:
            new.sort(key=_sequence)
            times = place([read.moment for read in new], received_ms, stream.boot)
            for read, at_ms in zip(new, times, strict=True):
                self._new(read, at_ms, stream, received_ms)

    def _new(self, read: Read, at_ms: int, stream: StreamState, received_ms: int) -> None:
        table = TABLE_OF[type(read.body)]
        sequence = read.row.sequence
        row = columns(read, at_ms, stream.device, stream.id, received_ms)
        self._tables.setdefault(table, []).append(row)
        if not read.moment.own:
            self._placed.append((stream.id, sequence, at_ms))
        if isinstance(read.body, Window):
            key = (stream.device, read.body.slot)
            if at_ms >= self._latest.get(key, (at_ms,))[0]:
                self._latest[key] = (at_ms, stream.id, sequence)
        stream.rows += 1
        self.done.new_rows += 1

    def _insert(self) -> None:
        for table, rows in self._tables.items():
            self._db.executemany(INSERT[table], rows)
        if self._placed:
            self._db.executemany("insert or ignore into placed values (?, ?, ?)", self._placed)
        self._tables.clear()
        self._placed.clear()

    def _known_row(self, batch: IncomingBatch, stream: StreamState, row: Row) -> None:
        """Take a row whose number is accounted for: it came before, or it is another one under that number.

        A card that is restored from an old image takes the outbox back, and gives numbers again that it gave before.
        """
        number, received_ms = row.sequence, batch.received_ms
        try:
            read = read_row(row, received_ms)
        except WireError:  # it was put aside when it came first
            stream.duplicates += 1
            self.done.duplicates += 1
            return
        body = bytes(row.body)
        copy = stream
        generation = 0
        while True:
            kept = self._kept(read, copy) if number in copy.known else None
            if kept == body:
                stream.duplicates += 1
                self.done.duplicates += 1
                return
            if kept is None and (number not in copy.known or number in copy.lost):
                break  # its place under a derived epoch is free; or it was told to be lost, and came after all
            generation += 1
            if generation > _MOST_COPIES:
                self._bad(batch, row, f"number {number} has come with {_MOST_COPIES + 1} other bodies")
                return
            epoch = hashlib.sha256(batch.stream.epoch + generation.to_bytes(4, "big")).digest()[:8]
            copy = self._stream(Stream(batch.stream.device, epoch), received_ms, copy_of=stream.id)
        if copy is not stream:
            stream.taken_back += 1
            stream.taken_back_at_ms = received_ms
            stream.rare = True
            self.done.taken_back += 1
            copy.known.add(number, number)
        (at_ms,) = place([read.moment], received_ms, copy.boot)
        self._new(read, at_ms, copy, received_ms)
        self._insert()

    def _kept(self, read: Read, stream: StreamState) -> bytes | None:
        """Return the body that the store has of this number; None: none, or none any more."""
        number = read.row.sequence
        table = TABLE_OF[type(read.body)]
        found = self._body(table, read.moment.at_ms, stream, number)
        if found is None:
            placed = self._db.execute(
                "select at_ms from placed where stream = ? and sequence = ?", (stream.id, number)
            ).fetchone()
            for one in ROW_TABLES if placed else ():
                found = found or self._body(one, placed[0], stream, number)
        return found

    def _body(self, table: str, at_ms: int, stream: StreamState, sequence: int) -> bytes | None:
        found = self._db.execute(
            f"select body from {table} where at_ms = ? and device = ? and stream = ? and sequence = ?",  # noqa: S608
            (at_ms, stream.device, stream.id, sequence),
        ).fetchone()
        return None if found is None else bytes(found[0])

    def states(self, states: list[IncomingState]) -> None:
        """Write births and wills."""
        for incoming in states:
            number = self._boards.device(incoming.device, incoming.received_ms)
            raw, before = self._boards.state(number)
            state = incoming.state
            if before is not None and is_outdated(state, before):
                self.done.outdated_states += 1
                continue
            came = incoming.raw or msgspec.json.encode(state)
            if came != raw or not incoming.retained:
                self._db.execute(
                    "update devices set state = ?, state_ms = ? where id = ?", (came, incoming.received_ms, number)
                )
            if state.online and not incoming.retained:
                self._boards.heard(number, incoming.received_ms)

    def replies(self, replies: list[IncomingReply]) -> None:
        """Write answers to commands; one that came before is known by its id."""
        for incoming in replies:
            number = self._boards.device(incoming.device, incoming.received_ms)
            self._db.execute(
                "insert or ignore into replies (device, request, received_ms, body) values (?, ?, ?, ?)",
                (number, incoming.reply.id, incoming.received_ms, incoming.raw or msgspec.json.encode(incoming.reply)),
            )
            self._boards.heard(number, incoming.received_ms)

    def poison(self, poison: list[Poison]) -> None:
        """Put aside what cannot be read, this transaction's bad rows too: the newest are kept, all are counted."""
        all_of_it = [*self._poison, *poison]
        if not all_of_it:
            return
        self.done.poison = len(all_of_it)
        self._db.executemany(
            "insert into poison (topic, reason, payload, received_ms) values (?, ?, ?, ?)",
            [
                (
                    one.topic[:_POISON_TEXT].encode(errors="replace").decode(),
                    one.reason[:_POISON_TEXT].encode(errors="replace").decode(),
                    one.payload[:POISON_BYTES],
                    one.received_ms,
                )
                for one in all_of_it[-POISON_KEPT:]
            ],
        )
        self._db.execute("delete from poison where id <= (select max(id) from poison) - ?", (POISON_KEPT,))
        self._db.execute(
            "insert into counters (name, value) values ('poison', ?)"
            " on conflict do update set value = value + excluded.value",
            (len(all_of_it),),
        )

    def _bad(self, batch: IncomingBatch, row: Row, reason: str) -> None:
        fleet, name = batch.stream.device
        topic = f"{ROOT}/{fleet}/{shard_of(name)}/{name}"
        self._poison.append(Poison(topic, reason, bytes(row.body)[:POISON_BYTES], batch.received_ms))


def is_outdated(state: State, before: State) -> bool:
    """Return whether a last will speaks for a session that is over: a newer birth has come since."""
    if state.online or state.session == before.session:
        return False
    set_clocks = state.clock_synchronised and before.clock_synchronised
    return not (set_clocks and state.since_ms > before.since_ms)


def _sequence(read: Read) -> int:
    return read.row.sequence
