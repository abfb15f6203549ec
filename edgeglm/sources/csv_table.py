"""One file of a table: its cells as numbers, with the line and column of every fault."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from edgeglm_agent.suggest import suggestion

from edgeglm.errors import DataError
from edgeglm.sources.csv_columns import (
    column_names,
    column_problems,
    feature_key,
    feature_names,
    first_row,
    read_rows,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
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
    rows = read_rows(path, config.delimiter)
    number, first = first_row(rows, path)
    names = column_names(first, config)
    if problems := column_problems(first, config, dict.fromkeys(slices, "slices"), place=f"{path}:{number}"):
        raise DataError.of(problems)
    features = feature_names(names, config)
    place = {name: names.index(name) for name in names}
    codes = {
        name: {category: code for code, category in enumerate(known)} for name, known in config.categorical.items()
    }
    columns = [_Feature(name, place[name], feature_key(name, config), codes.get(name)) for name in features]
    others = [*config.target_names, *(name for name in (config.group, config.time) if name is not None), *slices]
    texts: dict[str, list[str]] = {name: [] for name in others}
    values, lines = array("f"), array("q")

    def add(number: int, cells: list[str]) -> None:
        if len(cells) != len(names):
            raise DataError(
                f"{len(cells)} cell{'s' * (len(cells) != 1)}, and there are {len(names)} columns",
                where=f"{path}:{number}",
                hint=f"cells are parted by `{config.delimiter}` (`data.delimiter`); put '\"' around one that holds it",
                code="data-columns",
            )
        for column in columns:
            values.append(_number(cells[column.place], column, path, number))
        for name, kept in texts.items():
            kept.append(cells[place[name]].strip())
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


@dataclass(frozen=True)
class _Feature:
    """A column that the model takes."""

    name: str
    place: int
    key: str  # of the recipe, that makes it one
    categories: dict[str, int] | None  # category -> its number; None: it holds numbers

    @property
    def called(self) -> str:
        return f"column `{self.name}` (`{self.key}`)"


def _number(cell: str, column: _Feature, path: Path, line: int) -> float:
    text, known = cell.strip(), column.categories
    if known is not None:
        if text in known:
            return float(known[text])
        if text.lower() in MISSING:
            return float("nan")
        raise DataError(
            f"{column.called} holds `{text:.40}`, which is none of its categories",
            where=f"{path}:{line}",
            hint=suggestion(text, known, what="its categories are"),
            code="data-classes",
        )
    if text.lower() in MISSING:
        return float("nan")
    try:
        return float(text)
    except ValueError:
        listed = f"categorical: {{{column.name}: [{text:.40}, ...]}}"
        raise DataError(
            f"{column.called} holds `{text:.40}`, which is no number",
            where=f"{path}:{line}",
            hint=f"list its categories (`{listed}`), or leave it out (`ignore`)",
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
                times[row] = _seconds(text)
            except ValueError:
                times[row] = np.nan
        if not np.isfinite(times[row]):
            raise DataError(
                f"column `{name}` (`data.time`) holds `{text:.40}`, which is no point in time",
                where=table.where(row),
                hint="write numbers, or ISO 8601: 2026-03-01T12:00:00",
                code="data-dtype",
            )
    return times


def _seconds(text: str) -> float:
    """Return a point in time of ISO 8601 in seconds; one without a zone is of UTC. Raises: ValueError.

    Of the zone of this machine, whose hour is moved twice a year, the order of rows would hang on where they are read.
    """
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
