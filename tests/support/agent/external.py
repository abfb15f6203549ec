"""What systemd does for a worker with a unit of its own: it is started, and again whenever it has ended."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_NOT_AGAIN = 2  # RestartPreventExitStatus= of the unit
_RESTART_S = 0.1


class WorkerUnit:
    """``edgeglm-agent-worker@SLOT``; it ends with the ``with`` block."""

    def __init__(self, folder: Path, slot: str = "main") -> None:
        """Serve a slot of the agent whose folder this is."""
        self.codes: list[int] = []  # of those that have ended
        self.log_path = folder / f"worker-{slot}.log"
        self._socket = folder / "run" / "supervisor.sock"
        self._slot = slot
        self._stopped = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> WorkerUnit:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        while self._thread.is_alive():
            if self._process is not None and self._process.poll() is None:
                self._process.kill()
            self._thread.join(0.1)

    @property
    def gave_up(self) -> bool:
        """Whether the last one ended so that no other is started."""
        return bool(self.codes) and self.codes[-1] == _NOT_AGAIN

    def _keep(self) -> None:
        command = [sys.executable, "-m", "edgeglm_agent.worker", "--socket", str(self._socket), "--slot", self._slot]
        environment = dict(os.environ, INVOCATION_ID="0" * 32)
        while not self._stopped.is_set() and not self.gave_up:
            with self.log_path.open("ab") as log:
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, env=environment)
            self.codes.append(self._process.wait())
            self._stopped.wait(_RESTART_S)
