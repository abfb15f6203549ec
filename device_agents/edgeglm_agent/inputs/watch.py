"""What happens in one folder, by Linux's inotify: a process that waits for files costs nothing until one is there."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# <sys/inotify.h>
_CLOSE_WRITE, _MOVED_TO, _DELETE_SELF, _MOVE_SELF = 0x8, 0x80, 0x400, 0x800
_UNMOUNT, _OVERFLOW, _IGNORED, _ONLYDIR = 0x2000, 0x4000, 0x8000, 0x1000000
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, bytes of the name that follow
_READ = 65536


class Watch:
    """Waits for files that were closed after writing, or moved in."""

    def __init__(self, folder: Path) -> None:
        """Begin to watch. Raises: OSError: The folder is not there, or the kernel watches too many already."""
        libc = ctypes.CDLL(None, use_errno=True)
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._events = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        mask = _CLOSE_WRITE | _MOVED_TO | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
        if self._events < 0 or libc.inotify_add_watch(self._events, os.fsencode(folder), mask) < 0:
            number = ctypes.get_errno()
            self.close()
            raise OSError(number, os.strerror(number), str(folder))

    def wait(self, timeout_s: float) -> tuple[list[str], bool]:
        """Return the names of files that are whole now, and whether some may have been missed.

        Raises:
            FileNotFoundError: The folder has gone, or is another one now.
        """
        poll = select.poll()
        poll.register(self._events, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        names: list[str] = []
        missed = False
        for number, _ in poll.poll(max(0, round(timeout_s * 1000))):
            if number != self._events:
                continue  # the wake-up stays in the pipe: there is no going back
            data = os.read(self._events, _READ)
            at = 0
            while at < len(data):
                _, mask, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size
                if mask & (_DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED):
                    raise FileNotFoundError("the folder has gone")
                if mask & _OVERFLOW:
                    missed = True
                if length:
                    names.append(os.fsdecode(data[at : at + length].rstrip(b"\0")))
                at += length
        return names, missed

    def wake(self) -> None:
        """Let ``wait`` return at once, now and from now on; from any thread, or a signal's handler."""
        if self._waker < 0:
            return  # closed: nobody waits
        with contextlib.suppress(BlockingIOError):  # it is full of earlier ones
            os.write(self._waker, b"x")

    def close(self) -> None:
        """Stop watching."""
        for number in (self._events, self._wake, self._waker):
            if number >= 0:
                os.close(number)
        self._events = self._wake = self._waker = -1
