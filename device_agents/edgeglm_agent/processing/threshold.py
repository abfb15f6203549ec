"""Operation ``threshold``: what scores beyond a limit."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from edgeglm_agent.processing._base import Answers, Boxes, Decision, Kind, PostOperation, ProcessingError
from edgeglm_agent.processing.ranking import best_classes


class Threshold(PostOperation, frozen=True, kw_only=True):
    """Decide by a limit: of one score a sample, make a decision; of several, keep those classes or boxes beyond it."""

    takes: ClassVar[tuple[Kind, ...]] = ("outputs", "classes", "boxes")
    makes: ClassVar[tuple[Kind, ...]] = ("decision", "classes")

    limit: float  # in units of the score; a score equal to it is not beyond
    beyond: Literal["above", "below"] = "above"  # below: a low score is what one looks for
    output: str | None = None  # name of the model output (N,), (N, 1) or (N, K); None: the first

    def apply(self, answers: Answers) -> Answers:
        """Return a decision for every sample, or the classes or boxes that are left."""
        if answers.results is not None:
            return answers.with_results([self._kept(result) for result in answers.results])
        name = answers.named(self.output)
        scores = answers.outputs[name]
        if scores.size == len(scores) and scores.ndim:
            numbers = scores.reshape(-1).astype(np.float32).tolist()
            return answers.with_results([Decision(self._holds(score), score, self.limit) for score in numbers])
        if scores.ndim != 2:
            raise ProcessingError(f"a limit is for scores (N,) or (N, K); output `{name}` has shape {scores.shape}")
        return answers.with_results([self._kept(ranked) for ranked in best_classes(scores, scores.shape[1])])

    def _holds(self, score: float) -> bool:
        return score > self.limit if self.beyond == "above" else score < self.limit

    def _kept(self, result: object) -> object:
        if isinstance(result, Boxes):
            return result.take(np.array([self._holds(score) for score in result.scores.tolist()], bool))
        assert isinstance(result, list)  # of predictions: the order of operations was checked
        return [prediction for prediction in result if self._holds(prediction.score)]
