"""What a run keeps on the disk only while it goes on, so that one that is stopped leaves nothing of it.

A stopped run ends from within a signal handler (:mod:`edgeglm.cli.signals`): no ``finally`` of anybody's is run.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ATTEMPTS = 3  # a child may be writing into a folder that is being emptied
_kept: set[Path] = set()


@contextmanager
def removed_after(path: Path) -> Iterator[Path]:
    """Yield ``path``; the file or folder there goes at the end, also where the process is stopped inside."""
    _kept.add(path)
    try:
        yield path
    finally:
        _remove(path)
        _kept.discard(path)


@contextmanager
def temporary_folder_of_run() -> Iterator[None]:
    """Have all temporary files that are made inside lie in one folder that goes at the end.

    Those of libraries too, and of the processes that measure.
    """
    before = tempfile.tempdir
    try:
        folder = Path(tempfile.mkdtemp(prefix="edgeglm-"))
    except OSError:  # no room for any: what needs one will say so
        yield
        return
    with removed_after(folder):
        tempfile.tempdir = str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before


def temporary_folder() -> Path:
    """Return where temporary files lie: what TMPDIR names, or the system's own folder."""
    folder = Path(tempfile.gettempdir())
    return folder.parent if folder in _kept else folder


def is_temporary(name: object) -> bool:
    """Tell whether a file is one of those that :func:`temporary_folder_of_run` has in its folder."""
    folder = Path(tempfile.gettempdir())
    return folder in _kept and isinstance(name, str) and Path(name).is_relative_to(folder)


def remove_leftovers() -> None:
    """Remove what :func:`removed_after` would remove now."""
    for path in list(_kept):
        _remove(path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
            return
        for _ in range(_ATTEMPTS):
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                return
