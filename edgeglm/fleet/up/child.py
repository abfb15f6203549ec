"""One part's process, and what it says."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING

from edgeglm.fleet.processes import BackOff, ends_with_us, how

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm.fleet.up.parts import Part
    from edgeglm.log import Log

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0  # before it is started again
_STEADY_S = 60.0  # after so long its last end is forgotten
_MOST_LINE = 1 << 16  # bytes of one line that are waited for


class Child:
    """A part that runs, and is started again as often as need be."""

    def __init__(self, part: Part, pipes: selectors.BaseSelector, log: Log, lock: int) -> None:
        """Start it.

        Args:
            part: What it is.
            pipes: Where what it says is waited for; the data of each key is what hears it.
            log: Takes its lines.
            lock: Of the folder: it inherits that.
        """
        self.name = part.name
        self.address = ""  # once it is ready
        self._left_out = part.left_out
        self._command = [sys.executable, "-P", "-m", "edgeglm", "fleet", *part.arguments]
        self._pipes = pipes
        self._log = log
        self._lock = lock
        self._back_off = BackOff(_FIRST_WAIT_S, _LONGEST_WAIT_S, _STEADY_S)
        self._due: float | None = None  # when it is started again
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[self._lock],  # held until it has really ended, also where we were killed
            process_group=0,  # Ctrl-C is for us, who end them in our own order
            preexec_fn=ends_with_us(),  # no thread of ours runs that could hold a lock
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._hearing = [
            _Pipe(self.process.stdout, self._pipes, self._ready),
            _Pipe(self.process.stderr, self._pipes, self._said),
        ]

    def hear(self) -> None:
        """Take in what it has said and we have not heard."""
        for pipe in self._hearing:
            while pipe.read():
                pass

    def start_again_when_due(self) -> None:
        """Start it again after its end, and say so."""
        if self._due is None:
            code = self.process.poll()
            if code is not None:
                self.hear()
                wait_s = self._back_off.ended()
                self._log.warn(f"the {self.name} {how(code)}: it is started again in {wait_s:g} s")
                self._due = time.monotonic() + wait_s
        elif time.monotonic() >= self._due:
            self._due = None
            self._back_off.started()
            try:
                self._start()
            except OSError as error:  # no memory, say: it is tried again
                self._log.warn(f"the {self.name} cannot be started: {error.strerror}")

    def _ready(self, line: str) -> None:
        self.address = self.address or line

    def _said(self, line: str) -> None:
        if line and not (self._left_out and self._left_out.search(line)):
            self._log.note(f"{self.name}: {line}")


class _Pipe:
    """One stream of a child, taken in as lines."""

    def __init__(self, file: IO[bytes], pipes: selectors.BaseSelector, take: Callable[[str], None]) -> None:
        os.set_blocking(file.fileno(), False)
        pipes.register(file, selectors.EVENT_READ, self)
        self._file, self._pipes, self._take = file, pipes, take
        self._rest = b""

    def read(self) -> bool:
        """Pass on what is there; return whether there may be more at once."""
        if self._file.closed:
            return False
        try:
            data = os.read(self._file.fileno(), _MOST_LINE)
        except BlockingIOError:
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) >= _MOST_LINE or not data:
            lines.append(self._rest)
            self._rest = b""
        if not data:
            self._pipes.unregister(self._file)
            self._file.close()
        for line in lines:
            self._take(line.decode(errors="replace").strip())
        return bool(data)
