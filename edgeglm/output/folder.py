"""The output folder: files renamed into place, the manifest last, one run at a time."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, get_args

from edgeglm.errors import UserError
from edgeglm.files import copy_file, locked, storage_errors, sync_folder, write_bytes
from edgeglm.formats import ALL_SUFFIXES
from edgeglm.recipe.types import Scheme

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARKER = ".edgeglm"  # its presence says that the files beside it are edgeglm's to replace; it is also the lock
STAGING = ".staging"  # where a result lies until it is whole

# what a result may hold; anything else in the folder is the user's and stays
SCHEMES = ("", *(f".{scheme}{mixed}" for scheme in get_args(Scheme) for mixed in ("", "-mixed")))
OURS = (
    *(f"model{scheme}{suffix}" for scheme in SCHEMES for suffix in ALL_SUFFIXES),
    *("report.json", "report.html", "recipe.resolved.yaml", "golden", "preprocess", "steps", "rejected"),
)


class OutputFolder:
    """One result. Everything is staged beside it and moved in at the end: a run that fails leaves the old result."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[str, bytes | Path] = {}

    def add(self, name: str, content: bytes | Path) -> None:
        """Take a file into the result, by its bytes or from where it lies now."""
        self._files[name] = content

    def publish(self, manifest: bytes | None) -> None:
        """Replace the result: the old manifest goes first, the new one comes last; None: a rejected result has none.

        Raises:
            StorageError: The disk is full or refuses; the folder then has no manifest and is no result.
        """
        staging = self.path / STAGING
        if manifest is not None:  # written before anything old is removed: the disk may be full for it too
            write_bytes(staging / "manifest.json", manifest)
        for name, content in self._files.items():
            if isinstance(content, bytes):
                write_bytes(staging / name, content)
            else:
                copy_file(content, staging / name)
        with storage_errors(self.path):
            (self.path / "manifest.json").unlink(missing_ok=True)
            for old in [self.path / name for name in OURS if (self.path / name).exists()]:
                if old.is_dir() and not old.is_symlink():
                    shutil.rmtree(old)
                else:
                    old.unlink()
            for name in self._files:
                final = self.path / name
                final.parent.mkdir(parents=True, exist_ok=True)
                (staging / name).replace(final)
            sync_folder(self.path)
            if manifest is not None:
                (staging / "manifest.json").replace(self.path / "manifest.json")
                sync_folder(self.path)


@contextmanager
def open_output(path: Path) -> Iterator[OutputFolder]:
    """Yield the output folder, held for this run alone.

    Raises:
        BusyError: Another run writes to it.
        UserError: It holds files that edgeglm did not write.
        StorageError: It cannot be made.
    """
    if path.exists() and not path.is_dir():
        raise UserError("is a file, not a folder", where=str(path), hint="choose another -o", code="output-not-ours")
    if path.is_dir() and not (path / MARKER).exists() and any(path.iterdir()):
        raise UserError(
            "the output folder holds files that edgeglm did not write; it will not replace them",
            where=str(path),
            hint="choose an empty or new folder with -o",
            code="output-not-ours",
        )
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    with locked(path / MARKER, wait=False, what="to this output folder"):
        shutil.rmtree(path / STAGING, ignore_errors=True)  # what a killed run left takes room that this one needs
        try:
            yield OutputFolder(path)
        finally:
            shutil.rmtree(path / STAGING, ignore_errors=True)
