"""A terminal that is taken over while something is watched: whole screens out, keys in. Leaves it as it was."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import time
import tty
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"  # the other screen, no cursor, and lines that are too long do not go on
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _CLEAR, _REVERSED, _PLAIN = "\x1b[H", "\x1b[2K", "\x1b[7m", "\x1b[0m"
_SEQUENCE = re.compile(rb"\x1b[\[O]([0-9;]*)([A-Za-z~])|[\x20-\x7e]")
_NAMES = {
    b"A": "up", b"B": "down", b"C": "right", b"D": "left", b"H": "home", b"F": "end",
    b"1~": "home", b"4~": "end", b"5~": "page-up", b"6~": "page-down", b"7~": "home", b"8~": "end",
}  # fmt: skip


def is_terminal() -> bool:
    """Tell whether there is a terminal that a screen can be drawn on and keys come from."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def keys_in(typed: bytes) -> list[str]:
    """Return the names of the keys: what can be printed as itself, arrows and the like in words, others not at all."""
    found = []
    for match in _SEQUENCE.finditer(typed):
        if match[2] is None:
            found.append(match[0].decode())
        elif name := _NAMES.get(match[1] + match[2]):
            found.append(name)
    return found


class TerminalGoneError(Exception):
    """Nobody looks any more: the window was closed, or the connection ended."""


class Screen:
    """Made and used by the main thread; ``wake`` is for all. Keys, a new size and signals end a wait."""

    def __enter__(self) -> Screen:
        """Take the terminal over."""
        self._in, self._out = sys.stdin.fileno(), sys.stdout
        self._before = termios.tcgetattr(self._in)
        self._woken, self._wake = os.pipe()
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)
        self._wakeup = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self._resized = signal.signal(signal.SIGWINCH, lambda *_: None)  # one that is ignored wakes nobody
        tty.setcbreak(self._in)  # Ctrl-C stays one
        quiet = termios.tcgetattr(self._in)
        quiet[6][termios.VSUSP] = b"\0"  # stopped, it would leave the terminal as it is now
        termios.tcsetattr(self._in, termios.TCSANOW, quiet)
        self._write(_ENTER)
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back as it was; it may be gone."""
        with suppress(OSError):
            self._write(_LEAVE)
        with suppress(termios.error):
            termios.tcsetattr(self._in, termios.TCSADRAIN, self._before)
        signal.signal(signal.SIGWINCH, self._resized)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._wake)
        os.close(self._woken)

    def size(self) -> tuple[int, int]:
        """Return width and height, in characters; where the terminal does not say, what most once had."""
        try:
            width, height = os.get_terminal_size(self._out.fileno())
        except OSError:
            width = height = 0
        return width or 80, height or 24

    def draw(self, lines: Sequence[str], *, reversed_lines: Sequence[int | None] = ()) -> None:
        """Show these lines, as many as the screen has. Raises: TerminalGoneError."""
        shown = [  # each is cleared first: behind a full line the cursor stands on its last character
            _CLEAR + (f"{_REVERSED}{line}{_PLAIN}" if place in reversed_lines else line)
            for place, line in enumerate(lines)
        ]
        try:
            self._write(_HOME + "\r\n".join(shown))
        except OSError as error:
            raise TerminalGoneError from error

    def keys(self, within_s: float) -> list[str]:
        """Return the keys that were pressed, waiting so long for something to happen. Raises: TerminalGoneError."""
        ready, _, _ = select.select([self._in, self._woken], [], [], max(0.0, within_s))
        if self._woken in ready:
            with suppress(BlockingIOError):
                os.read(self._woken, 4096)
        if self._in not in ready:
            return []
        typed = self._typed()
        if typed.endswith((b"\x1b", b"\x1b[", b"\x1bO")):  # the rest of an arrow is on its way, over a slow line
            time.sleep(0.05)
            if select.select([self._in], [], [], 0)[0]:
                typed += self._typed()
        return keys_in(typed)

    def _typed(self) -> bytes:
        try:
            typed = os.read(self._in, 1024)
        except OSError as error:
            raise TerminalGoneError from error
        if not typed:
            raise TerminalGoneError
        return typed

    def wake(self) -> None:
        """End a wait for keys."""
        with suppress(OSError):  # it is full, and so it wakes anyway; or nobody waits any more
            os.write(self._wake, b"\0")

    def _write(self, text: str) -> None:
        self._out.buffer.write(text.encode(self._out.encoding or "ascii", "backslashreplace"))
        self._out.buffer.flush()
