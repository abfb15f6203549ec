"""A store by its address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.fleet.addresses import PostgresAddress, parse_store

if TYPE_CHECKING:
    from edgeglm.fleet.store.base import StoreReader, StoreWriter


def open_store(url: str) -> StoreWriter:
    """Open a store to write into; a file is made where there is none.

    Raises:
        UserError: The address is none, or of something else.
        BusyError: Another process writes into it, and there can be one.
        MissingExtraError: psycopg is not installed.
        StoreError: It is damaged, locked, of a newer version, or cannot be reached: it is left as it is.
        StorageError: The disk is full, or refuses.
    """
    address = parse_store(url)
    if isinstance(address, PostgresAddress):
        from edgeglm.fleet.store.postgres_writer import PostgresWriter

        return PostgresWriter(address)
    from edgeglm.fleet.store.sqlite_writer import SqliteWriter

    return SqliteWriter(address)


def open_reader(url: str) -> StoreReader:
    """Open a store to look at. Raises: As ``open_store``, but for BusyError; UserError: There is none."""
    address = parse_store(url)
    if isinstance(address, PostgresAddress):
        from edgeglm.fleet.store.postgres_reader import PostgresReader

        return PostgresReader(address)
    from edgeglm.fleet.store.sqlite_reader import SqliteReader

    return SqliteReader(address)
