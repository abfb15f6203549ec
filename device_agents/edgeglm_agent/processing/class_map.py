"""Operation ``argmax-map``: the best class of every pixel."""

from __future__ import annotations

import numpy as np

from edgeglm_agent.processing._base import Answers, PostOperation, ProcessingError

_MOST = 256  # classes that a uint8 tells apart


class ArgmaxMap(PostOperation, frozen=True, kw_only=True):
    """Name the best class of every pixel: scores (N, K, H, W) become a map (N, H, W) of uint8."""

    axis: int = 0  # of the classes, in one sample: 0 for CHW, -1 for HWC
    output: str | None = None  # name of the model output; None: the first

    def apply(self, answers: Answers) -> Answers:
        """Return the map in the output's place; of equal scores the lower class number wins."""
        name = answers.named(self.output)
        scores = answers.outputs[name]
        dims = scores.ndim - 1
        if dims < 2 or not -dims <= self.axis < dims:
            raise ProcessingError(f"output `{name}` of shape {scores.shape} has no classes along axis {self.axis}")
        axis = self.axis + 1 if self.axis >= 0 else self.axis
        if scores.shape[axis] > _MOST:
            raise ProcessingError(
                f"{scores.shape[axis]} classes (axis {self.axis}) are more than a uint8 holds, {_MOST}"
            )
        return answers.with_output(name, scores.argmax(axis=axis).astype(np.uint8))
