"""The part of the training data that chooses the best weights; evaluation data never do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeglm.errors import StepError
from edgeglm.nn.calling import call, to_tensors
from edgeglm.nn.determinism import seed_all
from edgeglm.nn.objective_classes import Classes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgeglm.data.splits import Split
    from edgeglm.model import Model
    from edgeglm.nn.objective import Objective, Weights
    from edgeglm.nn.padding import Padding
    from edgeglm.nn.teacher import Teacher
    from edgeglm.steps import Context

_ROWS = 256  # at once: nothing is learnt


def hold_out(
    targets: np.ndarray | None, samples: int, fraction: float, *, seed: int, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to learn from and the rows to validate on, both ascending.

    Each class gives the same share, rounded; a class of one sample gives none, unless no other gives any.

    Args:
        targets: Class numbers (N,), -1 for rows that are never held out; None: rows are drawn without regard to class.
        samples: N.
        fraction: Share to hold out, above 0 and below 1.
        seed: Decides which.
        where: For errors.

    Raises:
        StepError: ``training-data-too-small``: there are fewer than 4 samples.
    """
    if samples < 4:
        raise StepError(
            f"{samples} training samples are too few to learn from and to validate on",
            where=where,
            code="training-data-too-small",
            hint="give the split `train` more samples",
        )
    shuffled = np.random.default_rng([seed, 0x5EED]).permutation(samples)
    classes = np.zeros(samples, np.int64) if targets is None else targets
    held = [
        members[: min(round(len(members) * fraction), len(members) - 1)]
        for number in np.unique(classes[classes >= 0])
        for members in [shuffled[classes[shuffled] == number]]
    ]
    validation = np.sort(np.concatenate(held))
    if len(validation) == 0:
        validation = shuffled[classes[shuffled] >= 0][:1]
    return np.setdiff1d(np.arange(samples), validation), validation


@dataclass(frozen=True)
class Held:
    """What the held-out rows say of one set of weights."""

    score: float  # mean, higher is better
    loss: float  # mean
    error: float  # standard error of the score


@dataclass
class Best:
    """The best epoch so far, by score, then by loss; its weights are kept beside it."""

    score: float = -math.inf
    loss: float = math.inf
    error: float = 0.0
    epoch: int = 0
    epochs_done: int = 0
    start: float = -math.inf  # the score of the weights that came in

    def offer(self, held: Held) -> bool:
        """Take note of one more epoch; return whether it is the best."""
        self.epochs_done += 1
        if (held.score, -held.loss) <= (self.score, -self.loss):
            return False
        self.score, self.loss, self.error, self.epoch = held.score, held.loss, held.error, self.epochs_done
        return True

    def stalled(self, patience: int | None) -> bool:
        """Return whether this many epochs have passed without a better one."""
        return patience is not None and self.epochs_done - self.epoch >= patience

    @property
    def is_loss(self) -> bool:
        """Whether the best epoch is worse than the start by more than two standard errors."""
        return self.start - self.score > 2 * self.error


@torch.no_grad()
def validate(
    student: nn.Module,
    model: Model,
    data: Split,
    rows: np.ndarray,
    targets: Tensor | None,
    guide: Teacher | None,
    objective: Objective,
    by: Weights,
    padding: Padding | None,
    ctx: Context,
) -> Held:
    """Return score and loss on the held-out rows; a teacher is asked where the objective needs its answers.

    Rows of like length that follow each other are answered without their padding.
    """
    student.eval()
    device = torch.device(ctx.device)
    scores, losses = [], []
    asked = guide is not None and (targets is None or not objective.labelled)
    for start in range(0, len(rows), _ROWS):
        batch = rows[start : start + _ROWS]
        seed_all(ctx.seed, 0, start)  # a data set that draws shows the same samples after every epoch
        inputs = to_tensors(model, data.rows(batch), device)
        inputs = inputs if padding is None else padding.cut(inputs)
        answers = objective.pick(call(student, inputs)).cpu()
        wanted = None if targets is None else targets[batch]
        soft = None
        if asked and guide is not None:
            seed_all(ctx.seed, 0, start)
            soft = guide.ask(data, batch)
        score, loss = objective.judge(answers, soft, wanted, inputs, by)
        scores.append(score)
        losses.append(loss)
    score, loss = torch.cat(scores).double(), torch.cat(losses).double()
    return Held(float(score.mean()), float(loss.mean()), standard_error(score, counts=isinstance(objective, Classes)))


def standard_error(scores: Tensor, *, counts: bool) -> float:
    """Return the standard error of a mean; of right and wrong answers so that it holds when all are right.

    Source: Agresti and Coull 1998, The American Statistician 52(2), section 2 (two more of each answer).
    """
    n = len(scores)
    if counts:
        share = (float(scores.sum()) + 2) / (n + 4)
        return math.sqrt(share * (1 - share) / (n + 4))
    return float(scores.std()) / math.sqrt(n) if n > 1 else math.inf
