"""Small files of the kernel, read so that nothing about them can fail: what is missing or nonsense is None."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MOST_BYTES = 65_536


def read_text(path: Path | str) -> str | None:
    """Return what a file holds, without blanks and zero bytes around it; None: it cannot be read.

    A sensor that is switched off answers with EAGAIN (Jetson Orin Nano's zones cv0 to cv2), EINVAL or ENODATA instead
    of text; a buffered reader would wait or raise its own errors, so the file is read by one system call.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        data = os.read(handle, _MOST_BYTES)
    except OSError:
        return None
    finally:
        os.close(handle)
    return data.decode("utf-8", "replace").strip("\0 \t\r\n")


def read_int(path: Path | str, *, base: int = 10) -> int | None:
    """Return the number that a file holds; None: there is none."""
    return to_int(read_text(path), base=base)


def to_int(text: str | None, *, base: int = 10) -> int | None:
    """Return the number that a text is; None: it is none."""
    if text is None or len(text) > 32:  # no sensor says more; a long line of digits would take long to convert
        return None
    try:
        return int(text, base)
    except ValueError:
        return None


def listed(folder: Path, pattern: str) -> list[Path]:
    """Return what a folder holds, by name and with numbers in their order; nothing where it cannot be listed."""
    found: list[Path] = []
    with contextlib.suppress(OSError):
        found = [*folder.glob(pattern)]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def hwmon(sysroot: Path) -> list[tuple[str, Path]]:
    """Return name and folder of every hardware monitor; their numbers change from boot to boot."""
    folders = listed(sysroot / "sys/class/hwmon", "hwmon*")
    return [(read_text(folder / "name") or "", folder) for folder in folders]
