"""Progress on stderr: lines that stay; on a terminal also one line that moves."""

from __future__ import annotations

import sys
import time

NOT_A_TERMINAL_EVERY = 10  # lines of progress a stage, where nothing may be animated


class ConsoleLog:
    """Prints stages, notes, warnings and progress with the time left."""

    def __init__(self) -> None:
        self._start = self._stage_start = time.monotonic()
        self._moving = sys.stderr.isatty()
        self._pending = False
        self._shown = 0

    def stage(self, text: str) -> None:
        """Print the stage, with the seconds since the start."""
        self._line(f"[{time.monotonic() - self._start:6.1f} s] {text}")
        self._stage_start, self._shown = time.monotonic(), 0

    def note(self, text: str) -> None:
        """Print a note, indented below its stage."""
        self._line(f"           {text}")

    def warn(self, text: str) -> None:
        """Print a warning."""
        self._line(f"  warning: {text}")

    def progress(self, done: int, total: int, **values: float) -> None:
        """Print how far the stage is; at most ten lines a stage where the output is no terminal."""
        figures = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        share = f"{done}/{total}" if total else str(done)
        left = ""
        if total and 0 < done < total:
            left = f"  {_duration((time.monotonic() - self._stage_start) * (total - done) / done)} left"
        text = f"           {share}  {figures}{left}"
        if self._moving:
            sys.stderr.write(f"\r\x1b[2K{text}")
            sys.stderr.flush()
            self._pending = True
        elif total and done * NOT_A_TERMINAL_EVERY // total > self._shown:
            self._shown = done * NOT_A_TERMINAL_EVERY // total
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
