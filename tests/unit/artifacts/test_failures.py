"""Where an export failed."""

from __future__ import annotations

import torch
from torch import nn

from edgeglm.artifacts.failures import find_failure


class Fragile:
    """Like an operator of MLIR that was not made: none of its attributes can be read."""

    def __getattr__(self, name: str) -> object:
        raise TypeError("uninitialized")


class Fails(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half_made = Fragile()
        raise ValueError(f"no operator torch.ops.aten.odd for {type(half_made).__name__} {x.shape}")


def test_the_layer_is_found_past_an_object_whose_attributes_cannot_be_read() -> None:
    network = nn.Sequential(nn.ReLU(), Fails())
    try:
        network(torch.zeros(1))
    except ValueError as error:
        failure = find_failure(error, network)
    assert (failure.layer, failure.operator) == ("1", "aten.odd")
