"""Operations on outputs: softmax, argmax, top-k, labels."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from edgeglm_agent.processing._base import Prediction, ProcessingError


class Softmax(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Turn logits (N, ..., K) into probabilities over the last axis."""

    output: str | None = None  # name of the model output; None: the first

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return float32 probabilities of the same shape; each row adds up to 1."""
        logits = values.astype(np.float32)
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))  # the shift keeps exp() from overflowing
        return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


class TopK(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name the k best classes of scores (N, K), best first; of equal scores the lower class number comes first."""

    k: Annotated[int, Meta(ge=1)] = 5  # of fewer classes, all are named
    output: str | None = None  # name of the model output; None: the first

    def apply(self, values: np.ndarray) -> list[list[Prediction]]:
        """Return the predictions of every sample."""
        if values.ndim != 2:
            raise ProcessingError(f"classes are ranked in an output (N, K), this one has shape {values.shape}")
        best = np.argsort(-values.astype(np.float32), axis=-1, kind="stable")[:, : self.k]
        return [
            [Prediction(int(index), float(row[index])) for index in ranked]
            for row, ranked in zip(values, best, strict=True)
        ]


class Argmax(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name the best class of scores (N, K): ``top-k`` with k = 1."""

    output: str | None = None  # name of the model output; None: the first

    def apply(self, values: np.ndarray) -> list[list[Prediction]]:
        """Return one prediction for every sample, in a list of its own."""
        return TopK(k=1).apply(values)


class Labels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Add the names of the classes; comes after ``top-k`` or ``argmax``."""

    names: list[str] = []  # by class number; empty: the labels of the recipe

    def apply(self, values: list[list[Prediction]]) -> list[list[Prediction]]:
        """Return the predictions with their labels."""
        return [[self._named(prediction) for prediction in ranked] for ranked in values]

    def _named(self, prediction: Prediction) -> Prediction:
        if prediction.index >= len(self.names):
            raise ProcessingError(f"class {prediction.index} has no label: there are {len(self.names)}")
        return msgspec.structs.replace(prediction, label=self.names[prediction.index])
