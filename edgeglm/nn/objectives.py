"""What training makes small, for each kind of task; ``TaskConfig.objective`` names one of the table below."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edgeglm.errors import StepError
from edgeglm.nn.objective import Objective, Weights, given_targets, misfit
from edgeglm.nn.objective_classes import Classes, Pixels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeglm.data.splits import Split
    from edgeglm.model import Model
    from edgeglm.steps import Context
    from edgeglm.tasks._base import ObjectiveName


class Values(Objective):
    """Numbers (N, ...) and targets of the same shape: squared error to the targets, and to a teacher's answers."""

    def read_targets(self, split: Split, *, alpha: float, ctx: Context) -> Tensor | None:
        """Return numbers as the output has them, float32. Raises: StepError."""
        targets = given_targets(split, alpha, ctx)
        if targets is None:
            return None
        if targets.size != len(targets) * self.values:
            said = f"targets of shape {targets.shape} do not fit output `{self.output}` of {self.shape} for each sample"
            raise misfit(said, "one number for each number that the network puts out", ctx)
        return torch.from_numpy(targets.astype(np.float32).reshape(len(targets), *self.shape))

    def judge(
        self, student: Tensor, teacher: Tensor | None, targets: Tensor | None, inputs: dict[str, Tensor], by: Weights
    ) -> tuple[Tensor, Tensor]:
        """Return the negative loss, and the loss: both squared errors, weighed by alpha."""
        del inputs
        loss = _errors(student, teacher, by.alpha if targets is not None else 1.0)
        if targets is not None and by.alpha < 1:
            loss = loss + (1 - by.alpha) * _squared(student, targets)
        return -loss, loss


class Embedding(Objective):
    """Embeddings (N, D): one minus the cosine to the teacher's; targets are for judging alone."""

    score_name: ClassVar[str] = "cosine to the teacher"

    def judge(
        self, student: Tensor, teacher: Tensor | None, targets: Tensor | None, inputs: dict[str, Tensor], by: Weights
    ) -> tuple[Tensor, Tensor]:
        """Return the cosine, and one minus it."""
        del targets, inputs, by
        assert teacher is not None  # TaskConfig.needs_teacher
        cosine = F.cosine_similarity(student.flatten(1), teacher.flatten(1), dim=-1)
        return cosine, 1 - cosine


class Reconstruction(Objective):
    """An autoencoder's output, of the shape of one of its inputs: squared error to it, and to a teacher's output."""

    def __init__(self, model: Model, output: str) -> None:
        """Find the input that is reconstructed. Raises: StepError (``training-needs-reconstruction``)."""
        super().__init__(model, output)
        found = next((spec.name for spec in model.inputs if spec.shape == self.shape), None)
        if found is None:
            raise StepError(
                f"output `{output}` of {list(self.shape)} has the shape of no input: it reconstructs none",
                hint="an autoencoder puts out what it was given; else learn from a teacher alone: `distill` with "
                "`alpha: 1`",
                code="training-needs-reconstruction",
            )
        self.input = found

    def judge(
        self, student: Tensor, teacher: Tensor | None, targets: Tensor | None, inputs: dict[str, Tensor], by: Weights
    ) -> tuple[Tensor, Tensor]:
        """Return the negative loss, and the loss: both squared errors, weighed by alpha."""
        del targets
        loss = _errors(student, teacher, by.alpha)
        if by.alpha < 1:
            loss = loss + (1 - by.alpha) * _squared(student, inputs[self.input].float().to(student.device))
        return -loss, loss


class Outputs(Objective):
    """Any network: squared error to all of the teacher's outputs; targets are for judging alone."""

    def pick(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Return all outputs of numbers, side by side (B, V)."""
        return torch.cat([value.float().flatten(1) for value in outputs.values() if value.is_floating_point()], dim=1)

    @property
    def values(self) -> int:
        """How many numbers ``pick`` returns for one sample."""
        return sum(int(np.prod(spec.shape)) for spec in self.model.outputs if spec.dtype.startswith("float"))

    def judge(
        self, student: Tensor, teacher: Tensor | None, targets: Tensor | None, inputs: dict[str, Tensor], by: Weights
    ) -> tuple[Tensor, Tensor]:
        """Return the negative squared error, and the squared error."""
        del targets, inputs, by
        loss = _errors(student, teacher, 1.0)
        return -loss, loss


OBJECTIVES: dict[ObjectiveName, type[Objective]] = {
    "classes": Classes,
    "pixels": Pixels,
    "values": Values,
    "embedding": Embedding,
    "reconstruction": Reconstruction,
    "outputs": Outputs,
}


def make_objective(model: Model, ctx: Context, *, has_teacher: bool) -> Objective:
    """Return what the task of this run makes small.

    Raises:
        StepError: The network does not suit it; ``training-needs-teacher``: the task has nothing else to learn from.
    """
    if ctx.task.needs_teacher and not has_teacher:
        raise StepError(
            "for this task there is nothing to learn from but the original's own answers",
            where=ctx.key,
            hint="use `distill`, whose teacher is the original, instead of `finetune`",
            code="training-needs-teacher",
        )
    try:
        return OBJECTIVES[ctx.task.objective](model, ctx.output)
    except StepError as error:
        raise error.at(ctx.key) from error


def _squared(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared difference of each sample, (B,)."""
    return (a - b).square().flatten(1).mean(1)


def _errors(student: Tensor, teacher: Tensor | None, alpha: float) -> Tensor:
    if teacher is None or alpha == 0:
        return student.new_zeros(len(student))
    return alpha * _squared(student, teacher)
