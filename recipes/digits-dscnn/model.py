"""DS-CNN, the network of MLPerf Tiny's keyword spotting, for small images: depthwise separable convolutions.

Source: Zhang et al. 2017, "Hello Edge", arXiv:1711.07128, section 3; Howard et al. 2017, arXiv:1704.04861, section 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Separable(nn.Module):
    """A 3x3 convolution for each channel by itself, then a 1x1 convolution across them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape, (B, channels, H, W)."""
        y = torch.relu(self.norm1(self.depthwise(x)))
        return torch.relu(self.norm2(self.pointwise(y)))


class DSCNN(nn.Module):
    """A strided stem, separable blocks, the mean over the image, a linear head."""

    def __init__(self, width: int, blocks: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.blocks = nn.Sequential(*[Separable(width) for _ in range(blocks)])
        self.head = nn.Linear(width, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Take (B, 1, 32, 32) in [0, 1], return logits (B, classes)."""
        features = self.blocks(self.stem(image))
        return self.head(features.mean(dim=(2, 3)))


def build(width: int = 64, blocks: int = 4, classes: int = 10) -> nn.Module:
    """Return the network with random weights; edgeglm loads those that the recipe names."""
    return DSCNN(width, blocks, classes)
