"""How much a network computes and holds."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from edgeglm.nn.calling import call

if TYPE_CHECKING:
    from edgeglm.model import Model


def blank_inputs(model: Model, rows: int = 1) -> dict[str, torch.Tensor]:
    """Return zeros of the model's input types and shapes, with this many rows."""
    return {spec.name: torch.zeros((rows, *spec.shape), dtype=getattr(torch, spec.dtype)) for spec in model.inputs}


def count_macs(model: Model) -> int:
    """Return the multiply-accumulates of one sample: those of convolutions, matrix products and attention.

    Element-wise work, normalisation and activations are not counted, as is the custom of the field.
    """
    # copied, since a user's forward may keep what it computed
    module = deepcopy(model.module).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call(module, blank_inputs(model))
    return int(counter.get_total_flops()) // 2  # torch counts a multiplication and an addition


def count_params(model: Model) -> int:
    """Return the number of trainable values; a tensor that two layers share counts once."""
    return sum(parameter.numel() for parameter in model.module.parameters())
