"""Whether the clock can be trusted, and whether it was set while we looked.

A Pi has no battery: without a network it goes on from the last time it wrote down, or from 1970.
"""

from __future__ import annotations

import ctypes
import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm_agent.board.files import read_text

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOT = Path("/")
_STA_UNSYNC = 0x0040
_STATUS_AT = 40  # bytes into struct timex of a 64-bit Linux
_TIMEX_BYTES = 208
_EARLIEST_S = 1_735_689_600  # 2025-01-01: no clock that is right shows less
_SLACK_S = 0.5
_DRIFT = 0.001  # a clock that is slewed runs at most 500 ppm off (adjtimex(2)), and its crystal 100 ppm


def synchronised(sysroot: Path = _ROOT) -> bool:
    """Return whether the clock has been set from outside since boot.

    The kernel knows while someone disciplines it, and forgets after some hours without; systemd-timesyncd leaves a
    file once it has set the clock (systemd-time-wait-sync(8)). Either is enough: a crystal loses a second or two a
    day. A sandbox that allows no ``adjtimex`` leaves the file. A clock of before 2025 is wrong whoever vouches for it.
    """
    if not plausible():
        return False
    return bool(kernel_synchronised()) or (sysroot / "run/systemd/timesync/synchronized").exists()


def plausible(now_s: float | None = None) -> bool:
    """Return whether the clock shows a time that this program can have lived to see."""
    return (time.time() if now_s is None else now_s) >= _EARLIEST_S


def kernel_synchronised() -> bool | None:
    """Return whether the kernel holds its clock to be synchronised; None: it may not be asked. Source: adjtimex(2)."""
    if ctypes.sizeof(ctypes.c_long) != 8:
        return None
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes 0: reads alone
    try:
        answer = _libc().adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    if answer < 0:
        return None
    status = int.from_bytes(buffer.raw[_STATUS_AT : _STATUS_AT + 4], "little")
    return not status & _STA_UNSYNC


@functools.cache
def _libc() -> ctypes.CDLL:
    """Return the C library; each time anew it would be a class of its own, which is asked for with every window."""
    return ctypes.CDLL(None)


def boot_id(sysroot: Path = _ROOT) -> str:
    """Return the kernel's random name for this boot; empty: it gives none."""
    return read_text(sysroot / "proc/sys/kernel/random/boot_id") or ""


def uptime_ms() -> int:
    """Return the time since boot, sleep included: true even where the clock is not."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class StepDetector:
    """Notices that the wall clock was set, by holding it against the time since boot."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        boot: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._wall, self._boot = wall, boot
        self._at = boot()
        self._offset = wall() - self._at

    def stepped(self) -> float | None:
        """Return by how many seconds the clock was set since the last call, forward positive; None: it was not.

        Below half a second nothing is said: that is what slewing, and the time between two readings, can make.
        """
        at = self._boot()
        offset = self._wall() - at
        by = offset - self._offset
        allowed = _SLACK_S + _DRIFT * (at - self._at)
        self._at, self._offset = at, offset
        return by if abs(by) > allowed else None
