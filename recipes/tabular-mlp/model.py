"""A multilayer perceptron for tables."""

from __future__ import annotations

from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with batch normalisation and ReLU between them."""

    def __init__(self, features: int, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in zip((features, *widths), widths, strict=False):
            layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, features: Tensor) -> Tensor:
        """Take standardised features (B, 30), return logits (B, classes)."""
        return self.head(self.body(features))


def build(features: int = 30, widths: tuple[int, ...] = (256, 256, 128), classes: int = 2) -> nn.Module:
    """Return the network with random weights; edgeglm loads those that the recipe names."""
    return MLP(features, tuple(widths), classes)
