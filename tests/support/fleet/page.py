"""A real `edgeglm fleet serve`, as a process."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 300.0  # guards against a hang; it is no speed limit


class RunningPage:
    """One that was started."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """End it; return its exit code and what it said."""
        self.process.send_signal(how)
        _, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said


@contextmanager
def running_page(store: str, *arguments: str, stderr: int = subprocess.PIPE) -> Iterator[RunningPage]:
    """Start one on any free port, wait until it answers, and leave nothing of it running."""
    command = [sys.executable, "-m", "edgeglm", "fleet", "serve", "--store", store, "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], PATIENCE_S)[0], "it does not start"
        url = process.stdout.readline().strip()
        assert url, process.communicate()[1]
        yield RunningPage(process, url)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
