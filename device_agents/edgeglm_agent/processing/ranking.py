"""Operations on scores: softmax, argmax, top-k, labels."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
import numpy as np
from msgspec import Meta

from edgeglm_agent.processing._base import Answers, Boxes, Kind, PostOperation, Prediction, ProcessingError

_FEW = 64  # classes: sorting them all is quickest


class Softmax(PostOperation, frozen=True, kw_only=True):
    """Turn logits (N, ..., K) into probabilities over the last axis."""

    output: str | None = None  # name of the model output; None: the first

    def apply(self, answers: Answers) -> Answers:
        """Return float32 probabilities of the same shape; each row adds up to 1."""
        name = answers.named(self.output)
        logits = answers.outputs[name].astype(np.float32, copy=False)
        shares = logits - np.maximum.reduce(logits, axis=-1, keepdims=True)  # the shift keeps exp() from overflowing
        np.exp(shares, out=shares)
        shares /= np.add.reduce(shares, axis=-1, keepdims=True)
        return answers.with_output(name, shares)


class TopK(PostOperation, frozen=True, kw_only=True):
    """Name the k best classes of scores (N, K), best first; of equal scores the lower class number comes first."""

    makes: ClassVar[tuple[Kind, ...]] = ("classes",)

    k: Annotated[int, Meta(ge=1)] = 5  # of fewer classes, all are named
    output: str | None = None  # name of the model output; None: the first

    def apply(self, answers: Answers) -> Answers:
        """Return the predictions of every sample."""
        return answers.with_results(best_classes(answers.outputs[answers.named(self.output)], self.k))


class Argmax(PostOperation, frozen=True, kw_only=True):
    """Name the best class of scores (N, K): ``top-k`` with k = 1."""

    makes: ClassVar[tuple[Kind, ...]] = ("classes",)

    output: str | None = None  # name of the model output; None: the first

    def apply(self, answers: Answers) -> Answers:
        """Return one prediction for every sample, in a list of its own."""
        return answers.with_results(best_classes(answers.outputs[answers.named(self.output)], 1))


class Labels(PostOperation, frozen=True, kw_only=True):
    """Add the names of the classes that an operation before it picked."""

    takes: ClassVar[tuple[Kind, ...]] = ("classes", "boxes")

    names: list[str] = []  # by class number; empty: the labels of the recipe

    def apply(self, answers: Answers) -> Answers:
        """Return predictions or boxes with their labels."""
        assert answers.results is not None  # the order of operations was checked
        return answers.with_results([self._named(result) for result in answers.results])

    def _named(self, result: object) -> object:
        if isinstance(result, Boxes):
            self._check(int(result.classes.max(initial=0)))
            return msgspec.structs.replace(result, names=tuple(self.names))
        if not isinstance(result, list):
            raise ProcessingError("the output holds one score a sample: there is no class to name")
        for prediction in result:
            self._check(prediction.index)
        return [Prediction(one.index, one.score, self.names[one.index]) for one in result]

    def _check(self, index: int) -> None:
        if index >= len(self.names):
            raise ProcessingError(f"class {index} has no label: there are {len(self.names)}")


def best_classes(scores: np.ndarray, k: int) -> list[list[Prediction]]:
    """Return the k best classes of each row of scores (N, K), best first; ties by class number.

    Raises:
        ProcessingError: The scores are no rows.
    """
    if scores.ndim != 2:
        raise ProcessingError(f"classes are ranked in an output (N, K), this one has shape {scores.shape}")
    return [_best(row, k) for row in scores]


def _best(scores: np.ndarray, k: int) -> list[Prediction]:
    """Return the k best classes of scores (K,)."""
    if k == 1:
        index = int(scores.argmax())  # of equal ones the first; a NaN before all others
        score = float(scores.item(index))
        if score == score:  # no NaN
            return [Prediction(index, score)]
    candidates = _candidates(scores, k)
    among = scores if candidates is None else scores[candidates]
    order = np.argsort(-among.astype(np.float32), kind="stable")[:k]
    ranked = order if candidates is None else candidates[order]
    return [
        Prediction(index, float(score)) for index, score in zip(ranked.tolist(), scores[ranked].tolist(), strict=True)
    ]


def _candidates(scores: np.ndarray, k: int) -> np.ndarray | None:
    """Return which of many classes can be among the best k, in their order; None: all: there are few, or NaN."""
    if len(scores) <= max(_FEW, k):
        return None
    (candidates,) = np.nonzero(scores >= np.partition(scores, -k)[-k])
    return candidates if len(candidates) >= k else None
