"""A recipe file, or plain data, to a `Recipe`: read, compose, override, validate, all faults at once."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping as MappingType
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeglm_agent.suggest import nearest
from msgspec import inspect as types

from edgeglm.errors import EdgeglmError, Problem, RecipeError
from edgeglm.recipe.compose import compose
from edgeglm.recipe.faults import place
from edgeglm.recipe.nodes import MAX_BYTES, Mapping, Scalar, to_plain
from edgeglm.recipe.operation_files import with_tokenizer_files
from edgeglm.recipe.overrides import apply_overrides
from edgeglm.recipe.plain import to_nodes
from edgeglm.recipe.rules import check_rules
from edgeglm.recipe.short import write_out
from edgeglm.recipe.types import Recipe
from edgeglm.recipe.walk import Walker
from edgeglm.recipe.wording import found

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ITEM = re.compile(r"(steps|artifacts|preprocess|postprocess|slices)\[\d+\](?![^.\[])")
_OURS = re.compile(r"device|slices|preprocess|postprocess|(data|task)\.[a-z_]+")  # layers are hardly called so


@dataclass(frozen=True)
class LoadedRecipe:
    """A valid recipe, and where each of its keys stands."""

    recipe: Recipe
    path: Path  # as the user gave it
    folder: Path  # what the paths in the recipe are relative to
    lines: dict[str, int]  # key path, as after --set, -> line of the file
    overridden: frozenset[str] = frozenset()  # key paths that --set gave

    def where(self, key: str) -> str:
        """Return ``path:line key`` for an error about `key`; ``--set key`` when the command line set it.

        A key that the file does not write has the line of what it would stand in.
        """
        return place(str(self.path), key, self.lines, self.overridden)

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Run the recipe inside: errors that name one of its keys then name its line, ``path:line key``."""
        try:
            yield
        except EdgeglmError as error:
            error.problems = tuple(replace(p, where=self._located(p.where)) for p in error.problems)
            raise

    def _located(self, where: str) -> str:
        key, space, rest = where.partition(" ")
        # a layer may be named like a key that the recipe does not write
        known = key and (key in self.lines or _OURS.fullmatch(key) or _ITEM.match(key))
        return f"{self.where(key)}{space}{rest}" if known else where


def load_recipe(recipe: Path | str | MappingType[str, Any], *, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Read and validate a recipe.

    Args:
        recipe: The YAML file; or the recipe as plain data, whose paths are relative to the working directory.
        overrides: Changes made before validation, as after ``--set``: ``steps[0].prune.channel_ratio=0.3``.

    Raises:
        RecipeError: Every problem found, in the order of the file.
    """
    if isinstance(recipe, MappingType):
        root, problems = to_nodes(recipe)
        assert isinstance(root, Mapping)
        return _validate(root, problems, Path("recipe"), overrides)
    return parse_recipe(_read(Path(recipe)), Path(recipe), overrides=overrides)


def parse_recipe(text: str, path: Path, *, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Validate the text of a recipe; `path` names it in errors, and its folder is what paths are relative to.

    Raises:
        RecipeError: Every problem found, in the order of the file.
    """
    root, problems = compose(text, name=str(path))
    if root is None or (isinstance(root, Scalar) and root.value is None):
        raise RecipeError(
            "the file is empty",
            where=str(path),
            hint="`edgeglm init DIR` writes a recipe that runs as it is",
            code="recipe-empty",
        )
    if not isinstance(root, Mapping):
        raise RecipeError(
            f"a recipe is a mapping of keys, this is {found(root)}",
            where=f"{path}:{root.line}",
            hint="start with `version: 1`",
            code="recipe-wrong-type",
        )
    return _validate(root, problems, path, overrides)


def _validate(root: Mapping, problems: list[Problem], path: Path, overrides: Sequence[str]) -> LoadedRecipe:
    override_problems = apply_overrides(root, overrides)
    write_out(root)
    walker = Walker(str(path))
    walker.index(root, "", root.line)
    recipe = walker.read(root, types.type_info(Recipe), "")
    listed = to_plain(root)
    check_rules(walker, steps=_length(listed.get("steps")), artifacts=_length(listed.get("artifacts")))
    walked = [problem for _, problem in sorted(walker.problems, key=lambda pair: pair[0])]
    if everything := [*override_problems, *_in_order(problems, walked)]:
        raise RecipeError.of(everything)
    assert isinstance(recipe, Recipe)
    recipe = with_tokenizer_files(recipe, path.parent)
    return LoadedRecipe(recipe, path, path.parent, walker.lines, frozenset(walker.overridden))


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else 0


def _in_order(composed: list[Problem], walked: list[Problem]) -> list[Problem]:
    """Return all problems of the file, those of its YAML first; a scalar that both name counts once."""
    places = {problem.where for problem in composed if problem.code == "recipe-wrong-type"}
    return [*composed, *(problem for problem in walked if problem.where not in places)]


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
                raise IsADirectoryError
            raw = file.read(MAX_BYTES + 1)
    except IsADirectoryError:
        inside = path / "recipe.yaml"
        hint = f"did you mean {inside}?" if inside.is_file() else "name the YAML file in it"
        raise RecipeError("this is a folder", where=str(path), hint=hint, code="recipe-unreadable") from None
    except (FileNotFoundError, NotADirectoryError):
        raise RecipeError("no such file", where=str(path), hint=_missing_hint(path), code="recipe-not-found") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RecipeError(
            f"cannot be read: {reason}", where=str(path), hint="look at its permissions", code="recipe-unreadable"
        ) from None
    if len(raw) > MAX_BYTES:
        raise RecipeError(
            f"larger than {MAX_BYTES // 1024} KiB, which is no recipe",
            where=str(path),
            hint="put long lists, such as labels, into files of their own",
            code="recipe-too-large",
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            f"not UTF-8: byte 0x{raw[error.start]:02x}",
            where=f"{path}:{line}",
            hint="save the file as UTF-8",
            code="recipe-not-yaml",
        ) from None


def _missing_hint(path: Path) -> str:
    try:
        beside = [str(file) for pattern in ("*.yaml", "*.yml") for file in path.parent.glob(pattern)]
    except (OSError, ValueError):
        beside = []
    if near := nearest(str(path), beside):
        return f"did you mean {near[0]}?"
    if beside:
        return f"there is {', '.join(sorted(beside)[:5])}"
    return "`edgeglm init DIR` writes a recipe that runs as it is"
