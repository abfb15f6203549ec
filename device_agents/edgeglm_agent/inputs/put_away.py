"""What becomes of a file that was answered: moved, deleted or kept, and moved aside where it failed."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from edgeglm_agent.inputs.answered_files import Identity

if TYPE_CHECKING:
    from edgeglm_agent.inputs.directory import DirectoryInput

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def identity_of(name: str, about: os.stat_result) -> Identity:
    """Return what a file is known by."""
    return Identity(name, about.st_ino, about.st_size, about.st_mtime_ns)


class PutAway:
    """The watched folder, and those of ours within it."""

    def __init__(self, config: DirectoryInput, folder: int) -> None:
        """Make the folders that are missing. Raises: OSError."""
        self._after = config.after
        self._fd = folder
        self._failed = self._subfolder(config.failed)
        self._done = self._subfolder(config.done) if config.after == "move" else -1

    def close(self) -> None:
        """Let go of our folders."""
        for number in (self._failed, self._done):
            if number >= 0:
                os.close(number)

    def put_away(self, identity: Identity, failure: str) -> bool:
        """Do with an answered file as the settings say; return whether it is here no more."""
        if failure:  # whatever `after` says: nothing that failed is deleted
            return self._move(identity, self._failed, failure)
        if self._after == "move":
            return self._move(identity, self._done)
        if self._after == "keep":
            return False
        try:
            if self._is_still(identity):
                os.unlink(identity.name, dir_fd=self._fd)
        except OSError:
            return False
        return True

    def _move(self, identity: Identity, folder: int, reason: str = "") -> bool:
        """Move a file to one of our folders, under a name that is free there."""
        base, suffix = os.path.splitext(identity.name)  # noqa: PTH122 - a name
        name, number = identity.name, 0
        try:
            if not self._is_still(identity):
                return True
            while _exists(name, folder):
                number += 1
                name = f"{base}-{number}{suffix}"
            os.rename(identity.name, name, src_dir_fd=self._fd, dst_dir_fd=folder)
        except OSError:  # disk full or no rights
            return False
        if reason:
            with contextlib.suppress(OSError):
                how = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
                file = os.open(f"{name}.reason.txt", how, 0o640, dir_fd=folder)
                try:
                    os.write(file, (reason + "\n").encode("utf-8", "replace"))
                finally:
                    os.close(file)
        return True

    def _is_still(self, identity: Identity) -> bool:
        """Tell whether the file under this name is the one that was answered, and no newer one."""
        try:
            about = os.stat(identity.name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return identity_of(identity.name, about) == identity

    def _subfolder(self, name: str) -> int:
        """Return one of our folders, open; it is made where it is missing, and never a link. Raises: OSError."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o750, dir_fd=self._fd)
        return os.open(name, _FOLDER, dir_fd=self._fd)


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
