"""Targets as people write them into a table: names of classes, class numbers, or measured values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from edgeglm_agent.suggest import nearest

from edgeglm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Column:
    """One column of a file, as text."""

    called: str  # "column `label` (`data.target`)": where the user finds it
    values: Sequence[str]
    lines: Sequence[int]  # where each value stands
    path: Path

    def where(self, row: int) -> str:
        """Return the place of one value."""
        return f"{self.path}:{self.lines[row]}"


def read_target_columns(
    columns: Mapping[str, Column], labels: tuple[str, ...], *, names: bool
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return targets by split, (N,), and the names of the classes.

    Names of the recipe's labels become their numbers. Otherwise whole numbers are int64, other numbers float64, and
    anything else is the names of classes, whose order is the alphabet's.

    Args:
        columns: Split name -> its column.
        labels: The recipe's; empty: not given.
        names: Whether a target may be the name of a class; otherwise it must be a number.

    Raises:
        DataError: A value is missing, or is no label.
    """
    for column in columns.values():
        for row, value in enumerate(column.values):
            if not value.strip():
                raise DataError(
                    f"{column.called} is empty",
                    hint="give every sample a target, or remove the line",
                    where=column.where(row),
                    code="data-missing",
                )
    distinct = {value.strip() for column in columns.values() for value in column.values}
    if not (labels and distinct <= set(labels)):
        for kind in (int, float):
            if all(_is_number(value, kind) for value in distinct):
                return {
                    name: np.array([kind(value) for value in column.values], np.int64 if kind is int else np.float64)
                    for name, column in columns.items()
                }, labels
        if not names:
            raise _no_number(columns)
        _check_labels(columns, labels)
    classes = labels or tuple(sorted(distinct))
    number = {name: index for index, name in enumerate(classes)}
    return {
        name: np.array([number[value.strip()] for value in column.values], np.int64) for name, column in columns.items()
    }, classes


def _no_number(columns: Mapping[str, Column]) -> DataError:
    column, row = next(
        (column, row)
        for column in columns.values()
        for row, value in enumerate(column.values)
        if not _is_number(value, float)
    )
    return DataError(
        f"{column.called} holds `{column.values[row].strip():.40}`, which is no number",
        where=column.where(row),
        hint="give every sample a number; names of classes are for `task: {kind: classification}`",
        code="data-targets",
    )


def _check_labels(columns: Mapping[str, Column], labels: tuple[str, ...]) -> None:
    if not labels:
        return
    for column in columns.values():
        for row, value in enumerate(column.values):
            if value.strip() not in labels:
                near = nearest(value.strip(), labels)
                raise DataError(
                    f"{column.called} holds `{value.strip():.40}`, which is none of the {len(labels)} labels",
                    hint=f"did you mean `{near[0]}`?" if near else f"the recipe's labels are {', '.join(labels[:8])}",
                    where=column.where(row),
                    code="data-classes",
                )


def _is_number(value: str, kind: type[int] | type[float]) -> bool:
    try:
        number = kind(value)
    except ValueError:
        return False
    return "_" not in value and bool(np.isfinite(number))
