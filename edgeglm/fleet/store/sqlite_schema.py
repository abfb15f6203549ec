"""The tables of the SQLite store, how one version of them becomes the next, and how the file is opened."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgeglm.errors import StorageError, StoreError, UserError
from edgeglm.files import storage_errors
from edgeglm.fleet.store import alarms
from edgeglm.fleet.store.segment_list import check_all_there

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APPLICATION_ID = 0x45474C4D  # "EGLM": a file of ours, and nobody else's
_ROW = "at_ms integer not null, device integer not null, stream integer not null, sequence integer not null"
ALARM_EVENTS = repr(alarms.EVENTS)  # as SQL has it too
_KEY = "body blob not null, primary key (at_ms, device, stream, sequence)"

# one script a version, only ever added to. The keys of rows begin with the time: rows come in its order, so that
# a commit touches few pages. That a row comes once only is told by streams.through and beyond, not by a key
MIGRATIONS = (
    f"""
    create table devices (
        id integer primary key, fleet text not null, name text not null, shard text not null,
        first_seen_ms integer not null, heard_ms integer not null,
        state blob, state_ms integer not null default 0,
        unique (fleet, name)
    );
    create table streams (
        id integer primary key, device integer not null, epoch blob not null,
        copy_of integer,
        through integer not null default 0, beyond blob not null default x'', lost blob not null default x'',
        last_ms integer not null default 0, rows integer not null default 0,
        duplicates integer not null default 0, taken_back integer not null default 0,
        taken_back_at_ms integer not null default 0,
        lost_rows integer not null default 0, lost_at_ms integer not null default 0,
        clock_off_ms integer,
        unique (device, epoch)
    );
    create table windows (
        {_ROW}, received_ms integer not null, slot text not null, duration_ms integer not null,
        inferences integer not null, errors integer not null, cpu_permille integer, temperature_decic integer,
        psi_milli integer, {_KEY}
    ) without rowid;
    create table events (
        {_ROW}, received_ms integer not null, slot text not null, name text not null, severity text not null, {_KEY}
    ) without rowid;
    create table results ({_ROW}, received_ms integer not null, slot text not null, {_KEY}) without rowid;
    create table gaps (
        {_ROW}, received_ms integer not null, reason text not null, rows integer not null, {_KEY}
    ) without rowid;
    create table others ({_ROW}, received_ms integer not null, kind integer not null, {_KEY}) without rowid;
    create table placed (
        stream integer not null, sequence integer not null, at_ms integer not null, primary key (stream, sequence)
    ) without rowid;
    create table latest (
        device integer not null, slot text not null, at_ms integer not null, stream integer not null,
        sequence integer not null, primary key (device, slot)
    ) without rowid;
    create table replies (
        id integer primary key, device integer not null, request text not null, received_ms integer not null,
        body blob not null, unique (device, request)
    );
    create table poison (
        id integer primary key autoincrement, topic text not null, reason text not null, payload blob not null,
        received_ms integer not null
    );
    create table counters (name text primary key, value integer not null) without rowid;
    """,
    # events as they came in, for who follows them; and those that tell whether a slot's drift stands
    f"""
    create index events_received on events (received_ms);
    create index events_alarms on events (device, slot, at_ms) where name in {ALARM_EVENTS}
    """,
    # what slots did last outlives the rows themselves; boards that are to stay forgotten
    """
    create table newest (
        device integer not null, slot text not null, at_ms integer not null, received_ms integer not null,
        body blob not null, primary key (device, slot)
    );
    insert into newest select l.device, l.slot, w.at_ms, w.received_ms, w.body from latest l join windows w
        on w.at_ms = l.at_ms and w.device = l.device and w.stream = l.stream and w.sequence = l.sequence;
    drop table latest;
    alter table newest rename to latest;
    create table forgotten (
        fleet text not null, name text not null, at_ms integer not null, primary key (fleet, name)
    ) without rowid;
    """,
    # rows of closed days lie in Parquet files; what tells of drift outlives the rows, and so does what was removed
    f"""
    create table segments (
        id integer primary key autoincrement, source text not null, day integer not null, name text not null unique,
        rows integer not null, bytes integer not null, last_received_ms integer not null,
        hourly integer not null default 0, replaced_ms integer
    );
    create table removed (source text primary key, before_ms integer not null) without rowid;
    create table alarm_events (
        device integer not null, slot text not null, at_ms integer not null, stream integer not null,
        sequence integer not null, body blob not null, primary key (device, slot, at_ms, stream, sequence)
    ) without rowid;
    insert into alarm_events select device, slot, at_ms, stream, sequence, body from events
        where name in {ALARM_EVENTS};
    drop index events_alarms
    """,  # noqa: S608 - names of our own
    # what slots did by the hour; windows of older segments are added up when the store is tended next
    """
    alter table segments add column summed integer not null default 0;
    create table hour_sums (
        day integer not null, device integer not null, slot text not null, hour integer not null, body blob not null,
        primary key (day, device, slot, hour)
    ) without rowid
    """,
)
SCHEMA = len(MIGRATIONS)
PRUNE_ALARM_EVENTS = f"""
delete from alarm_events where (device, slot) in (
    select device, slot from alarm_events group by device, slot having count(*) > {alarms.NEWEST}
) and at_ms < (
    select n.at_ms from alarm_events n where n.device = alarm_events.device and n.slot = alarm_events.slot
    order by n.at_ms desc limit 1 offset {alarms.NEWEST - 1}
)
"""  # noqa: S608 - a number of our own
_FULL = sqlite3.SQLITE_FULL
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Return the open store, made or brought to this version's schema where it must be.

    Raises:
        StoreError: It is damaged, of a newer version, or locked.
        StorageError: The disk is full or refuses.
        UserError: The file is something else.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # it says what boards do, to its owner alone
    with told(path):
        # one thread at a time: what opens it and what writes into it are two
        db = sqlite3.connect(path, isolation_level=None, timeout=1.0, cached_statements=200, check_same_thread=False)
        try:
            _check(db, path)
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = full")
            db.execute("pragma cache_size = -65536")  # KiB
            db.execute("pragma wal_autocheckpoint = 4000")  # pages
            db.execute("pragma journal_size_limit = 67108864")
            _migrate(db)
            check_all_there(db, path)
        except BaseException:
            db.close()
            raise
    return db


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Return the open store, to look at only. Raises: StoreError, UserError: As above, or there is none."""
    if not path.exists():
        raise _missing(path)
    with told(path):
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
        try:
            _check(db, path)
            (version,) = db.execute("pragma user_version").fetchone()
        except BaseException:
            db.close()
            raise
    if version < SCHEMA:
        db.close()
        if not version:  # it is just being made
            raise _missing(path)
        raise StoreError(
            f"this store has schema {version}; this version of edgeglm reads {SCHEMA}",
            where=str(path),
            hint="`edgeglm fleet collect` brings it up to date",
            code="store-older",
        )
    return db


def file_of(path: Path) -> tuple[int, int] | None:
    """Return which file lies there; None: none does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def check_is_there(db: sqlite3.Connection, path: Path, opened: tuple[int, int] | None) -> None:
    """Refuse a store that was removed, exchanged or taken over by another version meanwhile. Raises: StoreError."""
    found = file_of(path)
    if found != opened:
        raise StoreError(
            "the store is gone" if found is None else "another store lies in its place",
            where=str(path),
            hint="put it back" if found is None else "open it again",
            code="store-gone",
        )
    (version,) = db.execute("pragma user_version").fetchone()
    if version != SCHEMA:
        _check(db, path)


def _missing(path: Path) -> UserError:
    return UserError(
        "there is no store",
        where=str(path),
        hint="`edgeglm fleet up` makes one, or `fleet collect`",
        code="store-missing",
    )


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Refuse what is not ours before anything is written."""
    (version,) = db.execute("pragma user_version").fetchone()
    (owner,) = db.execute("pragma application_id").fetchone()
    (tables,) = db.execute("select count(*) from sqlite_master").fetchone()
    if owner != APPLICATION_ID and (tables or version or owner):
        raise UserError(
            "is a database, but no store of a fleet",
            where=str(path),
            hint="name another file: --store sqlite:///fleet/fleet.db",
            code="store-foreign",
        )
    if version > SCHEMA:
        raise StoreError(
            f"this store has schema {version}; this version of edgeglm knows {SCHEMA}. Nothing was changed",
            where=str(path),
            hint="install the edgeglm that made it, or a newer one",
            code="store-newer",
        )


def _migrate(db: sqlite3.Connection) -> None:
    (version,) = db.execute("pragma user_version").fetchone()
    if version == SCHEMA:
        return
    db.execute("begin immediate")
    try:
        db.execute(f"pragma application_id = {APPLICATION_ID}")
        for script in MIGRATIONS[version:]:
            for statement in script.split(";"):
                db.execute(statement)
        db.execute(f"pragma user_version = {SCHEMA}")
        db.execute("commit")
    except BaseException:
        if db.in_transaction:
            db.execute("rollback")
        raise


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what SQLite says into errors that say what to do.

    Raises:
        StorageError: The disk is full or refuses.
        StoreError: The store is damaged, or locked by somebody else.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if type(error) not in (sqlite3.OperationalError, sqlite3.DatabaseError):
            raise  # what was asked of it, and so a bug of ours
        if code in _DAMAGED:
            raise StoreError(
                f"the store is damaged: {error}",
                where=str(path),
                hint="nothing was deleted: put a backup in its place, or keep it aside and begin a new one; "
                "`sqlite3 FILE .recover` saves what can be read",
                code="store-damaged",
            ) from error
        if code in _BUSY:
            raise StoreError(
                f"the store is locked: {error}",
                where=str(path),
                hint="another program writes into it; end that",
                code="store-locked",
            ) from error
        raise StorageError(
            f"cannot write: {error}" if code == _FULL else f"cannot use the store: {error}",
            where=str(path),
            hint="make room on this disk" if code == _FULL else "it must be yours to write, on a disk that is sound",
            code="disk-full" if code == _FULL else "disk-refuses",
        ) from error
