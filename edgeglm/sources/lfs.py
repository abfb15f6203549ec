"""Files that git-lfs has not fetched: a few lines of text stand where the content should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

_FIRST_LINE = b"version https://git-lfs.github.com/spec/"  # https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md


def refuse_lfs_pointer(path: Path, where: str) -> None:
    """Raise UserError (``file-lfs-pointer``) when a file, which exists, is a pointer of git-lfs."""
    with path.open("rb") as file:
        if file.read(len(_FIRST_LINE)) != _FIRST_LINE:
            return
    raise UserError(
        f"{path.name} is a git-lfs pointer: a few lines of text in place of the content",
        where=where,
        hint="run `git lfs pull` in its repository",
        code="file-lfs-pointer",
    )
