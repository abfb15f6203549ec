"""Processes that edgeglm keeps running: one folder each, started again less and less often, ended with us."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgeglm.errors import BusyError, EnvironmentFailedError
from edgeglm.files import private_folder, storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_LOCK_PATIENCE_S = 5.0  # of one whose parent was killed, and which ends
_STOP_PATIENCE_S = 30.0  # it may have much to write to the disk

_libc = ctypes.CDLL(None, use_errno=True)


class BackOff:
    """How long to wait before a process is started again: twice as long each time."""

    def __init__(self, first_s: float, longest_s: float, steady_s: float) -> None:
        """Begin anew after a run of ``steady_s``."""
        self._first_s, self._longest_s, self._steady_s = first_s, longest_s, steady_s
        self._wait_s = first_s
        self._begun = time.monotonic()

    def started(self) -> None:
        """Note that it is started, or that this is tried."""
        self._begun = time.monotonic()

    def ended(self) -> float:
        """Return how long to wait, in seconds."""
        if time.monotonic() - self._begun > self._steady_s:
            self._wait_s = self._first_s
        wait_s, self._wait_s = self._wait_s, min(2 * self._wait_s, self._longest_s)
        return wait_s


@contextmanager
def held(folder: Path, what: str, *, code: str) -> Iterator[int]:
    """Hold a folder, which is made when it is missing; yield the lock, for what is started on it to inherit.

    Raises:
        BusyError: Somebody else holds it.
        StorageError: It cannot be written.
    """
    private_folder(folder)
    with storage_errors(folder / "lock"):
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        give_up = time.monotonic() + _LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise BusyError(
                        f"another {what} runs on this folder",
                        where=str(folder),
                        hint="end it, or choose another folder with --data",
                        code=code,
                    ) from None
                time.sleep(0.1)
        yield handle
    finally:
        os.close(handle)


def check_port(host: str, port: int, *, option: str, code: str) -> None:
    """See that one can listen there; ``option`` chooses another. Raises: EnvironmentFailedError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise EnvironmentFailedError(
            "something else listens there" if taken else f"cannot listen there: {error.strerror}",
            where=f"{host}:{port}",
            hint=f"`ss -ltnp 'sport = :{port}'` names it; end it, or choose another port with {option}"
            if taken
            else f"check --host and {option}: ports below 1024 are root's, and the address must be this machine's",
            code=code,
        ) from error


def ends_with_us() -> Callable[[], None]:
    """Return what a child does before it begins: have the kernel end it when we die, so that it saves what it has.

    The kernel looks at the thread that starts it: let that be one that lives as long as the process.
    """
    parent = os.getpid()

    def tie() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return tie


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process in order; kill one that does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def how(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"ended with {code}"
    return f"was ended by {signal.Signals(-code).name}"
