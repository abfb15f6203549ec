"""Which sequence numbers of a stream are accounted for, as runs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from edgeglm_agent.wire.telemetry import pack_runs, unpack_ranges

if TYPE_CHECKING:
    from collections.abc import Iterable

HIGHEST = 2**62  # of a sequence number: no board gets there, and SQLite's integers do


class Ranges:
    """Every number from 1 to ``through``, and runs beyond it; numbers are only ever added."""

    __slots__ = ("beyond", "through")

    def __init__(self, through: int = 0, beyond: Iterable[tuple[int, int]] = ()) -> None:
        self.through = through
        self.beyond: list[tuple[int, int]] = []  # first, last, both included; apart, and in order
        for first, last in beyond:
            self.add(first, last)

    def __contains__(self, number: int) -> bool:
        """Return whether a number is accounted for."""
        if number <= self.through:
            return True
        if not self.beyond:
            return False
        place = bisect_right(self.beyond, number, key=_first) - 1
        return place >= 0 and number <= self.beyond[place][1]

    @property
    def highest(self) -> int:
        """The highest number in it; 0: none."""
        return self.beyond[-1][1] if self.beyond else self.through

    def add(self, first: int, last: int) -> None:
        """Account for a run, both ends included; what is in it already does not matter."""
        first = max(first, self.through + 1)
        if last < first:
            return
        if first == self.through + 1 and not self.beyond:
            self.through = last
            return
        low = bisect_left(self.beyond, first - 1, key=_last)
        high = bisect_right(self.beyond, last + 1, key=_first)
        if low < high:
            first, last = min(first, self.beyond[low][0]), max(last, self.beyond[high - 1][1])
        self.beyond[low:high] = [(first, last)]
        if self.beyond[0][0] == self.through + 1:
            self.through = self.beyond.pop(0)[1]

    def keep_highest(self, runs: int) -> None:
        """Forget all but so many runs, the highest: for a list that must stay short."""
        del self.beyond[:-runs]

    def packed(self) -> bytes:
        """Return the runs beyond ``through`` as the wire has them."""
        return pack_runs(self.beyond) if self.beyond else b""

    def packed_whole(self) -> bytes:
        """Return all runs, those up to ``through`` too, as the wire has them."""
        return pack_runs([*([(1, self.through)] if self.through else []), *self.beyond])

    @classmethod
    def unpacked(cls, through: int, beyond: bytes) -> Ranges:
        """Return what ``through`` and ``packed`` tell. Raises: WireError."""
        return cls(through, unpack_ranges(beyond) if beyond else ())


def _first(run: tuple[int, int]) -> int:
    return run[0]


def _last(run: tuple[int, int]) -> int:
    return run[1]
