"""Which files have been answered, and which one is in hand: on disk, so that a restart answers none twice."""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

_HAND = struct.Struct("<HIQ")  # bytes of the file's identity (0: none), times it was begun, rows of it answered
_HAND_BYTES = 4096
_SPARE_LINES = 1000  # that are written before the journal is written anew


class Identity(NamedTuple):
    """A file as it is now: one written anew under the same name is another."""

    name: str
    inode: int
    size: int
    mtime_ns: int


class _Line(msgspec.Struct, array_like=True):
    """One of the journal's; an identity, and why the file failed, which is left out where it did not."""

    name: str
    inode: int
    size: int
    mtime_ns: int
    failure: str = ""


class Answered:
    """The files of a folder that were answered and are still there, and why those failed that did.

    Written without fsync: a killed process forgets nothing, a power cut may forget the last seconds, and those files
    are answered again under the same trace_id.
    """

    def __init__(self, path: Path) -> None:
        """Read what an earlier worker has written; lines that a power cut spoilt are passed over."""
        self._path = path
        self._known: dict[Identity, str] = {}  # -> why it failed; empty: it did not
        try:
            lines = path.read_bytes().splitlines()
        except OSError:
            lines = []
        for line in lines:
            with contextlib.suppress(msgspec.MsgspecError):
                read = msgspec.json.decode(line, type=_Line)
                self._known[Identity(read.name, read.inode, read.size, read.mtime_ns)] = read.failure
        self._written = len(lines)
        self._file = -1
        self._write_anew()

    def __contains__(self, identity: Identity) -> bool:
        return identity in self._known

    def failure(self, identity: Identity) -> str:
        """Return why a file failed; empty: it did not."""
        return self._known.get(identity, "")

    def add(self, identity: Identity, failure: str = "") -> None:
        """Remember that a file was answered. A full disk is no reason to stop: a restart then answers it again."""
        self._known[identity] = failure
        with contextlib.suppress(OSError):
            os.write(self._file, _line(identity, failure))
        self._written += 1
        if self._written > _SPARE_LINES + 2 * len(self._known):
            self._write_anew()

    def forget(self, identity: Identity) -> None:
        """Forget a file that is there no longer."""
        self._known.pop(identity, None)

    def keep(self, names: set[str]) -> None:
        """Forget all files but those with these names."""
        self._known = {identity: failure for identity, failure in self._known.items() if identity.name in names}

    def close(self) -> None:
        """Let go of the journal."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write_anew(self) -> None:
        self.close()
        fresh = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):  # the old one goes on
            fresh.write_bytes(b"".join(_line(*one) for one in self._known.items()))
            fresh.replace(self._path)
        self._written = len(self._known)
        try:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError:
            self._file = -1


def _line(identity: Identity, failure: str) -> bytes:
    return msgspec.json.encode((*identity, failure) if failure else identity) + b"\n"


class InHand:
    """The file that is being answered, in memory that outlives the process: microseconds to write."""

    def __init__(self, path: Path) -> None:
        """Map the file. Raises: OSError."""
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(number, _HAND_BYTES)
            self._map = mmap.mmap(number, _HAND_BYTES)
        finally:
            os.close(number)

    def begin(self, identity: Identity) -> tuple[int, int]:
        """Take a file in hand; return how often that was done since it last got on, and how many rows are answered."""
        written = msgspec.json.encode(identity)[: _HAND_BYTES - _HAND.size]
        length, times, rows = _HAND.unpack_from(self._map)
        if self._map[_HAND.size : _HAND.size + length] != written:
            times = rows = 0
        _HAND.pack_into(self._map, 0, 0, 0, 0)
        self._map[_HAND.size : _HAND.size + len(written)] = written
        _HAND.pack_into(self._map, 0, len(written), times + 1, rows)
        return times + 1, rows

    def answered(self, rows: int) -> None:
        """Note how many rows of the file are answered now."""
        length, _, _ = _HAND.unpack_from(self._map)
        _HAND.pack_into(self._map, 0, length, 0, rows)

    def end(self) -> None:
        """Put it down."""
        _HAND.pack_into(self._map, 0, 0, 0, 0)

    def close(self) -> None:
        """Let go of the memory."""
        self._map.close()
