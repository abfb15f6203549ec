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
        db.execute(  # what is noted already is held, so that it is not crossed out before these windows can be seen
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
        if known:
            return int(known[0][0])
        begun = self._all("select value * %s from counters where name = 'first_day'", DAY_MS // HOUR_MS)
        return max(self._end - _DAYS * DAY_MS // HOUR_MS, int(begun[0][0]) if begun else self._end)

    def _sum_late(self) -> Iterator[None]:
        while late := self._all("select device, hour from late_hours order by device, hour limit %s", _LATE):
            self._sum([(device, hour, hour + 1) for device, hour in late])
            yield

    def _sum(self, asked: list[tuple[int, int, int]]) -> None:
        """Add up hours of boards: of each the board, the first hour, and the one after the last."""
        of = "unnest(%s::bigint[], %s::bigint[], %s::bigint[]) as g (device, since, until)"
        with self._db.transaction():
            held = {device for (device,) in self._all(HELD, sorted({device for device, _, _ in asked}))}
            given = [[*column] for column in zip(*(one for one in asked if one[0] in held), strict=True)]
            if not given:
                return
            # before windows are read: of what is committed later there is another note
            within = f"using {of} where t.device = g.device and t.hour >= g.since and t.hour < g.until"
            self._db.execute(f"delete from late_hours t {within}", given)  # noqa: S608 - names of our own
            self._db.execute(f"delete from hour_sums t {within}", given)  # noqa: S608
            with self._db.cursor(name="windows_to_sum") as rows:  # however many there are, few of them are here at once
                rows.itersize = _ROWS
                rows.execute(
                    f"select t.at_ms, t.device, t.slot, t.body from {of} join windows t on t.device = g.device"  # noqa: S608
                    f" and t.at_ms >= g.since * {HOUR_MS} and t.at_ms < g.until * {HOUR_MS} order by t.device, t.at_ms",
                    given,
                )
                sums = summed(rows)
            with self._db.cursor().copy("copy hour_sums (hour, device, slot, rows, body) from stdin") as copy:
                for key, one in sums.items():
                    copy.write_row((*key, one.rows, msgspec.msgpack.encode(one.sum)))

    def _all(self, statement: str, *given: Any) -> list[tuple[Any, ...]]:
        return self._db.execute(statement, given).fetchall()
