"""Results of steps and artifacts, kept under a key that covers all they depend on.

An entry is a folder; ``done.json`` is written last, so a folder without it is work in progress: a later run of the
same key finds the checkpoint in it and goes on from there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from edgeglm.files import locked, storage_errors, write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["preflight", "precision", "step", "artifact", "predictions"]


def cache_folder() -> Path:
    """Return the cache's folder: ``$EDGEGLM_CACHE``, else below ``$XDG_CACHE_HOME``, else ``~/.cache/edgeglm``."""
    if own := os.environ.get("EDGEGLM_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "edgeglm"
    return Path.home() / ".cache" / "edgeglm"


def make_key(**parts: Any) -> str:
    """Return a key over plain data (see ``msgspec.to_builtins``): equal parts give equal keys, on every machine."""
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:32]


@dataclass(frozen=True)
class Entry:
    """One result: its folder, and whether it is complete."""

    kind: Kind
    folder: Path

    @property
    def result(self) -> dict[str, Any] | None:
        """What ``finish`` was given, or None while the entry is incomplete."""
        try:
            data = (self.folder / "done.json").read_bytes()
            result = msgspec.json.decode(data)
        except (OSError, msgspec.DecodeError):
            return None
        return result if isinstance(result, dict) else None

    def finish(self, **result: Any) -> None:
        """Mark the entry complete. Raises: StorageError."""
        write_bytes(self.folder / "done.json", msgspec.json.encode(result))

    @property
    def size_bytes(self) -> int:
        """Bytes of all files of the entry."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())


class Cache:
    """All entries below one folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()

    @contextmanager
    def entry(self, kind: Kind, key: str) -> Iterator[Entry]:
        """Yield the entry of this key, held for this process alone: two runs never do the same work at once.

        Raises:
            StorageError: The cache cannot be written.
        """
        folder = self.folder / kind / key
        with locked(self.folder / kind / f"{key}.lock", wait=True, what="this cache entry"), storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            yield Entry(kind, folder)

    def entries(self) -> list[Entry]:
        """Return every entry, complete or not, oldest first."""
        found = [Entry(folder.parent.name, folder) for folder in self.folder.glob("*/*") if folder.is_dir()]  # type: ignore[arg-type]
        return sorted(found, key=lambda entry: entry.folder.stat().st_mtime)

    def clear(self) -> int:
        """Remove every entry; return the bytes that were freed. Raises: StorageError."""
        freed = sum(entry.size_bytes for entry in self.entries())
        with storage_errors(self.folder):
            for kind in Kind.__args__:  # type: ignore[attr-defined]
                shutil.rmtree(self.folder / kind, ignore_errors=True)
        return freed
