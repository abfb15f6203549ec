"""Ctrl-C and SIGTERM: they end a run from within Python code, however a library treats what is raised in it.

A compiled library that is being imported calls Python, and what is raised there goes through code that cannot carry
it: some make an ImportError of it, others abort the process. A signal that arrives in that moment waits until then.
Where something catches what was raised and goes on, it is raised again.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from importlib.machinery import ExtensionFileLoader
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}

_LOADING = ("create_module", "exec_module")  # of importlib's loader of compiled libraries
_AGAIN_S = 0.02
_ECHO_S = 1.0  # a second signal this soon after the first is the same: terminals and runners both send one


class _State:
    """Which signal was raised, and when; whether that was caught by somebody who went on; whether this is the end."""

    number: int | None = None
    raised_at = 0.0
    swallowed = False
    leaving = False


class _Raised:
    """What a signal raises; one that is gone before the process ends was caught by somebody who went on."""

    number = signal.SIGTERM

    def __del__(self) -> None:
        if not _State.leaving:
            _State.swallowed = True
            _thread.start_new_thread(_again, (self.number,))


class Terminated(_Raised, BaseException):
    """SIGTERM arrived; like KeyboardInterrupt, so that everything on the way out cleans up."""


class Interrupted(_Raised, KeyboardInterrupt):
    """SIGINT arrived."""

    number = signal.SIGINT


def stop_on_signals() -> None:
    """From here on SIGTERM and SIGINT raise; a second one ends the process at once.

    A SIGINT that is ignored, as of what a shell runs in the background, stays so.
    """
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    shown = sys.unraisablehook
    sys.unraisablehook = lambda about: None if isinstance(about.exc_value, _Raised) else shown(about)


def leave_if_stopped() -> None:
    """End the process with the exit code of the signal, where one was raised; from here on a signal ends it at once.

    Everything has cleaned up on the way here. Nothing more is run: libraries that were half imported tear themselves
    down badly, and a thread of theirs would keep the process.
    """
    _State.leaving = True
    if _State.number is not None:
        print("\nstopped; what is finished is cached: the same command goes on from there", file=sys.stderr, flush=True)
        os._exit(EXIT_CODES[signal.Signals(_State.number)])


def _stop(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    known = _State.number is not None and not _State.swallowed
    if _State.leaving or (known and now - _State.raised_at > _ECHO_S):
        os._exit(EXIT_CODES[signal.Signals(number)])
    if known:
        return
    if _loads_library(frame):
        _thread.start_new_thread(_again, (number,))  # takes no lock that what was interrupted may hold
        return
    _State.number, _State.raised_at, _State.swallowed = number, now, False
    raise Terminated if number == signal.SIGTERM else Interrupted


def _loads_library(frame: FrameType | None) -> bool:
    """Tell whether a compiled library is being loaded somewhere below this frame."""
    while frame is not None:
        if frame.f_code.co_name in _LOADING and isinstance(frame.f_locals.get("self"), ExtensionFileLoader):
            return True
        frame = frame.f_back
    return False


def _again(number: int) -> None:
    time.sleep(_AGAIN_S)
    os.kill(os.getpid(), number)
