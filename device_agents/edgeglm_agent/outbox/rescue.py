"""What can still be read of a damaged outbox, and whether its log lost what had been committed.

A card that dies, or that says a write is done when it is not, damages the file, or the log beside it. SQLite notices
the first. Of the second it says nothing: it takes the log's frames up to the first that is broken, and so goes back in
time. Numbers that were given would be given again, to other rows, and the collector would take those for known.
"""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from edgeglm_agent.wire.telemetry import KINDS, Gap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_HEADER, _FRAME = 32, 24
_BIG_ENDIAN = 0x377F0683  # the magic number's last bit is the byte order of the checksums
_AT_ONCE = 200  # rows of one transaction: it has to fit into the log
_OWN = ("epoch", "next", "lost")  # of a file: the new one has its own
_COLUMNS = "sequence, priority, kind, slot, load, body"


class LogFrames(NamedTuple):
    """The frames of a write-ahead log, as far as they are of its newest generation."""

    commits: tuple[int, ...]  # places of frames that end a transaction
    last: int  # place of the last frame; -1: there is none
    sound: bool  # whether the header's checksum is right


class Saved(NamedTuple):
    """A row that could be read."""

    priority: int
    kind: int
    slot: str
    load: int
    body: bytes


def log_frames(database: Path) -> LogFrames:
    """Read the log that a process left that did not close it. Source: SQLite, "WAL-mode File Format"."""
    try:
        with database.with_name(f"{database.name}-wal").open("rb") as file:
            header = file.read(_HEADER)
            if len(header) < _HEADER:
                return LogFrames((), -1, sound=True)
            magic, _, page = struct.unpack(">III", header[:12])
            salts = header[16:24]
            sound = _checksum(header[:24], big=magic == _BIG_ENDIAN) == struct.unpack(">II", header[24:])
            if not sound:
                return LogFrames((), -1, sound=not any(header))
            commits: list[int] = []
            place, last = 0, -1
            while len(frame := file.read(_FRAME)) == _FRAME:
                if frame[8:16] == salts:
                    last = place
                    if any(frame[4:8]):
                        commits.append(place)
                file.seek(page, 1)
                place += 1
    except OSError:
        return LogFrames((), -1, sound=True)
    return LogFrames(tuple(commits), last, sound)


def lost_commits(frames: LogFrames, taken: int) -> bool:
    """Return whether there are frames behind a transaction that SQLite could not take: they were synced after it.

    One broken transaction at the very end is what a power cut leaves: nobody was told that it is on the disk.

    Args:
        frames: Of the log, before it was opened.
        taken: How many frames SQLite took.
    """
    if not frames.sound:
        return True
    end = next((place for place in frames.commits if place >= taken), frames.last)
    return frames.last > end


def _checksum(data: bytes, *, big: bool) -> tuple[int, int]:
    one = two = 0
    words = struct.unpack(f"{'>' if big else '<'}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


class Wreck:
    """A damaged outbox that was put aside."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pour(
        self,
        transaction: Callable[[Callable[[sqlite3.Connection], None]], None],
        insert: Callable[[sqlite3.Connection, Saved], object],
    ) -> Iterator[int]:
        """Put all that can be read into a new outbox, and give the kind of each row that is on the disk there.

        Where an agent ended meanwhile, the next one goes on behind the last row that is on the disk.

        Args:
            transaction: Does a change of the new outbox in one commit. Raises: sqlite3.Error.
            insert: Gives a row its new number; within a transaction.
        """
        note = f"rescued {self._path.name}"  # up to which of its numbers
        after = 0

        def remember(db: sqlite3.Connection) -> None:
            nonlocal after
            begun = db.execute("select value from meta where key = ?", (note,)).fetchone()
            if begun is not None:
                after = begun[0]
                return
            db.executemany("insert or ignore into commands values (?, ?)", self._table("commands"))
            notes = [(key, value) for key, value in self._table("meta") if key not in _OWN]
            db.executemany("insert or replace into meta values (?, ?)", [*notes, (note, 0)])

        transaction(remember)
        some: list[tuple[int, Saved]] = []

        def keep(db: sqlite3.Connection) -> None:
            for _, row in some:
                insert(db, row)
            if some:
                db.execute("update meta set value = ? where key = ?", (some[-1][0], note))

        for row in self._rows(after):
            some.append(row)
            if len(some) == _AT_ONCE:
                transaction(keep)
                yield from [row.kind for _, row in some]
                some.clear()
        transaction(keep)
        yield from [row.kind for _, row in some]

    def _rows(self, after: int) -> Iterator[tuple[int, Saved]]:
        """Return the rows that can be read, with their numbers: those before what is broken, then those behind it."""
        with self._opened() as db:
            last = after
            try:
                for row in db.execute(f"select {_COLUMNS} from rows where sequence > ? order by sequence", (after,)):  # noqa: S608 - ours
                    last = row[0]
                    yield from _saved(row)
            except sqlite3.DatabaseError:
                for sequence in self._behind(db, last):
                    with contextlib.suppress(sqlite3.DatabaseError):
                        row = db.execute(f"select {_COLUMNS} from rows where sequence = ?", (sequence,)).fetchone()  # noqa: S608 - ours
                        if row is not None:
                            yield from _saved(row)

    def _table(self, name: str) -> list[tuple[Any, Any]]:
        """Return the pairs of a small table, ``meta`` or ``commands``; none where it cannot be read."""
        with self._opened() as db, contextlib.suppress(sqlite3.DatabaseError):
            return db.execute(f"select * from {name}").fetchall()  # noqa: S608 - ours
        return []

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Open it as it is; only a log that lies beside it is written into it."""
        alone = not self._path.with_name(f"{self._path.name}-wal").exists()
        how = "mode=ro&immutable=1" if alone else "mode=rw"
        db = sqlite3.connect(f"{self._path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)
        try:
            with contextlib.suppress(sqlite3.DatabaseError):
                db.execute("pragma locking_mode = exclusive")  # no shared memory file
            yield db
        finally:
            db.close()

    @staticmethod
    def _behind(db: sqlite3.Connection, last: int) -> list[int]:
        """Return the numbers of rows that can be reached from the other end."""
        numbers: list[int] = []
        with contextlib.suppress(sqlite3.DatabaseError):
            for (sequence,) in db.execute(
                "select sequence from rows where sequence > ? order by sequence desc", (last,)
            ):
                numbers.append(sequence)
        return numbers[::-1]


def _saved(row: tuple[Any, ...]) -> Iterator[tuple[int, Saved]]:
    """Give a row, and its number, that holds what its columns say, with nothing in it of the old epoch's numbers."""
    sequence, priority, kind, slot, load, body = row
    try:
        held = msgspec.msgpack.decode(body, type=KINDS[kind])
    except (msgspec.MsgspecError, TypeError, IndexError, ValueError, RecursionError):
        return
    if isinstance(held, Gap):
        body = msgspec.msgpack.encode(Gap(held.reason, b"", held.counts))
    if priority in (0, 1, 2) and isinstance(slot, str) and isinstance(load, int):
        yield sequence, Saved(priority, kind, slot, load, body)
