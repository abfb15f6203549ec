"""A worker's process that is started first of all, and told later what it is to do: its imports take longest."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


class HeadStart:
    """A process that waits for its orders on a pipe; ends with it, where there are none. Closing is up to ``with``."""

    def __init__(self) -> None:
        """Start it; a machine that refuses costs the head start alone."""
        self.pid = 0  # 0: there is none, or none any more
        reads, self._orders = os.pipe2(os.O_CLOEXEC)
        command = [sys.executable, "-m", "edgeglm_agent.worker", "--told"]
        with suppress(OSError):
            self.pid = os.posix_spawn(
                sys.executable, command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, reads, 0)], setsigmask=()
            )
        os.close(reads)

    def take(self, socket_path: str, slot: str) -> int:
        """Tell it whose worker it is, and return its number: it is the caller's from now on; 0: there is none."""
        taken, self.pid = self.pid, 0
        if taken:
            with suppress(BrokenPipeError):  # it has ended already: who looks after it sees that
                os.write(self._orders, f"{socket_path}\n{slot}".encode())
            self._close()
        return taken

    def dismiss(self) -> None:
        """Let it go, where nobody took it."""
        if self.pid:
            self._close()
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def _close(self) -> None:
        if self._orders >= 0:
            os.close(self._orders)
            self._orders = -1

    def __enter__(self) -> HeadStart:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let it go."""
        self.dismiss()
        self._close()
