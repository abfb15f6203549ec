"""From tables to splits: divided by rows, groups or time, gaps filled, windows cut within one series and one split."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeglm.data.splits import Places
from edgeglm.errors import DataError
from edgeglm.files import tidied
from edgeglm.sources.arrays import INPUT
from edgeglm.sources.checking import assemble
from edgeglm.sources.csv_columns import feature_key
from edgeglm.sources.csv_file import SUFFIXES
from edgeglm.sources.csv_table import MISSING, Table, read_table
from edgeglm.sources.dataset import DatasetSplit
from edgeglm.sources.python_data import array_split
from edgeglm.sources.split_files import WHOLE, find_files
from edgeglm.sources.splitting import divide
from edgeglm.sources.target_column import Column, read_target_columns

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import Path

    from edgeglm_agent.processing import Preprocess

    from edgeglm.data.splits import ArraySplit, Data
    from edgeglm.sources.csv_file import CsvData
    from edgeglm.tasks import TaskConfig

MOST_BYTES_IN_MEMORY = 1 << 30  # windows of a split beyond this are cut each time they are read


@dataclass(frozen=True)
class Windows:
    """Overlapping windows of rows, cut when they are asked for."""

    rows: np.ndarray  # (R, F) float32
    starts: np.ndarray  # (N,) int64: first row of each
    length: int
    targets: np.ndarray | None  # (N, ...)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return one window (length, F) and its target."""
        start = int(self.starts[index])
        target = None if self.targets is None else self.targets[index]
        return self.rows[start : start + self.length], target


def load_csv(
    config: CsvData,
    folder: Path,
    *,
    preprocess: Preprocess,
    task: TaskConfig,
    labels: tuple[str, ...],
    seed: int,
    slices: Sequence[str] = (),
) -> Data:
    """Read a file for each split, or divide one.

    Raises:
        DataError: A file is missing or damaged, a column is not there, a cell cannot be used; the line is named.
    """
    path = tidied(folder / config.path)
    files = find_files(path, SUFFIXES, config.eval_splits, where=str(path))
    warnings: list[str] = []
    tables = {name: _ordered(read_table(file, config, slices)) for name, file in files.items()}
    present = {name: _present(table, config, labels, warnings) for name, table in tables.items()}
    classes = task.objective == "classes" and isinstance(config.target, str)
    targets, labels = _targets(tables, present, config, labels, names=classes)
    if WHOLE in tables:
        rows = _divided(tables[WHOLE], present[WHOLE], targets.get(WHOLE), config, seed, classes=classes)
        tables = dict.fromkeys(rows, tables[WHOLE])
        targets = dict.fromkeys(rows, targets[WHOLE]) if targets else {}
    else:
        rows = present
    where = {name: f"{path}, split `{name}`" for name in ("train", "calibration", *config.eval_splits)}
    filled = _filled(tables, rows, config)
    splits: dict[str, ArraySplit | DatasetSplit | None] = {}
    columns: dict[str, dict[str, np.ndarray]] = {}
    places: dict[str, Places] = {}
    for name, table in tables.items():
        try:
            windows = _windows(table, filled[name], rows[name], targets.get(name), config, where[name])
        except DataError:
            if name != "calibration":
                raise
            warnings.append(f"{where[name]}: too short for a window; a part of train is used instead")
            splits[name] = None
            continue
        splits[name] = _split(windows, config, preprocess, where[name], warnings)
        word = "line" if config.window is None else "the window from line"
        places[name] = Places(table.lines[windows.starts], word)
        last = windows.starts + windows.length - 1
        columns[name] = {key: values[last] for key, values in table.extra.items()}
    return assemble(
        splits,
        eval_splits=config.eval_splits,
        task=task,
        labels=labels,
        seed=seed,
        where=where,
        warnings=warnings,
        columns=columns,
        places=places,
    )


def _ordered(table: Table) -> Table:
    """Return the rows with those of a group together, each group in the order of time, otherwise as they stood."""
    if table.groups is None and table.times is None:
        return table
    keys = [np.arange(len(table))]
    if table.times is not None:
        keys.append(table.times)
    if table.groups is not None:
        _, first, number = np.unique(table.groups, return_index=True, return_inverse=True)
        keys.append(first[number])  # groups in the order in which they appear
    return table.take(np.lexsort(keys))


def _present(table: Table, config: CsvData, labels: tuple[str, ...], warnings: list[str]) -> np.ndarray:
    """Return the rows that can be used: all, or those without a gap; refuse gaps where the recipe does."""
    usual = [place for place, name in enumerate(table.names) if name not in config.categorical]
    gaps = np.isnan(table.features)
    infinite = np.isinf(table.features)
    fatal = gaps.copy() if config.missing == "refuse" else infinite.copy()
    if config.missing != "drop-row":  # there is no mean of names
        fatal |= gaps & ~np.isin(np.arange(len(table.names)), usual)
    fatal |= infinite
    if fatal.any():
        row, place = (int(found[0]) for found in np.nonzero(fatal))
        name, key = table.names[place], feature_key(table.names[place], config)
        what = "is not finite" if infinite[row, place] else "is missing"
        more = int(fatal.any(axis=1).sum()) - 1
        too = f" (so it is in {more:,} more row{'s' * (more != 1)})" if more else ""
        raise DataError(
            f"column `{name}` (`{key}`) {what}{too}",
            where=table.where(row),
            hint="fill it in, or write `missing: drop-row` (numbers also: `mean`, `zero`) under `data`",
            code="data-missing",
        )
    if config.missing != "drop-row":
        return np.arange(len(table))
    lost = gaps.any(axis=1)
    for column in table.targets:
        lost |= np.array([cell.lower() in MISSING and cell not in labels for cell in column])
    if lost.any():
        warnings.append(f"{table.path}: {int(lost.sum())} of {len(table)} rows lack a value and are left out")
    if lost.all():
        raise DataError(
            "every row lacks a value", where=str(table.path), hint="see `data.missing`", code="data-missing"
        )
    return np.flatnonzero(~lost)


def _targets(
    tables: dict[str, Table],
    present: dict[str, np.ndarray],
    config: CsvData,
    labels: tuple[str, ...],
    *,
    names: bool,
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return targets by table, (R,) or (R, K) and 0 where a row is not used, and the names of the classes."""
    wanted = config.target_names
    if not wanted:
        return {}, labels
    numbers_only = len(wanted) > 1 or bool(config.horizon) or not names
    found: dict[str, list[np.ndarray]] = {name: [] for name in tables}
    for place, column_name in enumerate(wanted):
        columns = {
            name: Column(
                f"column `{column_name}` (`data.target`)",
                [table.targets[place][row] for row in present[name]],
                table.lines[present[name]].tolist(),
                table.path,
            )
            for name, table in tables.items()
        }
        if not numbers_only:
            _refuse_gaps(columns, labels)
        numbers, given = read_target_columns(columns, () if numbers_only else labels, names=not numbers_only)
        labels = labels if numbers_only else given
        for name, values in numbers.items():
            whole = np.zeros(len(tables[name]), values.dtype)
            whole[present[name]] = values
            found[name].append(whole)
    single = isinstance(config.target, str)
    return {name: values[0] if single else np.stack(values, axis=1) for name, values in found.items()}, labels


def _refuse_gaps(columns: dict[str, Column], labels: tuple[str, ...]) -> None:
    """Raise DataError where a target is a word for an empty cell: it would be a class of its own."""
    for column in columns.values():
        for row, value in enumerate(column.values):
            if value and value.lower() in MISSING and value not in labels:
                raise DataError(
                    f"{column.called} holds `{value}`, which stands for an empty cell",
                    where=column.where(row),
                    hint="give every sample a target, or write `missing: drop-row` under `data`; where it is the name "
                    "of a class, list it among `labels`",
                    code="data-missing",
                )


def _divided(
    table: Table, present: np.ndarray, targets: np.ndarray | None, config: CsvData, seed: int, *, classes: bool
) -> dict[str, np.ndarray]:
    """Return split -> its rows, in order."""
    if config.divided_by == "time":
        return _by_time(table, present, config)
    units: Sequence[Hashable]
    stratify = None
    if config.divided_by == "group":
        assert table.groups is not None  # the recipe's rules saw to it
        units = table.groups[present].tolist()
    else:
        units = [table.features[row].tobytes() for row in present]
        if classes and targets is not None:
            stratify = targets[present]
    chosen = divide(
        config.fractions,
        seed,
        eval_split=config.eval_splits[0],
        units=units,
        targets=stratify,
        where=str(table.path),
    )
    return {name: present[rows] for name, rows in chosen.items()}


def _by_time(table: Table, present: np.ndarray, config: CsvData) -> dict[str, np.ndarray]:
    """Return train first, then calibration, and evaluation last, of every group; without windows, by time alone."""
    shares = config.fractions
    chosen: dict[str, list[np.ndarray]] = {"train": [], "calibration": [], config.eval_splits[0]: []}
    if table.groups is None or config.window is None:
        times = table.lines if table.times is None else table.times
        parts = [present[np.argsort(times[present], kind="stable")]]
    else:
        parts = [present[table.groups[present] == name] for name in dict.fromkeys(table.groups[present].tolist())]
    for rows in parts:
        count = len(rows)
        ends = (round(count * shares.train), round(count * (shares.train + shares.calibration)))
        begin = count - round(count * shares.eval)
        chosen["train"].append(rows[: ends[0]])
        chosen["calibration"].append(rows[ends[0] + config.gap : min(ends[1], begin)])
        chosen[config.eval_splits[0]].append(rows[max(begin, ends[1]) + config.gap :])
    return {name: np.sort(np.concatenate(found)) for name, found in chosen.items()}


def _filled(tables: dict[str, Table], rows: dict[str, np.ndarray], config: CsvData) -> dict[str, np.ndarray]:
    """Return each split's features with gaps filled; the mean is that of the training rows."""
    if config.missing not in ("mean", "zero"):
        return {name: table.features for name, table in tables.items()}
    fill = np.zeros(next(iter(tables.values())).features.shape[1], np.float32)
    if config.missing == "mean":
        if "train" not in tables:
            raise DataError(
                "gaps are filled with the mean of the training rows, and there is no split `train`",
                where=str(next(iter(tables.values())).path),
                hint="give a file train.csv, or write `missing: zero` or `missing: drop-row`",
                code="data-split-missing",
            )
        known = tables["train"].features[rows["train"]]
        counts = np.maximum((~np.isnan(known)).sum(axis=0), 1)
        fill = (np.nansum(known.astype(np.float64), axis=0) / counts).astype(np.float32)
    return {
        name: np.where(np.isnan(table.features), fill, table.features).astype(np.float32)
        for name, table in tables.items()
    }


def _windows(
    table: Table, features: np.ndarray, rows: np.ndarray, targets: np.ndarray | None, config: CsvData, where: str
) -> Windows:
    """Return the windows of one split: each lies in one group, without a row of another split or a gap inside."""
    if config.window is None:
        return Windows(features, rows, 1, None if targets is None else targets[rows])
    span = config.window + config.horizon
    apart = np.diff(rows) != 1
    if table.groups is not None:
        apart |= table.groups[rows[1:]] != table.groups[rows[:-1]]
    runs = np.split(rows, np.flatnonzero(apart) + 1)
    cut = [run[: len(run) - span + 1 : config.stride] for run in runs if len(run) >= span]
    starts = np.concatenate([rows[:0], *cut])
    if not len(starts):
        longest = max((len(run) for run in runs), default=0)
        raise DataError(
            f"no window fits: {span} rows in a row are wanted, and the longest series of this split has {longest}",
            where=where,
            hint="use a shorter `window` or `horizon`, or other `fractions`",
            code="data-too-few",
        )
    if targets is None:
        return Windows(features, starts, config.window, None)
    last = starts + config.window - 1
    ahead = targets[last] if not config.horizon else targets[last[:, None] + 1 + np.arange(config.horizon)]
    return Windows(features, starts, config.window, ahead)


def _split(
    windows: Windows, config: CsvData, preprocess: Preprocess, where: str, warnings: list[str]
) -> ArraySplit | DatasetSplit:
    if config.window is None:
        return array_split({INPUT: windows.rows[windows.starts]}, windows.targets, preprocess, where)
    needed = len(windows) * windows.length * windows.rows.shape[1] * windows.rows.itemsize
    if needed > MOST_BYTES_IN_MEMORY:
        warnings.append(f"{where}: {needed / 1e9:.1f} GB of windows; they are cut each time they are read")
        return DatasetSplit.over(windows, preprocess, nullcontext, where)
    rows = windows.rows[windows.starts[:, None] + np.arange(windows.length)]
    return array_split({INPUT: rows}, windows.targets, preprocess, where)
