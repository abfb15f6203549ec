"""Messages for an MQTT input that wait for the model: a bounded number, the oldest give way, and each is counted."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from edgeglm_agent.ipc import Arrived

MOST_MESSAGES = 4096
MOST_BYTES = 16 * 1024 * 1024


class Waiting:
    """One thread puts, another takes: neither keeps the other for longer than a message takes."""

    def __init__(self, *, most_messages: int = MOST_MESSAGES, most_bytes: int = MOST_BYTES) -> None:
        self._most_messages, self._most_bytes = most_messages, most_bytes
        self._messages: deque[Arrived] = deque()
        self._bytes = 0
        self._dropped = 0  # not yet told
        self._there = threading.Condition()

    def put(self, message: Arrived) -> None:
        """Keep a message; one that is larger than all the room is kept alone."""
        with self._there:
            self._messages.append(message)
            self._bytes += len(message.payload)
            while len(self._messages) > 1 and (
                len(self._messages) > self._most_messages or self._bytes > self._most_bytes
            ):
                oldest = self._messages.popleft()
                self._bytes -= len(oldest.payload)
                self._dropped += 1 + oldest.dropped
            self._there.notify()

    def take(self, timeout_s: float) -> Arrived | None:
        """Return the oldest message, which says how many before it were dropped; None: none came in so many seconds."""
        with self._there:
            if not self._messages and (timeout_s <= 0 or not self._there.wait(timeout_s)):
                return None
            if not self._messages:
                return None
            message = self._messages.popleft()
            self._bytes -= len(message.payload)
            if self._dropped:
                message = msgspec.structs.replace(message, dropped=message.dropped + self._dropped)
                self._dropped = 0
            return message
