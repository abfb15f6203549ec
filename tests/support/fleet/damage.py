"""What a disk does to a store: done by a statement."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import psycopg

from edgeglm.fleet.addresses import PostgresAddress, parse_store


def execute(url: str, statement: str, *given: object) -> None:
    """Change rows of a store of either kind, at least one; ``{0}`` stands where something is given."""
    address = parse_store(url)
    if isinstance(address, PostgresAddress):
        with psycopg.connect(url, options="-c search_path=edgeglm") as one:
            assert one.execute(statement.format("%s").encode(), given).rowcount
        return
    with closing(sqlite3.connect(address)) as db, db:
        assert db.execute(statement.format("?"), given).rowcount
