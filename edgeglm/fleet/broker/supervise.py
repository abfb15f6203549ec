"""Starts the broker's program, waits until it lets clients in, starts it again when it dies, and ends it with us."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

from edgeglm.errors import BusyError, EdgeglmError, EnvironmentFailedError, WorkerError
from edgeglm.files import private_folder, storage_errors
from edgeglm.fleet.broker.greeting import greet

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edgeglm.fleet.broker.identities import Identities
    from edgeglm.fleet.broker.settings import BrokerSettings
    from edgeglm.log import Log

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_LOCK_PATIENCE_S = 5.0  # of a broker whose supervisor was killed, and which ends
_START_PATIENCE_S = 120.0  # it may have much to read from the disk
_STOP_PATIENCE_S = 30.0  # likewise to write
_TICK_S = 0.2
_RENEW_S = 86_400.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0  # before it is started again
_OPEN_FILES = 1 << 20
_STEADY_S = 60.0  # after so long its last end is forgotten


class Program(Protocol):
    """A broker that can be started."""

    name: str
    reload: signal.Signals | None  # has it read its configuration again; None: certificates that are issued need none

    def prepare(self, settings: BrokerSettings, identities: Identities | None) -> list[str]:
        """Write its configuration, with TLS where there are identities; return the command that starts it."""
        ...


class Supervisor:
    """Keeps one broker running."""

    def __init__(
        self,
        program: Program,
        settings: BrokerSettings,
        log: Log,
        *,
        stop: threading.Event,
    ) -> None:
        """Take what it needs; nothing is started.

        Args:
            program: What is started.
            settings: How.
            log: Where it says what happens; the program's own lines go straight to stderr.
            stop: Ends it.
        """
        self._program = program
        self._settings = settings
        self._log = log
        self._stop = stop
        self._identities: Identities | None = None
        self._stamps = (0, 0)
        self._renewed = 0.0

    def run(self, ready: Callable[[str], None]) -> None:
        """Run until `stop` is set.

        Args:
            ready: Is called once, with the address, when the broker has let a client in for the first time.

        Raises:
            BusyError: Another broker runs on this folder.
            EnvironmentFailedError: Something else listens on the port.
            WorkerError: The program ended before it let anybody in.
            UserError: The authority is damaged.
            MissingExtraError: TLS needs a package that is not installed.
            StorageError: The folder cannot be written.
        """
        settings = self._settings
        with held(settings.data) as lock:
            _raise_open_files()
            _check_port(settings)
            if settings.tls:
                from edgeglm.fleet.broker.identities import Identities  # heavy: cryptography

                self._identities = Identities(settings, self._log)
            wait_s, begun, process = _FIRST_WAIT_S, time.monotonic(), self._start(lock)
            try:
                if not self._until_it_answers(process):
                    return
                ready(settings.address)
                if self._identities is not None:
                    self._log.note(f"for a collector on this machine: --broker '{self._identities.url('collector')}'")
                    self._log.note(f"to send commands from it: --broker '{self._identities.url('operator')}'")
                while (why := self._watch(process)) != "stop":
                    if why == "certificates":
                        self._log.note(f"{self._program.name} is started again: certificates have changed")
                        _end(process)
                    else:
                        if time.monotonic() - begun > _STEADY_S:
                            wait_s = _FIRST_WAIT_S
                        self._log.warn(
                            f"{self._program.name} {_how(process.returncode)}: it is started again in {wait_s:g} s"
                        )
                        if self._stop.wait(wait_s):
                            return
                        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                    begun = time.monotonic()  # also of a start that fails: the waits grow
                    try:
                        process = self._start(lock)
                    except (EdgeglmError, OSError) as error:  # a full disk, say: it may be mended while we try on
                        self._log.warn(_in_short(error))
            finally:
                _end(process)

    def _start(self, lock: int) -> subprocess.Popen[bytes]:
        if self._identities is not None:
            self._identities.renew()
            self._renewed, self._stamps = time.monotonic(), self._identities.stamps()
        command = self._program.prepare(self._settings, self._identities)
        parent = os.getpid()
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=2,  # of ours; stdout is for the address
                pass_fds=[lock],  # held until the broker has really ended, also where we were killed
                process_group=0,  # Ctrl-C is for us, who end it in our own order
                preexec_fn=lambda: _end_with(parent),  # no thread of ours runs that could hold a lock
            )
        except OSError as error:
            raise WorkerError(
                f"{self._program.name} cannot be started: {error.strerror}",
                where=command[0],
                hint="install it again, or choose another with --broker-program",
                code="broker-failed",
            ) from error
        self._log.note(f"{self._program.name} is started, process {process.pid}")
        return process

    def _until_it_answers(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until it lets a client in; return False where it is to stop. Raises: WorkerError."""
        give_up = time.monotonic() + _START_PATIENCE_S
        said = ""
        while not self._stop.wait(0.05):
            if process.poll() is not None:
                raise WorkerError(
                    f"{self._program.name} {_how(process.returncode)} before it took a connection",
                    where=str(self._settings.data),
                    hint="its own lines, above, say why",
                    code="broker-failed",
                )
            if time.monotonic() > give_up:
                raise WorkerError(
                    f"{self._program.name} let nobody in within {_START_PATIENCE_S:g} s: {said}",
                    where=str(self._settings.data),
                    hint="its own lines, above, say why",
                    code="broker-failed",
                )
            try:
                context = self._identities.context() if self._identities else None
                if greet(self._settings.host, self._settings.port, context):
                    return True
                said = "it refuses us"
            except OSError as error:
                said = str(error)
        return False

    def _watch(self, process: subprocess.Popen[bytes]) -> Literal["stop", "ended", "certificates"]:
        """Wait until something has to be done, and return what."""
        while process.poll() is None:
            if self._stop.wait(_TICK_S):
                return "stop"
            if self._identities is not None and self._certificates_changed(self._identities, process):
                return "certificates"
        return "stop" if self._stop.is_set() else "ended"

    def _certificates_changed(self, identities: Identities, process: subprocess.Popen[bytes]) -> bool:
        """Tell whether the broker must be started again; what a signal mends is mended.

        A revoked certificate's connection would go on otherwise: brokers look at it only when it is made.
        """
        try:
            if time.monotonic() - self._renewed > _RENEW_S:
                self._renewed = time.monotonic()
                if identities.renew():
                    return True
            issued, revoked = identities.stamps()
            before, self._stamps = self._stamps, (issued, revoked)
            if revoked != before[1]:
                return True
            if issued != before[0] and self._program.reload is not None:
                self._program.prepare(self._settings, identities)
                process.send_signal(self._program.reload)
        except (EdgeglmError, OSError) as error:  # what runs goes on as it is
            self._log.warn(_in_short(error))
        return False


@contextmanager
def held(folder: Path) -> Iterator[int]:
    """Hold a broker's folder, which is made when it is missing; yield the lock, for the broker to inherit.

    Raises:
        BusyError: Another broker runs on it.
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
                        "another broker runs on this folder",
                        where=str(folder),
                        hint="end it, or choose another folder with --data",
                        code="broker-running",
                    ) from None
                time.sleep(0.1)
        yield handle
    finally:
        os.close(handle)


def _check_port(settings: BrokerSettings) -> None:
    """Raises: EnvironmentFailedError: The port cannot be had."""
    place = f"{settings.host}:{settings.port}"
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise EnvironmentFailedError(
            "something else listens there" if taken else f"cannot listen there: {error.strerror}",
            where=place,
            hint=f"`ss -ltnp 'sport = :{settings.port}'` names it; end it, or choose another port with --port"
            if taken
            else "check --host and --port: ports below 1024 are root's, and an address must be one of this machine's",
            code="broker-port",
        ) from error


def _raise_open_files() -> None:
    """Let the broker have as many connections as the system allows; by default that is about 1,000."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


_libc = ctypes.CDLL(None, use_errno=True)


def _end_with(parent: int) -> None:
    """In the child: have the kernel end it when its parent dies, as an orderly end, so that it saves what it has."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    return f"was ended by {signal.Signals(-code).name}"


def _in_short(error: EdgeglmError | OSError) -> str:
    if isinstance(error, OSError):
        return str(error)
    return "; ".join(f"{problem.where}: {problem.message}" for problem in error.problems)
