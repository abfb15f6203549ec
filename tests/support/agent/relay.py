"""A TCP relay between a board and its broker: counts, delays, cuts, holds back, or answers first."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def only_version_311(first: bytes) -> bytes | None:
    """Answer the CONNECT of MQTT 5 as a broker of 3.1.1 does (its section 3.1.2.2): refused, version not supported."""
    body = first.find(b"\x00\x04MQTT")
    return b"\x20\x02\x00\x01" if body >= 0 and first[body + 6] == 5 else None


class Relay:
    """Passes on what comes on its port.

    Attributes:
        hold: Nothing passes while it is set, and nothing is closed.
        carried: Bytes that passed, both ways.
    """

    def __init__(
        self,
        port: int,
        *,
        delay_s: float = 0.0,
        cut_after: int | None = None,
        first: Callable[[bytes], bytes | None] | None = None,
    ) -> None:
        """Make it.

        Args:
            port: Where to, on the loopback.
            delay_s: For what passes, each way.
            cut_after: Bytes after which a connection is cut, in the middle of whatever it carries.
            first: Sees the first bytes of a connection; its answer, if any, ends it.
        """
        self.hold = False
        self.carried = self.connections = self._cuts = 0
        self._to = port
        self._delay_s = delay_s
        self._cut_after = cut_after
        self._first = first
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Relay:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def cut(self) -> None:
        """Cut every connection that there is."""
        self._cuts += 1

    def _start(self, what: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=what, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        self._listener.settimeout(0.1)
        while not self._stopping.is_set():
            try:
                board, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self.connections += 1
            self._start(self._pass, board)

    def _pass(self, board: socket.socket) -> None:
        with board, contextlib.suppress(OSError):
            if self._first is not None:
                board.settimeout(10)
                answer = self._first(board.recv(65_536, socket.MSG_PEEK))
                if answer is not None:
                    board.recv(65_536)
                    board.sendall(answer)
                    return
            with socket.create_connection(("127.0.0.1", self._to), timeout=10) as broker:
                self._both_ways(board, broker)

    def _both_ways(self, board: socket.socket, broker: socket.socket) -> None:
        late: deque[tuple[float, socket.socket, bytes]] = deque()
        passed, cuts = 0, self._cuts
        while not self._stopping.is_set() and self._cuts == cuts:
            if self.hold:
                time.sleep(0.01)
                continue
            wait = min(0.05, max(0.0, late[0][0] - time.monotonic())) if late else 0.05
            for one in select.select([board, broker], [], [], wait)[0]:
                data = one.recv(65_536)
                if not data:
                    return
                late.append((time.monotonic() + self._delay_s, broker if one is board else board, data))
            while late and late[0][0] <= time.monotonic():
                _, to, data = late.popleft()
                to.sendall(data)
                passed += len(data)
                self.carried += len(data)
                if self._cut_after is not None and passed > self._cut_after:
                    return
