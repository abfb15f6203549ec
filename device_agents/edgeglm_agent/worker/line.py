"""The worker's connection to its supervisor: what it is told, what it says, and what happens where nobody hears it."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from edgeglm_agent import ipc
from edgeglm_agent.board import clock
from edgeglm_agent.worker.arrived import Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeglm_agent.wire.telemetry import Burst, Scalar, Severity

_CONNECT_S = 1.0
_KEPT_BYTES = 1_000_000  # of events and answers that are said while there is no supervisor


class NoSlotError(LookupError):
    """The settings have no slot of this worker's name."""


class Line:
    """The connection to the supervisor, and what is asked of this worker."""

    def __init__(self, socket_path: str, slot: str) -> None:
        """Connect, and say that a worker is there, which asks whether its model may be loaded."""
        self.slot = slot
        self.stopped = threading.Event()
        self._arrived = Waiting()
        self._handler: Handler | None = None  # None: the model is being loaded
        self._handling = threading.Lock()
        self._serves = threading.Event()  # there is a handler
        self._early: list[ipc.FromWorker | ipc.ToWorker] = []  # what came for it before
        self._behind_start: list[ipc.FromWorker | ipc.ToWorker] = []  # what came with Start
        self._state_dir: Path | None = None
        self._path = socket_path
        self._lock = threading.RLock()  # the handler of SIGTERM sends too, in the midst of whatever
        self._frames = ipc.Frames(from_worker=False)
        self._outlives = False
        self._unsaid = Unsaid()
        self._there = threading.Event()  # somebody hears
        self._connection = self._connected()
        self.send(ipc.Hello(slot, os.getpid()))

    def send(self, message: ipc.FromWorker) -> None:
        """Send one message; while there is no supervisor, what it would keep is kept for the next one."""
        frame = ipc.frame(message)
        with self._lock:
            if self._there.is_set():
                try:
                    self._connection.sendall(frame)
                except OSError:
                    self._there.clear()  # half of it may have gone: nothing may follow on this connection
                    _hang_up(self._connection)  # the listener sees the end, and does what is to be done
                else:
                    return
            if self._outlives and isinstance(message, ipc.Happened | ipc.Answered):
                self._unsaid.keep(frame)

    def happened(
        self,
        name: str,
        severity: Severity,
        detail: dict[str, Scalar] | None = None,
        *,
        trace_id: str = "",
        burst: Burst | None = None,
    ) -> None:
        """Tell an event at once."""
        self.send(_happened(name, severity, detail or {}, trace_id=trace_id, burst=burst))

    def wait_for_start(self) -> ipc.Start | None:
        """Wait until the model may be loaded; None: the supervisor has gone, or said no for good.

        Raises:
            NoSlotError: The settings have no such slot.
        """
        while True:
            messages = self._received()
            if messages is None:
                return None
            for place, message in enumerate(messages):
                if isinstance(message, ipc.Start):
                    self._outlives = message.outlives
                    self._behind_start = messages[place + 1 :]
                    return message
                if isinstance(message, ipc.NoSlot):
                    known = ", ".join(message.known) or "none"
                    raise NoSlotError(f"the settings have no slot `{self.slot}`; there are {known}")
                if isinstance(message, ipc.Stop):
                    return None

    def listen(self, state_dir: Path) -> None:
        """Hear the supervisor from now on, in a thread of its own; nothing is in hand until ``serve`` is called.

        Args:
            state_dir: The slot's, where it is noted what is being loaded.
        """
        self._state_dir = state_dir
        threading.Thread(target=self._listen, name="supervisor", daemon=True).start()

    def serve(self, handler: Handler) -> None:
        """Let this do what is asked for, from now on; what was asked for before is done now."""
        with self._handling:
            self._handler = handler
            early, self._early = self._early, []
            for message in early:
                self._heed(handler, message)
        self._serves.set()

    def stop(self) -> None:
        """Finish what is in hand, then go; while the model is loaded, go at once: that may take minutes."""
        self.stopped.set()
        if self._handler is not None:
            self._handler.stop()
        elif self._state_dir is not None:
            from edgeglm_agent.worker.deaths import spare

            spare(self._state_dir)
            self.send(ipc.Idle("told to stop"))
            os._exit(0)  # the thread that loads is in the runtime's hands

    def wait_until_heard(self) -> None:
        """Return when there is a supervisor that hears the last words, or the worker is told to stop."""
        while self._outlives and not self._there.is_set() and not self.stopped.is_set():
            self._there.wait(_CONNECT_S)

    def message(self, timeout_s: float) -> ipc.Arrived | None:
        """Return the next message for an MQTT input, waiting so long for it."""
        return self._arrived.take(timeout_s)

    def _listen(self) -> None:
        messages: list[ipc.FromWorker | ipc.ToWorker] | None = self._behind_start
        while messages is not None or self._rejoined():
            for message in messages or ():
                self._hear(message)
            messages = self._received()
        self.stop()  # nobody hears what this worker says: its supervisor, or systemd, starts another

    def _hear(self, message: ipc.FromWorker | ipc.ToWorker) -> None:
        if isinstance(message, ipc.Stop | ipc.NoSlot):
            self.stop()
        elif isinstance(message, ipc.Arrived):
            self._arrived.put(message)
        else:
            with self._handling:
                if self._handler is None:
                    self._early.append(message)
                else:
                    self._heed(self._handler, message)

    def _heed(self, handler: Handler, message: ipc.FromWorker | ipc.ToWorker) -> None:
        if isinstance(message, ipc.Flush):
            self.send(handler.part())
        elif isinstance(message, ipc.Adjust):
            handler.adjust(message.sample_share)
        elif isinstance(message, ipc.SampleNow):
            handler.sample_now(message.count)

    def _rejoined(self) -> bool:
        """Wait for the next supervisor, where this worker outlives one; return whether it is there."""
        with self._lock:
            self._there.clear()
        if not self._outlives or self.stopped.is_set():
            return False
        began = time.monotonic()
        self._serves.wait()  # the model is loaded first
        handler = self._handler
        assert handler is not None  # `serve` has set it
        self._connection.close()
        while not self.stopped.wait(_CONNECT_S):
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self._path)
                with self._lock:  # what is said from now on is said after all this
                    unsaid, self._unsaid = self._unsaid, Unsaid()
                    connection.sendall(ipc.frame(ipc.Hello(self.slot, os.getpid(), handler.rejoins())))
                    away: dict[str, Scalar] = {
                        "away_s": round(time.monotonic() - began, 1),
                        "kept": len(unsaid),
                        "lost": unsaid.lost,
                    }
                    for frame in (*unsaid, ipc.frame(_happened("worker-rejoined", "warning", away))):
                        connection.sendall(frame)
                    self._connection, self._frames = connection, ipc.Frames(from_worker=False)
                    self._there.set()
            except OSError:
                connection.close()
                continue
            return True
        return False

    def _received(self) -> list[ipc.FromWorker | ipc.ToWorker] | None:
        try:
            return ipc.receive(self._connection, self._frames)
        except OSError:
            return None

    def _connected(self) -> socket.socket:
        while True:
            connection = socket.socket(socket.AF_UNIX)
            if self._reached(connection):
                self._there.set()
                return connection
            connection.close()
            time.sleep(_CONNECT_S)

    def _reached(self, connection: socket.socket) -> bool:
        """Return whether the supervisor is there: started by systemd, a worker may be there before it."""
        try:
            connection.connect(self._path)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if os.environ.get("INVOCATION_ID") is None:
                sys.exit(f"worker of {self.slot}: the supervisor has gone: {self._path}: {error.strerror}")
            return False
        return True


class Unsaid:
    """Frames that nobody heard, the newest megabyte of them; iterating gives them in their order."""

    def __init__(self) -> None:
        self.lost = 0  # older ones, for which there was no room
        self._frames: deque[bytes] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._frames)

    def keep(self, frame: bytes) -> None:
        """Keep a frame, and let the oldest go where there are too many."""
        self._frames.append(frame)
        self._bytes += len(frame)
        while self._bytes > _KEPT_BYTES:
            self._bytes -= len(self._frames.popleft())
            self.lost += 1


class Handler:
    """What the listener asks of the thread that serves."""

    def part(self) -> ipc.Part:
        """Return what is known of the window that ends, and begin the next."""
        raise NotImplementedError

    def rejoins(self) -> ipc.Rejoins:
        """Return what a supervisor that has just come is to know."""
        raise NotImplementedError

    def adjust(self, sample_share: float) -> None:
        """Sample this share of the answers from now on."""
        raise NotImplementedError

    def sample_now(self, count: int) -> None:
        """Send the next answers with their inputs."""
        raise NotImplementedError

    def stop(self) -> None:
        """Take in nothing new."""
        raise NotImplementedError


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _happened(
    name: str, severity: Severity, detail: dict[str, Scalar], *, trace_id: str = "", burst: Burst | None = None
) -> ipc.Happened:
    now_ms, uptime_ms = time.time_ns() // 1_000_000, clock.uptime_ms()
    return ipc.Happened(name, severity, trace_id, now_ms, uptime_ms, detail, burst)
