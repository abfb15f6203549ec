"""Progress on stderr: lines that stay; on a terminal also one line that moves. A reader may leave at any time."""

from __future__ import annotations

import io
import os
import select
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

# where nothing may be animated, a line of progress comes at each tenth, and after this long without one
_TENTHS = 10
_QUIET_SECONDS = 10.0


class _LastingFile(io.FileIO):
    """A file to write to that goes on as /dev/null once its reader has left."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            _discard(self.fileno())
            return len(data)


def outlive_stderr() -> None:
    """Make sys.stderr one whose reader may leave (`2>&1 | head`): neither the log nor user code then fails by it."""
    if sys.stderr is None:  # closed by the caller (`2>&-`): print() would take stdout instead
        sys.stderr = _nowhere()
        return
    sys.stderr.flush()
    raw = _LastingFile(sys.stderr.fileno(), "w", closefd=False)
    writer = io.BufferedWriter(raw)
    sys.stderr = io.TextIOWrapper(writer, sys.stderr.encoding, "backslashreplace", line_buffering=True)


def outlive_closed_stdout() -> None:
    """Print nowhere where the caller has closed stdout (`>&-`): what is asked of sys.stdout is there then."""
    if sys.stdout is None:
        sys.stdout = _nowhere()


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")  # for the rest of the process


@contextmanager
def printing() -> Iterator[None]:
    """Print a result inside: a reader of stdout that leaves early (`| head`) is no error, and changes no exit code."""
    try:
        yield
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as broken:
        if isinstance(broken, SystemExit) and not isinstance(broken.__context__, BrokenPipeError):
            raise  # rich makes SystemExit of a broken pipe, and nobody else should
        _discard(sys.stdout.fileno())


def reader_has_left() -> bool:
    """Tell whether stdout is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _discard(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


class ConsoleLog:
    """Prints stages, notes, warnings and progress with the time left."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._begun: tuple[float, int] | None = None  # when the stage's work began, and how much was done before
        self._moving = sys.stderr.isatty()
        self._pending = False
        self._shown = 0  # tenths
        self._told = 0.0  # when the last line of progress was printed

    def stage(self, text: str) -> None:
        """Print the stage, with the seconds since the start."""
        self._line(f"[{time.monotonic() - self._start:6.1f} s] {text}")
        self._begun, self._shown = None, 0

    def note(self, text: str) -> None:
        """Print a note, indented below its stage."""
        self._line(f"           {text}")

    def warn(self, text: str) -> None:
        """Print a warning."""
        self._line(f"  warning: {text}")

    def progress(self, done: int, total: int, **values: float) -> None:
        """Print how far the stage is; where the output is no terminal, at its start, every tenth and every 10 s.

        The time left is reckoned from where the stage begins: what was done before took no time of this run, and
        what comes before the first of its work will not come again.
        """
        now = time.monotonic()
        first = self._begun is None
        if first and done:
            self._line(f"           goes on from step {done} of {total}")
            self._shown, self._told = done * _TENTHS // max(total, 1), now
        if self._begun is None or done == self._begun[1]:
            self._begun = (now, done)
        began, before = self._begun
        figures = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        share = f"{done}/{total}" if total else str(done)
        left = ""
        if before < done < total:
            left = f"  {_duration((now - began) * (total - done) / (done - before))} left"
        text = f"           {share}  {figures}{left}".rstrip()
        if self._moving:
            sys.stderr.write(f"\r\x1b[2K{text}")
            sys.stderr.flush()
            self._pending = True
            return
        tenth = done * _TENTHS // max(total, 1)
        if (first and not done) or tenth > self._shown or now - self._told >= _QUIET_SECONDS:
            self._shown, self._told = tenth, now
            self._line(text)

    def _line(self, text: str) -> None:
        if self._pending:
            sys.stderr.write("\n")
            self._pending = False
        print(text, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
