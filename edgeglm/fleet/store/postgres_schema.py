"""The tables of the PostgreSQL store, how one version of them becomes the next, and how a connection is made."""

from __future__ import annotations

import importlib.util
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgeglm.errors import MissingExtraError, StorageError, StoreError, UserError
from edgeglm.fleet.store import alarms

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from edgeglm.fleet.addresses import PostgresAddress

_ROW = "at_ms bigint not null, device bigint not null, stream bigint not null, sequence bigint not null"
_BY_BOARD = "body bytea not null, primary key (device, at_ms, stream, sequence)"
_BY_TIME = "body bytea not null, primary key (at_ms, device, stream, sequence)"

# one script a version, only ever added to. Rows are divided by days; of those that come by the thousand the key begins
# with the board, and a BRIN index finds a stretch of time
MIGRATIONS = (
    f"""
    create table devices (
        id bigint generated always as identity primary key,
        fleet text not null, name text not null, shard text not null,
        first_seen_ms bigint not null, heard_ms bigint not null,
        state bytea, state_ms bigint not null default 0,
        unique (fleet, name)
    ) with (fillfactor = 70);
    create table streams (
        id bigint generated always as identity primary key,
        device bigint not null references devices on delete cascade,
        epoch bytea not null, copy_of bigint,
        through bigint not null default 0, beyond bytea not null default '', lost bytea not null default '',
        last_ms bigint not null default 0, rows bigint not null default 0,
        duplicates bigint not null default 0, taken_back bigint not null default 0,
        taken_back_at_ms bigint not null default 0,
        lost_rows bigint not null default 0, lost_at_ms bigint not null default 0,
        clock_off_ms bigint,
        unique (device, epoch)
    ) with (fillfactor = 50);
    create table windows (
        {_ROW}, received_ms bigint not null, slot text not null, duration_ms bigint not null,
        inferences bigint not null, errors bigint not null, cpu_permille bigint, temperature_decic bigint,
        psi_milli bigint, {_BY_BOARD}
    ) partition by range (at_ms);
    create index windows_time on windows using brin (at_ms) with (autosummarize = on);
    create table events (
        {_ROW}, received_ms bigint not null, slot text not null, name text not null, severity text not null, {_BY_TIME}
    ) partition by range (at_ms);
    create index events_device on events (device, at_ms);
    create index events_received on events (received_ms);
    create index events_alarms on events (device, slot, at_ms) where name in {alarms.EVENTS!r};
    create table results (
        {_ROW}, received_ms bigint not null, slot text not null, {_BY_BOARD}
    ) partition by range (at_ms);
    create index results_time on results using brin (at_ms) with (autosummarize = on);
    create table gaps (
        {_ROW}, received_ms bigint not null, reason text not null, rows bigint not null, {_BY_TIME}
    ) partition by range (at_ms);
    create index gaps_device on gaps (device, at_ms);
    create table others (
        {_ROW}, received_ms bigint not null, kind bigint not null, {_BY_BOARD}
    ) partition by range (at_ms);
    create table placed (
        stream bigint not null references streams on delete cascade, sequence bigint not null, at_ms bigint not null,
        primary key (stream, sequence)
    );
    create table latest (
        device bigint not null references devices on delete cascade, slot text not null, at_ms bigint not null,
        received_ms bigint not null, body bytea not null, primary key (device, slot)
    ) with (fillfactor = 50);
    create table replies (
        id bigint generated always as identity primary key, device bigint not null references devices on delete cascade,
        request text not null, received_ms bigint not null, body bytea not null, unique (device, request)
    );
    create table poison (
        id bigint generated always as identity primary key, topic text not null, reason text not null,
        payload bytea not null, received_ms bigint not null
    );
    create table counters (name text primary key, value bigint not null);
    create table forgotten (fleet text not null, name text not null, at_ms bigint not null, primary key (fleet, name));
    """,
    # what tells of drift outlives the rows, and so does what was removed; days whose windows were merged
    f"""
    create table removed (source text primary key, before_ms bigint not null);
    create table hourly_days (day bigint primary key, rows bigint not null);
    create table alarm_events (
        device bigint not null references devices on delete cascade, slot text not null, at_ms bigint not null,
        stream bigint not null, sequence bigint not null, body bytea not null,
        primary key (device, slot, at_ms, stream, sequence)
    );
    insert into alarm_events select device, slot, at_ms, stream, sequence, body from events
        where name in {alarms.EVENTS!r};
    drop index events_alarms;
    """,  # noqa: S608 - names of our own
    # what slots did by the hour, and of how many rows that is; hours that more came of when they were long over. Hours
    # have no BRIN index: new sums take the room of removed ones, so that it would soon say that all may be anywhere
    """
    create table hour_sums (
        hour bigint not null, device bigint not null references devices on delete cascade, slot text not null,
        rows bigint not null, body bytea not null, primary key (device, hour, slot)
    );
    create index hour_sums_hour on hour_sums (hour);
    create table late_hours (
        device bigint not null references devices on delete cascade, hour bigint not null, primary key (device, hour)
    );
    """,
)
SCHEMA = len(MIGRATIONS)
_LOCK = 0x45474C4D  # "EGLM": who makes tables holds it
_SESSION = (
    "set search_path = edgeglm, pg_temp",
    "set lock_timeout = '5s'",
    "set statement_timeout = '60s'",
    "set idle_in_transaction_session_timeout = '60s'",  # one that was stopped in the middle holds up nobody for ever
    "set client_min_messages = warning",
    "set jit = off",  # few rows of many days: to compile that takes longer than to do it
)


def connect(address: PostgresAddress, *, reading: bool) -> psycopg.Connection[tuple[Any, ...]]:
    """Return an open connection; a transaction is begun by saying so.

    Raises:
        MissingExtraError: psycopg is not installed.
        StoreError: The server cannot be reached, does not let us in, or has no room for us.
    """
    if importlib.util.find_spec("psycopg") is None:
        raise MissingExtraError("psycopg is not installed", hint="pip install 'edgeglm[fleet]'", where=str(address))
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    try:
        given = conninfo_to_dict(address.conninfo)
    except psycopg.ProgrammingError as error:
        raise UserError(
            f"is no address of a database: {' '.join(str(error).split())}",
            where=str(address),
            hint="write postgresql://USER@HOST/DATABASE",
            code="store-address",
        ) from error
    # of several hosts, the one that takes what is written: the others follow it
    chosen = {} if reading or "target_session_attrs" in given else {"target_session_attrs": "read-write"}
    with told(address):
        db = psycopg.connect(
            make_conninfo(address.conninfo, **chosen),
            autocommit=True,
            fallback_application_name="edgeglm",
            connect_timeout=5,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=15_000,
        )
        try:
            db.execute("; ".join(_SESSION))
            if reading:
                db.execute("set default_transaction_read_only = on")
            else:
                _commit_for_good(db)
        except BaseException:
            db.close()
            raise
    return db


def _commit_for_good(db: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Ask for what is committed to be on the disk, also where the server takes it less seriously by default."""
    row = db.execute("select current_setting('synchronous_commit')").fetchone()
    if row is not None and row[0] == "off":
        db.execute("set synchronous_commit = on")


def migrate(db: psycopg.Connection[tuple[Any, ...]], address: PostgresAddress) -> None:
    """Make the tables, or bring them to this version.

    Raises:
        StoreError: They are of a newer version, and stay as they are; or the user may not make them.
    """
    with told(address):
        version = _version(db)
        if version == SCHEMA:
            return
        if version <= SCHEMA:
            with db.transaction():
                db.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
                db.execute("create schema if not exists edgeglm")
                db.execute("create table if not exists edgeglm.schema_version (version bigint not null)")
                version = _version(db)  # another may have been quicker
                for script in MIGRATIONS[version:SCHEMA]:
                    db.execute(script)
                if version < SCHEMA:
                    db.execute("delete from edgeglm.schema_version")
                    db.execute("insert into edgeglm.schema_version values (%s)", (SCHEMA,))
        if version > SCHEMA:
            raise _newer(version, address)


def check(db: psycopg.Connection[tuple[Any, ...]], address: PostgresAddress) -> None:
    """Refuse tables that cannot be read. Raises: UserError: There are none. StoreError: They are of another version."""
    with told(address):
        version = _version(db)
    if not version:
        raise UserError(
            "there is no store", where=str(address), hint="`edgeglm fleet collect` makes one", code="store-missing"
        )
    if version > SCHEMA:
        raise _newer(version, address)
    if version < SCHEMA:
        raise StoreError(
            f"this store has schema {version}; this version of edgeglm reads {SCHEMA}",
            where=str(address),
            hint="`edgeglm fleet collect` brings it up to date",
            code="store-older",
        )


def check_version(db: psycopg.Connection[tuple[Any, ...]], address: PostgresAddress) -> None:
    """Refuse tables that a newer version has taken over meanwhile. Raises: StoreError."""
    row = db.execute("select max(version) from schema_version").fetchone()
    if row is not None and row[0] is not None and row[0] > SCHEMA:
        raise _newer(row[0], address)


def _newer(version: int, address: PostgresAddress) -> StoreError:
    return StoreError(
        f"this store has schema {version}; this version of edgeglm knows {SCHEMA}. Nothing was changed",
        where=str(address),
        hint="install the edgeglm that made it, or a newer one",
        code="store-newer",
    )


def _version(db: psycopg.Connection[tuple[Any, ...]]) -> int:
    there = db.execute("select to_regclass('edgeglm.schema_version')").fetchone()
    if there is None or there[0] is None:
        return 0
    row = db.execute("select max(version) from edgeglm.schema_version").fetchone()
    return int(row[0] or 0) if row else 0


@contextmanager
def told(address: PostgresAddress) -> Iterator[None]:
    """Turn what PostgreSQL says into errors that say what to do.

    Raises:
        StorageError: The server's disk is full or refuses.
        StoreError: The server is gone, does not let us in, is held by somebody else, or its data is damaged.
    """
    import psycopg
    from psycopg import errors

    try:
        yield
    except psycopg.Error as error:
        text = " ".join(str(error).split()) or type(error).__name__
        code = error.sqlstate or ""
        if isinstance(error, errors.DiskFull | errors.IoError):
            raise StorageError(
                f"the server cannot write: {text}", where=str(address), hint="make room on its disk", code="disk-full"
            ) from error
        if isinstance(error, errors.DataCorrupted | errors.IndexCorrupted):
            raise StoreError(
                f"the store is damaged: {text}",
                where=str(address),
                hint="nothing was deleted: restore a backup into another database, and name that",
                code="store-damaged",
            ) from error
        if code in _HELD:
            raise StoreError(
                f"the store is held by somebody else: {text}",
                where=str(address),
                hint="it is tried again; `select * from pg_stat_activity` names who holds it",
                code="store-locked",
            ) from error
        if isinstance(error, errors.InsufficientPrivilege | errors.UndefinedTable):
            raise StoreError(
                f"the store refuses: {text}",
                where=str(address),
                hint="let this user make and use the tables of schema edgeglm: docs/fleet.md says how",
                code="store-refused",
            ) from error
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or code in _GONE:
            raise StoreError(
                f"no PostgreSQL: {text}",
                where=str(address),
                hint="is the server there, has it the database, may this user in (PGPASSWORD, ~/.pgpass), and is a "
                "connection free?",
                code="store-unreachable",
            ) from error
        raise  # what was asked of it, and so a bug of ours


_HELD = ("55P03", "40P01", "40001", "57014")  # lock timeout, deadlock, serialisation, statement timeout
_GONE = ("25006", "25P03")  # a standby, so that the primary is another one by now; we were stopped for too long
