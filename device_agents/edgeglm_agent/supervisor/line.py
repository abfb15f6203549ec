"""The supervisor's end of one worker's line: what waits to be sent, and what a slow worker is not given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edgeglm_agent import ipc

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

_MOST_UNSENT = 4 * 1024 * 1024  # bytes that wait for a worker that does not read; messages for its input beyond go
_AT_ONCE = 256 * 1024


class WorkerLine:
    """A connection that comes and goes, and never keeps the supervisor waiting.

    Attributes:
        connection: None: no worker is there.
        frames: What was read of a message in part.
        held: The worker is there, and waits for its Start: nothing for its input goes out.
    """

    def __init__(self, *, forget: Callable[[socket.socket], None]) -> None:
        """Take what listens no more to a connection; it is called before the connection is closed."""
        self.connection: socket.socket | None = None
        self.frames = ipc.Frames(from_worker=True)
        self.held = False
        self._forget = forget
        self._unsent = bytearray()  # what the worker's socket has not taken yet
        self._dropped = 0  # messages for its input that it was not given, not yet told

    def open(self, connection: socket.socket, frames: ipc.Frames) -> None:
        """Take a worker's connection, with what was read of it."""
        connection.setblocking(False)  # one that does not read keeps nobody waiting
        self.connection, self.frames = connection, frames

    def close(self) -> None:
        """Let go of the connection, where there is one, and of what waits for it."""
        self.held = False
        self._unsent.clear()
        if self.connection is not None:
            self._forget(self.connection)
            self.connection.close()
            self.connection = None

    def send(self, message: ipc.ToWorker) -> None:
        """Send one message; a worker that has gone is noticed by its end of line."""
        if self.connection is not None:
            self._unsent += ipc.frame(message)
            self.push()

    def hand_over(self, message: ipc.Arrived) -> None:
        """Give the worker a message for its input; one that cannot be given is counted, and told with the next."""
        if self._dropped:
            message = msgspec.structs.replace(message, dropped=self._dropped)
        full = self._unsent and len(self._unsent) + len(message.payload) > _MOST_UNSENT
        if self.connection is None or self.held or full:
            self._dropped += 1
            return
        self._dropped = 0
        self.send(message)

    def push(self) -> bool:
        """Send what the worker's socket takes now; return whether something is left."""
        try:
            while self._unsent and self.connection is not None:
                del self._unsent[: self.connection.send(bytes(self._unsent[:_AT_ONCE]))]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()
        return bool(self._unsent)
