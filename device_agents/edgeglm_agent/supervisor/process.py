"""The process of one slot's worker: how it is started and ended, what it uses, how far it is."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from edgeglm_agent.board.processes import usage
from edgeglm_agent.worker.progress import ProgressReader
from edgeglm_agent.worker.run import MODEL_BROKEN

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm_agent.supervisor.head_start import HeadStart
    from edgeglm_agent.worker.progress import Moment


class WorkerProcess:
    """One process after the other: the present one, and what those before it counted.

    Attributes:
        pid: 0: there is none.
    """

    def __init__(self, progress: Path) -> None:
        """Take the file that workers of this slot write how far they are."""
        self.pid = 0
        self._path = progress
        self._progress = ProgressReader(progress)
        self._before = (0, 0)  # samples that earlier workers answered, and did not
        self._rss_kb = 0  # highest in the window
        self._cpu = (0, 0)  # pid, and its milliseconds when they were asked for

    def spawn(self, slot: str, socket_path: str, head_start: HeadStart | None) -> None:
        """Start one, or take the one that waits. Raises: OSError: The machine has no room for it."""
        self.pid = head_start.take(socket_path, slot) if head_start is not None else 0
        if not self.pid:
            command = [sys.executable, "-m", "edgeglm_agent.worker", "--socket", socket_path, "--slot", slot, "--soon"]
            self.pid = os.posix_spawn(sys.executable, command, os.environ, setsigmask=())

    def exit_code(self) -> int | None:
        """Return how a child of ours ended, negative for a signal; None: it lives."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return -signal.SIGKILL
        return os.waitstatus_to_exitcode(status) if pid else None

    def terminate(self) -> None:
        """Ask a child of ours to end that cannot be told."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it may be systemd's, of another user
                os.kill(self.pid, signal.SIGKILL)

    def ended(self) -> int:
        """Take note that it has ended, and return how many samples it answered."""
        answered, failed = self._counted()
        self.pid = 0
        self._before = (self._before[0] + answered, self._before[1] + failed)
        self.forget_progress()
        return answered

    def forget_progress(self) -> None:
        """Remove what a worker left behind that ended, maybe while no supervisor was there."""
        self._progress.close()
        self._path.unlink(missing_ok=True)

    def count_from_now(self) -> None:
        """Leave out what the present worker counted so far: that was before this supervisor."""
        answered, failed = self._counted()
        self._before = (self._before[0] - answered, self._before[1] - failed)

    def counted(self) -> tuple[int, int]:
        """Return how many samples were answered, and were not, since the supervisor started."""
        answered, failed = self._counted()
        return self._before[0] + answered, self._before[1] + failed

    def busy_s(self) -> float:
        """Return for how long the sample is in hand that is in hand now."""
        moment = self._moment()
        return moment.runs_for_s(time.monotonic_ns()) if moment is not None else 0.0

    def rss_kb(self) -> int | None:
        """Return its resident memory now; None: it has gone."""
        used = usage(self.pid)
        if used is None:
            return None
        self._rss_kb = max(self._rss_kb, used.rss_kb)
        return used.rss_kb

    def take_rss_kb(self) -> int | None:
        """Return the highest resident memory that was seen since this was asked."""
        highest, self._rss_kb = self._rss_kb, 0
        return highest or None

    def take_cpu_ms(self) -> int:
        """Return the processor time that it took since this was asked, all of its threads, milliseconds."""
        now = usage(self.pid) if self.pid else None
        if now is None:
            return 0
        self._rss_kb = max(self._rss_kb, now.rss_kb)
        before, self._cpu = self._cpu, (self.pid, now.cpu_ms)
        return now.cpu_ms - (before[1] if before[0] == self.pid else 0)

    def _counted(self) -> tuple[int, int]:
        moment = self._moment()
        return (moment.answered, moment.failed) if moment is not None else (0, 0)

    def _moment(self) -> Moment | None:
        """Return what the present worker wrote last: one before it may have left a sample in hand as it died."""
        moment = self._progress.read()
        if moment is not None and moment.pid != self.pid and self._progress.renew():
            moment = self._progress.read()
        return moment if moment is not None and moment.pid == self.pid else None


def meaning(code: int) -> str:
    """Return what an exit code says to a person."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"ended by {name}" + (" (out of memory, or killed by hand)" if -code == signal.SIGKILL else "")
    return "the model answers nothing usable" if code == MODEL_BROKEN else f"ended with code {code}"
