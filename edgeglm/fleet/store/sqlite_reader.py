"""The SQLite store, to look at: never in the writer's way, and it sees what is committed."""

from __future__ import annotations

from functools import partial
from heapq import merge
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from edgeglm_agent.wire.commands import Reply
from edgeglm_agent.wire.telemetry import Event, Gap, Result, Window

from edgeglm.fleet.store.asking import BY_TIME, Asked, before, newest_of
from edgeglm.fleet.store.bodies import document, unpacked
from edgeglm.fleet.store.keeping import DAY_MS, HOUR_MS
from edgeglm.fleet.store.naming import identity_of, place_of_file
from edgeglm.fleet.store.segment_files import SegmentFiles, SegmentGoneError
from edgeglm.fleet.store.segment_list import folder_of, listed, missing
from edgeglm.fleet.store.segment_pages import END, SegmentPages
from edgeglm.fleet.store.sqlite_schema import check_is_there, file_of, open_for_reading, told
from edgeglm.fleet.store.summaries import summaries_of, summary_of
from edgeglm.fleet.store.types import (
    Device,
    DeviceSummary,
    Hours,
    IncomingReply,
    PackedHour,
    PackedWindow,
    Poison,
    StoredEvent,
    StoredGap,
    StoredResult,
    StoredWindow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from edgeglm.fleet.store.asking import Question
    from edgeglm.fleet.store.segment_list import Segment
    from edgeglm.fleet.store.types import Span

_Body = TypeVar("_Body")
_Older = TypeVar("_Older")
_LARGE_PAGE = 500  # rows at a time that may have a picture each
_MOST_TRIES = 5  # to have segments as they are listed
_Row: TypeAlias = tuple[int, int, int, bytes, bytes, str, str]  # moment, sequence, when it came, body; epoch and board


class SqliteReader:
    """What is known of the boards; see ``StoreReader``. Not for several threads at once."""

    page = 500  # rows at a time, so that a long answer holds nothing up
    stretch_ms: int | None = None  # that a page of many boards is looked for in; None: any, they lie in that order

    def __init__(self, path: Path) -> None:
        """Open it. Raises: UserError, StoreError, StorageError: See ``open_for_reading``."""
        self._path = path
        self._db = open_for_reading(path)
        self._file = file_of(path)
        self._segments = SegmentFiles(folder_of(path))

    def fleets(self) -> list[str]:
        """Return the names of the fleets that any board is of, in their order."""
        return sorted(name for (name,) in self._all("select distinct fleet from devices", ()))

    def devices(self, fleet: str | None = None) -> list[DeviceSummary]:
        """Return every board, by fleet and name."""
        return summaries_of(self._all, fleet)

    def device(self, device: Device) -> DeviceSummary | None:
        """Return one board; None: nothing of it ever came."""
        number = self._number(device)
        return None if number is None else summary_of(self._all, number)

    def windows(
        self, span: Span, device: Device | None = None, fleet: str | None = None, newest: int | None = None
    ) -> Iterator[StoredWindow]:
        """Return windows that began within the span, the oldest first; ``newest``: at most so many, the newest ones."""
        for row in self._rows("windows", span, device=device, fleet=fleet, newest=newest):
            yield StoredWindow(*_read(row, Window))

    def packed_windows(self, device: Device, span: Span, newest: int) -> list[PackedWindow]:
        """Return the newest of a board's windows that began within the span, the oldest first."""
        return [_packed(row) for row in self._rows("windows", span, device=device, newest=newest)]

    def hours(self, device: Device, slot: str, span: Span, newest: int) -> Hours:
        """Return what a board's slot did within a span of whole hours, by the hour; see ``StoreReader``."""
        number = self._number(device)
        if number is None:
            return Hours([], [])
        first, end = span.since_ms // HOUR_MS, -(-span.until_ms // HOUR_MS)
        sums = (
            "select hour, body from hour_sums where day in (select day from segments where source = 'windows'"
            " and day >= ? and day <= ?) and device = ? and slot = ? and hour >= ? and hour < ? order by hour",
            (first * HOUR_MS // DAY_MS, end * HOUR_MS // DAY_MS, number, slot, first, end),
        )
        after = before(span)
        asked = self._asked("windows", BY_TIME, after, span.until_ms, number)
        (hours, found), more = self._page(
            "windows",
            (sums, asked.newest(newest)),
            lambda listing: asked.older.newest([one for one in listing if not one.summed], after, newest),
        )
        return Hours(
            [PackedHour(hour * HOUR_MS, body) for hour, body in hours],
            [_packed(row[len(BY_TIME) :]) for row in newest_of(found, more, newest)],
        )

    def events(
        self, span: Span, device: Device | None = None, fleet: str | None = None, newest: int | None = None
    ) -> Iterator[StoredEvent]:
        """Return events within the span, the oldest first; ``newest``: at most so many, the newest ones."""
        for row in self._rows("events", span, device=device, fleet=fleet, newest=newest):
            yield StoredEvent(*_read(row, Event))

    def events_received(
        self, since_ms: int, device: Device | None = None, fleet: str | None = None
    ) -> Iterator[StoredEvent]:
        """Return events that came in at that moment or later, in the order in which they came in."""
        order = ("received_ms", "at_ms", "device", "stream", "sequence")
        after = (since_ms - 1, 2**62, 0, 0, 0)
        for row in self._paged("events", order, after, 2**62, device=device, fleet=fleet):
            yield StoredEvent(*_read(row, Event))

    def results(
        self, device: Device | None, span: Span, newest: int | None = None, fleet: str | None = None
    ) -> Iterator[StoredResult]:
        """Return answers of the models within the span, the oldest first; ``newest``: at most so many, the newest."""
        for row in self._rows("results", span, device=device, fleet=fleet, newest=newest):
            yield StoredResult(*_read(row, Result))

    def gaps(self, span: Span, device: Device | None = None) -> Iterator[StoredGap]:
        """Return what boards have told to be lost, within the span."""
        for row in self._rows("gaps", span, device=device):
            yield StoredGap(*_read(row, Gap))

    def replies(self, device: Device, span: Span) -> Iterator[IncomingReply]:
        """Return a board's answers to commands within the span, the oldest first."""
        number = self._number(device)
        found = self._all(
            "select received_ms, body from replies where device = ? and received_ms >= ? and received_ms < ?"
            " order by id",
            (number, *span),
        )
        for received_ms, body in found:
            yield IncomingReply(device, document(body, Reply, device), received_ms, body)

    def poison(self, newest: int) -> list[Poison]:
        """Return the newest of what could not be read, the newest first."""
        found = self._all("select topic, reason, payload, received_ms from poison order by id desc limit ?", (newest,))
        return [Poison(*one) for one in found]

    def poison_count(self) -> int:
        """Return how many messages and rows could not be read, ever."""
        found = self._all("select value from counters where name = 'poison'", ())
        return int(found[0][0]) if found else 0

    def identity(self) -> str:
        """Return what tells this store from all others; see ``StoreReader``."""
        made = self._all("select value from counters where name = 'identity'", ())
        return identity_of(made[0][0], *self._place()) if made else ""

    def _place(self) -> tuple[str, str]:
        return place_of_file(self._path)

    def close(self) -> None:
        """Let it go."""
        self._db.close()
        self._segments.close()

    def _all(self, statement: str, given: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with told(self._path):
            check_is_there(self._db, self._path, self._file)
            return self._db.execute(statement, given).fetchall()

    def _number(self, device: Device) -> int | None:
        found = self._all("select id from devices where fleet = ? and name = ?", device)
        return int(found[0][0]) if found else None

    def _rows(
        self,
        table: str,
        span: Span,
        *,
        device: Device | None = None,
        fleet: str | None = None,
        newest: int | None = None,
    ) -> Iterator[_Row]:
        """Return rows within the span, the oldest first."""
        return self._paged(table, BY_TIME, before(span), span.until_ms, device=device, fleet=fleet, newest=newest)

    def _paged(
        self,
        table: str,
        order: tuple[str, ...],
        after: tuple[int, ...],
        until_ms: int,
        *,
        device: Device | None,
        fleet: str | None = None,
        newest: int | None = None,
    ) -> Iterator[_Row]:
        """Return rows beyond a place in an order; a page is one statement, so that nothing is held up meanwhile."""
        number = None if device is None else self._number(device)
        if device is not None and number is None:
            return
        asked = self._asked(table, order, after, until_ms, number, fleet)
        if newest is not None:
            older = partial(asked.older.newest, after=after, count=newest)
            (found,), more = self._page(table, (asked.newest(newest),), older)
            yield from (row[len(order) :] for row in newest_of(found, more, newest))
            return
        most = self.page if table != "results" else min(self.page, _LARGE_PAGE)
        stretch_ms = self.stretch_ms if number is None and order[0] == "at_ms" else None
        while after != END:
            end_ms = until_ms if stretch_ms is None else min(until_ms, after[0] + 1 + stretch_ms)
            (found,), through = self._page(
                table, (asked.page(after, end_ms, most),), partial(asked.older.through, after=after)
            )
            if len(found) == most:
                rest = found[-1][: len(order)]
                stretch_ms = stretch_ms and max(1, 2 * (found[-1][0] - found[0][0]))
            else:
                rest = END if end_ms == until_ms else (end_ms - 1, 2**62, 0, 0)
                stretch_ms = stretch_ms and 2 * stretch_ms
            after = min(through, rest)
            there = (row for row in found if row[: len(order)] <= after)
            for row in merge(there, asked.older.take(after), key=itemgetter(slice(len(order)))):
                yield row[len(order) :]

    def _asked(
        self,
        table: str,
        order: tuple[str, ...],
        after: tuple[int, ...],
        until_ms: int,
        device: int | None,
        fleet: str | None = None,
    ) -> Asked:
        named = partial(self._streams, device, fleet)
        older = SegmentPages(self._segments, order, until_ms, device, named, of_fleet=fleet is not None)
        return Asked(table, order, after, until_ms, device, fleet, older)

    def _page(
        self, table: str, questions: Sequence[Question], older: Callable[[list[Segment]], _Older]
    ) -> tuple[list[list[tuple[Any, ...]]], _Older]:
        """Return answers of one moment, and what the segments of that moment have beside them."""
        for _ in range(_MOST_TRIES):
            with told(self._path):
                check_is_there(self._db, self._path, self._file)
                self._db.execute("begin")
                try:
                    found = [self._db.execute(statement, given).fetchall() for statement, given in questions]
                    listing = listed(self._db, table)
                finally:
                    self._db.execute("rollback")
            try:
                return found, older(listing)
            except SegmentGoneError:  # a board was forgotten just now: there is another list
                continue
        raise missing(folder_of(self._path))

    def _streams(self, device: int | None, fleet: str | None) -> dict[int, tuple[bytes, str, str]]:
        given: list[int | str] = []
        where = ""
        if device is not None:
            where, given = f"{where} and d.id = ?", [*given, device]
        if fleet is not None:
            where, given = f"{where} and d.fleet = ?", [*given, fleet]
        found = self._all(
            f"select s.id, s.epoch, d.fleet, d.name from streams s, devices d where d.id = s.device {where}",  # noqa: S608
            tuple(given),
        )
        return {number: (epoch, fleet, name) for number, epoch, fleet, name in found}


def _packed(row: _Row) -> PackedWindow:
    at_ms, sequence, _, body, epoch, _, _ = row
    return PackedWindow(at_ms, epoch, sequence, body)


def _read(row: _Row, kind: type[_Body]) -> tuple[Device, bytes, int, int, int, _Body]:
    at_ms, sequence, received_ms, body, epoch, fleet, name = row
    device = Device(fleet, name)
    return device, epoch, sequence, at_ms, received_ms, unpacked(body, kind, device, at_ms)
