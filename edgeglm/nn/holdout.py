"""The part of the training data that chooses the best weights; evaluation data never do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from edgeglm.errors import StepError
from edgeglm.nn.calling import call, to_tensors
from edgeglm.nn.determinism import seed_all

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgeglm.data import Split
    from edgeglm.model import Model
    from edgeglm.nn.teacher import Teacher
    from edgeglm.steps import Context

_ROWS = 256  # at once: nothing is learnt


def hold_out(
    targets: np.ndarray | None, samples: int, fraction: float, *, seed: int, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to learn from and the rows to validate on, both ascending.

    Each class gives the same share, rounded; a class of one sample gives none.

    Args:
        targets: Class numbers (N,); None: the rows are drawn without regard to class.
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
        for number in np.unique(classes)
        for members in [shuffled[classes[shuffled] == number]]
    ]
    validation = np.sort(np.concatenate(held))
    if len(validation) == 0:
        validation = np.sort(shuffled[:1])
    return np.setdiff1d(np.arange(samples), validation), validation


@dataclass
class Best:
    """The best epoch so far, by metric, then by loss; its weights are kept beside it."""

    metric: float = -math.inf
    loss: float = math.inf
    epoch: int = 0
    epochs_done: int = 0
    start: float = -math.inf  # the metric of the weights that came in

    def offer(self, metric: float, loss: float) -> bool:
        """Take note of one more epoch; return whether it is the best."""
        self.epochs_done += 1
        if (metric, -loss) <= (self.metric, -self.loss):
            return False
        self.metric, self.loss, self.epoch = metric, loss, self.epochs_done
        return True

    def stalled(self, patience: int | None) -> bool:
        """Return whether this many epochs have passed without a better one."""
        return patience is not None and self.epochs_done - self.epoch >= patience

    def is_loss(self, samples: int) -> bool:
        """Return whether the best epoch is worse than the start by more than two standard errors on these samples.

        Source: Agresti and Coull 1998, The American Statistician 52(2), section 2 (two more of each answer).
        """
        share = (self.metric * samples + 2) / (samples + 4)
        return self.start - self.metric > 2 * math.sqrt(share * (1 - share) / (samples + 4))


@torch.no_grad()
def validate(
    student: nn.Module,
    model: Model,
    data: Split,
    rows: np.ndarray,
    targets: Tensor | None,
    guide: Teacher | None,
    output: str,
    ctx: Context,
) -> tuple[float, float]:
    """Return accuracy and mean cross entropy on the held-out rows; the teacher's answers stand in for absent labels."""
    student.eval()
    device = torch.device(ctx.device)
    right, loss = 0, 0.0
    for start in range(0, len(rows), _ROWS):
        batch = rows[start : start + _ROWS]
        seed_all(ctx.seed, 0, start)  # a data set that draws shows the same samples after every epoch
        logits = call(student, to_tensors(model, data.rows(batch), device))[output].float().cpu()
        if targets is not None:
            wanted = targets[batch]
        elif guide is not None:
            seed_all(ctx.seed, 0, start)
            wanted = guide.ask(data, batch).argmax(-1)
        right += int((logits.argmax(-1) == wanted).sum())
        loss += float(F.cross_entropy(logits, wanted, reduction="sum"))
    return right / len(rows), loss / len(rows)
