"""One slot and its worker, as the supervisor sees them: starting, serving, failing, waiting, in quarantine."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from edgeglm_agent import ipc
from edgeglm_agent.board.processes import usage
from edgeglm_agent.settings.packed import pack_slot
from edgeglm_agent.wire.commands import SlotState
from edgeglm_agent.worker.progress import ProgressReader
from edgeglm_agent.worker.run import MODEL_BROKEN

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from edgeglm_agent.settings.types import Settings, Slot
    from edgeglm_agent.supervisor.head_start import HeadStart
    from edgeglm_agent.supervisor.state import StateFile
    from edgeglm_agent.wire.telemetry import Scalar, Severity
    from edgeglm_agent.worker.progress import Moment

Status = Literal["starting", "serving", "waiting", "quarantined", "refused", "stopped"]

_BACK_OFF_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_SOUND_AFTER_S = 300.0  # so long served: failures before it count no more
_REFUSED_S = 60.0  # a refused model is looked at again: its folder may have come, or its runtime
_NO_PROCESS_S = 10.0  # before another try to start a process, where the board had no room for one
_QUIET_S = 30.0  # a worker that owes a part for so long, and computes nothing, hangs elsewhere
_MOST_UNSENT = 4 * 1024 * 1024  # bytes that wait for a worker that does not read; messages for its input beyond go
_AT_ONCE = 256 * 1024


class SlotKeeper:
    """Keeps one worker alive, and gives it up when that is right."""

    def __init__(
        self,
        name: str,
        slot: Slot,
        settings: Settings,
        *,
        state: StateFile,
        tell: Callable[[str, str, Severity, dict[str, Scalar]], None],
        forget: Callable[[socket.socket], None],
        memory_limit_bytes: int,
    ) -> None:
        self.name = name
        self.slot = slot
        self.status: Status = "waiting"
        self.why = ""
        self.serving: ipc.Serving | None = None
        self.connection: socket.socket | None = None
        self.frames = ipc.Frames(from_worker=True)
        self._unsent = bytearray()  # what the worker's socket has not taken yet
        self._dropped = 0  # messages for its input that it was not given, not yet told
        self.pid = 0
        self.next_start = 0.0  # time.monotonic()
        self.sample_share = settings.telemetry.sample_share
        self._log = settings.log
        self.part_owed_since = 0.0  # 0: none is owed
        self.input_gone = ""  # why; empty: it is there
        self.last_error = ""  # of this supervisor's time
        self._external = settings.workers == "external"
        self._drift = settings.telemetry.drift
        self._state_dir = settings.state_dir
        self._runtime_dir = Path(settings.runtime_dir)
        self._state = state
        self._memory = state.slot(name)
        self._tell = tell
        self._forget = forget
        self._limit = slot.memory_mb * 1_000_000 if slot.memory_mb else memory_limit_bytes
        self._started = 0.0
        self._killed_for = ""
        self._confessed = ""  # what the worker said of its own end
        self._idle = ""
        self._unused_load = False  # the number of the newest load is that of a refusal: nothing bears it
        self._held = False  # the worker is there, and waits for its Start
        self._again = 0.0  # when the worker was told to go so that another comes; 0: it was not
        self._progress = ProgressReader(self._runtime_dir / f"{name}.progress")
        self._seen = 0  # samples that a part has told of
        self._before = (0, 0)  # samples that earlier workers answered, and did not
        self._rss_kb = 0  # highest in the window
        self._cpu = (0, 0)  # pid, and its milliseconds when they were asked for
        self.topic = str(getattr(slot.input, "topic", ""))  # of the broker, where its samples come from there
        self.kind = str(slot.input.__struct_config__.tag)
        if self._memory.quarantined:
            if self._memory.manifest_sha256 == self._manifest_sha256():
                self.status, self.why = "quarantined", self._memory.quarantined
            else:
                self._forgive()

    @property
    def state(self) -> SlotState:
        """What the board says of this slot."""
        said = self.serving
        return SlotState(
            self.status,
            load=self._memory.load,
            model=said.model if said else "",
            manifest_sha256=said.manifest_sha256 if said else "",
            artifact=said.artifact if said else "",
            scheme=said.scheme if said else "",
            runtime=said.runtime if said else "",
            provider=said.provider if said else "",
            why=self.why or (said.passed_over if said else ""),
            failures=self._memory.failures,
        )

    @property
    def load(self) -> int:
        """Which load of a model in this slot it is."""
        return self._memory.load

    def next_start_s(self, now: float) -> float | None:
        """Return in how many seconds a worker is started again; None: it is not waited for."""
        if self.status not in ("waiting", "refused") or self.pid:
            return None
        return round(max(0.0, self.next_start - now), 1)

    def due(self, now: float) -> bool:
        """Return whether a worker is to be started now."""
        return self.status in ("waiting", "refused") and not self.pid and now >= self.next_start

    def spawn(self, socket_path: str, now: float, head_start: HeadStart | None = None) -> None:
        """Start the worker's process, or take the one that waits; with external workers, wait for it to come."""
        if self._external:
            return
        self._begin(now)
        self.pid = head_start.take(socket_path, self.name) if head_start is not None else 0
        if self.pid:
            return
        command = [sys.executable, "-m", "edgeglm_agent.worker", "--socket", socket_path, "--slot", self.name, "--soon"]
        try:
            self.pid = os.posix_spawn(sys.executable, command, os.environ, setsigmask=())
        except OSError as error:  # memory has run out, or processes have: no fault of this model
            why = f"no process can be started for it: {error.strerror}"
            if self.why != why:
                self._tell("worker-crashed", self.name, "error", {"why": why, "failures": self._memory.failures})
            self.status, self.why, self.next_start = "waiting", why, now + _NO_PROCESS_S

    def hello(self, hello: ipc.Hello, connection: socket.socket, frames: ipc.Frames, now: float) -> bool:
        """Take a worker's connection, with what was read of it; False: it is none of ours, and to be closed."""
        no: ipc.ToWorker | None = None
        if self.connection is not None:
            no = ipc.Hold("another worker of this slot is there")
        elif not self._external and hello.pid != self.pid:  # systemd's, though the settings want none of these
            no = ipc.Stop()
        if no is not None:
            with contextlib.suppress(OSError):  # it has gone already
                connection.sendall(ipc.frame(no))
            return False
        connection.setblocking(False)  # one that does not read keeps nobody waiting
        self.connection, self.frames, self.pid = connection, frames, hello.pid
        if hello.rejoins is not None:
            self._go_on(hello.rejoins, now)
        elif self._external and (self.status in ("quarantined", "stopped") or now < self.next_start):
            self._held = True  # systemd starts it at once, whatever became of the one before
            self.send(ipc.Hold(self.why))
        else:
            if self._external:
                self._begin(now)
            self._allow(now)
        return True

    def _go_on(self, rejoins: ipc.Rejoins, now: float) -> None:
        """Take over a worker that outlived the supervisor before; one that serves by other settings starts anew."""
        self._begin(now)
        self.serving, self.status, self.why = rejoins.serving, "serving", ""
        self.input_gone = rejoins.input_gone
        self._memory.load = max(self._memory.load, rejoins.load)
        self._state.save()
        answered, failed = self._counted()  # before this supervisor
        self._before = (self._before[0] - answered, self._before[1] - failed)
        if rejoins.terms == self._terms():
            self.send(ipc.Adjust(self.sample_share))
        else:
            self._go(now)

    def release(self, now: float) -> None:
        """Let an external worker that was held load the model, where its time has come."""
        if self._held and self.status in ("waiting", "refused") and now >= self.next_start:
            self._allow(now)

    def told(self, part: ipc.Part) -> None:
        """Take note that a window's part has come."""
        self.part_owed_since = 0.0
        self._seen += part.inferences
        self.last_error = part.last_error or self.last_error

    def heard(self, message: ipc.Serving | ipc.Refused | ipc.InputGone | ipc.Failed | ipc.Idle) -> None:
        """Take what the worker says of itself."""
        if isinstance(message, ipc.Serving):
            self.serving, self.status, self.why = message, "serving", ""
            self._started = time.monotonic()
            self._memory.manifest_sha256 = message.manifest_sha256
            self._tell(
                "model-loaded",
                self.name,
                "info",
                {"model": message.model, "artifact": message.artifact, "runtime": message.runtime, "load": self.load},
            )
        elif isinstance(message, ipc.Refused):
            if self.why != message.why:
                self._tell("model-refused", self.name, "error", {"why": message.why})
            self.status, self.why = "refused", message.why
            self._unused_load = True
        elif isinstance(message, ipc.InputGone):
            self.input_gone = message.why
        elif isinstance(message, ipc.Failed):
            self._confessed = message.why
        else:
            self._idle = message.why

    def flush(self, now: float) -> bool:
        """Ask for the window's part; False: there is nobody to ask."""
        if self.connection is None or self.status != "serving":
            return False
        self.part_owed_since = self.part_owed_since or now
        self.send(ipc.Flush())
        return True

    def watch(self, now: float) -> None:
        """Look, once a second, whether the worker computes too long or takes too much memory."""
        if not self.pid or self._killed_for:
            return
        busy_s = self._busy_s()
        if self.status == "starting" and now - self._started > self.slot.start_timeout_s:
            self._kill("worker-hung", f"did not serve {self.slot.start_timeout_s:g} s after its start")
        elif self._again and now - self._again > self.slot.start_timeout_s:  # it hears nobody while it loads
            self._kill("worker-hung", f"did not end {self.slot.start_timeout_s:g} s after it was told to")
        elif busy_s > self.slot.inference_timeout_s:
            self._kill("worker-hung", f"one inference took longer than {self.slot.inference_timeout_s:g} s")
        elif self.part_owed_since and now - self.part_owed_since > _QUIET_S:
            self._kill("worker-hung", f"did not answer for {_QUIET_S:g} s")
        else:
            self._look_at_memory()
        if self.status == "serving" and self._memory.failures and now - self._started > _SOUND_AFTER_S:
            self._memory.failures = 0
            self._state.save()

    def reap(self, now: float) -> bool:
        """Return whether the worker has ended, after deciding what is to come of that."""
        if not self.pid:
            return False
        code = self._exit_code()
        if code is None:
            return False
        self._close()
        answered, failed = self._counted()
        self.pid = 0
        self._before = (self._before[0] + answered, self._before[1] + failed)
        self._progress.close()
        self._progress_path().unlink(missing_ok=True)
        lost = max(0, answered - self._seen)
        killed_for, self._killed_for = self._killed_for, ""
        confessed, self._confessed = self._confessed, ""
        self.input_gone = ""
        idle, self._idle = self._idle, ""
        again, self._again = self._again, 0.0
        self.serving = None
        if again:
            self.status, self.why, self.next_start = "waiting", "", now
        elif self.status == "refused":
            self.next_start = now + _REFUSED_S
        elif idle and not code:
            self.status, self.why = "stopped", idle
        elif self.status != "stopped":
            self._failed(killed_for or confessed or _meaning(code), lost, now)
        return True

    def gone(self) -> None:
        """The worker's line has ended; what that means is seen when its process has."""
        self._close()

    def counted(self) -> tuple[int, int]:
        """Return how many samples were answered, and were not, since the supervisor started."""
        answered, failed = self._counted()
        return self._before[0] + answered, self._before[1] + failed

    def take_cpu_ms(self) -> int:
        """Return the processor time that the worker took since this was asked, all of its threads, milliseconds."""
        now = usage(self.pid) if self.pid else None
        if now is None:
            return 0
        self._rss_kb = max(self._rss_kb, now.rss_kb)
        before, self._cpu = self._cpu, (self.pid, now.cpu_ms)
        return now.cpu_ms - (before[1] if before[0] == self.pid else 0)

    def take_rss_kb(self) -> int | None:
        """Return the worker's highest resident memory since this was asked."""
        highest, self._rss_kb = self._rss_kb, 0
        return highest or None

    def restart(self, now: float) -> None:
        """Begin anew: quarantine and failures are forgiven."""
        self._forgive()
        self.status, self.why, self.next_start = "waiting", "", now
        if self.connection is not None and not self._held:
            self._go(now)

    def _go(self, now: float) -> None:
        """Let the worker end, so that another comes."""
        self._again = now
        self.send(ipc.Stop())

    def adjust(self, sample_share: float) -> None:
        """Let the worker, and those that follow, sample this share."""
        self.sample_share = sample_share
        if not self._held:  # it is told with its Start
            self.send(ipc.Adjust(sample_share))

    def stop(self) -> None:
        """Let the worker finish what it has in hand."""
        self.status, self.why = "stopped", "the agent stops"
        if self.connection is not None:
            self.send(ipc.Stop())
        elif self.pid and not self._external:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def give_up(self) -> None:
        """End at once a worker that did not end when it was told to."""
        if self.pid and self.serving is None:
            from edgeglm_agent.worker.deaths import spare

            spare(Path(self._state_dir) / "slots" / self.name)  # of what it loads it did not die
        self.kill()

    def kill(self) -> None:
        """End the worker at once."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it may be systemd's, of another user
                os.kill(self.pid, signal.SIGKILL)

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
        if self.connection is None or self._held or full:
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

    def _begin(self, now: float) -> None:
        self.status, self._started, self._seen = "starting", now, 0
        self.part_owed_since = 0.0

    def _allow(self, now: float) -> None:
        self._held = False
        self._progress.close()
        self._progress_path().unlink(missing_ok=True)  # of one that ended while no supervisor was there
        self.status, self._started = "starting", now
        if not self._unused_load:  # else a refused model would be told of, and written to the disk, each minute
            self._memory.load += 1
            self._state.save()
        self._unused_load = False
        self.send(
            ipc.Start(
                pack_slot(self.slot),
                self.load,
                self.sample_share,
                self._log,
                self._drift,
                self._state_dir,
                str(self._runtime_dir),
                self._terms(),
                self._external,
            )
        )

    def _terms(self) -> str:
        """Return a digest of what a worker cannot be told while it serves."""
        terms = (pack_slot(self.slot), repr((self._drift, self._state_dir, str(self._runtime_dir))).encode())
        return hashlib.sha256(b"\0".join(terms)).hexdigest()

    def _look_at_memory(self) -> None:
        used = usage(self.pid)
        if used is None:
            return
        self._rss_kb = max(self._rss_kb, used.rss_kb)
        if used.rss_kb * 1024 > self._limit:
            self._kill("worker-memory", f"{used.rss_kb // 1000} MB of {self._limit // 1_000_000} MB allowed")

    def _kill(self, event: str, why: str) -> None:
        self._killed_for = why
        self._tell(event, self.name, "error", {"why": why})
        self.kill()

    def _failed(self, why: str, lost: int, now: float) -> None:
        self._memory.failures += 1
        failures = self._memory.failures
        self._tell("worker-crashed", self.name, "error", {"why": why, "failures": failures, "uncounted": lost})
        if failures >= self.slot.failures:
            self.status = "quarantined"
            self.why = f"{failures} failures in a row, the last: {why}"
            self._memory.quarantined = self.why
            self._memory.manifest_sha256 = self._manifest_sha256()
            self._tell("worker-quarantined", self.name, "error", {"why": self.why})
        else:
            wait = _BACK_OFF_S[min(failures, len(_BACK_OFF_S)) - 1]
            self.next_start = now + wait * random.uniform(0.75, 1.25)  # noqa: S311 - no secret: boards of one room
            self.status, self.why = "waiting", why
        self._state.save()

    def _forgive(self) -> None:
        self._memory.failures, self._memory.quarantined = 0, ""
        self._state.save()

    def _exit_code(self) -> int | None:
        """Return how the worker ended, negative for a signal; None: it lives."""
        if self._external:
            return None if self.connection is not None else 0 if self._idle else -signal.SIGKILL
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return -signal.SIGKILL
        return os.waitstatus_to_exitcode(status) if pid else None

    def _counted(self) -> tuple[int, int]:
        moment = self._moment()
        return (moment.answered, moment.failed) if moment is not None else (0, 0)

    def _busy_s(self) -> float:
        """Return for how long the sample is in hand that is in hand now."""
        moment = self._moment()
        return moment.runs_for_s(time.monotonic_ns()) if moment is not None else 0.0

    def _moment(self) -> Moment | None:
        """Return what the present worker wrote last: one before it may have left a sample in hand as it died."""
        moment = self._progress.read()
        if moment is not None and moment.pid != self.pid and self._progress.renew():
            moment = self._progress.read()
        return moment if moment is not None and moment.pid == self.pid else None

    def _progress_path(self) -> Path:
        return self._runtime_dir / f"{self.name}.progress"

    def _manifest_sha256(self) -> str:
        try:
            return hashlib.sha256((Path(self.slot.model) / "manifest.json").read_bytes()).hexdigest()
        except OSError:
            return ""

    def _close(self) -> None:
        self._held = False
        self._unsent.clear()
        if self.connection is not None:
            self._forget(self.connection)
            self.connection.close()
            self.connection = None


def _meaning(code: int) -> str:
    """Return what an exit code says to a person."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"ended by {name}" + (" (out of memory, or killed by hand)" if -code == signal.SIGKILL else "")
    return "the model answers nothing usable" if code == MODEL_BROKEN else f"ended with code {code}"
