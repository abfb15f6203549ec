"""What the writer remembers of boards and streams from one transaction to the next, within bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from edgeglm.fleet.store.known import Ranges
from edgeglm.fleet.store.placing import Boot

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from edgeglm.fleet.store.tables import NewDevice, Tables
    from edgeglm.fleet.store.types import Device

MOST_STREAMS = 4096  # of a board: a card that forgets its outbox at each start gets there in years
_MOST_SLOTS = 64  # of a board, whose newest window is known at once
_REMEMBERED = 50_000  # boards and streams: 1 KB each
_HELD_UP = 8  # rows that it takes to believe that a clock has fallen behind
_MOST_LOST = 256  # runs of numbers that were told to be lost, of which one may still come: the newest
_MOST_LOST_ROWS = 2**40  # that a stream counts: the sum of all of them must stay an integer of the store's
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class StreamState:
    """One stream: what is accounted for, and what adds up."""

    __slots__ = (
        "boot", "clock_off_ms", "device", "duplicates", "epoch", "id", "known", "last_ms", "lost", "lost_at_ms",
        "lost_rows", "rare", "rows", "taken_back", "taken_back_at_ms",
    )  # fmt: skip

    def __init__(self, found: Sequence[Any]) -> None:
        """Take a row of the table, in the order of ``STREAM_COLUMNS``."""
        self.id, self.device, self.epoch = int(found[0]), int(found[1]), bytes(found[2])
        self.known = Ranges.unpacked(found[3], found[4])
        self.lost = Ranges.unpacked(0, found[5])
        self.last_ms, self.rows, self.duplicates, self.taken_back = (int(one) for one in found[6:10])
        self.lost_rows, self.lost_at_ms = int(found[10]), int(found[11])
        self.taken_back_at_ms = int(found[12])
        self.clock_off_ms: int | None = found[13]
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

    def tell_taken_back(self, received_ms: int) -> None:
        """Take note of a row under a number that another row has."""
        self.taken_back += 1
        self.taken_back_at_ms = received_ms
        self.rare = True


class Recent(Generic[_Key, _Value]):
    """So many things, and always those that were asked for last."""

    __slots__ = ("_most", "_things")

    def __init__(self, most: int) -> None:
        self._most = most
        self._things: dict[_Key, _Value] = {}

    def get(self, key: _Key) -> _Value | None:
        """Return one that is there."""
        value = self._things.pop(key, None)
        if value is not None:
            self._things[key] = value
        return value

    def put(self, key: _Key, value: _Value) -> None:
        """Put one there, in place of the one that was not asked for the longest."""
        self._things[key] = value
        if len(self._things) > self._most:
            del self._things[next(iter(self._things))]

    def clear(self) -> None:
        """Forget them all."""
        self._things.clear()

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._things)


class Boards:
    """Numbers of boards and streams, and their state: read when first asked for, written when told to."""

    def __init__(self, tables: Tables, remembered: int = _REMEMBERED) -> None:
        self._tables = tables
        self._devices: Recent[Device, int] = Recent(remembered)
        self._streams: Recent[tuple[int, bytes], StreamState] = Recent(remembered)
        self._slots: Recent[int, set[str]] = Recent(remembered)

    def forget(self) -> None:
        """Forget everything: what was written was not kept."""
        self._devices.clear()
        self._streams.clear()
        self._slots.clear()

    def devices(self, devices: Collection[Device]) -> dict[Device, int]:
        """Return the numbers of those boards that are known."""
        found = {device: number for device in devices if (number := self._devices.get(device)) is not None}
        missing = [device for device in devices if device not in found]
        if missing:
            self._remember(self._tables.devices(missing), found)
        return found

    def add_devices(self, devices: Sequence[NewDevice]) -> dict[Device, int]:
        """Add boards; return their numbers."""
        found: dict[Device, int] = {}
        self._remember(self._tables.add_devices(devices), found)
        return found

    def _remember(self, numbers: dict[Device, int], found: dict[Device, int]) -> None:
        for device, number in numbers.items():
            self._devices.put(device, number)
            found[device] = number

    def streams(
        self, keys: Collection[tuple[int, bytes]], *, copy_of: dict[tuple[int, bytes], int]
    ) -> dict[tuple[int, bytes], StreamState]:
        """Return what is known of streams of (board, epoch). New ones are made, but for boards that have too many."""
        states: dict[tuple[int, bytes], StreamState] = {}
        before: dict[tuple[int, bytes], StreamState] = {}
        for key in keys:
            if (state := self._streams.get(key)) is not None:
                before[key] = state
        if self._tables.alone:
            states.update(before)
        missing = sorted(key for key in keys if key not in states)
        found = self._tables.streams(missing) if missing else []
        if len(found) < len(missing):
            there = {(int(row[1]), bytes(row[2])) for row in found}
            new = self._allowed([key for key in missing if key not in there])
            if new:
                self._tables.add_streams([(*key, copy_of.get(key)) for key in new])
                found += self._tables.streams(new)
        for row in found:
            state = StreamState(row)
            key = (state.device, state.epoch)
            if key in before:  # others may have written it since: when its boot was is remembered here alone
                state.boot = before[key].boot
            states[key] = state
            self._streams.put(key, state)
        return states

    def _allowed(self, new: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """Return those new streams that their boards may have."""
        counts = {device: self._tables.count_streams(device) for device in {device for device, _ in new}}
        allowed = []
        for device, epoch in new:
            if counts[device] < MOST_STREAMS:
                counts[device] += 1
                allowed.append((device, epoch))
        return allowed

    def save(self, streams: Collection[StreamState]) -> None:
        """Write what these streams have become."""
        self._tables.save_streams(
            [
                (s.id, s.known.through, s.known.packed(), s.last_ms, s.rows, s.duplicates, s.clock_off_ms)
                for s in streams
            ]
        )
        rare = [s for s in streams if s.rare]
        if rare:
            self._tables.save_streams_rarely(
                [
                    (s.id, s.lost.packed_whole(), s.taken_back, s.taken_back_at_ms, s.lost_rows, s.lost_at_ms)
                    for s in rare
                ]
            )
        for stream in rare:
            stream.rare = False

    def slots(self, devices: Collection[int]) -> dict[int, set[str]]:
        """Return the slots of boards; what is added to a set is remembered."""
        found = {device: slots for device in devices if (slots := self._slots.get(device)) is not None}
        missing = [device for device in devices if device not in found]
        if missing:
            read = self._tables.slots(missing)
            for device in missing:
                found[device] = read.get(device, set())
                self._slots.put(device, found[device])
        return found


def may_have(slots: set[str], slot: str) -> bool:
    """Return whether a slot is one of a board's, which is so for as many as any board has."""
    if slot not in slots and len(slots) < _MOST_SLOTS:
        slots.add(slot)
    return slot in slots
