"""Objectives of classes: of whole samples, and of every pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edgeglm.errors import StepError
from edgeglm.nn.losses import distillation_loss
from edgeglm.nn.objective import Objective, Weights, given_targets, misfit

if TYPE_CHECKING:
    from edgeglm.data.splits import Split
    from edgeglm.steps import Context

_MUCH_LEFT_OUT = 0.5  # share of pixels that count nowhere: from here on somebody should know
_LEAST_IMAGES = 2  # with a pixel that counts: to learn from, and to validate on
_NOT_COUNTED = -100  # what torch's cross entropy leaves out


class Classes(Objective):
    """Logits (N, K) and class numbers (N,): cross entropy, and of a teacher's answers the divergence from them."""

    score_name: ClassVar[str] = "accuracy"
    labelled: ClassVar[bool] = True

    def decided(self, answers: Tensor) -> Tensor:
        """Return class numbers (B,)."""
        return answers.argmax(-1)

    def read_targets(self, split: Split, *, alpha: float, ctx: Context) -> Tensor | None:
        """Return class numbers (N,) int64. Raises: StepError."""
        shape = next((spec.shape for spec in self.model.outputs if spec.name == self.output), None)
        if shape is None or len(shape) != 1:
            known = ", ".join(f"`{spec.name}` {spec.shape}" for spec in self.model.outputs)
            raise StepError(
                f"training needs logits of shape (rows, classes); the network's outputs are {known}",
                where=ctx.key,
                code="training-needs-logits",
                hint="name the output that holds them in `task.output`, or return it first",
            )
        targets = given_targets(split, alpha, ctx)
        if targets is None:
            return None
        if targets.ndim != 1 or (len(targets) and (targets.min() < 0 or targets.max() >= shape[0])):
            said = f"targets of shape {targets.shape} from {targets.min()} to {targets.max()} do not fit {shape[0]}"
            fits = f"targets are class numbers, one a sample, from 0 to {shape[0] - 1}"
            raise misfit(f"{said} logits", fits, ctx)
        return torch.from_numpy(targets.astype(np.int64))

    def strata(self, targets: Tensor | None) -> np.ndarray | None:
        """Return the class of each sample."""
        return None if targets is None else targets.numpy()

    def loss(
        self, student: Tensor, teacher: Tensor | None, targets: Tensor | None, inputs: dict[str, Tensor], by: Weights
    ) -> Tensor:
        """Return the loss of Hinton et al. (see ``distillation_loss``)."""
        del inputs
        return distillation_loss(
            student,
            teacher,
            targets,
            temperature=by.temperature,
            alpha=by.alpha,
            label_smoothing=by.label_smoothing,
        )

    def judge(
        self, student: Tensor, teacher: Tensor | None, targets: Tensor | None, inputs: dict[str, Tensor], by: Weights
    ) -> tuple[Tensor, Tensor]:
        """Return whether each answer is right, and its cross entropy; the teacher's stand in for absent labels."""
        del inputs, by
        if targets is None:
            assert teacher is not None  # read_targets saw to it
            targets = self.decided(teacher)
        right = (self.decided(student) == targets).float()
        return right, F.cross_entropy(student, targets, reduction="none")


class Pixels(Objective):
    """Logits (N, K, H, W) and class numbers (N, H, W), -1 where none counts: what ``Classes`` is, for every pixel."""

    score_name: ClassVar[str] = "share of pixels that are right"
    labelled: ClassVar[bool] = True

    def decided(self, answers: Tensor) -> Tensor:
        """Return class numbers (B, H, W)."""
        return answers.argmax(1)

    def read_targets(self, split: Split, *, alpha: float, ctx: Context) -> Tensor | None:
        """Return class numbers (N, H, W) int16, with a warning where most of them count nowhere. Raises: StepError."""
        targets, shape = given_targets(split, alpha, ctx), self.shape
        if targets is None:
            return None
        if len(shape) != 3 or targets.shape[1:] != shape[1:] or targets.max() >= shape[0]:
            said = (
                f"targets of shape {targets.shape} up to {targets.max()} do not fit output `{self.output}` of {shape}"
            )
            fits = "one class number for each pixel of the output, below its number of classes"
            raise misfit(f"{said} for each sample", fits, ctx)
        counted = targets >= 0
        images = int(counted.any(axis=(1, 2)).sum())
        if images < _LEAST_IMAGES and alpha == 1:
            return None  # the teacher's answers are learnt, and stand in for them
        if images < _LEAST_IMAGES:
            raise StepError(
                f"{'1 image' if images else 'no images'} of the split `train` {'has' if images else 'have'} pixels "
                "that count: all else is `task.ignore_index`, and teaches nothing",
                where=ctx.key,
                code="training-needs-targets",
                hint="look at `task.ignore_index` and at how the maps are read, or use `distill` with `alpha: 1.0`",
            )
        if alpha < 1 and (left_out := 1 - float(counted.mean())) > _MUCH_LEFT_OUT:
            ctx.warnings.append(
                f"{100 * left_out:.1f} % of the pixels of the split `train` are `task.ignore_index`, and teach nothing"
                f"; {len(targets) - images:,} of {len(targets):,} images have no other"
            )
        return torch.from_numpy(targets.astype(np.int16))

    def strata(self, targets: Tensor | None) -> np.ndarray | None:
        """Return 0 for each image, -1 where no pixel counts: nothing can be judged by it."""
        return None if targets is None else (targets >= 0).flatten(1).any(1).long().numpy() - 1

    def loss(
        self, student: Tensor, teacher: Tensor | None, targets: Tensor | None, inputs: dict[str, Tensor], by: Weights
    ) -> Tensor:
        """Return the loss of Hinton et al. (see ``distillation_loss``), the mean over pixels."""
        del inputs
        wanted = None
        if targets is not None:
            wanted = targets.long().flatten()
            if not (wanted >= 0).any():  # a mean over no pixels would not be a number
                if teacher is None or by.alpha == 0:
                    return (student * 0).sum()
                wanted = None
            else:
                wanted = wanted.masked_fill(wanted < 0, _NOT_COUNTED)
        return distillation_loss(
            _by_pixel(student),
            None if teacher is None else _by_pixel(teacher),
            wanted,
            temperature=by.temperature,
            alpha=by.alpha,
            label_smoothing=by.label_smoothing,
        )

    def judge(
        self, student: Tensor, teacher: Tensor | None, targets: Tensor | None, inputs: dict[str, Tensor], by: Weights
    ) -> tuple[Tensor, Tensor]:
        """Return the share of each image's pixels that are right, and their mean cross entropy."""
        del inputs, by
        if targets is None:
            assert teacher is not None  # read_targets saw to it
            targets = self.decided(teacher)
        wanted = targets.long()
        counted = wanted >= 0
        pixels = counted.flatten(1).sum(1).clamp(min=1)
        right = ((self.decided(student) == wanted) & counted).flatten(1).sum(1) / pixels
        losses = F.cross_entropy(student, wanted.masked_fill(~counted, _NOT_COUNTED), reduction="none")
        return right, losses.flatten(1).sum(1) / pixels


def _by_pixel(logits: Tensor) -> Tensor:
    """Return logits (B, K, H, W) with a row for each pixel, (B * H * W, K)."""
    return logits.movedim(1, -1).flatten(0, -2)
