"""Named parts of the evaluation data: those with one value of a column, or of what a function of the user's says."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgeglm.data.splits import ArraySplit, batches
from edgeglm.errors import DataError
from edgeglm.recipe.wording import ENTRY_PATTERN, slice_column
from edgeglm.sources.arrays import INPUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeglm.data.splits import Arrays, Data
    from edgeglm.sources.entry import Entries

MOST_VALUES = 50  # of one column: more are no groups, but a measurement
_ROWS = 32  # at a time, of data that does not lie in memory


def is_entry(name: str) -> bool:
    """Tell whether a recipe's slice names a function, and no column."""
    return re.search(ENTRY_PATTERN, name) is not None


def column_slices(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of a recipe's slices that are columns of the data."""
    return tuple(name for name in names if not is_entry(name))


def masks_of(
    columns: Mapping[str, np.ndarray], *, where: str, before: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Return slice name (``device=a``) -> which samples are in it, (N,) bool.

    Args:
        columns: Column name -> (N,) texts, numbers or true and false.
        where: Of the data, for errors.
        before: Slices that are there already, and are returned first.

    Raises:
        DataError: A column has more than 50 values, or NaN, which is no value; or two slices would have one name.
    """
    masks = dict(before or {})
    for name, values in columns.items():
        check_values(name, values, [f"sample {row}" for row in range(len(values))], where=where)
        distinct = np.unique(values)
        if len(distinct) > MOST_VALUES:
            raise DataError(
                f"`{name}` has {len(distinct)} different values, and each would be a slice",
                hint=f"at most {MOST_VALUES}: make groups of them, such as ranges of a number",
                where=where,
                code="data-slices",
            )
        for value, shown in zip(distinct, _all_shown(distinct), strict=True):
            if (called := f"{name}={shown}") in masks:
                raise DataError(
                    f"two slices would be called `{called}`",
                    hint=f"rename `{name}`, or the value",
                    where=where,
                    code="data-slices",
                )
            masks[called] = values == value
    return masks


def check_values(name: str, values: np.ndarray, places: Sequence[str], *, where: str) -> None:
    """Refuse a column (N,) with NaN, which is not even equal to itself; ``places`` says what each value belongs to."""
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    if missing.any():
        raise DataError(
            f"`{name}` is NaN for {int(missing.sum())} of {len(values)} samples, first for "
            f"{places[int(np.argmax(missing))]}; slices are made of its values",
            hint="give every sample a value, such as -1 or `unknown` where nothing is known",
            where=where,
            code="data-slices",
        )


def with_entry_slices(data: Data, names: Sequence[str], entries: Entries) -> Data:
    """Return the data with the slices that functions of the user's say.

    Args:
        data: All splits, preprocessed.
        names: The recipe's slices; columns among them are there already.
        entries: Where functions are found. Each is called with ``inputs``, ``targets`` and ``split`` (its name), where
            data lies in memory once for a split, otherwise in parts, and returns one value a sample.

    Raises:
        EntryError: A function cannot be called, or raised.
        DataError: What it returned are not as many values as samples, or too many different ones, or one that another
            slice is called by.
    """
    slices = {split: dict(masks) for split, masks in data.slices.items()}
    for index, entry in enumerate(names):
        if not is_entry(entry):
            continue
        key = f"slices[{index}]"
        for split in data.eval_splits:
            values = _called(entry, key, data, split, entries)
            place = f"{key} {entry}, split `{split}`"
            slices[split] = masks_of({slice_column(entry): values}, where=place, before=slices.get(split))
    return replace(data, slices=slices)


def _called(entry: str, key: str, data: Data, name: str, entries: Entries) -> np.ndarray:
    split = data.splits[name]
    count = len(split)
    parts = []
    for indices, rows in batches(split, count if isinstance(split, ArraySplit) else _ROWS):
        targets = None if split.targets is None else split.targets[indices]
        inputs: Arrays | np.ndarray = rows[INPUT] if tuple(rows) == (INPUT,) else rows
        said = entries.call(entry, key=key, inputs=inputs, targets=targets, split=name)
        values = np.asarray(said)
        if values.shape != (len(indices),) or values.dtype.kind not in "biufUO":
            raise DataError(
                f"`{entry}` returned {_described(said, values)} for {len(indices)} samples",
                hint="return one name, number, or true or false for each sample",
                where=key,
                code="data-slices",
            )
        if missing := [int(row) for row, value in zip(indices, said, strict=True) if _is_missing(value)]:
            raise DataError(
                f"`{entry}` returned None or NaN for {len(missing)} of {len(indices)} samples, first for "
                f"{data.place(name, missing[0])} of split `{name}`",
                hint="return a value for every sample, such as `other` for those that belong nowhere",
                where=key,
                code="data-slices",
            )
        parts.append(values.astype(str) if values.dtype.kind == "O" else values)
    return np.concatenate(parts)


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def _described(said: object, values: np.ndarray) -> str:
    return f"a {type(said).__name__}" if not values.ndim else f"an array of shape {list(values.shape)}, {values.dtype}"


def _all_shown(values: np.ndarray) -> list[str]:
    """Return the names of distinct values: distinct too, since a slice of another's name would take its place."""
    shown = [_shown(value) for value in values]
    if len(set(shown)) == len(shown):
        return shown
    return [repr(value.item()) for value in values]  # "" beside the text "(empty)"


def _shown(value: np.generic) -> str:
    if isinstance(value, np.bool_):
        return "true" if value else "false"
    if isinstance(value, np.floating):
        if value == 0 or 1e-4 <= abs(value) < 1e16:
            return np.format_float_positional(abs(value) if value == 0 else value, trim="-")  # all digits that it takes
        return str(value)
    return str(value) or "(empty)"
