"""The PostgreSQL store, to write into: by as many processes as there are, each with a connection of its own."""

from __future__ import annotations

import os
import secrets
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from edgeglm_agent.wire.topics import ROOT, shard_of

from edgeglm.errors import StoreError
from edgeglm.fleet.store.boards import Boards
from edgeglm.fleet.store.naming import identity_of, place_of_database
from edgeglm.fleet.store.postgres_schema import check_version, connect, migrate, told
from edgeglm.fleet.store.postgres_tables import BoardGoneError, PostgresTables
from edgeglm.fleet.store.postgres_tending import PostgresTending
from edgeglm.fleet.store.writing import Writing

if TYPE_CHECKING:
    import threading

    import psycopg

    from edgeglm.fleet.addresses import PostgresAddress
    from edgeglm.fleet.store.keeping import Keeping, Tended
    from edgeglm.fleet.store.types import Arrivals, Committed, Device


class PostgresWriter:
    """See ``StoreWriter``. A connection that ends is made again when something is to be written."""

    def __init__(self, address: PostgresAddress) -> None:
        """Connect, and make the tables where there are none. Raises: UserError, MissingExtraError, StoreError."""
        self._address = address
        self._db: psycopg.Connection[tuple[Any, ...]] | None = None
        self._connected()

    def commit(self, arrivals: Arrivals) -> Committed:
        """Keep it all, or nothing; see ``StoreWriter``."""
        committed = self.write(arrivals)
        self.flush()
        return committed

    def write(self, arrivals: Arrivals) -> Committed:
        """Write it all into one transaction; see ``StoreWriter``."""
        try:
            return self._written(arrivals)
        except BoardGoneError:  # what was remembered is forgotten by now
            return self._written(arrivals)

    def flush(self) -> None:
        """Commit that transaction; see ``StoreWriter``."""
        db = self._db
        if db is None:
            raise StoreError(
                "the connection has ended", where=str(self._address), hint="write it again", code="store-unreachable"
            )
        try:
            with told(self._address):
                db.execute("commit")
        except BaseException as error:
            self._undo(error)
            raise

    def discard(self) -> None:
        """Take back what was written and not flushed; see ``StoreWriter``."""
        self._undo()

    def forget(self, device: Device) -> int:
        """Remove everything known of a board; return how many rows that were."""
        db = self._connected()
        topic = f"{ROOT}/{device.fleet}/{shard_of(device.name)}/{device.name}"
        try:
            with told(self._address):
                self._tables.begin()
                rows = self._tables.forget(device, topic, time.time_ns() // 1_000_000)
                db.execute("commit")
        except BaseException as error:
            self._undo(error)
            raise
        self._boards.forget()
        return rows

    def identity(self) -> str:
        """Return what tells this store from all others; see ``StoreWriter``."""
        db = self._connected()
        made = "insert into counters values ('identity', %s) on conflict do nothing"
        with told(self._address):
            db.execute(made, (secrets.randbits(48),))
            row = db.execute("select value from counters where name = 'identity'").fetchone()
            place = place_of_database(db)
        assert row is not None
        return identity_of(row[0], *place)

    def abandon(self) -> None:
        """Cut the connection; see ``StoreWriter``. To cancel a commit that waits for a standby would count as done."""
        import psycopg

        db = self._db
        if db is None:
            return
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(db.fileno())) as connection:
            connection.shutdown(socket.SHUT_RDWR)  # it may have ended by itself meanwhile

    def tend(self, keeping: Keeping, stop: threading.Event | None = None, *, paced: bool = False) -> Tended:
        """Do what is due of merging and removal, on a connection of its own; see ``StoreWriter``."""
        return PostgresTending(self._address, keeping, time.time_ns() // 1_000_000, stop, paced=paced).run()

    def close(self) -> None:
        """Let it go; what was committed is there."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _written(self, arrivals: Arrivals) -> Committed:
        import psycopg

        db = self._connected()
        try:
            with told(self._address):
                self._tables.begin()
                check_version(db, self._address)
                writing = Writing(self._tables, self._boards)
                writing.write(arrivals)
        except (psycopg.errors.ForeignKeyViolation, psycopg.errors.CheckViolation) as error:
            self._undo(error)  # a board was forgotten, or a day was dropped
            raise BoardGoneError from error
        except BaseException as error:
            self._undo(error)
            raise
        return writing.done

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._db is None or self._db.closed:
            self._db = None
            db = connect(self._address, reading=False)
            try:
                migrate(db, self._address)
                with told(self._address):
                    self._tables = PostgresTables(db)
            except BaseException:
                db.close()
                raise
            self._boards = Boards(self._tables)
            self._db = db
        return self._db

    def _undo(self, error: BaseException | None = None) -> None:
        """Forget what was written and not committed; a connection that does not roll back is of no use any more."""
        import psycopg

        self._boards.forget()
        self._tables.forget_all()
        if self._db is None:
            return
        if isinstance(error, StoreError) and error.code == "store-unreachable":
            self.close()
            return
        try:
            self._db.rollback()
        except psycopg.Error:
            self.close()
