"""The SQLite store, to look at: never in the writer's way, and it sees what is committed."""

from __future__ import annotations

from functools import partial
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec
from edgeglm_agent.wire.commands import Reply, State
from edgeglm_agent.wire.telemetry import Event, Gap, Result, Window

from edgeglm.fleet.store import alarms
from edgeglm.fleet.store.naming import identity_of, place_of_file
from edgeglm.fleet.store.segment_files import SegmentFiles, SegmentGoneError
from edgeglm.fleet.store.segment_list import folder_of, listed, missing
from edgeglm.fleet.store.segment_pages import END, SegmentPages
from edgeglm.fleet.store.sqlite_schema import check_is_there, file_of, open_for_reading, told
from edgeglm.fleet.store.types import (
    Device,
    DeviceSummary,
    IncomingReply,
    PackedWindow,
    Poison,
    SlotSummary,
    StoredEvent,
    StoredGap,
    StoredResult,
    StoredWindow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edgeglm.fleet.store.segment_list import Segment
    from edgeglm.fleet.store.types import Span

_Body = TypeVar("_Body")
_Older = TypeVar("_Older")
_LARGE_PAGE = 500  # rows at a time that may have a picture each
_MOST_TRIES = 5  # to have segments as they are listed
_Row: TypeAlias = tuple[int, int, int, bytes, bytes, str, str]  # moment, sequence, when it came, body; epoch and board
_DEVICES = """
select d.id, d.fleet, d.name, d.shard, d.first_seen_ms, d.heard_ms, d.state, d.state_ms,
    s.last_ms, s.rows, s.duplicates, s.taken_back, s.lost_rows, s.lost_at_ms,
    s.taken_back_at_ms, (
        select clock_off_ms from streams where device = d.id and clock_off_ms is not null order by last_ms desc limit 1
    )
from devices d left join (
    select device, max(last_ms) as last_ms, sum(rows) as rows, sum(duplicates) as duplicates,
        sum(taken_back) as taken_back, sum(lost_rows) as lost_rows, max(lost_at_ms) as lost_at_ms,
        max(taken_back_at_ms) as taken_back_at_ms
    from streams {streams} group by device
) s on s.device = d.id {where} order by d.fleet, d.name
"""
_ALARMS = f"""
select l.device, l.slot, e.at_ms, e.stream, e.sequence, e.body from latest l cross join alarm_events e
    on e.device = l.device and e.slot = l.slot and e.at_ms >= coalesce((
        select at_ms from alarm_events where device = l.device and slot = l.slot
        order by at_ms desc limit 1 offset {alarms.NEWEST - 1}
    ), {-(2**62)})
{{where}} order by l.device, l.slot, e.at_ms, e.stream, e.sequence
"""  # noqa: S608 - names of our own
_LATEST = "select device, slot, at_ms, received_ms, body from latest l {where} order by device, slot"


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
        where, given = ("where d.fleet = ?", (fleet,)) if fleet is not None else ("", ())
        return self._summaries(_DEVICES.format(streams="", where=where), given, "", ())

    def device(self, device: Device) -> DeviceSummary | None:
        """Return one board; None: nothing of it ever came."""
        number = self._number(device)
        if number is None:
            return None
        one = (number,)
        found = self._summaries(
            _DEVICES.format(streams="where device = ?", where="where d.id = ?"),
            one * 2,
            "where l.device = ?",
            one,
        )
        return found[0] if found else None

    def windows(
        self, span: Span, device: Device | None = None, fleet: str | None = None, newest: int | None = None
    ) -> Iterator[StoredWindow]:
        """Return windows that began within the span, the oldest first; ``newest``: at most so many, the newest ones."""
        for row in self._rows("windows", span, device=device, fleet=fleet, newest=newest):
            yield StoredWindow(*_read(row, Window))

    def packed_windows(self, device: Device, span: Span, newest: int) -> list[PackedWindow]:
        """Return the newest of a board's windows that began within the span, the oldest first."""
        rows = self._rows("windows", span, device=device, newest=newest)
        return [PackedWindow(at_ms, epoch, sequence, body) for at_ms, sequence, _, body, epoch, _, _ in rows]

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
            yield IncomingReply(device, msgspec.json.decode(body, type=Reply), received_ms, body)

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

    def _summaries(
        self, statement: str, given: tuple[Any, ...], where: str, given_where: tuple[Any, ...]
    ) -> list[DeviceSummary]:
        told_of = self._all(_ALARMS.format(where=where), given_where)
        stand = {
            key: alarms.standing(
                alarms.in_order((*row[2:5], msgspec.msgpack.decode(row[5], type=Event)) for row in rows)
            )
            for key, rows in groupby(told_of, key=lambda row: (int(row[0]), str(row[1])))
        }
        latest = self._all(_LATEST.format(where=where), given_where)
        slots = {
            number: {
                slot: SlotSummary(
                    slot,
                    at_ms,
                    received_ms,
                    msgspec.msgpack.decode(body, type=Window),
                    stand.get((number, slot), ()),
                )
                for _, slot, at_ms, received_ms, body in rows
            }
            for number, rows in groupby(latest, key=lambda row: int(row[0]))
        }
        return [_summary(row, slots.get(row[0], {})) for row in self._all(statement, given)]

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
        after = (span.since_ms - 1, 2**62, 0, 0)
        order = ("at_ms", "device", "stream", "sequence")
        return self._paged(table, order, after, span.until_ms, device=device, fleet=fleet, newest=newest)

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
        given: list[int | str] = [until_ms]
        where = "and t.at_ms < ?"
        if number is not None:
            where, given = f"{where} and t.device = ?", [*given, number]
        if fleet is not None:
            where, given = f"{where} and d.fleet = ?", [*given, fleet]
        key = ", ".join(f"t.{name}" for name in order)
        statement = (
            f"select {key}, t.at_ms, t.sequence, t.received_ms, t.body, s.epoch, d.fleet, d.name"  # noqa: S608
            f" from {table} t cross join streams s on s.id = t.stream cross join devices d on d.id = t.device"
            f" where t.{order[0]} >= ? and ({key}) > ({', '.join('?' * len(order))}) {where} order by "
        )
        older = SegmentPages(self._segments, order, until_ms, number, partial(self._streams, number, fleet))
        if newest is not None:
            statement += ", ".join(f"t.{name} desc" for name in order) + " limit ?"
            found, more = self._page(
                table, statement, (after[0], *after, *given, newest), partial(older.newest, after=after, count=newest)
            )
            rows = sorted([*reversed(found), *more])  # no two have one key
            yield from (row[len(order) :] for row in (rows[-newest:] if newest else ()))
            return
        most = self.page if table != "results" else min(self.page, _LARGE_PAGE)
        stretch_ms = self.stretch_ms if number is None and order[0] == "at_ms" else None
        while after != END:
            end_ms = until_ms if stretch_ms is None else min(until_ms, after[0] + 1 + stretch_ms)
            found, through = self._page(
                table,
                f"{statement}{key} limit ?",
                (after[0], *after, end_ms, *given[1:], most),
                partial(older.through, after=after),
            )
            if len(found) == most:
                rest = found[-1][: len(order)]
                stretch_ms = stretch_ms and max(1, 2 * (found[-1][0] - found[0][0]))
            else:
                rest = END if end_ms == until_ms else (end_ms - 1, 2**62, 0, 0)
                stretch_ms = stretch_ms and 2 * stretch_ms
            after = min(through, rest)
            there = (row for row in found if row[: len(order)] <= after)
            for row in merge(there, older.take(after), key=itemgetter(slice(len(order)))):
                yield row[len(order) :]

    def _page(
        self, table: str, statement: str, given: tuple[Any, ...], older: Callable[[list[Segment]], _Older]
    ) -> tuple[list[tuple[Any, ...]], _Older]:
        """Return rows of the journal, and what the segments of the same moment have beside them."""
        for _ in range(_MOST_TRIES):
            with told(self._path):
                check_is_there(self._db, self._path, self._file)
                self._db.execute("begin")
                try:
                    found = self._db.execute(statement, given).fetchall()
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


def _read(row: _Row, kind: type[_Body]) -> tuple[Device, bytes, int, int, int, _Body]:
    at_ms, sequence, received_ms, body, epoch, fleet, name = row
    return Device(fleet, name), epoch, sequence, at_ms, received_ms, msgspec.msgpack.decode(body, type=kind)


def _summary(row: tuple[Any, ...], slots: dict[str, SlotSummary]) -> DeviceSummary:
    _, fleet, name, shard, first_seen_ms, heard_ms, state, state_ms = row[:8]
    last_ms, rows, duplicates, taken_back, lost_rows, lost_at_ms, taken_back_at_ms, clock_off_ms = row[8:]
    return DeviceSummary(
        device=Device(fleet, name),
        shard=shard,
        first_seen_ms=first_seen_ms,
        last_seen_ms=max(heard_ms, last_ms or 0),
        state=None if state is None else msgspec.json.decode(state, type=State),
        state_ms=state_ms,
        slots=slots,
        lost_rows=int(lost_rows or 0),  # a sum is no integer in PostgreSQL
        lost_at_ms=lost_at_ms or 0,
        duplicates=int(duplicates or 0),
        clock_off_ms=clock_off_ms,
        rows=int(rows or 0),
        taken_back=int(taken_back or 0),
        taken_back_at_ms=taken_back_at_ms or 0,
    )
