"""Rows that come one by one, cut into windows."""

from __future__ import annotations

import numpy as np


class Windows:
    """The last ``length`` rows, each time ``stride`` more of them are there."""

    def __init__(self, length: int, stride: int) -> None:
        """Cut windows of ``length`` rows, each beginning ``stride`` rows after the one before."""
        self._length, self._stride = length, stride
        self._rows: np.ndarray | None = None
        self._filled = 0  # rows there; below 0: so many are skipped first

    def add(self, row: list[float]) -> np.ndarray | None:
        """Take one row, and return the window (length, columns) float32 that it fills, if any.

        Raises:
            ValueError: It has another number of columns than the rows before.
        """
        if self._rows is None:
            self._rows = np.empty((self._length, len(row)), np.float32)
        if len(row) != self._rows.shape[1]:
            raise ValueError(f"{len(row)} numbers, and the rows before have {self._rows.shape[1]}")
        if self._filled >= 0:
            self._rows[self._filled] = row
        self._filled += 1
        if self._filled < self._length:
            return None
        window: np.ndarray = self._rows.copy()
        kept = self._length - self._stride
        if kept > 0:
            self._rows[:kept] = window[self._stride :]
        self._filled = kept
        return window

    def begin_anew(self) -> None:
        """Forget the rows: one is missing, and what comes does not follow on them. The number of columns stays."""
        self._filled = 0
