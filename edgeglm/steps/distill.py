"""Distillation: the model learns from a teacher's soft answers as well as from the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from edgeglm.steps._training import TrainingConfig

if TYPE_CHECKING:
    from edgeglm.model import Model
    from edgeglm.steps._base import Context


class Distill(TrainingConfig, tag="distill", frozen=True, kw_only=True):
    """Train towards the teacher's softened outputs (Hinton et al. 2015, arXiv:1503.02531, section 2)."""

    teacher: Literal["original"] = "original"  # the network as it was loaded
    temperature: Annotated[float, Meta(gt=0)] = 4.0  # softens both outputs; 1 leaves them as they are
    alpha: Annotated[float, Meta(ge=0, le=1)] = 0.7  # weight of the teacher; 1 - alpha is that of the labels

    def apply(self, model: Model, ctx: Context) -> Model:
        """Return a new model; the one passed in is left as it was."""
        from edgeglm.nn.training import train  # heavy: only when it runs

        return train(model, self, ctx, teacher=ctx.original, temperature=self.temperature, alpha=self.alpha)
