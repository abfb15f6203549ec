"""What training makes small, for each kind of task; ``TaskConfig.objective`` names one of the table below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edgeglm.errors import StepError
from edgeglm.nn.losses import distillation_loss

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeglm.data.splits import Split
    from edgeglm.model import Model
    from edgeglm.steps import Context
    from edgeglm.tasks._base import ObjectiveName


_NOT_COUNTED = -100  # what torch's cross entropy leaves out


@dataclass(frozen=True)
class Weights:
    """How much each part of a loss counts."""

    alpha: float = 0.0  # of the teacher, 0 to 1; 1 - alpha is that of the targets
    temperature: float = 1.0  # softens logits on both sides; of classes alone
    label_smoothing: float = 0.0  # share of each label spread over all classes; of classes alone


class Objective:
    """Base of all: the loss of a batch, and the score by which the best epoch is chosen."""

    score_name: ClassVar[str] = "loss"  # shown; of a loss the score is its negative
    needs_teacher: ClassVar[bool] = False
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

    def pick(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Return what is compared, (B, ...) float32, from all outputs of a network."""
        return outputs[self.output].float()

    @property
    def values(self) -> int:
        """How many numbers ``pick`` returns for one sample."""
        return int(np.prod(next(spec.shape for spec in self.model.outputs if spec.name == self.output)))

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
        if split.targets is None:
            if alpha == 1:
                return None
            raise _needs_targets(ctx)
        targets = split.targets
        if targets.ndim != 1 or (len(targets) and (targets.min() < 0 or targets.max() >= shape[0])):
            raise StepError(
                f"targets of shape {targets.shape} from {targets.min()} to {targets.max()} do not fit {shape[0]} "
                "logits",
                where=ctx.key,
                code="data-targets",
                hint=f"targets are class numbers, one a sample, from 0 to {shape[0] - 1}",
            )
        return torch.from_numpy(targets.astype(np.int64))

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
        """Return class numbers (N, H, W) int16. Raises: StepError."""
        if split.targets is None:
            if alpha == 1:
                return None
            raise _needs_targets(ctx)
        shape = next(spec.shape for spec in self.model.outputs if spec.name == self.output)
        targets = split.targets
        if len(shape) != 3 or targets.shape[1:] != shape[1:] or targets.max() >= shape[0]:
            raise StepError(
                f"targets of shape {targets.shape} up to {targets.max()} do not fit output `{self.output}` of {shape} "
                "for each sample",
                where=ctx.key,
                code="data-targets",
                hint="one class number for each pixel of the output, below its number of classes",
            )
        return torch.from_numpy(targets.astype(np.int16))

    def loss(
        self, student: Tensor, teacher: Tensor | None, targets: Tensor | None, inputs: dict[str, Tensor], by: Weights
    ) -> Tensor:
        """Return the loss of Hinton et al. (see ``distillation_loss``), the mean over pixels."""
        del inputs
        wanted = None
        if targets is not None:
            wanted = targets.long().flatten()
            if not (wanted >= 0).any():
                return (student * 0).sum()  # a mean over no pixels would not be a number
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


class Values(Objective):
    """Numbers (N, ...) and targets of the same shape: squared error to the targets, and to a teacher's answers."""

    def read_targets(self, split: Split, *, alpha: float, ctx: Context) -> Tensor | None:
        """Return numbers as the output has them, float32. Raises: StepError."""
        if split.targets is None:
            if alpha == 1:
                return None
            raise _needs_targets(ctx)
        shape = next(spec.shape for spec in self.model.outputs if spec.name == self.output)
        targets = split.targets
        if targets.size != len(targets) * int(np.prod(shape)):
            raise StepError(
                f"targets of shape {targets.shape} do not fit output `{self.output}` of {shape} for each sample",
                where=ctx.key,
                code="data-targets",
                hint="one number for each number that the network puts out",
            )
        return torch.from_numpy(targets.astype(np.float32).reshape(len(targets), *shape))

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
    needs_teacher: ClassVar[bool] = True

    def judge(
        self, student: Tensor, teacher: Tensor | None, targets: Tensor | None, inputs: dict[str, Tensor], by: Weights
    ) -> tuple[Tensor, Tensor]:
        """Return the cosine, and one minus it."""
        del targets, inputs, by
        assert teacher is not None  # needs_teacher
        cosine = F.cosine_similarity(student.flatten(1), teacher.flatten(1), dim=-1)
        return cosine, 1 - cosine


class Reconstruction(Objective):
    """An autoencoder's output, of the shape of one of its inputs: squared error to it, and to a teacher's output."""

    def __init__(self, model: Model, output: str) -> None:
        """Find the input that is reconstructed. Raises: StepError (``training-needs-reconstruction``)."""
        super().__init__(model, output)
        shape = next(spec.shape for spec in model.outputs if spec.name == output)
        found = next((spec.name for spec in model.inputs if spec.shape == shape), None)
        if found is None:
            raise StepError(
                f"output `{output}` of {list(shape)} has the shape of no input: it reconstructs none",
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

    needs_teacher: ClassVar[bool] = True

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
    kind = OBJECTIVES[ctx.task.objective]
    if kind.needs_teacher and not has_teacher:
        raise StepError(
            "for this task there is nothing to learn from but the original's own answers",
            where=ctx.key,
            hint="use `distill`, whose teacher is the original, instead of `finetune`",
            code="training-needs-teacher",
        )
    try:
        return kind(model, ctx.output)
    except StepError as error:
        raise error.at(ctx.key) from error


def _by_pixel(logits: Tensor) -> Tensor:
    """Return logits (B, K, H, W) with a row for each pixel, (B * H * W, K)."""
    return logits.movedim(1, -1).flatten(0, -2)


def _squared(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared difference of each sample, (B,)."""
    return (a - b).square().flatten(1).mean(1)


def _errors(student: Tensor, teacher: Tensor | None, alpha: float) -> Tensor:
    if teacher is None or alpha == 0:
        return student.new_zeros(len(student))
    return alpha * _squared(student, teacher)


def _needs_targets(ctx: Context) -> StepError:
    return StepError(
        "the split `train` has no targets to learn from",
        where=ctx.key,
        code="training-needs-targets",
        hint="return (inputs, targets) from the data entry, or use `distill` with `alpha: 1.0`",
    )
