"""Starts the broker's program, waits until it lets clients in, starts it again when it dies, and ends it with us."""

from __future__ import annotations

import resource
import subprocess
import time
from typing import TYPE_CHECKING, Literal, Protocol

from edgeglm.errors import EdgeglmError, WorkerError
from edgeglm.fleet.broker.greeting import greet
from edgeglm.fleet.processes import BackOff, check_port, end, ends_with_us, held, how

if TYPE_CHECKING:
    import signal
    import threading
    from collections.abc import Callable

    from edgeglm.fleet.broker.identities import Identities
    from edgeglm.fleet.broker.settings import BrokerSettings
    from edgeglm.log import Log

_START_PATIENCE_S = 120.0  # it may have much to read from the disk
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
        with held(settings.data, "broker", code="broker-running") as lock:
            _raise_open_files()
            check_port(settings.host, settings.port, option="--port", code="broker-port")
            if settings.tls:
                from edgeglm.fleet.broker.identities import Identities  # heavy: cryptography

                self._identities = Identities(settings, self._log)
            back_off = BackOff(_FIRST_WAIT_S, _LONGEST_WAIT_S, _STEADY_S)
            process = self._start(lock)
            try:
                if not self._until_it_answers(process):
                    return
                ready(settings.address)
                if self._identities is not None:
                    self._log.note(f"for a collector on this machine: --broker '{settings.url('collector')}'")
                    self._log.note(f"to send commands from it: --broker '{settings.url('operator')}'")
                while (why := self._watch(process)) != "stop":
                    if why == "certificates":
                        self._log.note(f"{self._program.name} is started again: certificates have changed")
                        end(process)
                    else:
                        wait_s = back_off.ended()
                        self._log.warn(
                            f"{self._program.name} {how(process.returncode)}: it is started again in {wait_s:g} s"
                        )
                        if self._stop.wait(wait_s):
                            return
                    back_off.started()  # also a start that fails: the waits grow
                    try:
                        process = self._start(lock)
                    except (EdgeglmError, OSError) as error:  # a full disk, say: it may be mended while we try on
                        self._log.warn(_in_short(error))
            finally:
                end(process)

    def _start(self, lock: int) -> subprocess.Popen[bytes]:
        if self._identities is not None:
            self._identities.renew()
            self._renewed, self._stamps = time.monotonic(), self._identities.stamps()
        command = self._program.prepare(self._settings, self._identities)
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=2,  # of ours; stdout is for the address
                pass_fds=[lock],  # held until the broker has really ended, also where we were killed
                process_group=0,  # Ctrl-C is for us, who end it in our own order
                preexec_fn=ends_with_us(),  # no thread of ours runs that could hold a lock
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
                    f"{self._program.name} {how(process.returncode)} before it took a connection",
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


def _raise_open_files() -> None:
    """Let the broker have as many connections as the system allows; by default that is about 1,000."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _in_short(error: EdgeglmError | OSError) -> str:
    if isinstance(error, OSError):
        return str(error)
    return "; ".join(f"{problem.where}: {problem.message}" for problem in error.problems)
