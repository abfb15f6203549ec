"""Answers that are sent with their input, for a person to look at: a share that was opted in, or the next few."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm_agent.results._base import Outcome


class Sampling:
    """Which answers are sent; set by the thread that listens, read by the one that serves."""

    def __init__(self, share: float, send: Callable[[Outcome], None]) -> None:
        """Take the share, 0 to 1, and what sends."""
        self._send = send
        self._share = share
        self._next = 0
        self.wanted = share > 0

    def adjust(self, share: float) -> None:
        """Send this share from now on."""
        self._share = share
        self.wanted = share > 0 or self._next > 0

    def now(self, count: int) -> None:
        """Send the next answers, so many."""
        self._next += count
        self.wanted = True

    def see(self, outcome: Outcome) -> None:
        """Send this answer, where it is its turn: by its trace, so that who follows one finds all of it."""
        if not self.wanted:
            return
        if self._next > 0:
            self._next -= 1
            self.wanted = self._share > 0 or self._next > 0
        elif zlib.crc32(outcome.trace_id.encode()) >= self._share * 2**32:
            return
        self._send(outcome)
