"""Which segments an SQLite store has: rows of a table of its own, so that they change with the journal or not at all.

One that was replaced stays for a day: whoever copies the store, or reads it, finds every file that was listed when they
began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edgeglm.errors import StoreError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection
    from pathlib import Path

GRACE_MS = 86_400_000
_COLUMNS = "id, source, day, name, rows, bytes, last_received_ms, hourly, summed"


class Written(NamedTuple):
    """A segment that was written, and is not listed yet."""

    source: str  # the table that its rows are of
    day: int  # since 1970: all its rows are of it
    name: str  # of its file
    rows: int
    bytes: int
    last_received_ms: int
    hourly: int = 0  # 1: windows that were merged
    summed: int = 1  # 0: windows that are in no sum of an hour as yet


class Segment(NamedTuple):
    """One that is listed."""

    id: int
    source: str
    day: int
    name: str
    rows: int
    bytes: int
    last_received_ms: int
    hourly: int
    summed: int


def folder_of(path: Path) -> Path:
    """Return the folder of a store's segments."""
    return path.with_name(f"{path.name}.segments")


def listed(db: sqlite3.Connection, source: str | None = None) -> list[Segment]:
    """Return what a store, or one of its tables, has, by day."""
    where, given = ("and source = ?", (source,)) if source is not None else ("", ())
    found = db.execute(
        f"select {_COLUMNS} from segments where replaced_ms is null {where} order by source, day, id",  # noqa: S608
        given,
    )
    return [Segment(*row) for row in found]


def add(db: sqlite3.Connection, one: Written) -> None:
    """List one, within a transaction."""
    db.execute(
        "insert into segments (source, day, name, rows, bytes, last_received_ms, hourly, summed)"
        " values (?, ?, ?, ?, ?, ?, ?, ?)",
        one,
    )


def replace(db: sqlite3.Connection, old: Collection[Segment], now_ms: int) -> None:
    """Take some off the list, within a transaction."""
    db.executemany("update segments set replaced_ms = ? where id = ?", [(now_ms, one.id) for one in old])


def expired(db: sqlite3.Connection, before_ms: int) -> list[tuple[int, str]]:
    """Return id and name of those that were replaced before a moment."""
    return db.execute("select id, name from segments where replaced_ms < ?", (before_ms,)).fetchall()


def names(db: sqlite3.Connection) -> set[str]:
    """Return the names of all files that may be there."""
    return {name for (name,) in db.execute("select name from segments")}


def check_all_there(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a store some of whose segments are missing. Raises: StoreError."""
    folder = folder_of(path)
    for one in listed(db):
        file = folder / one.name
        if not file.is_file() or file.stat().st_size != one.bytes:
            raise missing(file)


def missing(file: Path) -> StoreError:
    """Return the error for a segment that is not as it was written."""
    return StoreError(
        "the store is damaged: this part of it is missing, or is not as it was written",
        where=str(file),
        hint="nothing was deleted: put back its folder, as it lay beside this store or in the copy that it is from",
        code="store-damaged",
    )
