"""The PostgreSQL store, to look at: the same questions as SQLite's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgeglm.fleet.store.keeping import HOUR_MS
from edgeglm.fleet.store.naming import place_of_database
from edgeglm.fleet.store.postgres_schema import check, check_version, connect, told
from edgeglm.fleet.store.segment_files import SegmentFiles
from edgeglm.fleet.store.sqlite_reader import SqliteReader
from edgeglm.fleet.store.types import Hours, PackedHour, PackedWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import psycopg

    from edgeglm.fleet.addresses import PostgresAddress
    from edgeglm.fleet.store.asking import Question
    from edgeglm.fleet.store.segment_list import Segment
    from edgeglm.fleet.store.types import Device, Span

_Older = TypeVar("_Older")


class PostgresReader(SqliteReader):
    """What is known of the boards; see ``StoreReader``. Not for several threads at once."""

    page = 5000  # rows at a time
    stretch_ms = 60_000  # that the first page of many boards is sorted of: their rows lie by board

    def __init__(self, address: PostgresAddress) -> None:
        """Connect. Raises: UserError: There is no store. MissingExtraError, StoreError: See ``connect``."""
        self._address = address
        self._connection = self._connected()
        self._segments = SegmentFiles(Path())  # none

    def close(self) -> None:
        """Let it go."""
        self._connection.close()

    def hours(self, device: Device, slot: str, span: Span, newest: int) -> Hours:
        """Return what a board's slot did within a span of whole hours, by the hour; see ``StoreReader``.

        A sum counts as long as it is of as many windows as there are: of an hour that more came of since, or that was
        not added up as yet, the windows themselves are read.
        """
        number = self._number(device)
        if number is None:
            return Hours([], [])
        first, end = span.since_ms // HOUR_MS, -(-span.until_ms // HOUR_MS)
        of_hours = "device = ? and hour >= ? and hour < ?"
        with told(self._address), self._connection.transaction():
            self._connection.execute("set transaction isolation level repeatable read")  # all of it of one moment
            counted = dict(
                self._all(
                    f"select hour, sum(rows) from hour_sums where {of_hours} group by hour",  # noqa: S608 - of our own
                    (number, first, end),
                )
            )
            there = self._all(
                f"select at_ms / {HOUR_MS}, count(*) from windows"  # noqa: S608 - of our own
                " where device = ? and at_ms >= ? and at_ms < ? group by 1",
                (number, first * HOUR_MS, end * HOUR_MS),
            )
            good = [hour for hour, rows in there if counted.get(hour) == rows]
            sums = self._all(
                f"select hour, body from hour_sums where {of_hours} and slot = ? and hour = any(?)"  # noqa: S608
                " order by hour",
                (number, first, end, slot, good),
            )
            others = [hour for hour, rows in there if counted.get(hour) != rows]
            windows = self._windows(number, others, span, newest) if others else []
        return Hours(
            [PackedHour(hour * HOUR_MS, body) for hour, body in sums], [PackedWindow(*row) for row in reversed(windows)]
        )

    def _windows(self, device: int, hours: list[int], span: Span, newest: int) -> list[tuple[Any, ...]]:
        """Return the newest of a board's windows of some hours, the newest first."""
        stretches: list[list[int]] = []  # of hours side by side: between them there may be a month
        for hour in sorted(hours, reverse=True):
            if stretches and stretches[-1][0] == hour + 1:
                stretches[-1][0] = hour
            else:
                stretches.append([hour, hour + 1])
        found: list[tuple[Any, ...]] = []
        for first, end in stretches:
            if len(found) == newest:
                break
            since_ms, until_ms = max(span.since_ms, first * HOUR_MS), min(span.until_ms, end * HOUR_MS)
            found += self._all(
                "select t.at_ms, s.epoch, t.sequence, t.body from windows t join streams s on s.id = t.stream"
                " where t.device = ? and t.at_ms >= ? and t.at_ms < ?"
                " order by t.at_ms desc, t.stream desc, t.sequence desc limit ?",
                (device, since_ms, until_ms, newest - len(found)),
            )
        return found

    def _all(self, statement: str, given: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if self._connection.closed:
            self._connection = self._connected()
        statement = statement.replace("cross join", "join").replace("?", "%s")
        with told(self._address):
            check_version(self._connection, self._address)  # a newer version may have taken it over meanwhile
            return self._connection.execute(statement, given).fetchall()

    def _place(self) -> tuple[str, str]:
        with told(self._address):
            return place_of_database(self._connection)

    def _page(
        self,
        table: str,  # noqa: ARG002
        questions: Sequence[Question],
        older: Callable[[list[Segment]], _Older],
    ) -> tuple[list[list[tuple[Any, ...]]], _Older]:
        return [self._all(*one) for one in questions], older([])  # all rows are in tables

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        connection = connect(self._address, reading=True)
        try:
            check(connection, self._address)
        except BaseException:
            connection.close()
            raise
        return connection
