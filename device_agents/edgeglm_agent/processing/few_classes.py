"""Softmax, the best classes and their labels in one go: of few classes, numpy's calls would be most of the time."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

import numpy as np

from edgeglm_agent.processing._base import Prediction
from edgeglm_agent.processing.ranking import Argmax, Labels, Softmax, TopK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeglm_agent.processing._base import PostOperation

MOST_CLASSES = 32  # of more, numpy is quicker
_FLOAT32 = np.dtype(np.float32)


class FewClasses:
    """Does what ``softmax``, ``top-k`` or ``argmax``, and ``labels`` do; the first and the last need not be there.

    It computes in float64, where the operations one by one compute in float32: the scores are as exact or more so, and
    the same for a sample alone and in a batch.
    """

    def __init__(self, output: str | None, k: int, names: Sequence[str], *, softmax: bool) -> None:
        """Take the settings of the operations; without ``names`` predictions have no label."""
        self._output = output
        self._k = k
        self._names = tuple(names)
        self._softmax = softmax

    @classmethod
    def of(cls, ops: Sequence[PostOperation]) -> FewClasses | None:
        """Return what does the same as these operations; None: they are others."""
        softmax = next((op for op in ops[:1] if isinstance(op, Softmax)), None)
        rest = ops[1:] if softmax is not None else ops
        best = next((op for op in rest[:1] if isinstance(op, TopK | Argmax)), None)
        labels = next((op for op in rest[1:2] if isinstance(op, Labels)), None)
        if best is None or len(rest) > 1 + (labels is not None):
            return None
        if softmax is not None and softmax.output != best.output:
            return None
        k = best.k if isinstance(best, TopK) else 1
        return cls(best.output, k, () if labels is None else labels.names, softmax=softmax is not None)

    def __call__(self, outputs: Mapping[str, np.ndarray]) -> list[list[Prediction]] | None:
        """Return the predictions of every sample; None: the operations, one by one, have to look at it.

        They have where there are many classes or NaN, where the scores are no rows of float32, and where something is
        wrong that they can name.
        """
        values = next(iter(outputs.values()), None) if self._output is None else outputs.get(self._output)
        if not isinstance(values, np.ndarray) or values.dtype is not _FLOAT32 or values.ndim != 2:
            return None
        classes = values.shape[1]
        if not 0 < classes <= MOST_CLASSES or (self._names and classes > len(self._names)):
            return None
        results = []
        for row in values.tolist():
            found = self._best(row)
            if found is None:
                return None
            results.append(found)
        return results

    def _best(self, scores: list[float]) -> list[Prediction] | None:
        """Return the predictions of one sample; None: a score is NaN, or infinite ones cannot be weighed."""
        over = 1.0
        if self._softmax:
            top = max(scores)  # the shift keeps exp() from overflowing
            scores = [exp(score - top) for score in scores]
            over = sum(scores)
            if over != over:
                return None
        elif (total := sum(scores)) != total:
            return None
        if self._k == 1:
            ranked = [scores.index(max(scores))]
        else:  # of equal scores the lower class number comes first: sorting keeps their order, reversed or not
            ranked = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[: self._k]
        names = self._names
        if names:
            return [Prediction(index, scores[index] / over, names[index]) for index in ranked]
        return [Prediction(index, scores[index] / over) for index in ranked]
