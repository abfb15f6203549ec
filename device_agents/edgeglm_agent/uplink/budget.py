"""How many bytes a day go over the network, and how many more may."""

from __future__ import annotations

import socket
import struct
from typing import Any

DAY_S = 86_400.0
MESSAGE_BYTES = 300  # of one publish beside its rows: MQTT, TLS, TCP/IP, the broker's answer, its share of an ack
_COUNTED = 0.96  # of a day's bytes: the rest is for what the kernel does not tell, such as segments sent again
_OPENING_BYTES = 16  # the options of both first segments, above those of every segment
_TCP_INFO = struct.Struct("=5xB122xQII56xQ")  # options; bytes received, segments out and in; bytes sent
_TIMESTAMPS = 1  # of the options
_IPV4, _IPV6, _TCP, _TIMESTAMPS_BYTES = 20, 40, 20, 12


def wire_bytes(connection: Any) -> int:
    """Return what a TCP connection has cost so far, both ways: TLS, headers and acknowledgements as the kernel counts.

    Segments that were lost on the way to here are not in it. 0 where the kernel tells nothing (before Linux 4.19).
    """
    try:
        raw = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except (OSError, AttributeError):
        return 0
    if len(raw) < _TCP_INFO.size:
        return 0
    options, received, segments_out, segments_in, sent = _TCP_INFO.unpack(raw)
    header = _TCP + (_IPV6 if connection.family == socket.AF_INET6 else _IPV4)
    header += _TIMESTAMPS_BYTES if options & _TIMESTAMPS else 0
    return int(sent + received + (segments_out + segments_in) * header + _OPENING_BYTES)


class Budget:
    """A bucket of bytes that fills evenly over the day, and is never fuller than an eighth of a day's.

    However a day is cut out, at most ``daily_bytes`` leave in it, as long as only what ``allows`` permits is sent.
    Events are sent regardless: they leave the bucket below empty, and others wait until that is made up for.
    """

    def __init__(self, daily_bytes: int, *, level: float | None = None) -> None:
        """Begin with a full bucket, or with the level that an earlier run kept."""
        self.capacity = daily_bytes / 8
        self.rate = (daily_bytes * _COUNTED - self.capacity) / DAY_S  # bytes a second
        self.level = self.capacity if level is None else max(-float(daily_bytes), min(self.capacity, level))
        self.promised = 0  # bytes of messages on their way, which the kernel has not counted yet
        self.day = 0  # by UTC, counted from 1970
        self.today = 0  # bytes in it
        self._filled_at: float | None = None

    def refill(self, now: float) -> None:
        """Let time pass; ``now`` in seconds, monotonic."""
        if self._filled_at is not None and now > self._filled_at:
            passed = now - self._filled_at
            self.level = min(self.capacity, self.level + passed * self.rate)
        self._filled_at = now

    def spend(self, count: int, day: int = 0) -> None:
        """Take out what went over the network, on this day."""
        self.level -= count
        self.promised = max(0, self.promised - count)
        if day != self.day:
            self.day, self.today = day, 0
        self.today += count

    def notes(self) -> dict[str, float]:
        """Return what a restart should find again."""
        return {"budget": self.level, "day": self.day, "today": self.today}

    def allows(self, count: float, *, reserve: float = 0.0) -> bool:
        """Return whether so many bytes may go, leaving a share (0 to 1) of the bucket for others."""
        return self.level - self.promised - count >= reserve * self.capacity

    def until(self, count: float) -> float:
        """Return in how many seconds the bucket holds so many bytes; 0.0: it does."""
        return max(0.0, count - self.level) / self.rate

    def within(self, seconds: float) -> float:
        """Return how many bytes may go until then."""
        return max(0.0, self.level - self.promised) + seconds * self.rate


def group_for(count: int, size: int, budget: Budget, *, horizon_s: float) -> int:
    """Return how many windows must become one for what waits to be gone within the horizon; 1: none need.

    Args:
        count: Windows that wait.
        size: Their bytes.
        budget: What may go.
        horizon_s: How long they may wait, in seconds.
    """
    if count < 2:
        return 1
    messages = 1 + size // 16_384
    room = budget.within(horizon_s) - messages * MESSAGE_BYTES
    if size <= room:
        return 1
    return min(count, max(2, int(size / max(room, 1.0)) + 1))
