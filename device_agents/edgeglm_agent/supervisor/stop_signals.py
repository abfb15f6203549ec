"""SIGTERM and SIGINT, noted from the process's first moment on: whoever has begun, ends in order."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

_STOPS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Notes them: they may come in the middle of an import, a message or a commit; the loop does what they ask for.

    Attributes:
        came: Whether one did.
    """

    def __init__(self) -> None:
        """Hear them from now on."""
        self.came = False
        self._before = {number: signal.signal(number, self._note) for number in _STOPS}

    def _note(self, *_: object) -> None:
        self.came = True

    def __enter__(self) -> StopSignals:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hear them no more: after an orderly end nobody does, else those who did before."""
        for number, before in self._before.items():
            # Python gives them their default back at its end: one more would look like a crash
            signal.signal(number, signal.SIG_IGN if kind is None else before)
