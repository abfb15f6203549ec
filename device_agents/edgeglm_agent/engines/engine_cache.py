"""Engines that a runtime builds on the device, kept for the next start: only where each byte is the one written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SEAL = "sealed.json"
_KEPT = 2  # models: the one that serves, and the one before it, which a roll-back starts again


class EngineCache:
    """One folder of engines, for one model on one set of versions.

    TensorRT checks little of what it reads back: an engine of another version or a torn file can end the process. So
    a folder is used only when it was sealed after its engines had answered, and when its files still have the
    digests of that seal. While a process uses it the seal is off: one that dies leaves a folder that is built anew.
    """

    def __init__(self, root: Path, *, key: tuple[str, ...]) -> None:
        """Say where the engines are.

        Args:
            root: The folder of all of them.
            key: What an engine depends on: versions, the GPU's architecture, the model's sha256.
        """
        self._root = root
        self.used = False
        self.path = root / hashlib.sha256("\n".join(key).encode()).hexdigest()[:32]

    def open(self) -> bool:
        """Make the folder ready for use; False: it cannot be written. ``used`` then says whether engines are in it."""
        self.used = self._is_whole()
        if not self.used:
            self.clear()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / _SEAL).unlink(missing_ok=True)
            return self.used or not any(self.path.iterdir())
        except OSError:
            return False

    def seal(self) -> None:
        """Say that what lies in the folder has answered; a disk that is full leaves it without a seal."""
        with suppress(OSError):
            text = json.dumps(self._digests())
            for file in self._files():
                _sync(file)
            draft = self.path / f"{_SEAL}.draft"
            draft.write_text(text, "utf-8")
            _sync(draft)
            draft.replace(self.path / _SEAL)
            _sync(self.path)
            self._drop_others()

    def clear(self) -> None:
        """Remove the engines."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _is_whole(self) -> bool:
        try:
            sealed = json.loads((self.path / _SEAL).read_bytes())
            return bool(sealed) and sealed == self._digests()
        except (OSError, ValueError, RecursionError):
            return False

    def _files(self) -> list[Path]:
        return sorted(file for file in self.path.rglob("*") if file.is_file() and not file.name.startswith(_SEAL))

    def _digests(self) -> dict[str, str]:
        return {
            str(file.relative_to(self.path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in self._files()
        }

    def _drop_others(self) -> None:
        newest_first = sorted(self._root.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
        for folder in [folder for folder in newest_first if folder != self.path][_KEPT - 1 :]:
            shutil.rmtree(folder, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
