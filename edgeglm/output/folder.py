"""The output folder: files renamed into place, the manifest last, one run at a time."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import msgspec

from edgeglm.errors import UserError
from edgeglm.files import copy_file, locked, storage_errors, sync_folder, write_bytes
from edgeglm.formats import ALL_SUFFIXES, SUFFIXES, companions
from edgeglm.leftovers import removed_after
from edgeglm.recipe.types import Scheme

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKER = ".edgeglm"  # its presence says that the files beside it are edgeglm's to replace; it is also the lock
REPORT = "report.json"
STAGING = ".staging"  # where a result lies until it is whole

# what a result may hold, beside what its manifest or report lists; anything else in the folder is the user's and stays
SCHEMES = ("", *(f".{scheme}{mixed}" for scheme in get_args(Scheme) for mixed in ("", "-mixed")))
OURS = (
    *(f"model{scheme}{suffix}" for scheme in SCHEMES for suffix in ALL_SUFFIXES),
    *(REPORT, "report.html", "recipe.resolved.yaml", "golden", "preprocess", "steps", "rejected"),
)


class OutputFolder:
    """One result. Everything is staged beside it and moved in at the end: a run that fails leaves the old result."""

    def __init__(self, path: Path, recipe: Path | None = None) -> None:
        self.path = path
        self.recipe = recipe  # the file that the result is made by
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
            replaced = {*OURS, *_listed(self.path)}
            (self.path / "manifest.json").unlink(missing_ok=True)
            # the report goes after the files that it lists: what a kill leaves here is known to the next run
            for name in sorted(replaced, key=lambda name: name == REPORT):
                old = self.path / name
                if not old.exists():
                    continue
                if old.is_dir() and not old.is_symlink():
                    shutil.rmtree(old)
                else:
                    old.unlink()
            for name in self._files:
                final = self.path / name
                final.parent.mkdir(parents=True, exist_ok=True)
                (staging / name).replace(final)
            # in place: the file is the lock too. A path from here still leads there when both are moved together
            made_by = "" if self.recipe is None else os.path.relpath(self.recipe.resolve(), self.path.resolve())
            (self.path / MARKER).write_text(made_by, "utf-8")
            sync_folder(self.path)
            if manifest is not None:
                (staging / "manifest.json").replace(self.path / "manifest.json")
                sync_folder(self.path)


class _ListedFile(msgspec.Struct):
    path: str = ""


class _Listing(msgspec.Struct):
    """What manifest.json and report.json have in common."""

    artifacts: list[_ListedFile] = []


def _listed(folder: Path) -> set[str]:
    """Return the names of the model files that the result in a folder lists: packages name schemes as they like."""
    names: set[str] = set()
    for listing in ("manifest.json", REPORT):
        with suppress(OSError, msgspec.DecodeError):
            found = msgspec.json.decode((folder / listing).read_bytes(), type=_Listing).artifacts
            names.update(artifact.path for artifact in found)
    formats = {suffix: file_format for file_format, suffix in SUFFIXES.items()}
    files = [Path(name) for name in names if name.startswith("model.") and name == Path(name).name]
    ours = [(file, formats[file.suffix]) for file in files if file.suffix in formats]
    return {part.name for file, file_format in ours for part in (file, *companions(file, file_format))}


@contextmanager
def open_output(path: Path, *, recipe: Path | None = None, named: bool = True) -> Iterator[OutputFolder]:
    """Yield the output folder, held for this run alone.

    Args:
        path: The folder.
        recipe: The file of the recipe that is run; None: it has none.
        named: Whether the user named the folder. One that follows from the recipe's `name` is not taken from another
            recipe of that name.

    Raises:
        BusyError: Another run writes to it.
        UserError: It holds files that edgeglm did not write, or the result of another recipe file that is still there.
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
    other = None if named or recipe is None else _other_recipe(path, recipe)
    if other is not None:
        raise UserError(
            f"the output folder holds the result of another recipe of the same name, {other}",
            where=str(path),
            hint="give one of the two another `name`, or name a folder with -o",
            code="output-of-another-recipe",
        )
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    with locked(path / MARKER, wait=False, what="to this output folder"):
        shutil.rmtree(path / STAGING, ignore_errors=True)  # what a killed run left takes room that this one needs
        with removed_after(path / STAGING):
            yield OutputFolder(path, recipe)


def _other_recipe(path: Path, recipe: Path) -> str | None:
    """Return the recipe file that made the result in a folder, where that is another one and still there."""
    try:
        made_by = (path / MARKER).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    known = path.resolve() / made_by
    if not made_by or not known.is_file() or (recipe.exists() and known.samefile(recipe)):
        return None
    return os.path.relpath(known)
