"""What a Raspberry Pi's firmware knows: whether the supply sags, and whether it slows the processor down.

Bits of ``get_throttled``: 0 under-voltage, 1 frequency capped, 2 throttled, 3 soft temperature limit, all of this
moment; 16 to 19 say that the same has happened since boot.

Sources: Raspberry Pi documentation, "vcgencmd" get_throttled; the kernel's Documentation/hwmon/raspberrypi-hwmon.rst
and drivers/hwmon/raspberrypi-hwmon.c (which asks the firmware every 2 s).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from edgeglm_agent.board.files import hwmon, listed, read_int, to_int

if TYPE_CHECKING:
    from pathlib import Path

UNDER_VOLTAGE = 1 << 0
CAPPED = 1 << 1
THROTTLED = 1 << 2
SOFT_LIMIT = 1 << 3
NAMES = {
    UNDER_VOLTAGE: "under-voltage",
    CAPPED: "frequency capped",
    THROTTLED: "throttled",
    SOFT_LIMIT: "soft temperature limit",
}
_BITS = 0xF000F
_COMMANDS = ("usr/bin/vcgencmd", "opt/vc/bin/vcgencmd")
_PATIENCE_S = 1.0
_FAILURES = 3


def in_words(bits: int) -> str:
    """Return what the bits say, for people: ``throttled (now), under-voltage (since boot)``; empty: nothing."""
    now = [f"{name} (now)" for bit, name in NAMES.items() if bits & bit]
    before = [f"{name} (since boot)" for bit, name in NAMES.items() if bits & bit << 16 and not bits & bit]
    return ", ".join(now + before)


class Pi:
    """The firmware of a Raspberry Pi, as far as it can be asked."""

    def __init__(self, sysroot: Path) -> None:
        self._alarm = next(
            (folder / "in0_lcrit_alarm" for name, folder in hwmon(sysroot) if name == "rpi_volt"),
            None,
        )
        self._command = next(
            (str(place) for place in (sysroot / name for name in _COMMANDS) if os.access(place, os.X_OK)), None
        )
        # of the vendor's kernel alone; deprecated there: its first reading writes a warning to the kernel's log, so
        # the command is asked first
        self._file = next(
            iter(listed(sysroot / "sys/devices/platform/soc", "*firmware/get_throttled")),
            None,
        )
        self._failures = 0

    def under_voltage(self) -> bool | None:
        """Return whether the supply has sagged in the last two seconds; costs one small file."""
        alarm = None if self._alarm is None else read_int(self._alarm)
        return None if alarm is None else alarm != 0

    def throttled(self) -> int | None:
        """Return the bits of ``get_throttled``; None: nothing tells them.

        Runs a program of a few milliseconds: to be asked rarely. One that fails three times is not asked again.
        """
        bits = None
        if self._command is not None and self._failures < _FAILURES:
            bits = self._asked(self._command)
            self._failures = 0 if bits is not None else self._failures + 1
        if bits is None and self._file is not None:
            bits = read_int(self._file, base=16)
        return bits if bits is None else bits & _BITS

    @staticmethod
    def _asked(command: str) -> int | None:
        import subprocess  # where it is needed: a board without the command never loads it

        try:
            answer = subprocess.run(
                [command, "get_throttled"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_PATIENCE_S,
                check=True,
            ).stdout
        except (OSError, subprocess.SubprocessError):
            return None
        name, _, value = answer.decode("ascii", "replace").strip().partition("=")
        return to_int(value, base=16) if name == "throttled" else None
