"""How far a worker is, in 64 bytes of shared memory: seen whatever holds its interpreter, and left where it dies.

Eight words of eight bytes, in the machine's order. Each is written and read as one aligned word, which no reader sees
half of; two words may be of two moments. Written by the worker alone.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 64
_MAGIC = 0x31474F5250474445  # "EDGPROG1"
_MAGIC_AT, _PID, _BEGAN, _ANSWERED, _FAILED, _SEEN, _LOAD = range(7)


class Moment(NamedTuple):
    """What a worker last wrote."""

    pid: int
    load: int
    began_ns: int  # time.monotonic_ns() when the inference that runs began; 0: none runs
    answered: int  # since the worker began
    failed: int  # samples without an answer, likewise
    seen_ns: int  # time.monotonic_ns() when its loop last went round

    def runs_for_s(self, now_ns: int) -> float:
        """Return how long the inference runs that runs now; 0.0: none does."""
        return max(0, now_ns - self.began_ns) / 1e9 if self.began_ns else 0.0


class Progress:
    """The worker's end; each call writes one word or two."""

    def __init__(self, path: Path, *, load: int = 0) -> None:
        """Make the file anew. Raises: OSError.

        The old one is replaced, not written over: a supervisor that has it open still reads what the last worker left.
        """
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(handle, SIZE)
            self._map = mmap.mmap(handle, SIZE)
        finally:
            os.close(handle)
        self._words = memoryview(self._map).cast("Q")
        self._words[_PID] = os.getpid()
        self._words[_LOAD] = load
        self._words[_MAGIC_AT] = _MAGIC
        fresh.replace(path)
        self._answered = self._failed = 0

    def begin(self, now_ns: int) -> None:
        """Say that an inference begins."""
        self._words[_BEGAN] = now_ns

    def end(self) -> None:
        """Say that none runs any more."""
        self._words[_BEGAN] = 0

    def answered(self, count: int = 1) -> None:
        """Count samples that were answered."""
        self._answered += count
        self._words[_ANSWERED] = self._answered

    def failed(self, count: int = 1) -> None:
        """Count samples that got no answer."""
        self._failed += count
        self._words[_FAILED] = self._failed

    def busy_s(self, now_ns: int) -> float:
        """Return how long the sample is in hand that is in hand now; 0.0: none is. Any thread may ask."""
        began = self._words[_BEGAN]
        return max(0, now_ns - began) / 1e9 if began else 0.0

    @property
    def handled(self) -> int:
        """How many samples were answered, or got no answer."""
        return self._answered + self._failed

    def seen(self, now_ns: int) -> None:
        """Say that the loop goes round, though nothing may come in."""
        self._words[_SEEN] = now_ns

    def close(self) -> None:
        """Let go of the memory; the file stays."""
        self._words.release()
        self._map.close()


class ProgressReader:
    """The supervisor's end: holds the file of one worker open, until asked to look for a newer one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._map: mmap.mmap | None = None
        self._identity: tuple[int, int] | None = None

    def read(self) -> Moment | None:
        """Return the last moment of the worker whose file is open; opens it where none is. None: there is none."""
        if self._map is None:
            self.renew()
        if self._map is None:
            return None
        with memoryview(self._map) as view, view.cast("Q") as words:
            if words[_MAGIC_AT] != _MAGIC:
                return None
            return Moment(words[_PID], words[_LOAD], words[_BEGAN], words[_ANSWERED], words[_FAILED], words[_SEEN])

    def renew(self) -> bool:
        """Open the newest file, and return whether it is another than before: read what the old one held first."""
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            status = os.fstat(handle)
            identity = (status.st_dev, status.st_ino)
            if identity == self._identity or status.st_size != SIZE:
                return False
            fresh = mmap.mmap(handle, SIZE, prot=mmap.PROT_READ)
        except (OSError, ValueError):
            return False
        finally:
            os.close(handle)
        self.close()
        self._map, self._identity = fresh, identity
        return True

    def close(self) -> None:
        """Let go of the file."""
        if self._map is not None:
            self._map.close()
        self._map = self._identity = None
