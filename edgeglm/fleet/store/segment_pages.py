"""Rows of segments in the order that a reader wants, a stretch at a time, to be read beside the journal's."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from edgeglm.fleet.store.keeping import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeglm.fleet.store.segment_files import SegmentFiles
    from edgeglm.fleet.store.segment_list import Segment

END: tuple[int, ...] = (1 << 63,)  # after every key
_ROWS = 50_000  # of a stretch, in memory
_BYTES = 64_000_000  # likewise, as they are packed: answers may have pictures with them
_LEAST_ROWS = 100
_DAYS = 31  # of a stretch, where one board is asked for
_BEFORE_ALL = (-1,) * 3  # boards and streams of one moment


class SegmentPages:
    """One question's rows beyond a place, kept until they are taken."""

    def __init__(
        self,
        files: SegmentFiles,
        order: tuple[str, ...],
        until_ms: int,
        device: int | None,
        named: Callable[[], dict[int, tuple[bytes, str, str]]],
        *,
        of_fleet: bool = False,
    ) -> None:
        """Take note of the question.

        Args:
            files: Where segments lie.
            order: Columns, the time or when a row came first.
            until_ms: The end of the time that is asked for.
            device: The only board that is asked for.
            named: Returns epoch, fleet and board of every stream that is asked for.
            of_fleet: Those are the streams of one fleet, and not all that rows may be of.
        """
        self._files, self._order, self._until_ms = files, order, until_ms
        self._device, self._named, self._of_fleet = device, named, of_fleet
        self._streams: dict[int, tuple[bytes, str, str]] = {}
        self._listing: list[Segment] | None = None
        self._rows: deque[tuple[Any, ...]] = deque()
        self._through: tuple[int, ...] = END

    def through(self, listing: list[Segment], after: tuple[int, ...]) -> tuple[int, ...]:
        """Have rows beyond a key in hand; return up to which key they are all there is.

        Raises: SegmentGoneError: The list is an old one. StoreError: A segment is missing or damaged.
        """
        if listing != self._listing:  # what moved from the journal meanwhile is in it
            self._rows.clear()
            self._listing, self._through = None, after
            self._streams = self._named() if listing else {}
        while not self._rows and self._through != END:
            self._fetch(listing, max(after, self._through))
        self._listing = listing
        return self._through

    def take(self, bound: tuple[int, ...]) -> list[tuple[Any, ...]]:
        """Return the rows in hand up to a key, which are given once."""
        taken = []
        while self._rows and self._rows[0][: len(self._order)] <= bound:
            taken.append(self._rows.popleft())
        return taken

    def newest(self, listing: list[Segment], after: tuple[int, ...], count: int) -> list[tuple[Any, ...]]:
        """Return so many of the newest rows beyond a key, the oldest first. Raises: as ``through``."""
        found: list[tuple[Any, ...]] = []
        self._streams = self._named() if listing else {}
        asked = self._asked(listing, after)
        days = sorted({one.day for one in asked}, reverse=True)
        backwards = ", ".join(f"{name} desc" for name in self._order)
        read, at_once = 0, 1
        while read < len(days) and len(found) < count:
            some = {*days[read : read + at_once]}
            read += len(some)
            more = [one for one in asked if one.day in some]
            found += self._read(more, after, self._until_ms, backwards, count - len(found))
            if self._device is not None:  # of the next days as many as will do: each question has its cost
                missing = count - len(found)
                at_once = min(_DAYS, max(1, -(-missing * read // len(found))) if found else 2 * read)
        return found[::-1]

    def _fetch(self, listing: list[Segment], after: tuple[int, ...]) -> None:
        """Read the next stretch."""
        segments, until_ms = self._asked(listing, after), self._until_ms
        through, most = END, most_rows(segments)
        if self._order[0] == "at_ms":
            days = sorted({one.day for one in segments})
            rows, first = 0, 0
            while first < len(days) and rows < most and first < _DAYS:
                rows += 0 if self._device is not None else sum(one.rows for one in segments if one.day == days[first])
                first += 1
            if first < len(days):
                until_ms = min(until_ms, days[first] * DAY_MS)
                through = (until_ms, *_BEFORE_ALL)
                segments = [one for one in segments if one.day < days[first]]
        read = self._read(segments, after, until_ms, ", ".join(self._order), most)
        self._rows.extend(read)
        self._through = self._last if self._full else through

    def _read(
        self, segments: Sequence[Segment], after: tuple[int, ...], until_ms: int, order: str, limit: int
    ) -> list[tuple[Any, ...]]:
        key = ", ".join(self._order)
        where = f"{self._order[0]} >= ? and ({key}) > ({', '.join('?' * len(self._order))}) and at_ms < ?"
        given: list[Any] = [after[0], *after, until_ms]
        if self._device is not None:
            where += " and device = ?"
            given.append(self._device)
        if self._of_fleet:  # before so many of them are taken
            where += " and stream in (select unnest(?::bigint[]))"
            given.append([*self._streams])
        names = [one.name for one in segments]
        columns = f"{key}, at_ms, sequence, received_ms, body, stream"
        found = self._files.rows(columns, names, where, given, order, limit)
        self._full = len(found) == limit
        self._last: tuple[int, ...] = found[-1][: len(self._order)] if found else END
        streams = self._streams
        return [(*row[:-1], *streams[row[-1]]) for row in found if row[-1] in streams]

    def _asked(self, listing: list[Segment], after: tuple[int, ...]) -> list[Segment]:
        if self._order[0] == "at_ms":
            return [one for one in listing if (one.day + 1) * DAY_MS > after[0] and one.day * DAY_MS < self._until_ms]
        return [one for one in listing if one.last_received_ms >= after[0]]


def most_rows(segments: Sequence[Segment]) -> int:
    """Return how many rows of segments are held at a time."""
    row_bytes = sum(one.bytes for one in segments) / max(1, sum(one.rows for one in segments))
    return min(_ROWS, max(_LEAST_ROWS, int(_BYTES / max(1.0, row_bytes))))
