"""Calibration data: batches by input name, read one at a time."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from edgeglm.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edgeglm.data.splits import Arrays

KEPT_BYTES = 2**28  # of samples that are held in memory


def peek(calibration: Iterable[Arrays]) -> tuple[Arrays | None, Iterator[Arrays]]:
    """Return one row of the first batch (None when there is none), and all batches."""
    batches = iter(calibration)
    first = next(batches, None)
    if first is None:
        return None, batches
    return {name: values[:1] for name, values in first.items()}, chain([first], batches)


def in_batches_of(rows: int, batches: Iterable[Arrays]) -> Iterator[Arrays]:
    """Yield the same samples in batches of ``rows``, for a file that takes no others; none is left out.

    The last batch is filled up with its last row, which changes no smallest or largest value.
    """
    held: Arrays = {}
    for batch in batches:
        held = {name: np.concatenate([held[name], values]) if held else values for name, values in batch.items()}
        whole = len(next(iter(held.values()))) // rows * rows
        for start in range(0, whole, rows):
            yield {name: values[start : start + rows] for name, values in held.items()}
        held = {name: values[whole:] for name, values in held.items()}
    missing = -len(next(iter(held.values()), ())) % rows
    if missing:
        yield {name: np.concatenate([values, np.repeat(values[-1:], missing, axis=0)]) for name, values in held.items()}


class Kept:
    """Batches as they are; the first rows of them, at most ``KEPT_BYTES``, are kept."""

    def __init__(self, batches: Iterable[Arrays], limit: int) -> None:
        self._batches, self._limit = batches, limit
        self.batches: list[Arrays] = []  # of what was read, the first ``limit`` rows

    def __iter__(self) -> Iterator[Arrays]:
        left, room = self._limit, KEPT_BYTES
        for batch in self._batches:
            rows = len(next(iter(batch.values())))
            size = sum(values.nbytes for values in batch.values()) // max(1, rows)  # of one row
            count = min(left, rows, room // max(1, size))
            if count > 0:
                self.batches.append({name: values[:count] for name, values in batch.items()})
            left, room = (left - count, room - count * size) if count == rows else (0, 0)
            yield batch


class Finite:
    """Batches as they are, each looked at first.

    Raises:
        ExportError: While iterating: a value is NaN or infinite (``calibration-not-finite``), or there is no batch at
            all (``calibration-empty``).
    """

    def __init__(self, batches: Iterable[Arrays]) -> None:
        self._batches = batches
        self.last: Arrays | None = None  # what was read last, to look for what went wrong

    def __iter__(self) -> Iterator[Arrays]:
        for batch in self._batches:
            for name, values in batch.items():
                if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                    raise ExportError(
                        f"calibration data for input {name} holds NaN or infinity",
                        hint="look at the calibration split and at the pre-processing",
                        code="calibration-not-finite",
                    )
            self.last = batch
            yield batch
        if self.last is None:
            raise ExportError(
                "there is no calibration data",
                hint="give the `calibration` split some samples",
                code="calibration-empty",
            )


def not_finite(tensor: str, layer: str) -> ExportError:
    """Return the error of a tensor whose range on finite calibration data is not finite."""
    return ExportError(
        f"the range of {tensor} on the calibration data is not finite",
        where=layer,
        hint="the network itself overflows on this data: look for NaN weights or inputs out of scale",
        code="calibration-not-finite",
    )
