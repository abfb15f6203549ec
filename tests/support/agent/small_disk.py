"""A file system of a few megabytes that can be filled and freed: one in memory, in a mount namespace of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


class SmallDisk:
    """Mounted on a folder, for programs that are started with ``enter`` before their command.

    Attributes:
        enter: Words before a command that let it see the disk at its place.
        path: Where this process sees it.
    """

    def __init__(self, folder: Path, *, megabytes: int) -> None:
        folder.mkdir()
        self._folder = folder
        mount = f'mount -t tmpfs -o size={megabytes}m none "$0" && echo mounted && exec sleep 3600'
        self._holder = subprocess.Popen(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, folder], stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"mounted\n"
        number = str(self._holder.pid)
        self.enter = ("nsenter", "--preserve-credentials", "--user", "--mount", "--target", number, "--")
        self.path = Path(f"/proc/{number}/root{folder}")

    def fill(self) -> None:
        """Write until nothing more fits, not a byte."""
        with (self.path / "filler").open("ab", buffering=0) as filler:
            for size in (65_536, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        filler.write(bytes(size))

    def is_full(self) -> bool:
        """Return whether a page more does not fit."""
        found = os.statvfs(self.path)
        return found.f_bavail == 0

    def free(self) -> None:
        """Take away what ``fill`` wrote."""
        (self.path / "filler").unlink()

    def __enter__(self) -> SmallDisk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Let it go, with all that is on it."""
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()
