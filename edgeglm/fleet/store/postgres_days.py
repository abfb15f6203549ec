"""Tables of rows are divided by days (UTC): old ones can go at once, and a stretch of time is in few of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from edgeglm.fleet.store.tables import ROW_TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psycopg

DAY_MS = 86_400_000
_BEFORE = 35  # days before the store was made: what is older still lies together
_AHEAD = 2  # days that are made before any row needs them
_LOCK = 0x45474C44  # "EGLD": who divides holds it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Days:
    """The days that there are tables of."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._first: int | None = None  # what is before it lies together

    def forget(self) -> None:
        """Forget what there is: what was made was not kept, or somebody has removed some."""
        self._known.clear()
        self._first = None

    def have(self, db: psycopg.Connection[tuple[Any, ...]], times_ms: Iterable[int], now_ms: int) -> None:
        """Let there be tables for rows of these times, within the transaction."""
        today = now_ms // DAY_MS
        first = self._first if self._first is not None else self._begin(db, today)
        wanted = {day for at_ms in times_ms if (day := at_ms // DAY_MS) >= first}
        if today >= first:
            wanted.update(range(today, today + _AHEAD + 1))
        for day in sorted(wanted - self._known):
            self._add(db, day)
            self._known.add(day)

    def _begin(self, db: psycopg.Connection[tuple[Any, ...]], today: int) -> int:
        """Return the first day that has a table of its own."""
        statement = "select value from counters where name = 'first_day'"
        found = db.execute(statement).fetchone()
        if found is None:
            db.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
            found = db.execute(statement).fetchone()
        if found is None:
            first = today - _BEFORE
            db.execute("insert into counters (name, value) values ('first_day', %s)", (first,))
            for table in ROW_TABLES:
                db.execute(
                    f"create table {table}_before partition of {table} for values from (minvalue) to ({first * DAY_MS})"
                )
            found = (first,)
        self._first = int(found[0])
        return self._first

    def _add(self, db: psycopg.Connection[tuple[Any, ...]], day: int) -> None:
        """Make one day's tables apart, then attach them: nobody that reads or writes others waits for it."""
        if all(_is_there(db, table, day) for table in ROW_TABLES):
            return
        db.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        for table in ROW_TABLES:
            if not _is_there(db, table, day):  # another may have been quicker
                name, start, end = f"{table}_{_suffix(day)}", day * DAY_MS, (day + 1) * DAY_MS
                db.execute(f"create table {name} (like {table} including all)")
                db.execute(f"alter table {table} attach partition {name} for values from ({start}) to ({end})")


def _is_there(db: psycopg.Connection[tuple[Any, ...]], table: str, day: int) -> bool:
    row = db.execute("select to_regclass(%s)", (f"edgeglm.{table}_{_suffix(day)}",)).fetchone()
    return row is not None and row[0] is not None


def _suffix(day: int) -> str:
    """Return the day as names of tables have it: 20270301."""
    return (_EPOCH + timedelta(days=day)).strftime("%Y%m%d")
