"""Ctrl-C, SIGTERM, and a terminal that is gone: they end a run at once, from within the handler.

What runs until it is stopped (a broker, a collector) is told instead, and ends in its own order: `stopped_by_signals`.

Nothing is raised. Much of a run is called by compiled code (a library that is being imported, a converter), and an
exception of Python's does not get through that: some of it aborts the process, some hangs, some goes on as if nothing
had been. Nothing needs to be unwound either: files are whole at any moment (:mod:`edgeglm.files`), locks and child
processes go with the process, and what it kept for a while is removed here (:mod:`edgeglm.leftovers`).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from edgeglm.leftovers import remove_leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

CACHED = "stopped; what is finished is cached: the same command goes on from there"
EXIT_CODES = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGTERM: 143}

_AGAIN_S = 1.0  # one Ctrl-C may reach us twice: from the terminal, and from who started us
_terminal = 2  # where stderr leads, also while a converter is silenced
_last_words = "stopped"


def stop_on_signals() -> None:
    """From here on SIGHUP, SIGINT and SIGTERM end the process; a second one while that goes on, without cleaning up.

    One that is ignored, as SIGINT of what a shell runs in the background and SIGHUP under nohup, stays so. Processes
    that somebody forks from this one have Python's own handlers.
    """
    global _terminal
    with suppress(OSError):  # closed by the caller (`2>&-`)
        _terminal = os.dup(2)
    ours = [number for number in EXIT_CODES if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _stop) for number in ours}
    os.register_at_fork(after_in_child=lambda: [signal.signal(number, kept) for number, kept in before.items()])


def goes_on_when_started_again() -> None:
    """Have a stop say from here on that nothing was in vain: of verbs that cache what they have finished."""
    global _last_words
    _last_words = CACHED


def last_words() -> str:
    """Return what is said at a stop."""
    return _last_words


def _stop(number: int, _: FrameType | None) -> None:
    _end_now(EXIT_CODES[signal.Signals(number)], _last_words)


def _end_now(code: int, words: str = "") -> None:
    for other in EXIT_CODES:
        signal.signal(other, lambda *_: os._exit(code))
    with suppress(OSError, RuntimeError, ValueError):  # its reader is gone; it was being written to; it is closed
        sys.stdout.flush()
    remove_leftovers()
    if words:
        with suppress(OSError):
            os.write(_terminal, f"\n{words}\n".encode())
    os._exit(code)  # at once: libraries that were half imported tear themselves down badly, and threads may wait


class Stopped:
    """Whether a signal has come, and the exit code that tells it."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.code = 0


@contextmanager
def stopped_by_signals() -> Iterator[Stopped]:
    """Let SIGINT, SIGTERM and SIGHUP set an event inside; Ctrl-C again, a second later, ends the process at once.

    Further SIGTERMs change nothing: who ends a whole group (systemd, timeout) sends several, and so does `fleet up`,
    whose parts have heard one by then. Who has no patience left has SIGKILL.
    """
    stopped, first_s = Stopped(), 0.0
    before = {number: signal.getsignal(number) for number in EXIT_CODES}
    ours = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}

    def note(number: int, _: FrameType | None) -> None:
        nonlocal first_s
        if not stopped.event.is_set():
            first_s = time.monotonic()
            stopped.code = EXIT_CODES[signal.Signals(number)]
            stopped.event.set()
        elif number == signal.SIGINT and time.monotonic() - first_s > _AGAIN_S:
            _end_now(stopped.code)  # what was started ends with us

    for number in ours:
        signal.signal(number, note)
    try:
        yield stopped
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
