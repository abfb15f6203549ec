"""A store by its address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.fleet.addresses import parse_store

if TYPE_CHECKING:
    from edgeglm.fleet.store.base import StoreReader, StoreWriter


def open_store(url: str) -> StoreWriter:
    """Open a store to write into; a file is made where there is none.

    Raises:
        UserError: The address is none, or of something else.
        BusyError: Another process writes into it.
        StoreError: It is damaged, locked, or of a newer version: it is left as it is.
        StorageError: The disk is full, or refuses.
    """
    from edgeglm.fleet.store.sqlite_writer import SqliteWriter

    return SqliteWriter(parse_store(url))


def open_reader(url: str) -> StoreReader:
    """Open a store to look at. Raises: As ``open_store``, but for BusyError; UserError: There is none."""
    from edgeglm.fleet.store.sqlite_reader import SqliteReader

    return SqliteReader(parse_store(url))
