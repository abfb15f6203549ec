"""One file that a recipe names: is it there?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm_agent.suggest import nearest

from edgeglm.errors import EdgeglmError, Problem
from edgeglm.files import tidied
from edgeglm.sources.lfs import refuse_lfs_pointer

if TYPE_CHECKING:
    from edgeglm.recipe.load import LoadedRecipe

_MISSING = {
    "model.weights": "weights-missing",
    "model.path": "model-file-missing",
    "data.path": "data-file-missing",
}


def missing_problem(loaded: LoadedRecipe, name: str, key: str, *, folder: bool = False) -> Problem | None:
    """Return the problem when `name`, relative to the recipe, is no file (no folder); `code` is by its key."""
    path = tidied(loaded.folder / name)
    code = _MISSING.get(".".join(key.split(".")[-2:]).replace("teacher.", "model."), "file-missing")
    if path.is_dir() if folder else path.is_file():
        try:
            next(path.iterdir(), None) if folder else path.open("rb").close()
        except OSError as error:
            message = f"`{path}` cannot be read: {error.strerror}"
            return Problem(message, "look at its permissions", loaded.where(key), code=code)
        return None
    what = "folder" if folder else "file"
    if path.exists():
        return Problem(f"`{path}` is not a {what}", f"name a {what}", loaded.where(key), code=code)
    return Problem(f"no {what} `{path}`", _near_files(path, name), loaded.where(key), code=code)


def given_problem(loaded: LoadedRecipe, key: str) -> Problem:
    """Return the problem of a source that only a program can give."""
    return Problem(
        f"`source: object` is given in Python, by `compress(..., {key}=...)`; here it is missing",
        f"call edgeglm.compress(recipe, {key}=...), or name a source that can be read",
        loaded.where(f"{key}.source"),
        code="source-object",
    )


def lfs_problem(loaded: LoadedRecipe, path: Path, key: str) -> Problem | None:
    """Return the problem when a file, which exists, is a pointer of git-lfs."""
    try:
        refuse_lfs_pointer(path, loaded.where(key))
    except EdgeglmError as error:
        return error.problems[0]
    return None


def _near_files(path: Path, name: str) -> str:
    """Return the hint for a missing file: one of its kind with a like name, or those that are there."""
    beside = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    stems = {item.stem: item.name for item in beside if item.suffix == path.suffix}
    if near := nearest(path.stem, stems):
        return f"did you mean `{Path(name).with_name(stems[near[0]])}`?"
    if path.suffix and stems:
        return f"beside it there is {', '.join(sorted(stems.values())[:5])}"
    return "paths are relative to the recipe's folder"
