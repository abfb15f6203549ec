"""Small networks of every shape that pruning has to follow, and models and contexts around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeglm.data.splits import ArraySplit, Data
from edgeglm.model import Model
from edgeglm.nn.loading import build_python_model
from edgeglm.sources.entry import Entries
from edgeglm.steps import Context
from edgeglm.tasks import Classification


class ConvBlock(nn.Sequential):
    def __init__(self, channels_in: int, channels_out: int, **settings: Any) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False, **settings),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )


class Plain(nn.Module):
    """Two convolutions and a hidden linear layer."""

    def __init__(self, width: int = 16, classes: int = 4) -> None:
        super().__init__()
        self.first = ConvBlock(1, width)
        self.second = ConvBlock(width, width)
        self.hidden = nn.Linear(width * 4, 24)
        self.head = nn.Linear(24, classes)

    def forward(self, image: Tensor) -> Tensor:
        x = self.second(F.max_pool2d(self.first(image), 2))
        return self.head(F.relu(self.hidden(F.adaptive_avg_pool2d(x, 2).flatten(1))))


class Residual(nn.Module):
    """A stem and two residual blocks: the first with an identity shortcut, the second with a projection."""

    def __init__(self, width: int = 16, classes: int = 4) -> None:
        super().__init__()
        self.stem = ConvBlock(1, width)
        self.one = nn.Sequential(ConvBlock(width, width), nn.Conv2d(width, width, 3, padding=1))
        self.two = nn.Sequential(ConvBlock(width, 2 * width), nn.Conv2d(2 * width, 2 * width, 3, padding=1))
        self.shortcut = nn.Conv2d(width, 2 * width, 1)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(x + self.one(x))
        x = F.relu(self.shortcut(x) + self.two(x))
        return self.head(x.mean((2, 3)))


class Depthwise(nn.Module):
    """An inverted bottleneck as in MobileNetV2, with squeeze and excitation."""

    def __init__(self, width: int = 8, classes: int = 4) -> None:
        super().__init__()
        inner = 4 * width
        self.stem = ConvBlock(1, width)
        self.expand = nn.Sequential(nn.Conv2d(width, inner, 1), nn.BatchNorm2d(inner), nn.ReLU6())
        self.depthwise = nn.Sequential(
            nn.Conv2d(inner, inner, 3, padding=1, groups=inner), nn.BatchNorm2d(inner), nn.Hardswish()
        )
        self.squeeze = nn.Linear(inner, 8)
        self.excite = nn.Linear(8, inner)
        self.project = nn.Conv2d(inner, width, 1)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        inner = self.depthwise(self.expand(x))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(inner.mean((2, 3))))))
        x = x + self.project(inner * gate[:, :, None, None])
        return self.head(x.mean((2, 3)))


class Grouped(nn.Module):
    """A convolution in four groups between two dense ones."""

    def __init__(self, width: int = 16, classes: int = 4) -> None:
        super().__init__()
        self.stem = ConvBlock(1, width)
        self.grouped = ConvBlock(width, 2 * width, groups=4)
        self.last = ConvBlock(2 * width, width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.grouped(self.stem(x))).mean((2, 3)))


class Concat(nn.Module):
    """Two branches joined by their channels, as in Inception and DenseNet."""

    def __init__(self, width: int = 16, classes: int = 4) -> None:
        super().__init__()
        self.left = ConvBlock(1, width)
        self.right = ConvBlock(1, 2 * width)
        self.join = ConvBlock(3 * width, width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.join(torch.cat([self.left(x), self.right(x)], 1)).mean((2, 3)))


class OptionABlock(nn.Module):
    """A block of the CIFAR ResNets (He et al. 2015, section 4.2): the shortcut pads channels with zeros."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.grows = channels_in != channels_out
        self.padding = channels_out // 4
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, 2 if self.grows else 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.grows:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))
        return F.relu(x + y)


class OptionA(nn.Module):
    """A CIFAR ResNet of 6n + 2 layers: n = 9 is ResNet-56."""

    def __init__(self, blocks: int = 1, width: int = 16, channels: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        widths = [width, 2 * width, 4 * width]
        before = width
        for index, stage in enumerate(widths, 1):
            layers = [OptionABlock(before if block == 0 else stage, stage) for block in range(blocks)]
            setattr(self, f"layer{index}", nn.Sequential(*layers))
            before = stage
        self.linear = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class Recurrent(nn.Module):
    """A convolution whose channels an LSTM reads, and a hidden layer behind it."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 16, 3, padding=1)
        self.rnn = nn.LSTM(16, 16, batch_first=True)
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.rnn(F.relu(self.conv(x)).transpose(1, 2))
        return self.head(F.relu(self.hidden(states[:, -1])))


def images(n: int = 4, *, channels: int = 1, size: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, channels, size, size)).astype(np.float32)


def make_model(module: nn.Module, sample: np.ndarray | None = None, *, seed: int = 0) -> Model:
    """Return a model with random weights, normalisation statistics included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.copy_(torch.randn(layer.num_features, generator=generator) * 0.1)
                layer.running_var.copy_(torch.rand(layer.num_features, generator=generator) + 0.5)
                layer.weight.copy_(torch.rand(layer.num_features, generator=generator) + 0.5)
                layer.bias.copy_(torch.randn(layer.num_features, generator=generator) * 0.1)
    return build_python_model(module, None, {"input": images() if sample is None else sample}, where="model.entry")


def blobs(n: int, *, classes: int = 4, seed: int = 0, channels: int = 1, size: int = 8) -> ArraySplit:
    """Return images whose class is the corner that is bright: learnt within a few steps."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    inputs = rng.normal(scale=0.5, size=(n, channels, size, size)).astype(np.float32)
    half = size // 2
    for row, target in enumerate(targets):
        top, left = (target // 2) * half, (target % 2) * half
        inputs[row, :, top : top + half, left : left + half] += 1.0
    return ArraySplit({"input": inputs}, targets)


def make_context(
    model: Model, train: ArraySplit | None = None, *, folder: Path | None = None, **changes: Any
) -> Context:
    train = train or blobs(64)
    data = Data({"train": train, "eval": blobs(32, seed=1)}, ("eval",), sha256="d" * 64)
    settings: dict[str, Any] = {
        "original": model,
        "data": data,
        "task": Classification(),
        "seed": 0,
        "threads": 1,
        "device": "cpu",
        "precision": "float32",
        "entries": Entries(folder or Path()),
        "progress": lambda *_, **__: None,
        "checkpoint": None,
        "key": "steps[0]",
    }
    return Context(**(settings | changes))
