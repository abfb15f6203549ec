"""Result kind ``jsonl``: one line of JSON an answer, appended to a file that is rotated."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from edgeglm_agent.results._base import SinkConfig, SinkError
from edgeglm_agent.settings.types import SlotPath

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm_agent.results._base import Outcome, ResultContext

_BLOCK = 65_536  # bytes read at a time when a file's end is looked at
_LOOK_S = 1.0  # how often it is looked whether the file is still the one at the path


class Jsonl(SinkConfig, tag="jsonl", frozen=True, kw_only=True):
    """Append every answer to a file, one line of JSON each."""

    path: SlotPath | None = None  # none: results.jsonl in the slot's folder; relative: within that folder
    max_mb: Annotated[int, Meta(ge=1, le=4096)] = 16  # a file that would grow beyond it is put aside as `.1`
    keep: Annotated[int, Meta(ge=0, le=1000)] = 4  # files put aside, `.1` the newest; older ones are deleted
    sync: Literal["each", "second", "never"] = "second"  # how soon the disk has a line: what a power cut may take

    def open(self, context: ResultContext) -> JsonlSink:
        """Return the open sink, its file repaired where a power cut has torn the last line. Raises: SinkError."""
        return JsonlSink(
            context.state_dir / (self.path or "results.jsonl"),
            most_bytes=self.max_mb * 1_000_000,
            keep=self.keep,
            sync=self.sync,
        )


class JsonlSink:
    """An open file of answers; one thread writes, and one sees that they reach the disk."""

    def __init__(self, path: Path, *, most_bytes: int, keep: int, sync: Literal["each", "second", "never"]) -> None:
        """Open the file, or make it. Raises: SinkError."""
        self._path = path
        self._most_bytes = most_bytes
        self._keep = keep
        self._each = sync == "each"
        self._descriptor = -1
        self._size = 0
        self._inode = 0
        self._look_at = 0.0
        self.cut = 0  # bytes of torn lines that were cut off
        self._lock = threading.Lock()  # between the descriptor's change and its fsync
        self._unsynced = threading.Event()
        self._closed = threading.Event()
        self._open()
        self._syncer: threading.Thread | None = None
        if sync == "second":
            self._syncer = threading.Thread(target=self._sync_each_second, name="jsonl-sync", daemon=True)
            self._syncer.start()

    def write(self, outcome: Outcome) -> None:
        """Append one line.

        Raises:
            SinkError: Nothing of the line is in the file; or, with ``sync = "each"``, the disk did not confirm it.
        """
        line = outcome.line() + b"\n"
        now = time.monotonic()
        try:
            if self._descriptor < 0 or (now >= self._look_at and self._is_elsewhere(now)):
                self._reopen()
            if self._size and self._size + len(line) > self._most_bytes:
                self._rotate()
            self._append(line)
            if self._each:
                os.fdatasync(self._descriptor)
        except SinkError:
            raise
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror or error}") from error
        if not self._each:
            self._unsynced.set()

    def close(self) -> None:
        """Write out what is held, and let go of the file."""
        self._closed.set()
        self._unsynced.set()
        if self._syncer is not None:
            self._syncer.join()
            self._syncer = None
        self._release()

    def _append(self, line: bytes) -> None:
        """Write a whole line or nothing: of a disk that is full, a part of it would spoil the next one."""
        written = 0
        try:
            while written < len(line):
                written += os.write(self._descriptor, line[written:] if written else line)
        except OSError:
            if written:
                os.ftruncate(self._descriptor, self._size)  # takes no room, so a full disk allows it
            raise
        self._size += written

    def _open(self) -> None:
        import fcntl  # of Unix alone: settings are read elsewhere too

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror or error}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = os.fstat(descriptor).st_size
            whole = _whole_lines(descriptor, size)
            if whole < size:
                os.ftruncate(descriptor, whole)
                self.cut += size - whole
        except OSError as error:
            os.close(descriptor)
            why = "another sink writes it" if isinstance(error, BlockingIOError) else error.strerror or str(error)
            raise SinkError(f"{self._path}: {why}") from error
        with self._lock:
            self._descriptor, self._size = descriptor, whole
        self._inode = os.fstat(descriptor).st_ino
        self._look_at = time.monotonic() + _LOOK_S

    def _release(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                with contextlib.suppress(OSError):  # a disk that is gone: nothing more can be done for these lines
                    os.fsync(self._descriptor)
                os.close(self._descriptor)
            self._descriptor = -1

    def _reopen(self) -> None:
        self._release()
        self._open()

    def _is_elsewhere(self, now: float) -> bool:
        """Tell whether someone has moved or deleted the file, to make room: its lines would go nowhere."""
        self._look_at = now + _LOOK_S
        try:
            return self._path.stat().st_ino != self._inode
        except OSError:
            return True

    def _rotate(self) -> None:
        """Put the file aside as ``.1``, and begin an empty one. Raises: SinkError, OSError."""
        numbered = [self._path.with_name(f"{self._path.name}.{number}") for number in range(1, self._keep + 1)]
        for older, newer in zip(reversed(numbered), [*reversed(numbered[:-1]), self._path], strict=False):
            if newer.exists():
                newer.replace(older)
        if not numbered:
            self._path.unlink(missing_ok=True)
        self._reopen()

    def _sync_each_second(self) -> None:
        while not self._closed.is_set():
            self._unsynced.wait()
            if self._closed.wait(1.0):
                return
            self._unsynced.clear()
            with self._lock:
                descriptor = os.dup(self._descriptor) if self._descriptor >= 0 else -1
            if descriptor >= 0:  # without the lock: a card takes its time, and answers must not wait for it
                try:
                    os.fdatasync(descriptor)
                except OSError:
                    pass  # what cannot be synced has failed, or will fail, in ``write``
                finally:
                    os.close(descriptor)


def _whole_lines(descriptor: int, size: int) -> int:
    """Return how many of a file's bytes are whole lines: after a power cut its end may be torn, or all zeros."""
    end = size
    while end:
        newline = _last_newline(descriptor, end)
        if newline == end - 1:
            start = _last_newline(descriptor, end - 1) + 1
            try:
                msgspec.json.decode(os.pread(descriptor, end - start, start))
            except (msgspec.DecodeError, ValueError, RecursionError):
                end = start
                continue
            return end
        end = newline + 1
    return 0


def _last_newline(descriptor: int, end: int) -> int:
    """Return where the last newline before ``end`` is; -1: nowhere."""
    while end > 0:
        start = max(0, end - _BLOCK)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found
        end = start
    return -1
