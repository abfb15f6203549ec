"""A small U-Net: what it sees at three sizes becomes a class for every pixel.

Source: Ronneberger et al. 2015, arXiv:1505.04597; with padding, batch normalisation and nearest-neighbour enlargement,
so that the map has the image's size and every operator has an INT8 kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Twice(nn.Sequential):
    """Two 3x3 convolutions, each with batch normalisation and ReLU."""

    def __init__(self, channels_in: int, channels: int) -> None:
        layers: list[nn.Module] = []
        for before in (channels_in, channels):
            layers += [nn.Conv2d(before, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        super().__init__(*layers)


class UNet(nn.Module):
    """Down to a quarter of the size and up again, each size beside what was seen at it before."""

    def __init__(self, widths: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        whole, half, quarter = widths
        self.down1, self.down2, self.bottom = Twice(1, whole), Twice(whole, half), Twice(half, quarter)
        self.up2, self.up1 = Twice(quarter + half, half), Twice(half + whole, whole)
        self.head = nn.Conv2d(whole, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Take (B, 1, H, W) in [0, 1], H and W multiples of 4; return logits (B, classes, H, W)."""
        whole = self.down1(image)  # (B, widths[0], H, W)
        half = self.down2(F.max_pool2d(whole, 2))  # (B, widths[1], H/2, W/2)
        quarter = self.bottom(F.max_pool2d(half, 2))  # (B, widths[2], H/4, W/4)
        half = self.up2(torch.cat([F.interpolate(quarter, scale_factor=2.0), half], dim=1))
        whole = self.up1(torch.cat([F.interpolate(half, scale_factor=2.0), whole], dim=1))
        return self.head(whole)


def build(widths: tuple[int, int, int] = (8, 24, 48), classes: int = 11) -> nn.Module:
    """Return the network with random weights; edgeglm loads those that the recipe names."""
    return UNet(tuple(widths), classes)
