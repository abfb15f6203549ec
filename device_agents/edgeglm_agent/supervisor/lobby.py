"""The agent's socket, and connections whose other end has not said yet who it is: workers, and who asks."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm_agent import ipc

if TYPE_CHECKING:
    from collections.abc import Callable

_HELLO_S = 30.0  # a connection that says nothing for so long is no worker
_MOST = 64  # of them at a time: files that may be open are few
_ANSWER_S = 5.0  # one that does not read its answer must not stop everything


class Lobby:
    """Takes connections in, hears their first word, and hands them on or closes them."""

    def __init__(
        self,
        path: str,
        selector: selectors.BaseSelector,
        *,
        worker: Callable[[socket.socket, ipc.Frames, ipc.Hello, list[ipc.FromWorker | ipc.ToWorker]], bool],
        answer: Callable[[ipc.StatusRequest | ipc.RestartRequest], bytes],
    ) -> None:
        """Listen; what another run left at the path goes.

        Args:
            path: Of the socket, which this user alone may open.
            selector: The supervisor's; it keeps callables.
            worker: Takes a worker's connection, what was read of it in part, its greeting, and what came behind that;
                says whether it keeps the connection.
            answer: Returns what is answered to a request.

        Raises:
            OSError: The socket cannot be made.
        """
        self._path = Path(path)
        self._selector = selector
        self._worker = worker
        self._answer = answer
        self._strangers: dict[socket.socket, tuple[ipc.Frames, float]] = {}
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            self._listener.bind(path)
        finally:
            os.umask(before)
        self._listener.listen(_MOST)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def tick(self, now: float) -> None:
        """Close what says nothing."""
        for stranger, (_, since) in list(self._strangers.items()):
            if now - since > _HELLO_S:
                self._close(stranger)

    def close(self) -> None:
        """Listen no more."""
        self._path.unlink(missing_ok=True)
        self._listener.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # too many open files: it stays in the queue
            time.sleep(0.01)
            return
        if len(self._strangers) >= _MOST:
            self._close(next(iter(self._strangers)))  # the oldest has had its time
        connection.settimeout(_ANSWER_S)
        self._strangers[connection] = (ipc.Frames(from_worker=True), time.monotonic())
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._hear(connection))

    def _hear(self, connection: socket.socket) -> None:
        if connection not in self._strangers:
            return  # closed since it was found to be readable
        frames, _ = self._strangers[connection]
        messages = received(connection, frames)
        if messages == []:
            return  # half a message
        first = messages[0] if messages else None
        if isinstance(first, ipc.Hello) and messages is not None:
            self._selector.unregister(connection)
            del self._strangers[connection]
            if not self._worker(connection, frames, first, messages[1:]):
                connection.close()
            return
        if isinstance(first, ipc.StatusRequest | ipc.RestartRequest):
            with contextlib.suppress(OSError):
                connection.sendall(self._answer(first))
        self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._strangers[connection]
        connection.close()


def received(connection: socket.socket, frames: ipc.Frames) -> list[ipc.FromWorker | ipc.ToWorker] | None:
    """Return what became whole of what has come; None: the other end has gone, or speaks nonsense."""
    try:
        return ipc.receive(connection, frames)
    except BlockingIOError:
        return []
    except OSError:
        return None
