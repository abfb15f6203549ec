"""What the supervisor tells systemd: that it is ready, that it lives, what it does, that it stops.

The protocol is one datagram of ``NAME=value`` lines to the socket that ``$NOTIFY_SOCKET`` names (sd_notify(3)). Where
nothing asked for it, as in a terminal or a container, all of this does nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_SECOND_US = 1_000_000
_MOST_CHARACTERS = 500  # of a status


class Service:
    """This process as systemd sees it."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Read what systemd asks for, and take it out of ``environ``: children do not speak for this process."""
        address = environ.pop("NOTIFY_SOCKET", "")
        interval = environ.pop("WATCHDOG_USEC", "")
        meant = environ.pop("WATCHDOG_PID", "")
        self._address: str | None = None
        if address.startswith("/"):
            self._address = address
        elif address.startswith("@") and len(address) > 1:
            self._address = "\0" + address[1:]  # a name in the abstract namespace: there is no file
        for_us = meant in ("", str(os.getpid()))
        self._watchdog_us = int(interval) if interval.isdecimal() and for_us else 0
        self._status = ""

    @property
    def watched(self) -> bool:
        """Whether systemd restarts this process when it hears nothing."""
        return self._address is not None and self._watchdog_us > 0

    @property
    def alive_every_s(self) -> float | None:
        """How often ``alive`` is to be called: a third of the time systemd waits; None: it does not wait."""
        return self._watchdog_us / _SECOND_US / 3 if self.watched else None

    def ready(self, status: str = "") -> bool:
        """Say that the start is over: what waits for this unit goes on."""
        return self._send("READY=1", *self._new_status(status))

    def alive(self) -> bool:
        """Say that this process is well: the watchdog counts anew."""
        return self.watched and self._send("WATCHDOG=1")

    def status(self, text: str) -> bool:
        """Say in a few words what goes on: ``systemctl status`` shows them. The same words are sent once."""
        lines = self._new_status(text)
        return bool(lines) and self._send(*lines)

    def stopping(self, status: str = "") -> bool:
        """Say that the stop has begun, and is no failure."""
        return self._send("STOPPING=1", *self._new_status(status))

    def _new_status(self, text: str) -> tuple[str, ...]:
        # a line break would begin another field, and other control characters reach somebody's terminal
        text = "".join(character if character.isprintable() else " " for character in text)
        text = " ".join(text.split())[:_MOST_CHARACTERS]
        if not text or text == self._status:
            return ()
        self._status = text
        return (f"STATUS={text}",)

    def _send(self, *lines: str) -> bool:
        """Send one datagram; return whether it went. What systemd cannot hear is no reason to stop serving."""
        if self._address is None:
            return False
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
        ):
            out.settimeout(0.2)  # a manager that does not read must not hold the loop
            out.sendto("\n".join(lines).encode(errors="replace"), self._address)
            return True
        return False
