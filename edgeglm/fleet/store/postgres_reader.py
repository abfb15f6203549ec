"""The PostgreSQL store, to look at: the same questions as SQLite's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeglm.fleet.store.postgres_schema import check, connect, told
from edgeglm.fleet.store.sqlite_reader import SqliteReader

if TYPE_CHECKING:
    from edgeglm.fleet.addresses import PostgresAddress


class PostgresReader(SqliteReader):
    """What is known of the boards; see ``StoreReader``. Not for several threads at once."""

    page = 5000  # rows at a time: a page of many boards is sorted anew

    def __init__(self, address: PostgresAddress) -> None:
        """Connect. Raises: UserError: There is no store. MissingExtraError, StoreError: See ``connect``."""
        self._address = address
        self._connection = connect(address, reading=True)
        try:
            check(self._connection, address)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Let it go."""
        self._connection.close()

    def _all(self, statement: str, given: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if self._connection.closed:
            self._connection = connect(self._address, reading=True)
        statement = statement.replace("cross join", "join").replace("?", "%s")
        with told(self._address):
            return self._connection.execute(statement, given).fetchall()
