"""Results of steps and artifacts, kept under a key that covers all they depend on.

An entry is a folder; ``done.json`` is written last, so a folder without it is work in progress: a later run of the
same key finds the checkpoint in it and goes on from there. What does not have the digest that ``done.json`` gives is
damaged, and made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from edgeglm.errors import BusyError, StorageError
from edgeglm.files import locked, sha256_file, storage_errors, write_bytes
from edgeglm.leftovers import removed_after

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["preflight", "precision", "step", "artifact", "predictions", "sensitivity", "choice"]
_FILES = "files"  # in done.json: file name -> SHA-256


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
    damaged: bool = False  # it was complete once, and its files are not what was written

    @property
    def result(self) -> dict[str, Any] | None:
        """What ``finish`` was given, or None while the entry is incomplete."""
        done = self._done()
        return None if done is None else {name: value for name, value in done.items() if name != _FILES}

    def finish(self, *files: str, **result: Any) -> None:
        """Mark the entry complete.

        Only steps, which may have trained for hours, have to outlast a power cut: what else is torn by one has not the
        digest that is kept, and is made again. The output folder syncs what it takes from here.

        Args:
            files: Names of the files in the folder that are the result; their digests are kept with it.
            result: Plain data to find again.

        Raises:
            StorageError: It cannot be written.
        """
        digests = {name: sha256_file(self.folder / name) for name in files}
        write_bytes(
            self.folder / "done.json", msgspec.json.encode({**result, _FILES: digests}), synced=self.kind == "step"
        )

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield an empty folder for files that are not the result; what a killed run left in it goes first.

        Raises:
            StorageError: It cannot be written.
        """
        folder = self.folder / "scratch"
        with storage_errors(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        with removed_after(folder):
            yield folder

    @property
    def size_bytes(self) -> int:
        """Bytes of all files of the entry."""
        total = 0
        for file in self.folder.rglob("*"):
            with suppress(FileNotFoundError):  # a run may be renaming its temporary files
                total += file.stat().st_size if file.is_file() else 0
        return total

    def is_sound(self) -> bool:
        """Return whether every file that ``finish`` named is as it was then; of an incomplete entry, True."""
        digests = (self._done() or {}).get(_FILES, {})
        try:
            return all(sha256_file(self.folder / name) == digest for name, digest in dict(digests).items())
        except (OSError, TypeError, ValueError):
            return False

    def remove(self) -> None:
        """Remove the folder; killed half-way, it is incomplete."""
        (self.folder / "done.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder)

    def _done(self) -> dict[str, Any] | None:
        try:
            data = (self.folder / "done.json").read_bytes()
            done = msgspec.json.decode(data)
        except (OSError, msgspec.DecodeError):
            return None
        return done if isinstance(done, dict) else None


class Cache:
    """All entries below one folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()
        self.held = 0  # entries that the last ``clear`` left, since another process was at work on them

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep :meth:`clear` away, in this and every process, while paths of entries are in use.

        Raises:
            StorageError: The cache cannot be written.
        """
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextmanager
    def entry(self, kind: Kind, key: str) -> Iterator[Entry]:
        """Yield the entry of this key, held for this process alone: two runs never do the same work at once.

        One whose files are not what was written is incomplete again.

        Raises:
            StorageError: The cache cannot be written.
        """
        folder = self.folder / kind / key
        lock = self.folder / kind / f"{key}.lock"
        with self.in_use(), locked(lock, wait=True, what="this cache entry"), storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            damaged = not Entry(kind, folder).is_sound()
            if damaged:
                (folder / "done.json").unlink()
            yield Entry(kind, folder, damaged)

    def entries(self) -> list[Entry]:
        """Return every entry, complete or not, oldest first.

        Raises:
            StorageError: The cache cannot be read.
        """
        self._check_folder()
        found: list[tuple[float, Entry]] = []
        with storage_errors(self.folder):
            for kind in get_args(Kind):
                for folder in (self.folder / kind).iterdir() if (self.folder / kind).is_dir() else ():
                    with suppress(FileNotFoundError):  # removed since
                        if folder.is_dir():
                            found.append((folder.stat().st_mtime, Entry(kind, folder)))
        return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]

    def clear(self) -> int:
        """Remove every entry, and return the bytes that were freed; ``held`` counts those left to whoever holds them.

        Raises:
            BusyError: A run is using the cache (``cache-busy``).
            StorageError: The cache cannot be written.
        """
        self.held = freed = 0
        self._check_folder()
        if not self.folder.exists():
            return 0
        with self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB), storage_errors(self.folder):
            for entry in self.entries():
                lock = entry.folder.with_name(f"{entry.folder.name}.lock")
                try:
                    with locked(lock, wait=False, what="this cache entry"):
                        size = entry.size_bytes
                        entry.remove()
                        freed += size
                        lock.unlink()  # nobody waits for it: who would, holds the cache in use
                except BusyError:
                    self.held += 1
        return freed

    @contextmanager
    def _locked(self, operation: int) -> Iterator[None]:
        self._check_folder()
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / ".in-use").open("a+b")
        with file:
            try:
                fcntl.flock(file, operation)
            except BlockingIOError:
                raise BusyError(
                    "a run is using the cache",
                    where=str(self.folder),
                    hint="wait until it has ended",
                    code="cache-busy",
                ) from None
            yield

    def _check_folder(self) -> None:
        """Raise StorageError when a file is where the folder should be."""
        if self.folder.exists() and not self.folder.is_dir():
            raise StorageError(
                "the cache must be a folder, and this is a file",
                where=str(self.folder),
                hint="set EDGEGLM_CACHE to a folder, or move that file away",
                code="disk-refuses",
            )
