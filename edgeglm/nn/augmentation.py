"""Changing a batch as the user's own function does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from edgeglm.errors import StepError

if TYPE_CHECKING:
    from edgeglm.steps import Context
    from edgeglm.steps._training import TrainingConfig

Augment: TypeAlias = Callable[[dict[str, Tensor], int], dict[str, Tensor]]  # inputs by name, step -> inputs by name


def augmentation(config: TrainingConfig, ctx: Context) -> Augment | None:
    """Return what changes a batch as the user's function does, seeded by the step; None when the recipe names none."""
    if config.augment is None:
        return None
    entry, key = config.augment, f"{ctx.key}.augment"
    function = ctx.entries.resolve(entry, key=key)

    def augment(inputs: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence([ctx.seed, step, 1]).generate_state(1)[0]))
        with ctx.entries.guard(entry, key):
            given: Any = next(iter(inputs.values())) if len(inputs) == 1 else inputs
            changed = function(given, generator)
        changed = changed if isinstance(changed, dict) else {next(iter(inputs)): changed}
        for name, tensor in inputs.items():
            got = changed.get(name)
            if not isinstance(got, Tensor) or got.shape != tensor.shape or got.dtype != tensor.dtype:
                shown = f"{tuple(got.shape)} {got.dtype}" if isinstance(got, Tensor) else type(got).__name__
                raise StepError(
                    f"augment returned {shown} for `{name}`; the batch was {tuple(tensor.shape)} {tensor.dtype}",
                    where=key,
                    code="augment-wrong-shape",
                    hint="return a tensor of the same shape and type (a dict of them for several inputs)",
                )
        return {name: changed[name] for name in inputs}

    return augment
