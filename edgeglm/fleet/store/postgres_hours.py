"""Sums of hours in PostgreSQL: of hours that are over, and anew of those that more came of since.

A reader takes a sum for as long as it is of as many windows as there are, so that nothing has to be held meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edgeglm.fleet.store.hour_sums import summed
from edgeglm.fleet.store.keeping import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import psycopg

_SETTLED_MS = 600_000  # after the end of an hour: what comes later is noted by whoever writes it
HELD = "select id from devices where id = any(%s) order by id for key share"  # whoever wants to forget one waits
_COMMITTED_MS = 300_000  # longer than a transaction takes, and collectors' clocks differ
_CLOCKS_DIFFER = 24  # hours, at most, unless one was set wrong
_DAYS = 32  # before a store has sums: no page looks back any further
_BOARDS = 100  # of a transaction
_LATE = 500  # hours, likewise
_ROWS = 20_000  # windows that are fetched at a time


def tell_late(db: psycopg.Connection[tuple[Any, ...]], windows: Sequence[tuple[Any, ...]]) -> None:
    """Note hours that are added up already, or will be by then: it is to be done anew.

    Args:
        db: Within the transaction that writes the windows.
        windows: Rows, in the order of the table's columns.
    """
    late = {
        (device, at_ms // HOUR_MS)
        for at_ms, device, _, _, received_ms, *_ in windows
        if received_ms >= (at_ms // HOUR_MS + 1) * HOUR_MS + _SETTLED_MS
    }
    if late:
        devices, hours = ([*column] for column in zip(*sorted(late), strict=True))
        db.execute(  # what is noted already becomes another version: who adds it up just now leaves that there
            "insert into late_hours (device, hour) select * from unnest(%s::bigint[], %s::bigint[])"
            " on conflict (device, hour) do update set hour = excluded.hour",
            (devices, hours),
        )


class PostgresHours:
    """One run; within ``PostgresTending``, which one process does at a time."""

    def __init__(self, db: psycopg.Connection[tuple[Any, ...]], now_ms: int) -> None:
        """Take note of what is over."""
        self._db = db
        self._end = (now_ms - _SETTLED_MS - _COMMITTED_MS) // HOUR_MS

    def steps(self) -> Iterator[None]:
        """Do it, a step at a time."""
        yield from self._sum_late()
        first = self._first()
        while first < self._end:
            until = min(self._end, (first * HOUR_MS // DAY_MS + 1) * DAY_MS // HOUR_MS)  # a day at a time
            board = 0
            while boards := self._all("select id from devices where id > %s order by id limit %s", board, _BOARDS):
                self._sum([(number, first, until) for (number,) in boards])
                (board,) = boards[-1]
                yield
            self._db.execute(
                "insert into counters values ('summed_before', %s)"
                " on conflict (name) do update set value = excluded.value",
                (until,),
            )
            first = until

    def _first(self) -> int:
        """Return the first hour that is to be added up."""
        known = self._all("select value from counters where name = 'summed_before'")
        if known and known[0][0] <= self._end + _CLOCKS_DIFFER:
            return int(known[0][0])
        begun = self._all("select value * %s from counters where name = 'first_day'", DAY_MS // HOUR_MS)
        return max(self._end - _DAYS * DAY_MS // HOUR_MS, int(begun[0][0]) if begun else self._end)

    def _sum_late(self) -> Iterator[None]:
        """Go through what is noted once: of what comes late all the time the rest is done nevertheless."""
        through = (-1, -1)
        statement = "select device, hour from late_hours where (device, hour) > (%s, %s) order by device, hour limit %s"
        while late := self._all(statement, *through, _LATE):
            self._sum([(device, hour, hour + 1) for device, hour in late])
            through = late[-1]
            yield

    def _sum(self, asked: list[tuple[int, int, int]]) -> None:
        """Add up hours of boards: of each the board, the first hour, and the one after the last."""
        given = [[*column] for column in zip(*asked, strict=True)]
        of = "unnest(%s::bigint[], %s::bigint[], %s::bigint[]) as g (device, since, until)"
        within = "t.device = g.device and t.hour >= g.since and t.hour < g.until"
        # before windows are read: with one that is committed later its note is another version of it, and stays
        notes = self._all(
            f"select t.device, t.hour, t.xmin::text from {of} join late_hours t on {within}",  # noqa: S608 - of our own
            *given,
        )
        with self._db.transaction(), self._db.cursor("summed", binary=True) as rows:
            rows.itersize = _ROWS
            rows.execute(  # within bounds that are no join's: only the days between them are planned for
                f"select t.at_ms, t.device, t.slot, t.body from {of} join windows t on t.device = g.device"  # noqa: S608
                f" and t.at_ms >= g.since * {HOUR_MS} and t.at_ms < g.until * {HOUR_MS}"
                " where t.at_ms >= %s and t.at_ms < %s order by t.device, t.at_ms",
                (*given, min(given[1]) * HOUR_MS, max(given[2]) * HOUR_MS),
            )
            sums = summed(rows)
        with self._db.transaction():  # short: who writes a late window waits for it
            held = {device for (device,) in self._all(HELD, sorted(set(given[0])))}
            if notes:
                self._db.execute(
                    "delete from late_hours t using unnest(%s::bigint[], %s::bigint[], %s::text[])"
                    " as n (device, hour, version) where t.device = n.device and t.hour = n.hour"
                    " and t.xmin::text = n.version",
                    [[*column] for column in zip(*notes, strict=True)],
                )
            self._db.execute(f"delete from hour_sums t using {of} where {within}", given)  # noqa: S608 - of our own
            with self._db.cursor().copy("copy hour_sums (hour, device, slot, rows, body) from stdin") as copy:
                for key, one in sums.items():
                    if key.device in held:
                        copy.write_row((*key, one.rows, msgspec.msgpack.encode(one.sum)))

    def _all(self, statement: str, *given: Any) -> list[tuple[Any, ...]]:
        return self._db.execute(statement, given).fetchall()
