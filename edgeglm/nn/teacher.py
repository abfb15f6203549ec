"""Where a student's soft targets come from."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeglm.data import ArraySplit
from edgeglm.nn.calling import call, to_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from edgeglm.data import Split
    from edgeglm.model import Model
    from edgeglm.nn.objectives import Objective

_KEPT_BYTES = 256e6
_ROWS = 256


class Teacher:
    """A network that answers and never learns: in eval mode, so that its normalisation stays as it is.

    When every epoch shows it the same samples, it is asked once and its answers are kept: on a CPU that saves more
    than a third of each step.
    """

    def __init__(self, model: Model, objective: Objective, device: torch.device) -> None:
        self.model, self.objective, self.device = model, objective, device
        self.module: nn.Module = deepcopy(model.module).to(device).eval().requires_grad_(False)
        self.kept: Tensor | None = None

    def keep_answers(self, data: Split, *, augmented: bool, told: Callable[[], None]) -> None:
        """Ask once for all samples, unless augmentation or a reading data set changes them or they are too many.

        ``told`` is called after each batch, as a sign of life.
        """
        if isinstance(data, ArraySplit) and not augmented and len(data) * self.objective.values * 4 <= _KEPT_BYTES:
            self.kept = self.ask(data, np.arange(len(data)), told=told)

    def ask(self, data: Split, rows: np.ndarray, *, told: Callable[[], None] = lambda: None) -> Tensor:
        """Return the answers to these rows as they are in the data, (N, ...) float32 on the CPU."""
        if self.kept is not None:
            return self.kept[rows]
        parts = []
        for start in range(0, len(rows), _ROWS):
            parts.append(self.answer(to_tensors(self.model, data.rows(rows[start : start + _ROWS]), self.device)).cpu())
            told()
        return torch.cat(parts)

    def answer(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the answers to a batch, (B, ...) float32 on the device, outside of autocast."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return self.objective.pick(call(self.module, inputs))
