"""How many rows were lost for want of room, kept until a gap tells of them: on a disk that has no room for a gap.

The file has its full size from the start, and is written in place: that needs no room. Of its two pages the older one
is overwritten, so that a write which is torn leaves the count before it. The outbox says in the commit of a gap which
count it has told, so none is told twice.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PAGE, _PAGES = 4096, 2  # bytes of one; what a disk writes at once is no larger
_DIGEST, _LENGTH = 8, 2  # bytes before the text of a page
_Counts = dict[str, dict[str, int]]


class Losses:
    """The counts, and their file; a disk that does not take them leaves them in memory.

    Attributes:
        untold: Rows of which no gap tells yet, by reason and kind.
        number: Of the newest count; the outbox keeps it with the gap that tells of it.
        earlier: Rows that an earlier run lost, and that are not in the outbox's own count of losses.
    """

    def __init__(self, path: Path) -> None:
        """Read the file; ``prepare`` makes it."""
        self._path = path
        self._file = -1
        self.untold: _Counts = {}
        self.number = 0
        try:
            data = path.read_bytes()
        except OSError:
            data = b""
        for start in range(0, _PAGE * _PAGES, _PAGE):
            number, counts = _read(data[start : start + _PAGE])
            if number > self.number:
                self.number, self.untold = number, counts
        self._found, self._at_start = self.number, {reason: dict(kinds) for reason, kinds in self.untold.items()}
        self.earlier = _sum(self.untold)

    def prepare(self) -> bool:
        """Take the room that the file needs; return whether it has it."""
        if self._file >= 0:
            return True
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            size = os.fstat(file).st_size
            if size < _PAGE * _PAGES:
                while size < _PAGE * _PAGES:
                    size += os.pwrite(file, bytes(_PAGE * _PAGES - size), size)
                os.fsync(file)
                folder = os.open(self._path.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
        except OSError:
            os.close(file)
            return False
        self._file = file
        return True

    def count(self, reason: str, kinds: Mapping[str, int]) -> None:
        """Add rows that are lost; what is ``corrupt`` is told though nobody knows how many they were."""
        known = self.untold.setdefault(reason, {})
        for kind, count in kinds.items():
            known[kind] = known.get(kind, 0) + count
        self._write()

    def told(self) -> None:
        """A gap tells of all of them, in a commit that names ``number``."""
        if self.untold:
            self.untold = {}
            self._write()

    def confirm(self, told: int) -> None:
        """Take up to which number the outbox has told: power may have failed before that could be written here."""
        if self._found and told >= self._found:
            for reason, kinds in self._at_start.items():
                left = {kind: count - kinds.get(kind, 0) for kind, count in self.untold[reason].items()}
                self.untold[reason] = {kind: count for kind, count in left.items() if count}
                if not self.untold[reason]:
                    del self.untold[reason]
            self.earlier = 0
        self._found, self._at_start = 0, {}
        if told >= self.number:  # a file that was lost, or the count that was told already
            self.number = told
            if self.untold:
                self._write()

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self) -> None:
        self.number += 1
        if not self.prepare():
            return
        page = _page(self.number, self.untold)
        if len(page) > _PAGE:  # kinds without end, of a damaged file: how many is what matters
            page = _page(self.number, {reason: {"rows": sum(kinds.values())} for reason, kinds in self.untold.items()})
        try:
            os.pwrite(self._file, page, self.number % _PAGES * _PAGE)
            os.fdatasync(self._file)
        except OSError:
            self.close()  # the disk may be another one when it is opened next


def _page(number: int, counts: _Counts) -> bytes:
    text = msgspec.msgpack.encode((number, counts))
    return _digest(text) + len(text).to_bytes(_LENGTH, "big") + text


def _read(page: bytes) -> tuple[int, _Counts]:
    """Return number and counts of a page; 0 of one that is empty or torn."""
    length = int.from_bytes(page[_DIGEST : _DIGEST + _LENGTH], "big")
    text = page[_DIGEST + _LENGTH :][:length]
    if not text or page[:_DIGEST] != _digest(text):
        return 0, {}
    try:
        number, counts = msgspec.msgpack.decode(text, type=tuple[int, _Counts])
    except (msgspec.MsgspecError, ValueError):
        return 0, {}
    return number, counts


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=_DIGEST).digest()


def _sum(counts: _Counts) -> int:
    return sum(sum(kinds.values()) for kinds in counts.values())
