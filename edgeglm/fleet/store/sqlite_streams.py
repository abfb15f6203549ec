"""What the writer has in mind of boards and streams, and where it lies in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from edgeglm_agent.wire.commands import State
from edgeglm_agent.wire.topics import shard_of

from edgeglm.fleet.store.known import Ranges
from edgeglm.fleet.store.placing import Boot

if TYPE_CHECKING:
    import sqlite3

    from edgeglm.fleet.store.types import Device, Stream

_HELD_UP = 8  # rows that it takes to believe that a clock has fallen behind
_MOST_SLOTS = 64  # of a board, whose newest window is known at once
_MOST_LOST = 256  # runs of numbers that were told to be lost, of which one may still come: the newest
_MOST_LOST_ROWS = 2**40  # that a stream counts: the sum of all of them must stay an integer of SQLite's


class StreamState:
    """One stream: what is accounted for, and what adds up."""

    __slots__ = (
        "boot", "clock_off_ms", "device", "duplicates", "id", "known", "last_ms", "lost", "lost_at_ms", "lost_rows",
        "rare", "rows", "taken_back", "taken_back_at_ms",
    )  # fmt: skip

    def __init__(self, found: tuple[Any, ...]) -> None:
        """Take a row of the table, in the order of ``_STREAM``."""
        through, beyond, lost = found[2:5]
        self.id, self.device = int(found[0]), int(found[1])
        self.known = Ranges.unpacked(through, beyond)
        self.lost = Ranges.unpacked(0, lost)
        self.last_ms, self.rows, self.duplicates, self.taken_back = (int(one) for one in found[5:9])
        self.lost_rows, self.lost_at_ms = int(found[9]), int(found[10])
        self.taken_back_at_ms = int(found[11])
        self.clock_off_ms: int | None = found[12]
        self.boot = Boot()
        self.rare = False  # whether what seldom changes has

    def tell_clock(self, off_ms: int) -> None:
        """Take note of how far the board's clock is from ours, as its newest row tells.

        The way from the board takes away from that: a clock that was behind before, and seems to be more so now, was
        mostly held up.
        """
        before = self.clock_off_ms
        if before is None or before > 0 or off_ms >= before:
            self.clock_off_ms = off_ms
        else:
            self.clock_off_ms = before + (off_ms - before) // _HELD_UP

    def tell_lost(self, runs: list[tuple[int, int]], rows: int, received_ms: int) -> None:
        """Take note of what a gap says."""
        for first, last in runs:
            self.known.add(first, last)
            self.lost.add(first, last)
        self.lost.keep_highest(_MOST_LOST)
        self.lost_rows = min(self.lost_rows + rows, _MOST_LOST_ROWS)
        self.lost_at_ms = received_ms
        self.rare = True


class Boards:
    """Numbers of boards and streams, and their state: read when first asked for, written when told to."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._devices: dict[Device, int] = {}
        self._streams: dict[Stream, StreamState] = {}
        self._slots: dict[int, set[str]] = {}

    def forget(self) -> None:
        """Forget everything: what was written was not kept."""
        self._devices.clear()
        self._streams.clear()
        self._slots.clear()

    def has_slot(self, number: int, slot: str) -> bool:
        """Return whether a slot is one of a board's, which is so for as many as any board has."""
        slots = self._slots.get(number)
        if slots is None:
            found = self._db.execute("select slot from latest where device = ?", (number,))
            slots = self._slots[number] = {name for (name,) in found}
        if slot not in slots and len(slots) < _MOST_SLOTS:
            slots.add(slot)
        return slot in slots

    def device(self, device: Device, received_ms: int) -> int:
        """Return a board's number; a new one gets one."""
        number = self._devices.get(device)
        if number is None:
            found = self._db.execute("select id from devices where fleet = ? and name = ?", device).fetchone()
            if found is None:
                cursor = self._db.execute(
                    "insert into devices (fleet, name, shard, first_seen_ms, heard_ms) values (?, ?, ?, ?, ?)",
                    (*device, shard_of(device.name), received_ms, received_ms),
                )
                number = int(cursor.lastrowid or 0)
            else:
                number = int(found[0])
            self._devices[device] = number
        return number

    def heard(self, number: int, received_ms: int) -> None:
        """Note that a board said something that is no row."""
        self._db.execute("update devices set heard_ms = max(heard_ms, ?) where id = ?", (received_ms, number))

    def state(self, number: int) -> tuple[bytes | None, State | None]:
        """Return a board's newest state, as it came and read."""
        (raw,) = self._db.execute("select state from devices where id = ?", (number,)).fetchone()
        return raw, None if raw is None else msgspec.json.decode(raw, type=State)

    def stream(self, stream: Stream, received_ms: int, *, copy_of: int | None = None) -> StreamState:
        """Return what is known of a stream; a new one is made."""
        state = self._streams.get(stream)
        if state is None:
            device = self.device(stream.device, received_ms)
            found = self._db.execute(_STREAM, (device, stream.epoch)).fetchone()
            if found is None:
                self._db.execute(
                    "insert into streams (device, epoch, copy_of) values (?, ?, ?)", (device, stream.epoch, copy_of)
                )
                found = self._db.execute(_STREAM, (device, stream.epoch)).fetchone()
            state = self._streams[stream] = StreamState(found)
        return state

    def save(self, streams: list[StreamState]) -> None:
        """Write what these streams have become."""
        self._db.executemany(
            "update streams set through = ?, beyond = ?, last_ms = ?, rows = ?, duplicates = ?, clock_off_ms = ?"
            " where id = ?",
            [
                (s.known.through, s.known.packed(), s.last_ms, s.rows, s.duplicates, s.clock_off_ms, s.id)
                for s in streams
            ],
        )
        rare = [stream for stream in streams if stream.rare]
        if rare:
            self._db.executemany(
                "update streams set lost = ?, taken_back = ?, taken_back_at_ms = ?, lost_rows = ?, lost_at_ms = ?"
                " where id = ?",
                [(s.lost.packed(), s.taken_back, s.taken_back_at_ms, s.lost_rows, s.lost_at_ms, s.id) for s in rare],
            )
        for stream in rare:
            stream.rare = False


_STREAM = (
    "select id, device, through, beyond, lost, last_ms, rows, duplicates, taken_back, lost_rows, lost_at_ms,"
    " taken_back_at_ms, clock_off_ms from streams where device = ? and epoch = ?"
)
