"""The columns of a .tsv file of texts: those that a recipe names must be there. NumPy is not imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.errors import Problem
from edgeglm.recipe.suggest import suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeglm.sources.text import TextData

_CODE = "data-columns"


def is_table(path: Path) -> bool:
    """Tell whether a file has columns; others hold one text a line."""
    return path.suffix.lower() == ".tsv"


def wanted_columns(config: TextData) -> list[tuple[str, str]]:
    """Return (column, the key of the recipe that names it); texts first, the target last."""
    target = "score" if config.tsv == "pairs" and config.target == "label" else config.target
    if config.tsv == "pairs":
        texts = config.text if isinstance(config.text, list) else ["text_a", "text_b"]
    else:
        texts = [config.text if isinstance(config.text, str) else config.text[0]]
    several = isinstance(config.text, list)
    keys = [(name, f"data.text[{place}]" if several else "data.text") for place, name in enumerate(texts)]
    return [*keys, (target, "data.target")]


def plain_problems(path: Path, slices: Mapping[str, str], *, judged_by: str) -> list[Problem]:
    """Return what a .txt file that is evaluated on lacks: it has texts, and neither targets nor columns.

    Args:
        path: Of the file.
        slices: Columns that slices are made of -> the key that names it.
        judged_by: Kind of the task, when it needs targets; else "".
    """
    problems = []
    if judged_by:
        message = f"`{path}` holds texts alone, and `kind: {judged_by}` is judged by targets"
        hint = f"write {path.stem}.tsv in its place: a text, a tab and its label in each line"
        problems.append(Problem(message, hint, "data.path", "data-no-targets"))
    hint = "name a function `path.py:function`, or write a .tsv file whose first line names its columns"
    problems += [
        Problem(f"`{path}` has no columns, and a slice is made of `{name}`", hint, key, _CODE)
        for name, key in slices.items()
    ]
    return problems


def column_problems(path: Path, first: tuple[int, str], config: TextData, slices: Mapping[str, str]) -> list[Problem]:
    """Return what is wrong with the columns of one .tsv file; ``where`` of each is a key of the recipe.

    Args:
        path: Of the file.
        first: Its first line that is not empty, with the number of the line.
        config: Names the columns wanted.
        slices: Columns that slices are made of -> the key that names it.
    """
    if not config.header:
        hint = "write the names into the first line, and `header: true` under `data`"
        return [
            Problem(f"the columns of `{path}` have no names, and a slice is made of `{name}`", hint, key, _CODE)
            for name, key in slices.items()
        ]
    number, line = first
    names = [cell.strip() for cell in line.split("\t")]
    wanted = wanted_columns(config)
    if len(names) == 1:
        listed = ", ".join(name for name, _ in wanted)
        message = f"`{path}:{number}` has one column, and {len(wanted)} are wanted: {listed}"
        return [Problem(message, "columns are parted by one tab", "data.path", _CODE)]
    return [
        Problem(
            f"`{path}:{number}` has no column `{name}`", suggestion(name, names, what="the columns are"), key, _CODE
        )
        for name, key in dict([*slices.items(), *wanted]).items()
        if name not in names
    ]
