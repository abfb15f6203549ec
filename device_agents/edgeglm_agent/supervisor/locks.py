"""One agent a folder: of the state, and of the sockets."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class AgentRunningError(RuntimeError):
    """Another agent holds the folder of the state, or that of the sockets.

    Attributes:
        folder: Which.
        setting: The key that names it.
    """

    def __init__(self, folder: Path, setting: str) -> None:
        self.folder = folder
        self.setting = setting
        super().__init__(f"another agent holds {folder}")


def lock_folders(state_dir: Path, runtime_dir: Path) -> list[int]:
    """Make both folders, and hold them until what is returned is closed, or this process ends.

    Raises:
        AgentRunningError: Another agent holds one of them.
        OSError: One cannot be made or written.
    """
    for folder in (state_dir, runtime_dir):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    locks = [_locked(state_dir, "state_dir")]
    if not runtime_dir.samefile(state_dir):
        locks.append(_locked(runtime_dir, "runtime_dir"))
    return locks


def _locked(folder: Path, setting: str) -> int:
    handle = os.open(folder / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise AgentRunningError(folder, setting) from None
    return handle
