"""What is done beside collectors in PostgreSQL: windows of an hour become one, and days that are too old are dropped.

One collector at a time does it: who holds an advisory lock. Windows are merged a few boards at a time, each in one
transaction; a day that was merged is written anew, so that its room on the disk is given back.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from edgeglm.fleet.store.hourly import ORDER, merged_by_hour
from edgeglm.fleet.store.keeping import DAY_MS, HOUR_MS, Tended
from edgeglm.fleet.store.postgres_hours import HELD, PostgresHours
from edgeglm.fleet.store.postgres_schema import check_version, connect, told
from edgeglm.fleet.store.rows import COLUMNS
from edgeglm.fleet.store.sqlite_schema import PRUNE_ALARM_EVENTS
from edgeglm.fleet.store.tables import ROW_TABLES

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    import psycopg

    from edgeglm.fleet.addresses import PostgresAddress
    from edgeglm.fleet.store.keeping import Keeping

_LOCK = 0x45474C4B  # "EGLK": who tends holds it
_BOARDS = 50  # of a transaction
_LONGEST_REST_S = 2.0
_DAY = re.compile(r"_(\d{8})\Z")


class PostgresTending:
    """One run."""

    def __init__(
        self,
        address: PostgresAddress,
        keeping: Keeping,
        now_ms: int,
        stop: threading.Event | None = None,
        *,
        paced: bool = False,
    ) -> None:
        """Take note of what is to be done; see ``SqliteTending``."""
        self._address, self._keeping, self._now_ms = address, keeping, now_ms
        self._stop, self._paced = stop, paced
        self.done = Tended()

    def run(self) -> Tended:
        """Do what is due. Raises: StoreError, StorageError: What was done until then is done, and nothing is lost."""
        self._db: psycopg.Connection[tuple[Any, ...]] = connect(self._address, reading=False)
        try:
            with told(self._address):
                check_version(self._db, self._address)
                self._db.execute("set lock_timeout = '1s'; set statement_timeout = '10min'")  # nobody waits for long
                if self._one("select pg_try_advisory_lock(%s)", _LOCK):
                    self._run()
        finally:
            self._db.close()
        return self.done

    def _run(self) -> None:
        for steps in (self._remove(), self._merge_hours(), PostgresHours(self._db, self._now_ms).steps()):
            while True:
                began = time.monotonic()
                try:
                    next(steps)
                except StopIteration:
                    break
                rest_s = min(time.monotonic() - began, _LONGEST_REST_S) if self._paced else 0.0
                if self._stop is not None and self._stop.wait(rest_s):
                    return

    def _remove(self) -> Iterator[None]:
        """Drop days that are too old."""
        for source, before_ms in self._keeping.forgotten_before_ms(self._now_ms).items():
            self._db.execute(
                "insert into removed values (%s, %s) on conflict (source) do update"
                " set before_ms = greatest(removed.before_ms, excluded.before_ms)",
                (source, before_ms),
            )
        self._db.execute(PRUNE_ALARM_EVENTS)
        limits = self._keeping.removed_before_ms(self._now_ms)
        for source, before_ms in limits.items():
            for day, name in self._days(source).items():
                if (day + 1) * DAY_MS <= before_ms:
                    self.done.removed_rows += self._one(f"select count(*) from {name}")  # noqa: S608 - of our own
                    self._db.execute(f"drop table {name}")
                    yield
            self.done.removed_rows += self._db.execute(
                f"delete from {source} where at_ms < %s",  # noqa: S608 - what lies together
                (before_ms,),
            ).rowcount
            yield
        if "windows" in limits:
            self._db.execute("delete from hourly_days where day < %s", (limits["windows"] // DAY_MS,))
            self._db.execute("delete from hour_sums where hour < %s", (limits["windows"] // HOUR_MS,))
        if len(limits) == len(ROW_TABLES):
            self._db.execute("delete from placed where at_ms < %s", (min(limits.values()),))

    def _merge_hours(self) -> Iterator[None]:
        """Let windows of an hour become one; a day that more came of since it was merged is merged again."""
        before_ms = self._keeping.merged_before_ms(self._now_ms)
        if before_ms is None or before_ms <= (
            self._one("select value from counters where name = 'hourly_before'") or 0
        ):
            return  # it was done today
        tables = self._days("windows")
        together = (
            "select distinct at_ms / %s from windows where at_ms < (select value * %s from counters where name = %s)"
        )
        days = {*tables, *(day for (day,) in self._all(together, DAY_MS, DAY_MS, "first_day"))}
        known = dict(self._all("select day, rows from hourly_days"))
        for day in sorted(day for day in days if (day + 1) * DAY_MS <= before_ms):
            if self._count(day) == known.get(day):
                continue
            boards = self._all(
                "select distinct device from windows where at_ms >= %s and at_ms < %s order by device",
                day * DAY_MS,
                (day + 1) * DAY_MS,
            )
            merged = 0
            for start in range(0, len(boards), _BOARDS):
                merged += self._merge(day, [board for (board,) in boards[start : start + _BOARDS]])
                yield
            if merged and day in tables:
                self._write_anew(tables[day])
            self._db.execute(
                "insert into hourly_days values (%s, %s) on conflict (day) do update set rows = excluded.rows",
                (day, self._count(day)),
            )
            yield
        self._db.execute(
            "insert into counters values ('hourly_before', %s) on conflict (name) do update set value = excluded.value",
            (before_ms,),
        )

    def _merge(self, day: int, boards: list[int]) -> int:
        """Merge one day of some boards; return how many windows went into others."""
        names = COLUMNS["windows"]
        within = (boards, day * DAY_MS, (day + 1) * DAY_MS)
        where = "where device = any(%s) and at_ms >= %s and at_ms < %s"
        with self._db.transaction():
            # who lets the store forget one of them waits until what is written here can be seen
            self._all(HELD, boards)
            rows = self._all(f"select {names} from windows {where} order by {ORDER} for update", *within)  # noqa: S608
            merged = [*merged_by_hour(rows)]
            if len(merged) == len(rows):
                return 0
            self._db.execute(
                "with gone as (delete from hour_sums where device = any(%s) and hour >= %s and hour < %s returning *)"
                " insert into late_hours select distinct device, hour from gone on conflict do nothing",
                (boards, day * DAY_MS // HOUR_MS, (day + 1) * DAY_MS // HOUR_MS),
            )
            keys = [[*column] for column in zip(*(row[:4] for row in rows), strict=True)]
            self._db.execute(
                "delete from windows w using unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])"
                " as g (at_ms, device, stream, sequence) where w.at_ms = g.at_ms and w.device = g.device"
                " and w.stream = g.stream and w.sequence = g.sequence",
                keys,
            )
            places = ", ".join(["%s"] * len(merged[0]))
            with self._db.cursor() as cursor:
                cursor.executemany(
                    f"insert into windows ({names}) values ({places})",  # noqa: S608 - names of our own
                    [(*row[:-1], bytes(row[-1])) for row in merged],
                )
        self.done.merged_windows += len(rows)
        self.done.hourly_windows += len(merged)
        return len(rows) - len(merged)

    def _write_anew(self, table: str) -> None:
        """Give back the room of what was merged; where somebody uses the table just now, it is used again later."""
        from psycopg import errors

        with suppress(errors.LockNotAvailable):
            self._db.execute(f"vacuum (full, analyze) {table}")

    def _count(self, day: int) -> int:
        where = "where at_ms >= %s and at_ms < %s"
        return int(self._one(f"select count(*) from windows {where}", day * DAY_MS, (day + 1) * DAY_MS))  # noqa: S608

    def _days(self, source: str) -> dict[int, str]:
        """Return the tables of a table's days."""
        found = self._all(
            "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid"
            " where i.inhparent = %s::regclass order by 1",
            f"edgeglm.{source}",
        )
        named = {name: _DAY.search(name) for (name,) in found}
        return {
            int(datetime.strptime(day[1], "%Y%m%d").replace(tzinfo=UTC).timestamp() * 1000) // DAY_MS: name
            for name, day in named.items()
            if day is not None
        }

    def _one(self, statement: str, *given: Any) -> Any:
        row = self._db.execute(statement, given).fetchone()
        return None if row is None else row[0]

    def _all(self, statement: str, *given: Any) -> list[tuple[Any, ...]]:
        return self._db.execute(statement, given).fetchall()
