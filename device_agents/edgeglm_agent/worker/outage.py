"""An input that has gone: shown at once, told to the fleet once, and opened again after longer and longer waits."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from edgeglm_agent import ipc
from edgeglm_agent.passwords import hidden

if TYPE_CHECKING:
    from edgeglm_agent.worker.line import Line

REOPEN_S = (1.0, 2.0, 5.0, 10.0, 30.0)  # between tries to open it
SOUND_AFTER_S = 60.0  # open for so long: it is back, and what comes then is another outage


class Outage:
    """What the supervisor knows of the input; one thread calls it, and a timer.

    Without it, a camera that is found and lost each second would tell two events a second, for which the fleet pays
    with its windows.
    """

    def __init__(self, line: Line, *, sound_after_s: float = SOUND_AFTER_S) -> None:
        """Take who hears it."""
        self._line = line
        self._sound_after_s = sound_after_s
        self.why = ""  # nothing comes in; empty: the input is open
        self._lock = threading.Lock()
        self._since = 0.0  # time.monotonic() of the loss that was told; 0: none was
        self._losses = 0
        self._tries = 0  # that failed since the input gave its last sample
        self._sound: threading.Timer | None = None

    def wait_s(self) -> float:
        """Return how long to wait before the input is opened again."""
        return REOPEN_S[min(self._tries, len(REOPEN_S)) - 1] if self._tries else 0.0

    def gone(self, why: str, *, gave: bool) -> None:
        """Take note that it has gone, or could not be opened.

        Args:
            why: As a person reads it.
            gave: It gave a sample since it was opened: the next wait is the shortest again.
        """
        self.why = why = hidden(why)  # whatever input says so, a package's too: the fleet reads it
        with self._lock:
            self._cancel()
            self._tries = 1 if gave else self._tries + 1
            self._losses += 1
            first, self._since = not self._since, self._since or time.monotonic()
        self._line.send(ipc.InputGone(why))
        if first:
            self._line.happened("input-lost", "warning", {"why": why})

    def opened(self) -> None:
        """Take note that it is open; only when it has been for a while, the fleet is told."""
        self.why = ""
        self._line.send(ipc.InputGone(""))
        with self._lock:
            if self._since:
                self._sound = threading.Timer(self._sound_after_s, self._back)
                self._sound.daemon = True
                self._sound.start()

    def close(self) -> None:
        """Tell nothing any more."""
        with self._lock:
            self._cancel()

    def _back(self) -> None:
        with self._lock:
            if self._sound is None:
                return
            away_s, losses = time.monotonic() - self._since - self._sound_after_s, self._losses
            self._since, self._losses, self._tries, self._sound = 0.0, 0, 0, None
        self._line.happened("input-back", "info", {"away_s": round(away_s, 1), "losses": losses})

    def _cancel(self) -> None:
        if self._sound is not None:
            self._sound.cancel()
            self._sound = None
