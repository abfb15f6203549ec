"""One thread that keeps one connection: it does what it is told, and says what came.

The thread sleeps in ``select`` until the network, an order or a deadline wakes it; nothing polls.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from edgeglm_agent.uplink.connection import Connection
from edgeglm_agent.uplink.reports import Message, Opening, Outgoing, Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm_agent.settings.types import Mqtt

MOST_REPORTS = 1000
_MOST_BYTES = 16 * 1024 * 1024  # of messages that wait for the supervisor, beside one that is larger
_Order: TypeAlias = Opening | Outgoing | tuple[str, int] | str | None
_DROP = "drop"


class Link:
    """The thread and its connection.

    Attributes:
        reports: What came, in order; the supervisor's thread takes from its left.
        dropped: Messages that came faster than they were taken from ``reports``.
    """

    def __init__(self, mqtt: Mqtt, *, wake: Callable[[], None]) -> None:
        self.reports: deque[Report] = deque()
        self.dropped = 0
        self._came = self._fetched = 0  # bytes of messages: the first counted by one thread, the second by the other
        self._meter: tuple[int, Connection | None] = (0, None)  # bytes of past connections, and the present one
        self._mqtt = mqtt
        self._wake = wake
        self._orders: deque[_Order] = deque()
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        self._started = False

    @property
    def wire(self) -> int:
        """Bytes on the network so far, both ways, of all connections."""
        past, connection = self._meter
        return past + (connection.wire if connection else 0)

    # called by the supervisor's thread

    def fetch(self) -> Report | None:
        """Return what came next; None: nothing did."""
        if not self.reports:
            return None
        report = self.reports.popleft()
        if isinstance(report, Message):
            self._fetched += len(report.payload)
        return report

    def open(self, opening: Opening) -> None:
        """Begin a connection; an earlier one is closed first."""
        self._order(opening)
        if not self._started:
            self._started = True
            self._thread.start()

    def publish(self, outgoing: Outgoing) -> None:
        """Send a message; one of an earlier connection's generation is dropped."""
        self._order(outgoing)

    def subscribe(self, topic: str, qos: int) -> None:
        """Hear a topic from now on; what a new connection hears is in its ``Opening``."""
        self._order((topic, qos))

    def drop(self) -> None:
        """End the connection."""
        self._order(_DROP)

    def close(self, timeout_s: float = 5.0) -> None:
        """Send what was ordered, say goodbye, and end the thread."""
        self._order(None)
        if self._started:
            self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._bell.close()
            self._ear.close()

    def _order(self, order: _Order) -> None:
        self._orders.append(order)
        with contextlib.suppress(BlockingIOError):  # it is awake already
            self._bell.send(b"!")

    # the thread

    def _run(self) -> None:
        while True:
            if not self._orders:
                select.select([self._ear], [], [])
            self._hear()
            while self._orders:
                order = self._orders.popleft()
                if order is None:
                    return
                if isinstance(order, Opening) and self._serve(order):
                    return

    def _hear(self) -> None:
        try:
            while self._ear.recv(4096):
                pass
        except BlockingIOError:
            pass

    def _say(self, report: Report) -> None:
        if isinstance(report, Message):
            waiting = self._came - self._fetched
            if len(self.reports) >= MOST_REPORTS or (waiting and waiting + len(report.payload) > _MOST_BYTES):
                self.dropped += 1
                return
            self._came += len(report.payload)
        self.reports.append(report)
        self._wake()

    def _serve(self, opening: Opening) -> bool:
        """Connect, and carry until that ends. Return whether the thread is to end."""
        connection = Connection(opening, self._mqtt, self._say)
        past, _ = self._meter
        self._meter = (past, connection)
        try:
            return self._carry(connection)
        except Exception as error:  # paho raises whatever a broken packet makes it stumble over
            connection.lost(error)
        finally:
            connection.end()
            self._meter = (past + connection.wire, None)
        return False

    def _carry(self, connection: Connection) -> bool:
        connection.connect()
        while connection.alive:
            self._hear()
            while self._orders:
                order = self._orders.popleft()
                if order is None:
                    connection.goodbye()
                    return True
                if isinstance(order, Opening):
                    self._orders.appendleft(order)
                    connection.ended_for_another = True
                    return False
                if isinstance(order, str):
                    return False
                connection.carry(order)
            connection.work(self._ear)
        return False
