"""How feature maps lie in memory while a network trains."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from edgeglm.nn.calling import call


def arranged(module: nn.Module, layout: torch.memory_format) -> nn.Module:
    """Return the network with its weights in this layout."""
    return module.to(memory_format=layout)  # type: ignore[call-overload, no-any-return]


@torch.no_grad()
def best_layout(student: nn.Module, inputs: dict[str, Tensor]) -> torch.memory_format:
    """Return channels last where the network takes it: convolutions train 10 to 20 % faster on CPUs with it.

    A forward() that calls ``view`` on feature maps does not take it.
    """
    images = any(tensor.ndim == 4 for tensor in inputs.values())
    if not images or not any(isinstance(layer, nn.Conv2d) for layer in student.modules()):
        return torch.contiguous_format
    probe = arranged(deepcopy(student), torch.channels_last).eval()
    try:
        call(
            probe, {n: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for n, t in inputs.items()}
        )
    except RuntimeError:
        return torch.contiguous_format
    return torch.channels_last
