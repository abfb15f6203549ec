"""One file of a table: its cells as numbers, with the line and column of every fault."""

from __future__ import annotations

import csv
from array import array
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from edgeglm.errors import DataError
from edgeglm.recipe.suggest import suggestion
from edgeglm.sources.split_files import text_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edgeglm.sources.csv_file import CsvData

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})  # in any case: cells that hold nothing
_MOST_CATEGORIES = 30  # that a hint lists


@dataclass(frozen=True)
class Table:
    """The rows of one file, in their order."""

    path: Path
    names: list[str]  # of the features
    features: np.ndarray  # (R, F) float32; NaN where a cell is missing
    lines: np.ndarray  # (R,) int64
    targets: list[list[str]]  # by column, as written
    groups: np.ndarray | None  # (R,) texts
    times: np.ndarray | None  # (R,) numbers that grow with time
    extra: dict[str, np.ndarray] = field(default_factory=dict)  # columns that slices are made of, (R,) texts

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        """Return the place of a row."""
        return f"{self.path}:{self.lines[row]}"

    def take(self, rows: np.ndarray) -> Table:
        """Return these rows alone, in this order."""
        return replace(
            self,
            features=self.features[rows],
            lines=self.lines[rows],
            targets=[[column[row] for row in rows] for column in self.targets],
            groups=None if self.groups is None else self.groups[rows],
            times=None if self.times is None else self.times[rows],
            extra={name: values[rows] for name, values in self.extra.items()},
        )


def read_table(path: Path, config: CsvData, slices: Sequence[str]) -> Table:
    """Return the columns of one file that the recipe asks for.

    Raises:
        DataError: A line is not UTF-8 or has another number of cells, a column is missing, a cell is no number.
    """
    rows = _rows(path, config.delimiter)
    try:
        number, first = next(rows)
    except StopIteration:
        raise DataError("the file is empty", where=str(path), hint="give it rows", code="data-empty") from None
    names = [cell.strip() for cell in first] if config.header else [str(place + 1) for place in range(len(first))]
    features = _features(names, config, [*config.target_names, *slices], f"{path}:{number}")
    place = {name: names.index(name) for name in names}
    codes = {
        name: {category: code for code, category in enumerate(known)} for name, known in config.categorical.items()
    }
    columns = [(name, place[name], codes.get(name)) for name in features]
    kept = [*config.target_names, *(name for name in (config.group, config.time) if name is not None), *slices]
    texts: dict[str, list[str]] = {name: [] for name in kept}
    values, lines = array("f"), array("q")

    def add(number: int, cells: list[str]) -> None:
        if len(cells) != len(names):
            raise DataError(
                f"{len(cells)} cells, and there are {len(names)} columns",
                where=f"{path}:{number}",
                hint=f"cells are parted by `{config.delimiter}` (`data.delimiter`); put '\"' around one that holds it",
                code="data-columns",
            )
        for name, at, known in columns:
            values.append(_number(cells[at], name, known, path, number))
        for name, column in texts.items():
            column.append(cells[place[name]].strip())
        lines.append(number)

    if not config.header:
        add(number, first)
    for number, cells in rows:
        add(number, cells)
    if not lines:
        raise DataError("holds no rows", where=str(path), hint="give it rows below the header", code="data-empty")
    found = Table(
        path=path,
        names=features,
        features=np.frombuffer(values, np.float32).reshape(len(lines), len(columns)),
        lines=np.frombuffer(lines, np.int64),
        targets=[texts[name] for name in config.target_names],
        groups=None if config.group is None else np.array(texts[config.group]),
        times=None,
        extra={name: np.array(texts[name]) for name in slices},
    )
    return found if config.time is None else replace(found, times=_times(found, texts[config.time], config.time))


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of every row that is not empty."""
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
            code="data-columns",
        ) from error


def _features(names: list[str], config: CsvData, others: Sequence[str], where: str) -> list[str]:
    """Return the columns that the model takes, after a look whether every column named is there."""
    named = [*(config.features or []), *config.ignore, *config.categorical, *others]
    named += [name for name in (config.group, config.time) if name is not None]
    if missing := [name for name in dict.fromkeys(named) if name not in names]:
        several = "s" if len(missing) > 1 else ""
        raise DataError(
            f"there is no column{several} {', '.join(f'`{name}`' for name in missing)}",
            where=where,
            hint=suggestion(missing[0], names, what="the columns are"),
            code="data-columns",
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(
            f"two columns are called `{twice}`", where=where, hint="give each its own name", code="data-columns"
        )
    if config.features is not None:
        return list(config.features)
    spoken_for = {*config.ignore, config.group, config.time}
    if not config.horizon:  # a forecast knows the past of what it predicts
        spoken_for |= set(config.target_names)
    features = [name for name in names if name not in spoken_for]
    if not features:
        raise DataError("no column is left for features", where=where, hint="see `data.ignore`", code="data-columns")
    return features


def _number(cell: str, name: str, known: dict[str, int] | None, path: Path, line: int) -> float:
    text = cell.strip()
    if known is not None:
        if text in known:
            return float(known[text])
        if text.lower() in MISSING:
            return float("nan")
        raise DataError(
            f"`{text:.40}` is no category of `{name}`",
            where=f"{path}:{line}",
            hint=suggestion(text, known, what="its categories are"),
            code="data-classes",
        )
    if text.lower() in MISSING:
        return float("nan")
    try:
        return float(text)
    except ValueError:
        raise DataError(
            f"column `{name}` holds `{text:.40}`, which is no number",
            where=f"{path}:{line}",
            hint=f"list its categories (`categorical: {{{name}: [{text:.40}, ...]}}`), or leave it out (`ignore`)",
            code="data-dtype",
        ) from None


def _times(table: Table, texts: list[str], name: str) -> np.ndarray:
    """Return points in time as numbers: as they are, or seconds of ISO 8601."""
    times = np.empty(len(texts), np.float64)
    for row, text in enumerate(texts):
        try:
            times[row] = float(text)
        except ValueError:
            try:
                times[row] = datetime.fromisoformat(text).timestamp()
            except ValueError:
                times[row] = np.nan
        if not np.isfinite(times[row]):
            raise DataError(
                f"column `{name}` holds `{text:.40}`, which is no point in time",
                where=table.where(row),
                hint="write numbers, or ISO 8601: 2026-03-01T12:00:00",
                code="data-dtype",
            )
    return times
