"""A digits network in which one channel is a thousand times larger than it needs to be: INT8 loses all beside it."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

Arrays = tuple[np.ndarray, np.ndarray]
FACTOR = 2000.0
SENSITIVE = ("1.conv", "2.conv")  # the layer that writes the channel, and the one that reads it


class Block(nn.Module):
    """A convolution and its Relu."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x))


def digits() -> dict[str, Arrays]:
    """Return train, calibration and evaluation images of handwritten digits, with their labels."""
    loaded = load_digits()
    order = np.random.default_rng(0).permutation(len(loaded.target))
    images = (loaded.images[order][:, None] / 16).astype(np.float32)
    parts = {"train": slice(0, 900), "calibration": slice(900, 1100), "eval": slice(1100, None)}
    return {name: (images[part], loaded.target[order][part].astype(np.int64)) for name, part in parts.items()}


def outlier_network(data: dict[str, Arrays]) -> nn.Module:
    """Return a trained network of five layers; blocks 1 and 2 share the outlier channel, and float does not mind it."""
    torch.manual_seed(0)
    network = nn.Sequential(
        Block(1, 8), Block(8, 8), Block(8, 16, stride=2), Block(16, 16), nn.Flatten(), nn.Linear(256, 10)
    )
    train(network, data["train"], epochs=12)
    with torch.no_grad():  # a Relu lets a positive factor through: what one layer gains, the next one loses
        first, second = network[1].conv, network[2].conv
        channel = int(first.weight.abs().sum((1, 2, 3)).argmax())
        first.weight[channel] *= FACTOR
        first.bias[channel] *= FACTOR
        second.weight[:, channel] /= FACTOR
    return network.eval()


def uneven_network(data: dict[str, Arrays]) -> nn.Module:
    """Return a trained network of four linear layers; in each block of layer 2 one column of weights is far larger."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    )
    train(network, data["train"], epochs=15)
    with torch.no_grad():
        for channel in (3, 40):
            network[2].weight[:, channel] *= 16
            network[0].weight[channel] /= 16
            network[0].bias[channel] /= 16
    return network.eval()


def train(network: nn.Module, samples: Arrays, *, epochs: int) -> None:
    """Train a classifier for a moment."""
    x, y = (torch.from_numpy(values) for values in samples)
    optimizer = torch.optim.Adam(network.parameters(), 4e-3)
    for _ in range(epochs):
        for start in range(0, len(x), 100):
            loss = nn.functional.cross_entropy(network(x[start : start + 100]), y[start : start + 100])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
