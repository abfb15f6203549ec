"""The PostgreSQL store, to look at: the same questions as SQLite's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgeglm.fleet.store.naming import place_of_database
from edgeglm.fleet.store.postgres_schema import check, check_version, connect, told
from edgeglm.fleet.store.segment_files import SegmentFiles
from edgeglm.fleet.store.sqlite_reader import SqliteReader

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from edgeglm.fleet.addresses import PostgresAddress
    from edgeglm.fleet.store.segment_list import Segment

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
        statement: str,
        given: tuple[Any, ...],
        older: Callable[[list[Segment]], _Older],
    ) -> tuple[list[tuple[Any, ...]], _Older]:
        return self._all(statement, given), older([])  # all rows are in tables

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        connection = connect(self._address, reading=True)
        try:
            check(connection, self._address)
        except BaseException:
            connection.close()
            raise
        return connection
