"""What training makes small: the base of all objectives; ``nn/objectives.py`` has the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeglm.errors import StepError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from edgeglm.data.splits import Split
    from edgeglm.model import Model
    from edgeglm.steps import Context


@dataclass(frozen=True)
class Weights:
    """How much each part of a loss counts."""

    alpha: float = 0.0  # of the teacher, 0 to 1; 1 - alpha is that of the targets
    temperature: float = 1.0  # softens logits on both sides; of classes alone
    label_smoothing: float = 0.0  # share of each label spread over all classes; of classes alone


class Objective:
    """Base of all: the loss of a batch, and the score by which the best epoch is chosen."""

    score_name: ClassVar[str] = "loss"  # shown; of a loss the score is its negative
    labelled: ClassVar[bool] = False  # targets are classes; where there are none, a teacher's answers stand in

    def __init__(self, model: Model, output: str) -> None:
        """Take note of which output of the network is judged."""
        self.model, self.output = model, output

    def read_targets(self, split: Split, *, alpha: float, ctx: Context) -> Tensor | None:
        """Return the targets (N, ...) to learn from, or None where none are needed.

        Raises:
            StepError: They are needed and missing, or do not fit the output.
        """
        del split, alpha, ctx
        return None

    def strata(self, targets: Tensor | None) -> np.ndarray | None:
        """Return the kind of each sample, (N,): the held-out rows have their share of each, and none of -1."""
        del targets
        return None

    def pick(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Return what is compared, (B, ...) float32, from all outputs of a network."""
        return outputs[self.output].float()

    def shown(self, score: float) -> float:
        """Return a score as its name says it: that of a loss is the loss itself, which is better when low."""
        return 0.0 - score if self.score_name == "loss" else score  # which is never -0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the output that is judged, of one sample."""
        return next(spec.shape for spec in self.model.outputs if spec.name == self.output)

    @property
    def values(self) -> int:
        """How many numbers ``pick`` returns for one sample."""
        return int(np.prod(self.shape))

    def decided(self, answers: Tensor) -> Tensor:
        """Return the class that each answer comes down to; of labelled ones."""
        raise NotImplementedError

    def loss(
        self, student: Tensor, teacher: Tensor | None, targets: Tensor | None, inputs: dict[str, Tensor], by: Weights
    ) -> Tensor:
        """Return the mean loss of a batch, a scalar; a teacher is given where ``by.alpha`` is above 0."""
        return self.judge(student, teacher, targets, inputs, by)[1].mean()

    def judge(
        self, student: Tensor, teacher: Tensor | None, targets: Tensor | None, inputs: dict[str, Tensor], by: Weights
    ) -> tuple[Tensor, Tensor]:
        """Return the score, higher is better, and the loss of each sample, (B,) both."""
        raise NotImplementedError


def given_targets(split: Split, alpha: float, ctx: Context) -> np.ndarray | None:
    """Return the targets (N, ...), or None where there are none and a teacher's answers are learnt instead.

    Raises:
        StepError: ``training-needs-targets``: there are none, and they count.
    """
    if split.targets is None and alpha < 1:
        raise StepError(
            "the split `train` has no targets to learn from",
            where=ctx.key,
            code="training-needs-targets",
            hint="return (inputs, targets) from the data entry, or use `distill` with `alpha: 1.0`",
        )
    return split.targets


def misfit(said: str, fits: str, ctx: Context) -> StepError:
    """Return the error of targets that do not fit the output: what is so, and which would fit."""
    return StepError(said, where=ctx.key, code="data-targets", hint=fits)
