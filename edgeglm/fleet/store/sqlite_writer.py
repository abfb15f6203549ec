"""The SQLite store, to write into: one process at a time, one transaction for all that came in meanwhile."""

from __future__ import annotations

import secrets
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from edgeglm_agent.wire.topics import ROOT, shard_of

from edgeglm.errors import BusyError
from edgeglm.files import locked, private_folder, storage_errors
from edgeglm.fleet.store.boards import Boards
from edgeglm.fleet.store.naming import identity_of, place_of_file
from edgeglm.fleet.store.segment_files import SegmentFiles
from edgeglm.fleet.store.segment_list import folder_of, names
from edgeglm.fleet.store.sqlite_schema import open_for_writing, told
from edgeglm.fleet.store.sqlite_tables import SqliteTables
from edgeglm.fleet.store.sqlite_tending import SqliteTending
from edgeglm.fleet.store.writing import Writing

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from edgeglm.fleet.store.keeping import Keeping, Tended
    from edgeglm.fleet.store.types import Arrivals, Committed, Device


class SqliteWriter:
    """The store that one collector writes into; see ``StoreWriter``."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it.

        Raises:
            BusyError: Another collector writes into it.
            StoreError, StorageError, UserError: See ``open_for_writing``.
        """
        self._path = path
        private_folder(path.parent)
        self._held = ExitStack()
        try:
            self._held.enter_context(locked(path.with_name(path.name + ".lock"), wait=False, what="this store"))
        except BusyError:
            raise BusyError(
                "another collector writes into this store",
                where=str(path),
                hint="end it first, or give this one a store of its own",
                code="store-busy",
            ) from None
        try:
            self._db = open_for_writing(path)
        except BaseException:
            self._held.close()
            raise
        self._segments = SegmentFiles(folder_of(path), threads=1)
        self._tables = SqliteTables(self._db, self._segments)
        self._boards = Boards(self._tables)

    def commit(self, arrivals: Arrivals) -> Committed:
        """Keep it all, or nothing; see ``StoreWriter``."""
        committed = self.write(arrivals)
        self.flush()
        return committed

    def write(self, arrivals: Arrivals) -> Committed:
        """Write it all into one transaction; see ``StoreWriter``."""
        with told(self._path):
            try:
                self._db.execute("begin immediate")
                writing = Writing(self._tables, self._boards)
                writing.write(arrivals)
            except BaseException:
                self._undo()
                raise
        return writing.done

    def flush(self) -> None:
        """Commit that transaction; see ``StoreWriter``."""
        with told(self._path):
            try:
                self._db.execute("commit")
            except BaseException:
                self._undo()
                raise

    def discard(self) -> None:
        """Take back what was written and not flushed; see ``StoreWriter``."""
        with told(self._path):
            self._undo()

    def forget(self, device: Device) -> int:
        """Remove everything known of a board; return how many rows that were."""
        with told(self._path):
            try:
                self._db.execute("begin immediate")
                topic = f"{ROOT}/{device.fleet}/{shard_of(device.name)}/{device.name}"
                rows = self._tables.forget(device, topic, time.time_ns() // 1_000_000)
                self._db.execute("commit")
            except BaseException:
                self._undo()
                raise
            with storage_errors(self._path):
                self._segments.keep_only(names(self._db))
        self._boards.forget()
        return rows

    def identity(self) -> str:
        """Return what tells this store from all others; see ``StoreWriter``."""
        with told(self._path):
            kept = self._db.execute("select value from counters where name = 'identity'").fetchone()
            if kept is None:  # else nothing is written: a store that is locked, or a full disk, is waited for later
                kept = (secrets.randbits(48),)
                self._db.execute("insert into counters values ('identity', ?)", kept)
        return identity_of(kept[0], *place_of_file(self._path))

    def abandon(self) -> None:
        """Interrupt what is being done; see ``StoreWriter``. A disk that hangs cannot be."""
        self._db.interrupt()

    def tend(self, keeping: Keeping, stop: threading.Event | None = None, *, paced: bool = False) -> Tended:
        """Do what is due of compaction and retention; see ``StoreWriter``."""
        return SqliteTending(self._path, keeping, time.time_ns() // 1_000_000, stop, paced=paced).run()

    def close(self) -> None:
        """Let it go; what was committed is there."""
        self._db.close()
        self._segments.close()
        self._held.close()

    def _undo(self) -> None:
        self._boards.forget()
        if self._db.in_transaction:
            self._db.execute("rollback")
