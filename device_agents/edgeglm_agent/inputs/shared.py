"""One device, several slots: the first worker that gets the lock reads it and hands out, the others take from it.

A worker that hands out and ends, however it ends, loses its lock to the kernel; one of the others gets it, opens the
device and goes on. What is handed out travels over a Unix socket: a taker asks for what came after the last it had, so
nothing piles up for one that is slow, and a camera's newest frame wins.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Protocol

from edgeglm_agent.inputs._base import InputError, InputLostError
from edgeglm_agent.inputs.feed import Feed, Item

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_JOINS = -1  # in the place of a number: one who has just come
_ASK = struct.Struct(">q")  # number of the last item that the taker had
_ITEM = struct.Struct(">qqI")  # number, at_ns, bytes that follow
_GREETING = struct.Struct(">?I")  # whether the settings agree, bytes of the slot's name that follow
_SETTINGS = struct.Struct(">I")
_JOIN_S = 3.0  # until the one who has the lock also listens
_RETRY_S = 0.02
_PEER_S = 1.0  # how soon a taker that has gone is seen
_MOST_SETTINGS = 1 << 20


class Reader(Protocol):
    """A device that is being read into a feed, by a thread of its own."""

    def close(self) -> None:
        """Stop reading, and let go of the device."""
        ...


class Tap:
    """Gives the items of a device, whoever reads it.

    Attributes:
        joins: How often another process has come to read it: items may be missing where this has changed.
    """

    def __init__(
        self,
        runtime_dir: Path,
        *,
        device: str,
        settings: bytes,
        slot: str,
        keep: int,
        start: Callable[[Feed], Reader],
        called: str = "",
    ) -> None:
        """Read the device, or take from the worker that does.

        Args:
            runtime_dir: Where lock and socket lie; the same for all workers of this board.
            device: What may be opened once only, however it is written: ``/dev/video0``.
            settings: How it is opened; all slots that share a device must say the same.
            slot: This one's name, for errors.
            keep: Items held for those who are slow.
            start: Opens the device and begins to fill a feed. Raises: InputError, InputLostError.
            called: What errors call the device; empty: as it is written.

        Raises:
            InputError: Another slot reads the device with other settings, or it cannot be opened at all.
            InputLostError: It cannot be opened now.
        """
        name = "input-" + hashlib.blake2b(device.encode(), digest_size=6).hexdigest()
        self._lock_path, self._socket_path = runtime_dir / f"{name}.lock", runtime_dir / f"{name}.sock"
        self._called, self._settings, self._slot = called or device, settings, slot
        self._keep, self._start = keep, start
        self._last = _JOINS
        self.joins = 0
        self._role: _Leading | _Taking = self._joined()

    @property
    def leads(self) -> bool:
        """Whether this process reads the device."""
        return isinstance(self._role, _Leading)

    def next(self, timeout_s: float) -> tuple[Item, int] | None:
        """Return the next item and how many were passed over before it; None: none came in time.

        Raises:
            InputLostError: The device has gone, or cannot be taken over from a process that has.
            Exception: What the reader ended its feed with.
        """
        end = time.monotonic() + timeout_s
        while True:
            try:
                item = self._role.after(self._last, max(0.0, end - time.monotonic()))
            except _LeaderGoneError:
                self._role.close()
                try:
                    self._role = self._joined()
                except InputError as error:  # another took it first, with other settings; or its rights have changed
                    raise InputLostError(f"cannot be taken over: {error}") from error
                self._last = _JOINS  # whoever reads now counts anew
                self.joins += 1
                continue
            if item is None:
                return None
            dropped = 0 if self._last == _JOINS else item.number - self._last - 1
            self._last = item.number
            return item, dropped

    def close(self) -> None:
        """Let go; where this process reads the device, another takes over."""
        self._role.close()

    def _joined(self) -> _Leading | _Taking:
        end = time.monotonic() + _JOIN_S
        while True:
            lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
            except BaseException:
                os.close(lock)
                raise
            else:
                return _Leading(lock, self._socket_path, self._settings, self._slot, self._keep, self._start)
            connection = self._connected()
            if connection is not None:
                return _Taking(connection)
            if time.monotonic() > end:
                raise InputLostError(f"{self._called} is read by another process, which does not hand it out")
            time.sleep(_RETRY_S)

    def _connected(self) -> socket.socket | None:
        """Return the connection to the one who has the lock; None: it does not listen, or has just gone."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(_JOIN_S)
            connection.connect(str(self._socket_path))
            connection.sendall(_SETTINGS.pack(len(self._settings)) + self._settings)
            agreed, length = _GREETING.unpack(_exactly(connection, _GREETING.size))
            other = _exactly(connection, length).decode()
        except OSError:
            connection.close()
            return None
        if agreed:
            return connection
        connection.close()
        raise InputError(
            f"slot `{other}` reads {self._called} with other settings",
            hint=f"give the inputs of `{other}` and `{self._slot}` the same settings: a device is opened once",
        )


class _LeaderGoneError(Exception):
    """The process that read the device has ended."""


class _Taking:
    """The end of one who takes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._asked = False

    def after(self, number: int, timeout_s: float) -> Item | None:
        try:
            if not self._asked:
                self._connection.settimeout(_JOIN_S)
                self._connection.sendall(_ASK.pack(number))
                self._asked = True  # an answer that does not come in time is waited for the next time
            self._connection.settimeout(max(timeout_s, 0.001))
            try:
                self._connection.recv(1, socket.MSG_PEEK)
            except TimeoutError:
                return None
            self._connection.settimeout(_JOIN_S)
            number, at_ns, length = _ITEM.unpack(_exactly(self._connection, _ITEM.size))
            payload = _exactly(self._connection, length)
        except OSError as error:
            raise _LeaderGoneError from error
        self._asked = False
        return Item(number, at_ns, payload)

    def close(self) -> None:
        self._connection.close()


class _Leading:
    """The end of the one who reads the device."""

    def __init__(
        self,
        lock: int,
        path: Path,
        settings: bytes,
        slot: str,
        keep: int,
        start: Callable[[Feed], Reader],
    ) -> None:
        self._lock = lock
        self._feed = Feed(keep)
        self._settings, self._slot = settings, slot
        self._closed = False
        self._takers: set[socket.socket] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._reader: Reader | None = None
        try:
            path.unlink(missing_ok=True)  # of one that was killed: we have the lock
            os.fchmod(self._listener.fileno(), 0o600)  # before it has a name
            try:
                self._listener.bind(str(path))
            except OSError as error:  # a path longer than 107 bytes
                raise InputError(
                    f"no socket can be made at {path}: {error}", hint="choose a shorter runtime_dir"
                ) from None
            self._reader = start(self._feed)
            self._listener.listen()
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._accept, name="share", daemon=True).start()

    def after(self, number: int, timeout_s: float) -> Item | None:
        return self._feed.after(max(number, 0), timeout_s)  # it was there from the beginning

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._feed.end(InputLostError("closed"))
        for end in (self._listener, *self._takers):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in it
        self._listener.close()
        if self._reader is not None:
            self._reader.close()
        os.close(self._lock)  # last: who gets it finds the device free

    def _accept(self) -> None:
        while not self._closed:
            try:
                taker, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(taker,), name="share", daemon=True).start()
            except (OSError, RuntimeError):  # noqa: PERF203 - closed, or too many files or threads: the taker comes again
                time.sleep(_RETRY_S)

    def _serve(self, taker: socket.socket) -> None:
        self._takers.add(taker)
        with contextlib.suppress(OSError, struct.error), taker:
            taker.settimeout(_JOIN_S)
            (length,) = _SETTINGS.unpack(_exactly(taker, _SETTINGS.size))
            agreed = length <= _MOST_SETTINGS and _exactly(taker, length) == self._settings
            name = self._slot.encode()
            joined = self._feed.newest  # before it hears that it has joined: it misses nothing from then on
            taker.sendall(_GREETING.pack(agreed, len(name)) + name)
            taker.settimeout(None)
            while agreed and not self._closed:
                (number,) = _ASK.unpack(_exactly(taker, _ASK.size))
                item = self._next(taker, joined if number == _JOINS else number)
                taker.sendall(_ITEM.pack(item.number, item.at_ns, len(item.payload)))
                taker.sendall(item.payload)
        self._takers.discard(taker)

    def _next(self, taker: socket.socket, number: int) -> Item:
        """Wait for the next item. Raises: OSError: the taker, or the device, has gone."""
        while True:
            try:
                item = self._feed.after(number, _PEER_S)
            except Exception as error:  # whatever the feed ended with: the taker sees the end of the line
                raise ConnectionError("the device has gone") from error
            if item is not None:
                return item
            with contextlib.suppress(BlockingIOError):
                if not taker.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    raise ConnectionError("the taker has gone")


def _exactly(connection: socket.socket, length: int) -> bytearray:
    """Return so many bytes. Raises: OSError: The other end has gone."""
    data = bytearray(length)
    view = memoryview(data)
    got = 0
    while got < length:
        count = connection.recv_into(view[got:])
        if not count:
            raise ConnectionError("the other end has gone")
        got += count
    return data
