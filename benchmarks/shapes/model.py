"""The two classic networks of tiny machine learning (Banbury et al. 2021, arXiv:2106.07597, section 4)."""

from __future__ import annotations

import torch
from torch import nn


def conv_bn(
    inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int | tuple[int, int] = 1, groups: int = 1
) -> nn.Sequential:
    """Return convolution, batch normalisation and ReLU, padded so that stride 1 keeps the size."""
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, (height, width), stride, (height // 2, width // 2), groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity, or a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = conv_bn(inputs, outputs, 3, stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.second(self.first(x)) + self.shortcut(x))


def resnet8(classes: int = 10) -> nn.Module:
    """Return ResNet-8 for 3x32x32 images: 78 thousand parameters."""
    return nn.Sequential(
        conv_bn(3, 16, 3),
        Residual(16, 16, 1),
        Residual(16, 32, 2),
        Residual(32, 64, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )


def dscnn(classes: int = 10) -> nn.Module:
    """Return DS-CNN for 1x49x10 features: a stem and four depthwise separable blocks of 64 channels."""
    blocks = [part for _ in range(4) for part in (conv_bn(64, 64, 3, groups=64), conv_bn(64, 64, 1))]
    return nn.Sequential(
        nn.Conv2d(1, 64, (10, 4), (2, 2), (5, 1), bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )
