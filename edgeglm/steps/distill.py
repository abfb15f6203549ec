"""Distillation: the model learns from a teacher's soft answers as well as from the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from edgeglm.sources._base import ModelSource
from edgeglm.steps._training import TrainingConfig

if TYPE_CHECKING:
    from edgeglm.data.splits import Data
    from edgeglm.model import Model
    from edgeglm.sources.entry import Entries
    from edgeglm.steps._base import Context


class Distill(TrainingConfig, tag="distill", frozen=True, kw_only=True):
    """Train towards the teacher's softened outputs (Hinton et al. 2015, arXiv:1503.02531, section 2)."""

    teacher: Literal["original"] | ModelSource = "original"  # the network as it was loaded, or one from elsewhere
    temperature: Annotated[float, Meta(gt=0)] = 4.0  # softens both outputs; 1 leaves them as they are
    alpha: Annotated[float, Meta(ge=0, le=1)] = 0.7  # weight of the teacher; 1 - alpha is that of the labels
    hidden: Literal["even"] | dict[str, str] | None = None  # student layer -> teacher layer whose features it learns
    hidden_weight: Annotated[float, Meta(gt=0)] = 1.0  # what their difference counts beside the rest of the loss

    def apply(self, model: Model, ctx: Context) -> Model:
        """Return a new model; the one passed in is left as it was."""
        from edgeglm.nn.teacher import load_teacher, require_same_output  # heavy: only when it runs
        from edgeglm.nn.training import train

        teacher = ctx.original
        if isinstance(self.teacher, ModelSource):
            teacher = load_teacher(self.teacher, model, ctx.entries, ctx.data, where=ctx.key)
            require_same_output(teacher, model, ctx.output, where=ctx.key)
        return train(
            model,
            self,
            ctx,
            teacher=teacher,
            temperature=self.temperature,
            alpha=self.alpha,
            hidden=self.hidden,
            hidden_weight=self.hidden_weight,
        )

    def fingerprint(self, original: Model, entries: Entries, data: Data, *, where: str) -> str:
        """Return the digest of the teacher's weights, where it comes from elsewhere."""
        if not isinstance(self.teacher, ModelSource):
            return ""
        from edgeglm.nn.loading import state_sha256
        from edgeglm.nn.teacher import load_teacher

        teacher = load_teacher(self.teacher, original, entries, data, where=where)
        return state_sha256(teacher.module) + self.teacher.fingerprint(entries)
