"""The columns of a .tsv file of texts: those that a recipe names must be there. NumPy is not imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm_agent.suggest import suggestion

from edgeglm.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from edgeglm.sources.text import TextData

_CODE = "data-columns"
_TARGET_NAMES = frozenset({"label", "score", "target", "class"})  # what people call it, and no label is called


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


def column_problems(
    path: Path, first: tuple[int, str], config: TextData, slices: Mapping[str, str], labels: Collection[str] = ()
) -> list[Problem]:
    """Return what is wrong with the columns of one .tsv file; ``where`` of each is a key of the recipe.

    Args:
        path: Of the file.
        first: Its first line that is not empty, with the number of the line.
        config: Names the columns wanted.
        slices: Columns that slices are made of -> the key that names it.
        labels: The recipe's names of classes: one of these names no column.
    """
    number, line = first
    names = [cell.strip() for cell in line.split("\t")]
    wanted = wanted_columns(config)
    if not config.header:
        hint = "write the names into the first line, and `header: true` under `data`"
        problems = [
            Problem(f"the columns of `{path}` have no names, and a slice is made of `{name}`", hint, key, _CODE)
            for name, key in slices.items()
        ]
        return problems or _by_place(path, number, names, [name for name, _ in wanted], config, labels)
    if len(names) == 1:
        listed = ", ".join(name for name, _ in wanted)
        message = f"`{path}:{number}` has one column, and {len(wanted)} are wanted: {listed}"
        return [Problem(message, "columns are parted by one tab", "data.path", _CODE)]
    return [
        Problem(f"`{path}:{number}` has no column `{name}`", _missing_hint(name, names, key), key, _CODE)
        for name, key in dict([*slices.items(), *wanted]).items()
        if name not in names
    ]


def _missing_hint(name: str, names: list[str], key: str) -> str:
    hint = suggestion(name, names, what="the columns are")
    field = key.removeprefix("data.")
    listed = hint.startswith("the columns are") and "[" not in field
    return f"{hint}; write `{field}: {names[0]}` if that is the one" if listed else hint


def _is_label(path: Path, cell: str) -> bool:
    """Tell whether the last cell of the first line stands there in a later line too: a heading does so once."""
    with path.open(encoding="utf-8", errors="replace") as file:
        found = sum(line.rstrip("\r\n").rpartition("\t")[2].strip() == cell for line in file)
    return found > 1


def _by_place(
    path: Path, number: int, cells: list[str], wanted: list[str], config: TextData, labels: Collection[str]
) -> list[Problem]:
    """Return what is wrong with a file whose columns have no names, and are known by their place."""
    place = f"{path}:{number}"
    texts = "[NAME, NAME]" if config.tsv == "pairs" else "NAME"
    shown = ", ".join(f"`{cell:.30}`" for cell in cells)
    if len(cells) > len(wanted):
        read = f"without names the first {len(wanted)} would be read, as {', '.join(wanted)}"
        message = f"`{place}` has {len(cells)} columns ({shown}), and {read}"
        hint = (
            f"name them in the first line, and write `header: true`, `text: {texts}` and `target: NAME` under `data`, "
            "with the names of the columns that you mean"
        )
        return [Problem(message, hint, "data.header", _CODE)]
    named = cells[-1].lower() in {wanted[-1].lower(), *_TARGET_NAMES} and not any(" " in cell for cell in cells)
    if len(cells) == len(wanted) and named and cells[-1] not in labels and not _is_label(path, cells[-1]):
        of_texts = cells[0] if config.tsv == "labels" else f"[{', '.join(cells[:-1])}]"
        message = f"`{place}` names the columns ({shown}), and would be read as a sample"
        hint = f"write `header: true`, `text: {of_texts}` and `target: {cells[-1]}` under `data`"
        hint += f"; where `{cells[-1]}` is a class, list it among `labels`" if config.tsv == "labels" else ""
        return [Problem(message, hint, "data.header", _CODE)]
    return []
