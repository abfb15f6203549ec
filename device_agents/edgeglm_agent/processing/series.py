"""Operations on series: rows over time."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta

from edgeglm_agent.processing._base import PreOperation, ProcessingError


class Window(PreOperation, frozen=True, kw_only=True):
    """Keep the last rows of a series (time, ...): what a board has collected until now, in the model's length."""

    vectorised: ClassVar[bool] = True

    length: Annotated[int, Meta(ge=1)]  # rows that the model takes
    fill: float | None = None  # value of the rows that are put in front of a shorter series; None: it is an error

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return the last rows of the sample."""
        if not values.ndim:
            raise ProcessingError("a single number is no series: a sample has the shape (time, ...)")
        return np.asarray(self.apply_batch(values[np.newaxis])[0])

    def apply_batch(self, values: np.ndarray) -> np.ndarray:
        """Return the last rows of every sample."""
        if values.ndim < 2:
            raise ProcessingError("a single number is no series: a sample has the shape (time, ...)")
        lacking = self.length - values.shape[1]
        if lacking <= 0:
            return values[:, -self.length :]
        if self.fill is None:
            raise ProcessingError(
                f"a series of {values.shape[1]} rows is shorter than {self.length}: collect more, or set `fill`"
            )
        front = np.full((len(values), lacking, *values.shape[2:]), self.fill, values.dtype)
        return np.concatenate([front, values], axis=1)
