"""Fine-tuning: ordinary training on the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.steps._training import TrainingConfig

if TYPE_CHECKING:
    from edgeglm.model import Model
    from edgeglm.steps._base import Context


class Finetune(TrainingConfig, tag="finetune", frozen=True, kw_only=True):
    """Train on the labels, so that what an earlier step cost comes back."""

    def apply(self, model: Model, ctx: Context) -> Model:
        """Return a new model; the one passed in is left as it was."""
        from edgeglm.nn.training import train  # heavy: only when it runs

        return train(model, self, ctx)
