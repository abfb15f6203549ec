"""The outbox's file: opened so that a power cut costs nothing, checked, and kept aside where it is damaged."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import time
from typing import TYPE_CHECKING

from edgeglm_agent.outbox.rescue import log_frames, lost_commits

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA = 1
_BROKEN = 0x7B0CE0  # in the place of the schema: the log was broken
_BALLAST = 1 << 20  # bytes that stay free in the file and its log: enough to go on for a while on a full disk
_KEPT_ASIDE = 2  # damaged files that are kept, the newest
_LOGS = ("-wal", "-shm")  # what lies beside a file
_UNTOLD = ".untold"  # likewise, until the new file has taken over what can be read of it, and that is told
_TABLES = """
create table meta (key text primary key, value) without rowid;
create table rows (
    sequence integer primary key, priority integer not null, kind integer not null,
    slot text not null, load integer not null,
    body blob not null, replaces blob not null default x'', sent integer not null default 0
);
create index rows_by_priority on rows (priority, sequence);
create table commands (id text primary key, until_ms integer not null) without rowid;
"""


class OutboxBusyError(OSError):
    """Another agent has this outbox open."""


class DamagedError(Exception):
    """The file is no outbox, or not a whole one."""


def open_file(path: Path) -> sqlite3.Connection:
    """Return the open outbox, made where there was none.

    Raises:
        OutboxBusyError: Another process has it open.
        DamagedError: It cannot be read; ``set_aside`` makes room for a new one.
        sqlite3.OperationalError: The disk is full, read-only, or otherwise in the way.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise sqlite3.OperationalError(str(error)) from error
    frames = log_frames(path)  # before SQLite looks at them
    db = sqlite3.connect(path, isolation_level=None, timeout=0.0, cached_statements=32)
    try:
        db.execute("pragma locking_mode = exclusive")  # no shared memory file, and no second agent
        db.execute("pragma cache_size = -256")  # KiB
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = full")
        db.execute("pragma wal_autocheckpoint = 100")  # pages of 4 KiB: the log stays well below the ballast
        db.execute("begin immediate")
        (version,) = db.execute("pragma user_version").fetchone()
        if frames.last >= 0 or not frames.sound:
            db.execute("commit")
            (_, taken, _) = db.execute("pragma wal_checkpoint(passive)").fetchone()
            if lost_commits(frames, taken):
                with contextlib.suppress(sqlite3.Error):  # closing it ends the log: it is to be known again
                    db.execute(f"pragma user_version = {_BROKEN}")
                raise DamagedError(f"its log is broken behind frame {taken} of {frames.last + 1}")
            db.execute("begin immediate")
        if version == 0:
            _make(db)
        elif version == _BROKEN:
            raise DamagedError("its log was broken")
        elif version != _SCHEMA:
            raise DamagedError(f"an outbox of schema {version}; this version reads {_SCHEMA}")
        db.execute("commit")
        if version:
            (said,) = db.execute("pragma quick_check(1)").fetchone()
            if said != "ok":
                raise DamagedError(said)
        else:
            _leave_room(db)
    except sqlite3.OperationalError as error:
        db.close()
        if "locked" in str(error):
            raise OutboxBusyError(f"{path}: another agent has it open") from error
        raise
    except sqlite3.DatabaseError as error:
        db.close()
        raise DamagedError(str(error)) from error
    except DamagedError:
        db.close()
        raise
    return db


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether an error says that the file is broken, rather than that the disk does not take it now."""
    # Python 3.10 tells no error codes: full, read-only and I/O errors are OperationalError, as is a missing table
    return not isinstance(error, sqlite3.OperationalError) or "no such " in str(error)


def _make(db: sqlite3.Connection) -> None:
    for statement in _TABLES.split(";"):
        db.execute(statement)
    db.execute("insert into meta values ('epoch', ?), ('next', 1)", (secrets.token_bytes(8),))
    db.execute(f"pragma user_version = {_SCHEMA}")


def _leave_room(db: sqlite3.Connection) -> None:
    """Leave free pages in the file and a log of that size, so that rows can be kept when the disk is full."""
    try:
        db.execute("create table ballast (filling blob)")
        db.execute("insert into ballast values (zeroblob(?))", (_BALLAST,))
        db.execute("drop table ballast")
        db.execute("pragma wal_checkpoint(restart)").fetchall()
    except sqlite3.OperationalError:
        if db.in_transaction:
            db.execute("rollback")


def set_aside(path: Path) -> Path | None:
    """Rename a damaged file to ``<stem>.corrupt-<time>.db`` with its log; None: that cannot be done for now.

    It is one of those that ``untold`` returns, until ``tell_of`` is called.
    """
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.stem}.corrupt-{moment}{path.suffix}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.stem}.corrupt-{moment}-{number}{path.suffix}")
    renamed: list[tuple[Path, Path]] = []
    with contextlib.suppress(OSError):  # where it cannot be made, a kill before it is told leaves it untold
        os.close(os.open(_mark(aside), os.O_WRONLY | os.O_CREAT, 0o600))
    try:
        for ending in ("", *_LOGS):  # the file first: without its log it would be an earlier state
            old, new = path.with_name(path.name + ending), aside.with_name(aside.name + ending)
            if not ending or old.exists():
                old.rename(new)
                renamed.append((old, new))
    except OSError:
        with contextlib.suppress(OSError):
            for old, new in reversed(renamed):  # a new file must not find the log of this one
                new.rename(old)
        tell_of(aside)
        return None
    with contextlib.suppress(OSError):
        older = sorted(path.parent.glob(f"{path.stem}.corrupt-*{path.suffix}"), key=lambda one: one.stat().st_mtime)
        for old in older[:-_KEPT_ASIDE]:
            for ending in ("", *_LOGS, _UNTOLD):
                old.with_name(old.name + ending).unlink(missing_ok=True)
    return aside


def untold(path: Path) -> list[Path]:
    """Return damaged files that were put aside by an agent that ended before it had told so, the newest first.

    One that ended before it had renamed the log, too, has not made a new file yet: its log is renamed now.
    """
    with contextlib.suppress(OSError):
        marks = sorted(
            path.parent.glob(f"{path.stem}.corrupt-*{path.suffix}{_UNTOLD}"), key=lambda one: -one.stat().st_mtime_ns
        )
        asides = [one.with_name(one.name[: -len(_UNTOLD)]) for one in marks]
        found = [one for one in asides if one.exists()]  # else it ended before it had renamed anything
        if found and not path.exists():
            for ending in _LOGS:
                old = path.with_name(path.name + ending)
                if old.exists():
                    old.rename(found[0].with_name(found[0].name + ending))
        return found
    return []


def tell_of(aside: Path) -> None:
    """Take note that all that can be read of a damaged file was taken over, and told."""
    with contextlib.suppress(OSError):
        _mark(aside).unlink()


def _mark(aside: Path) -> Path:
    return aside.with_name(aside.name + _UNTOLD)
