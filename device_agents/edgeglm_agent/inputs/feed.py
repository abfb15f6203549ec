"""What a device gave last: filled by the thread that reads it, emptied by those who use it, each at its own speed."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import NamedTuple


class Item(NamedTuple):
    """One frame, or one line."""

    number: int  # from 1, without gaps
    at_ns: int  # time.monotonic_ns() when it was whole; the same clock in every process
    payload: bytes | bytearray


class Feed:
    """The newest items of a device; older ones go when there are more than ``keep``."""

    def __init__(self, keep: int = 1) -> None:
        """Keep so many items: 1 for a camera, of which the newest frame is wanted and no other."""
        self._items: deque[Item] = deque(maxlen=keep)
        self._changed = threading.Condition()
        self._number = 0
        self._ended: Exception | None = None

    def put(self, payload: bytes | bytearray) -> None:
        """Add what has just been read."""
        with self._changed:
            self._number += 1
            self._items.append(Item(self._number, time.monotonic_ns(), payload))
            self._changed.notify_all()

    def end(self, reason: Exception) -> None:
        """Let everyone who has taken the last item know that nothing follows, and why."""
        with self._changed:
            self._ended = self._ended or reason
            self._changed.notify_all()

    @property
    def newest(self) -> int:
        """Number of the item that came last; 0: none yet."""
        return self._number

    def after(self, number: int, timeout_s: float) -> Item | None:
        """Return the oldest item that is kept and came after this number; None: none came in time.

        Raises:
            Exception: What ``end`` was told; an item that is still there is given first.
        """
        with self._changed:
            end = time.monotonic() + timeout_s
            while True:
                if self._items and self._items[-1].number > number:
                    return next(item for item in self._items if item.number > number)
                if self._ended is not None:
                    raise self._ended
                left = end - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
