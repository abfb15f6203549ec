"""Rows whose numbers are accounted for: they came before, or they are other ones under those numbers.

A card that is restored from an old image takes the outbox back, and gives numbers again that it gave before. Such rows
are kept under an epoch that is derived from the board's, those of the next restored image under the next one.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from edgeglm_agent.wire import WireError

from edgeglm.fleet.store.rows import TABLE_OF, read_row
from edgeglm.fleet.store.tables import ROW_TABLES, Place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeglm_agent.wire.telemetry import Row

    from edgeglm.fleet.store.boards import StreamState
    from edgeglm.fleet.store.rows import Read
    from edgeglm.fleet.store.tables import Tables
    from edgeglm.fleet.store.types import IncomingBatch
    from edgeglm.fleet.store.writing import Writing

_MOST_COPIES = 16  # of a stream: how often a card may be restored to before the same number


class Again(NamedTuple):
    """One such row."""

    batch: IncomingBatch
    row: Row
    stream: StreamState


class _Open(NamedTuple):
    """One that can be read."""

    again: Again
    read: Read
    body: bytes


def take_again(writing: Writing, tables: Tables, rows: list[Again]) -> None:
    """Take them, all of one generation at once: few questions to the store, whatever comes."""
    left: list[_Open] = []
    for again in rows:
        try:
            left.append(_Open(again, read_row(again.row, again.batch.received_ms), bytes(again.row.body)))
        except WireError:  # it was put aside when it came first
            _came_before(writing, again.stream)
    removed = tables.removed() if left else {}
    for generation in range(_MOST_COPIES + 1):
        if not left:
            return
        left = _take_generation(writing, tables, left, generation, removed)
        writing.flush_rows()
    for one in left:
        reason = f"number {one.again.row.sequence} has come with {_MOST_COPIES + 1} other bodies"
        writing.put_aside(one.again.batch, one.again.row, reason)


def _take_generation(
    writing: Writing, tables: Tables, rows: list[_Open], generation: int, removed: Mapping[str, int]
) -> list[_Open]:
    """Take the rows that this generation has, or has room for; return the others."""
    copies = _copies(writing, rows, generation)
    kept = _kept(tables, [(one.read, copy) for one, copy in zip(rows, copies, strict=True)])
    taken: dict[tuple[int, int], bytes] = {}
    others: list[_Open] = []
    for one, copy, (body, at_ms) in zip(rows, copies, kept, strict=True):
        number, received_ms = one.again.row.sequence, one.again.batch.received_ms
        if copy is None:
            writing.put_aside(one.again.batch, one.again.row, f"number {number} has come before, and so have too many")
            continue
        there = taken.get((copy.id, number), body)
        if there == one.body:
            _came_before(writing, one.again.stream)
        elif there is None and (number not in copy.known or number in copy.lost):
            # its place is free; or it was told to be lost, and came after all
            if copy is not one.again.stream:
                one.again.stream.tell_taken_back(received_ms)
                writing.done.taken_back += 1
                copy.known.add(number, number)
                copy.last_ms = max(copy.last_ms, received_ms)
            writing.add_again(one.read, copy, received_ms)
            taken[copy.id, number] = one.body
        elif at_ms is not None and at_ms < removed.get(TABLE_OF[type(one.read.body)], at_ms):
            _came_before(writing, one.again.stream)  # and was removed or merged since, for its age
        else:
            others.append(one)
    return others


def _came_before(writing: Writing, stream: StreamState) -> None:
    stream.duplicates += 1
    writing.done.duplicates += 1


def _copies(writing: Writing, rows: list[_Open], generation: int) -> list[StreamState | None]:
    """Return the streams of this generation; None: its board has too many."""
    if not generation:
        return [one.again.stream for one in rows]
    keys = []
    for one in rows:
        epoch = hashlib.sha256(one.again.stream.epoch + generation.to_bytes(4, "big")).digest()[:8]
        keys.append((one.again.stream.device, epoch))
    copy_of = {key: one.again.stream.id for key, one in zip(keys, rows, strict=True)}
    states = writing.streams(keys, copy_of)
    return [states.get(key) for key in keys]


def _kept(tables: Tables, rows: list[tuple[Read, StreamState | None]]) -> list[tuple[bytes | None, int | None]]:
    """Return the bodies that the store has of these numbers, and when those were.

    None: it has none, or none any more; when it was is not known.
    """
    places: list[Place | None] = []
    asked: dict[str, set[Place]] = {}
    for read, stream in rows:
        place = None
        if stream is not None and read.row.sequence in stream.known:
            place = Place(read.moment.at_ms, stream.device, stream.id, read.row.sequence)
            asked.setdefault(TABLE_OF[type(read.body)], set()).add(place)
        places.append(place)
    found = {table: tables.bodies(table, some) for table, some in asked.items()}
    bodies = [
        None if place is None else found[TABLE_OF[type(read.body)]].get(place)
        for (read, _), place in zip(rows, places, strict=True)
    ]
    elsewhere = {place for place, body in zip(places, bodies, strict=True) if place is not None and body is None}
    times = tables.placed({(place.stream, place.sequence) for place in elsewhere}) if elsewhere else {}
    if times:
        moved = {
            place: place._replace(at_ms=times[place.stream, place.sequence])
            for place in elsewhere
            if (place.stream, place.sequence) in times
        }
        there: dict[Place, bytes] = {}
        for table in ROW_TABLES:
            there.update(tables.bodies(table, set(moved.values())))
        bodies = [
            there.get(moved[place]) if body is None and place in moved else body
            for place, body in zip(places, bodies, strict=True)
        ]
    at = [
        read.moment.at_ms if read.moment.own else times.get((stream.id, read.row.sequence)) if stream else None
        for read, stream in rows
    ]
    return [*zip(bodies, at, strict=True)]
