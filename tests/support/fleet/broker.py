"""A real `edgeglm fleet broker`, as a process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.agent.broker import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 120.0  # guards against a hang; it is no speed limit


class RunningBroker:
    """One that was started, and has said its address."""

    def __init__(self, folder: Path, *arguments: str, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.log_path = folder.with_name(f"{folder.name}.log")
        command = [sys.executable, "-m", "edgeglm", "fleet", "broker", "--data", str(folder), "--port", str(self.port)]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *arguments], stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True
            )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()  # nothing, where it has ended

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8")

    def broker_pids(self) -> list[int]:
        """Return the processes that it has started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text(encoding="ascii").split()]

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def running_broker(folder: Path, *arguments: str, port: int | None = None) -> Iterator[RunningBroker]:
    """Start one, and leave nothing of it running."""
    broker = RunningBroker(folder, *arguments, port=port)
    try:
        assert broker.address, broker.log()
        yield broker
    finally:
        broker.end()


def is_running(pid: int) -> bool:
    """Tell whether a process is there, and no zombie: until its last thread has ended, its ports are open."""
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        return state != "Z" or len([*Path(f"/proc/{pid}/task").iterdir()]) > 1
    return False


def until_gone(pid: int) -> None:
    """Wait until a process has ended."""
    give_up = time.monotonic() + PATIENCE_S
    while is_running(pid):
        assert time.monotonic() < give_up, f"process {pid} runs on"
        time.sleep(0.02)


def broker_verb(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `edgeglm fleet ...` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "edgeglm", "fleet", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=cwd,
        env=os.environ,
    )
