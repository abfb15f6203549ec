"""A real agent in a folder of its own: its settings, its process, and what it says of itself."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeglm_agent.status import AgentStatus, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edgeglm_agent.status import SlotStatus

COMMAND = (sys.executable, "-m", "edgeglm_agent", "run")
PATIENCE_S = 60.0  # guards against a hang; it is no speed limit


class Agent:
    """A supervisor that runs, with its workers."""

    def __init__(
        self,
        folder: Path,
        settings: str,
        *,
        python_path: Path | None = None,
        command: Sequence[str] = COMMAND,
        device: str = "bench-1",
    ) -> None:
        """Write the settings and start it.

        Args:
            folder: Its own.
            settings: Without device and folders.
            python_path: Searched before all else.
            command: What it is started with, before the settings' path.
            device: Its name.
        """
        self._device = device
        self._command = command
        self.folder = folder
        self.settings = folder / "agent.toml"
        self.log_path = folder / "agent.log"
        self.set(settings)
        self._environment = dict(os.environ)
        if python_path is not None:
            paths = [str(python_path), self._environment.get("PYTHONPATH", "")]
            self._environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        self.process = self._started()

    def status(self) -> AgentStatus:
        """Ask it. Raises: OSError: It does not answer."""
        return ask(self.folder / "run")

    def slot(self, name: str = "main") -> SlotStatus:
        """Return what it says of a slot."""
        return self.status().slots[name]

    def until(self, holds: Callable[[AgentStatus], bool], what: str) -> AgentStatus:
        """Wait until something holds of the status; fail with the log where it never does."""
        ends = time.monotonic() + PATIENCE_S
        status: AgentStatus | None = None
        while time.monotonic() < ends:
            if self.process.poll() is not None:
                raise AssertionError(f"the agent ended with {self.process.returncode}:\n{self.log()}")
            with contextlib.suppress(OSError):
                status = self.status()
                if holds(status):
                    return status
            time.sleep(0.05)
        raise AssertionError(f"not within {PATIENCE_S:g} s: {what}\nlast: {status}\n{self.log()}")

    def until_slot(self, holds: Callable[[SlotStatus], bool], what: str, name: str = "main") -> SlotStatus:
        """Wait until something holds of a slot."""
        return self.until(lambda status: holds(status.slots[name]), what).slots[name]

    def events(self) -> list[dict[str, Any]]:
        """Return the lines of its log."""
        found = []
        for line in self.log().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def event(self, name: str) -> dict[str, Any]:
        """Return the newest line of a message. Raises: AssertionError: There is none."""
        lines = [line for line in self.events() if line.get("message") == name]
        assert lines, f"no `{name}` in:\n{self.log()}"
        return lines[-1]

    def log(self) -> str:
        """Return all it wrote to stderr."""
        return self.log_path.read_text(encoding="utf-8") if self.log_path.exists() else ""

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def set(self, settings: str) -> None:
        """Write other settings, for the next start."""
        own = f'device = "{self._device}"\nstate_dir = "{self.folder}/state"\nruntime_dir = "{self.folder}/run"\n'
        self.settings.write_text(
            own + settings,
            encoding="utf-8",
        )
        self.settings.chmod(0o600)

    def restart(self) -> None:
        """Start it again in the same folder, after it has ended."""
        assert self.process.poll() is not None
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                [*self._command, str(self.settings)],
                stderr=log,
                stdout=log,
                stdin=subprocess.DEVNULL,
                env=self._environment,
                cwd=self.folder,
            )


@contextlib.contextmanager
def running_agent(
    folder: Path,
    settings: str,
    *,
    python_path: Path | None = None,
    command: Sequence[str] = COMMAND,
    device: str = "bench-1",
) -> Iterator[Agent]:
    """Start an agent, and leave nothing of it running; see ``Agent``."""
    agent = Agent(folder, settings, python_path=python_path, command=command, device=device)
    try:
        yield agent
    finally:
        if agent.process.poll() is None:
            agent.process.terminate()
            try:
                agent.process.wait(20)
            except subprocess.TimeoutExpired:
                agent.process.kill()
                agent.process.wait()
