"""The columns of a table: those that a recipe names must be there, and a fault stands at the key that names it.

NumPy is not imported: `edgeglm check` reads the first line of a table.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from edgeglm_agent.suggest import suggestion

from edgeglm.errors import DataError, Problem
from edgeglm.sources.split_files import text_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edgeglm.sources.csv_file import CsvData

_CODE = "data-columns"
_OTHER_DELIMITERS = {";": ";", "\t": "\\t", "|": "|", ",": ","}  # as YAML writes them between double quotes
_NEVER_WITHIN = (";", "\t")  # a name or a number


def read_rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of every row that is not empty.

    Raises:
        DataError: A line is not UTF-8, or a quote is not closed.
    """
    lines = (line + "\n" for _, line in text_lines(path))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if cells and (len(cells) > 1 or cells[0].strip()):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(
            f"cannot be read as a table: {error}",
            where=f"{path}:{reader.line_num}",
            hint="look for a '\"' that is not closed, or that stands inside a cell and is not doubled",
            code=_CODE,
        ) from error


def first_row(rows: Iterator[tuple[int, list[str]]], path: Path) -> tuple[int, list[str]]:
    """Return line and cells of the first row. Raises: DataError: there is none."""
    try:
        return next(rows)
    except StopIteration:
        raise DataError("the file is empty", where=str(path), hint="give it rows", code="data-empty") from None


def column_names(first: list[str], config: CsvData) -> list[str]:
    """Return what the columns are called: by the first row, or where that is none of names, ``1``, ``2``, ..."""
    return [cell.strip() for cell in first] if config.header else [str(place + 1) for place in range(len(first))]


def column_problems(first: list[str], config: CsvData, slices: Mapping[str, str], *, place: str) -> list[Problem]:
    """Return what is wrong with the columns of one file; ``where`` of each is a key of the recipe.

    Args:
        first: The cells of its first row.
        config: Names those that it wants.
        slices: Columns that slices are made of -> the key that names it.
        place: What to call the file: ``table.csv:1``.
    """
    names = column_names(first, config)
    other = _other_delimiter(first, config)
    if other in _NEVER_WITHIN:
        message = f"`{place}` has one column, `{first[0].strip():.60}`: its cells are parted by something else"
        return [Problem(message, _write_delimiter(other), "data.delimiter", _CODE)]
    wanted: dict[str, str] = {}
    for name, key in (*_named(config), *slices.items()):
        wanted.setdefault(name, key)
    problems = [
        Problem(f"`{place}` has no column `{name}`", _missing_hint(name, names, config), key, _CODE)
        for name, key in wanted.items()
        if name not in names
    ]
    if problems:
        return problems
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        message = f"`{place}` has two columns called `{twice}`"
        return [Problem(message, "give each its own name", "data.path", _CODE)]
    if not feature_names(names, config):
        message = f"`{place}` has no column left for features: {', '.join(f'`{name}`' for name in names)}"
        return [
            Problem(f"{message} serve other purposes", "see `ignore`, `target`, `group` and `time`", "data.path", _CODE)
        ]
    return []


def feature_names(names: Sequence[str], config: CsvData) -> list[str]:
    """Return the columns that the model takes."""
    if config.features is not None:
        return list(config.features)
    spoken_for = {*config.ignore, config.group, config.time}
    if not config.horizon:  # a forecast knows the past of what it predicts
        spoken_for |= set(config.target_names)
    return [name for name in names if name not in spoken_for]


def _named(config: CsvData) -> Iterator[tuple[str, str]]:
    """Yield every column that the recipe names, and the key that does."""
    for field, listed in (("features", config.features or []), ("ignore", config.ignore)):
        yield from ((name, f"data.{field}[{place}]") for place, name in enumerate(listed))
    yield from ((name, f"data.categorical.{name}") for name in config.categorical)
    if isinstance(config.target, str):
        yield config.target, "data.target"
    else:
        yield from ((name, f"data.target[{place}]") for place, name in enumerate(config.target_names))
    for field, column in (("group", config.group), ("time", config.time)):
        if column is not None:
            yield column, f"data.{field}"


def _missing_hint(name: str, names: Sequence[str], config: CsvData) -> str:
    if not config.header:
        return f"without a header the columns are called 1 to {len(names)}; `header: true` takes names from line 1"
    if other := _other_delimiter(names, config):
        return f"there is one column, `{names[0]:.60}`: {_write_delimiter(other)}"
    if all(_is_number(cell) for cell in names):
        return "the first line holds numbers, no names: write `header: false`, and the columns are called 1, 2, ..."
    return suggestion(name, names, what="the columns are")


def _other_delimiter(first: Sequence[str], config: CsvData) -> str:
    """Return what seems to part the cells of a row that reads as one cell; nothing where there are several."""
    if len(first) > 1:
        return ""
    return next((mark for mark in _OTHER_DELIMITERS if mark in first[0].strip() and mark != config.delimiter), "")


def _write_delimiter(mark: str) -> str:
    return f'write `delimiter: "{_OTHER_DELIMITERS[mark]}"` under `data`'


def feature_key(name: str, config: CsvData) -> str:
    """Return the key of the recipe that makes a column a feature."""
    if name in config.categorical:
        return f"data.categorical.{name}"
    return "data.features" if config.features is None else f"data.features[{config.features.index(name)}]"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
