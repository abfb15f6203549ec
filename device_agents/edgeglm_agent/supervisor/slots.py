"""One slot and its worker, as the supervisor sees them: starting, serving, failing, waiting, in quarantine."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeglm_agent import ipc
from edgeglm_agent.supervisor.failures import Failures
from edgeglm_agent.supervisor.limits import Limits
from edgeglm_agent.supervisor.line import WorkerLine
from edgeglm_agent.supervisor.process import WorkerProcess, meaning
from edgeglm_agent.supervisor.terms import start_of, terms_of
from edgeglm_agent.wire.commands import SlotState

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from edgeglm_agent.settings.types import Settings, Slot
    from edgeglm_agent.supervisor.head_start import HeadStart
    from edgeglm_agent.supervisor.state import StateFile
    from edgeglm_agent.wire.telemetry import Scalar, Severity

Status = Literal["starting", "serving", "waiting", "quarantined", "refused", "stopped"]

_SOUND_AFTER_S = 300.0  # so long served: failures before it count no more
_REFUSED_S = 60.0  # a refused model is looked at again: its folder may have come, or its runtime
_NO_PROCESS_S = 10.0  # before another try to start a process, where the board had no room for one


class SlotKeeper:
    """Keeps one worker alive, and gives it up when that is right.

    Attributes:
        line: To the worker.
        process: The worker's.
    """

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
        self.line = WorkerLine(forget=forget)
        self.process = WorkerProcess(Path(settings.runtime_dir) / f"{name}.progress")
        self.next_start = 0.0  # time.monotonic()
        self.sample_share = settings.telemetry.sample_share
        self.part_owed_since = 0.0  # 0: none is owed
        self.input_gone = ""  # why; empty: it is there
        self._input_lost = ""  # likewise, as the fleet was told: not each time that it comes and goes
        self.last_error = ""  # of this supervisor's time
        self._settings = settings
        self._external = settings.workers == "external"
        self._state = state
        self._memory = state.slot(name)
        self._failures = Failures(name, slot, state)
        self._tell = tell
        self._limits = Limits(slot, memory_limit_bytes)
        self._started = 0.0
        self._killed_for = ""
        self._confessed = ""  # what the worker said of its own end
        self._idle = ""
        self._unused_load = False  # the number of the newest load is that of a refusal: nothing bears it
        self._again = 0.0  # when the worker was told to go so that another comes; 0: it was not
        self._seen = 0  # samples that a part has told of
        self.topic = str(getattr(slot.input, "topic", ""))  # of the broker, where its samples come from there
        self.kind = str(slot.input.__struct_config__.tag)
        if self._failures.quarantined:
            self.status, self.why = "quarantined", self._failures.quarantined

    @property
    def pid(self) -> int:
        """The worker's; 0: there is none."""
        return self.process.pid

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
            failures=self._failures.count,
            input_lost=self._input_lost,
        )

    def in_words(self) -> str:
        """Return what goes on in this slot, in a few words."""
        said = self.serving
        what = f" {said.model} ({said.runtime} {said.provider})" if said and self.status == "serving" else ""
        return f"{self.name}: {self.status}{what}"

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
        try:
            self.process.spawn(self.name, socket_path, head_start)
        except OSError as error:  # memory has run out, or processes have: no fault of this model
            why = f"no process can be started for it: {error.strerror}"
            if self.why != why:
                self._tell("worker-crashed", self.name, "error", {"why": why, "failures": self._failures.count})
            self.status, self.why, self.next_start = "waiting", why, now + _NO_PROCESS_S

    def hello(self, hello: ipc.Hello, connection: socket.socket, frames: ipc.Frames, now: float) -> bool:
        """Take a worker's connection, with what was read of it; False: it is none of ours, and to be closed."""
        no: ipc.ToWorker | None = None
        if self.line.connection is not None:
            no = ipc.Hold("another worker of this slot is there")
        elif not self._external and hello.pid != self.pid:  # systemd's, though the settings want none of these
            no = ipc.Stop()
        if no is not None:
            with contextlib.suppress(OSError):  # it has gone already
                connection.sendall(ipc.frame(no))
            return False
        self.line.open(connection, frames)
        self.process.pid = hello.pid
        if hello.rejoins is not None:
            self._go_on(hello.rejoins, now)
        elif self._external and (self.status in ("quarantined", "stopped") or now < self.next_start):
            self.line.held = True  # systemd starts it at once, whatever became of the one before
            self.line.send(ipc.Hold(self.why))
        else:
            if self._external:
                self._begin(now)
            self._allow(now)
        return True

    def _go_on(self, rejoins: ipc.Rejoins, now: float) -> None:
        """Take over a worker that outlived the supervisor before; one that serves by other settings starts anew."""
        self._begin(now)
        self.serving, self.status, self.why = rejoins.serving, "serving", ""
        self.input_gone = self._input_lost = rejoins.input_gone
        self._memory.load = max(self._memory.load, rejoins.load)
        self._state.save()
        self.process.count_from_now()
        if rejoins.terms == terms_of(self.slot, self._settings):
            self.line.send(ipc.Adjust(self.sample_share))
        else:
            self._go(now)

    def release(self, now: float) -> None:
        """Let an external worker that was held load the model, where its time has come."""
        if self.line.held and self.status in ("waiting", "refused") and now >= self.next_start:
            self._allow(now)

    def happened(self, event: ipc.Happened) -> bool:
        """Take note of what the worker tells; return whether the slot is no longer as the board has said."""
        if event.name not in ("input-lost", "input-back"):
            return False
        self._input_lost = str(event.detail.get("why", "")) if event.name == "input-lost" else ""
        return True

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
                {
                    "model": message.model,
                    "manifest": message.manifest_sha256[:12],
                    "artifact": message.artifact,
                    "scheme": message.scheme,
                    "runtime": message.runtime,
                    "load": self.load,
                },
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
        if self.line.connection is None or self.status != "serving":
            return False
        self.part_owed_since = self.part_owed_since or now
        self.line.send(ipc.Flush())
        return True

    def watch(self, now: float) -> bool:
        """Look, once a second, whether the worker computes too long or takes too much memory.

        Returns:
            Whether its earlier failures were forgiven: the slot is no longer as the board has said.
        """
        if not self.pid or self._killed_for:
            return False
        broken = self._limits.broken(
            self.process,
            starting_s=now - self._started if self.status == "starting" else 0.0,
            ending_s=now - self._again if self._again else 0.0,
            owes_s=now - self.part_owed_since if self.part_owed_since else 0.0,
        )
        if broken is not None:
            self._kill(*broken)
        sound = self.status == "serving" and self._failures.count > 0 and now - self._started > _SOUND_AFTER_S
        if sound:
            self._failures.forgive()
        return sound

    def reap(self, now: float) -> bool:
        """Return whether the worker has ended, after deciding what is to come of that."""
        if not self.pid:
            return False
        code = self._exit_code()
        if code is None:
            return False
        self.line.close()
        lost = max(0, self.process.ended() - self._seen)
        killed_for, self._killed_for = self._killed_for, ""
        confessed, self._confessed = self._confessed, ""
        self.input_gone = self._input_lost = ""
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
            self._failed(killed_for or confessed or meaning(code), lost, now)
        return True

    def gone(self) -> None:
        """The worker's line has ended; what that means is seen when its process has."""
        self.line.close()

    def restart(self, now: float) -> None:
        """Begin anew: quarantine and failures are forgiven."""
        self._failures.forgive()
        self.status, self.why, self.next_start = "waiting", "", now
        if self.line.connection is not None and not self.line.held:
            self._go(now)

    def _go(self, now: float) -> None:
        """Let the worker end, so that another comes."""
        self._again = now
        self.line.send(ipc.Stop())

    def adjust(self, sample_share: float) -> None:
        """Let the worker, and those that follow, sample this share."""
        self.sample_share = sample_share
        if not self.line.held:  # it is told with its Start
            self.line.send(ipc.Adjust(sample_share))

    def stop(self) -> None:
        """Let the worker finish what it has in hand."""
        self.status, self.why = "stopped", "the agent stops"
        if self.line.connection is not None:
            self.line.send(ipc.Stop())
        elif not self._external:
            self.process.terminate()

    def give_up(self) -> None:
        """End at once a worker that did not end when it was told to."""
        if self.pid and self.serving is None:
            from edgeglm_agent.worker.deaths import spare

            spare(Path(self._settings.state_dir) / "slots" / self.name)  # of what it loads it did not die
        self.process.kill()

    def _begin(self, now: float) -> None:
        self.status, self._started, self._seen = "starting", now, 0
        self.part_owed_since = 0.0

    def _allow(self, now: float) -> None:
        self.line.held = False
        self.process.forget_progress()  # of one that ended while no supervisor was there
        self.status, self._started = "starting", now
        if not self._unused_load:  # else a refused model would be told of, and written to the disk, each minute
            self._memory.load += 1
            self._state.save()
        self._unused_load = False
        self.line.send(start_of(self.slot, self._settings, self.load, self.sample_share))

    def _kill(self, event: str, why: str) -> None:
        self._killed_for = why
        self._tell(event, self.name, "error", {"why": why})
        self.process.kill()

    def _failed(self, why: str, lost: int, now: float) -> None:
        wait_s = self._failures.add(why)
        failures = self._failures.count
        self._tell("worker-crashed", self.name, "error", {"why": why, "failures": failures, "uncounted": lost})
        if wait_s is None:
            self.status, self.why = "quarantined", self._failures.quarantined
            self._tell("worker-quarantined", self.name, "error", {"why": self.why})
        else:
            self.status, self.why, self.next_start = "waiting", why, now + wait_s

    def _exit_code(self) -> int | None:
        """Return how the worker ended, negative for a signal; None: it lives."""
        if self._external:  # no child of ours: its line tells
            return None if self.line.connection is not None else 0 if self._idle else -signal.SIGKILL
        return self.process.exit_code()
