"""What every operation is: a frozen struct of settings with ``apply``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

if TYPE_CHECKING:
    import numpy as np


class ProcessingError(ValueError):
    """An operation cannot be used as written, or does not fit the array it was given.

    Attributes:
        key: Where, as in a recipe: ``preprocess[0].resize.height``; empty when the operation stands alone.
        message: What is wrong, without the key.
    """

    def __init__(self, message: str, *, key: str = "") -> None:
        self.key = key
        self.message = message
        super().__init__(f"{key}: {message}" if key else message)


class PreOperation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what is done to an input; one sample at a time, or to a whole batch where that is the same."""

    vectorised: ClassVar[bool] = False  # whether ``apply_batch`` takes all samples at once, to the same bits

    input: str | None = None  # name of the one model input it is for; None: every one that looks like an image

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return what becomes of one sample, given without a batch axis."""
        raise NotImplementedError

    def apply_batch(self, values: np.ndarray) -> np.ndarray:
        """Return what becomes of samples of one shape, given with a batch axis; only where ``vectorised``."""
        raise NotImplementedError


class Prediction(msgspec.Struct, frozen=True):
    """One class that a model named, with its score."""

    index: int  # class number, from 0
    score: float  # a probability after softmax, else whatever the model puts out
    label: str = ""  # empty unless the operation ``labels`` was asked for
