"""Tiny networks that export has to get right, and the files that runtimes see."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from edgeglm_agent.wire import TensorSpec
from torch import nn

from edgeglm.model import Model

RANDOM = 0


class Residual(nn.Module):
    """Two convolutions with batch norms, and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class Cnn(nn.Module):
    """Batch norm, residual, depthwise, relu6, a global mean and a linear layer."""

    def __init__(self, channels: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.encoder = nn.ModuleList([Residual(channels)])
        self.decoder = nn.ModuleList([Residual(channels)])
        self.depthwise = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        self.head = nn.Linear(channels, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(image))
        x = self.decoder[0](self.encoder[0](x))
        x = nn.functional.relu6(self.pointwise(self.bn(self.depthwise(x))))
        return self.head(x.mean((2, 3)))


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 32, batch_first=True)
        self.head = nn.Linear(32, 4)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(series)[0][:, -1])


class Gru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 64, batch_first=True)
        self.head = nn.Linear(64, 4)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(series)[0][:, -1])


class Vit(nn.Module):
    """A patch embedding and one transformer layer with GELU."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.layer = nn.TransformerEncoderLayer(
            width, 4, 64, batch_first=True, activation="gelu", norm_first=True, dropout=0.0
        )
        self.head = nn.Linear(width, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.patch(image).flatten(2).transpose(1, 2)).mean(1))


class Words(nn.Module):
    """An embedding table of 64-bit tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(200, 32)
        self.hidden = nn.Linear(32, 32)
        self.head = nn.Linear(32, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.hidden(self.table(ids).mean(1))))


class Named(nn.Module):
    """Two inputs, and outputs by name; ``relu`` is also what an exporter calls an inner value."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(4, 8)
        self.right = nn.Linear(6, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, z: torch.Tensor, a: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = torch.relu(self.left(z) - 2 * self.right(a))
        return {"relu": self.head(hidden), "linear": hidden.sum(1, keepdim=True)}


class Several(nn.Module):
    """An output and its double (``twice``), one that a layer reads (``inner``), or one tensor twice (``same``)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.hidden = nn.Linear(12, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = torch.relu(self.hidden(x))
        logits = self.head(hidden)
        return {"logits": logits, "also": {"twice": logits * 2, "inner": hidden, "same": logits}[self.kind]}


class Odd(nn.Module):
    """Holds an operator that neither format has."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.i0(x)


class WithOdd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.block = nn.Sequential(nn.ReLU(), Odd())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(self.first(x))


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum() > 0 else x


class WithBranch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.gate = Branching()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gate(self.first(x))


def settled(module: nn.Module, seed: int = RANDOM) -> nn.Module:
    """Return the module in eval mode with seeded weights and batch norms that do something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for child in module.modules():
            if isinstance(child, nn.BatchNorm2d):
                child.running_mean.normal_(0, 0.3, generator=generator)
                child.running_var.uniform_(0.5, 2, generator=generator)
                child.weight.uniform_(0.5, 1.5, generator=generator)
                child.bias.normal_(0, 0.2, generator=generator)
            else:
                for parameter in child.parameters(recurse=False):
                    bound = 1.0 / max(1, parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
                    parameter.uniform_(-bound, bound, generator=generator)
    return module.eval()


def make(module: nn.Module, outputs: dict[str, int], **inputs: tuple[tuple[int, ...], str]) -> Model:
    """Return a Model; inputs are name -> (shape without the batch axis, dtype), outputs name -> width."""
    layouts = {3: "NCHW", 1: "NC"}
    return Model(
        settled(module),
        tuple(TensorSpec(name, dtype, shape, layouts.get(len(shape), "")) for name, (shape, dtype) in inputs.items()),
        tuple(TensorSpec(name, "float32", (width,), "NC") for name, width in outputs.items()),
    )


def cnn() -> Model:
    return make(Cnn(), {"logits": 10}, image=((1, 8, 8), "float32"))


def mlp() -> Model:
    """Return a network of vectors."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    return make(net, {"logits": 3}, values=((4,), "float32"))


def uneven() -> Model:
    """Return a network of vectors whose rows no block of 128 divides, but for the last, and some none of 32."""
    widths = [20, 64, 96, 128, 4]
    layers = [part for pair in itertools.pairwise(widths) for part in (nn.Linear(*pair), nn.ReLU())]
    return make(nn.Sequential(*layers[:-1]), {"logits": 4}, values=((20,), "float32"))


def lstm() -> Model:
    return make(Lstm(), {"logits": 4}, series=((12, 6), "float32"))


def gru() -> Model:
    return make(Gru(), {"logits": 4}, series=((12, 6), "float32"))


def vit() -> Model:
    return make(Vit(), {"logits": 10}, image=((3, 16, 16), "float32"))


def words() -> Model:
    return make(Words(), {"logits": 5}, ids=((7,), "int64"))


def named() -> Model:
    return make(Named(), {"relu": 3, "linear": 1}, z=((4,), "float32"), a=((6,), "float32"))


def several(kind: str) -> Model:
    return make(Several(kind), {"logits": 4, "also": 16 if kind == "inner" else 4}, x=((12,), "float32"))


def rows(model: Model, count: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Return seeded inputs."""
    random = np.random.default_rng(seed)
    return {
        spec.name: random.integers(0, 200, (count, *spec.shape))
        if spec.dtype == "int64"
        else random.normal(size=(count, *spec.shape)).astype(np.float32)
        for spec in model.inputs
    }


def torch_outputs(model: Model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what the network itself gives."""
    with torch.no_grad():
        given = model.module(*(torch.from_numpy(value) for value in inputs.values()))
    given = given if isinstance(given, dict) else {model.outputs[0].name: given}
    return {name: value.numpy() for name, value in given.items()}


def trained_on_digits() -> tuple[Model, dict[str, np.ndarray], np.ndarray, dict[str, np.ndarray]]:
    """Return a CNN trained on scikit-learn's digits, its test images and labels, and calibration images."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:1200], order[1200:]
    torch.manual_seed(0)
    net = Cnn()
    net.train()
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    x, y = torch.from_numpy(images[train]), torch.from_numpy(digits.target[train])
    for _ in range(8):
        for start in range(0, len(x), 100):
            loss = nn.functional.cross_entropy(net(x[start : start + 100]), y[start : start + 100])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model = Model(
        net.eval(),
        (TensorSpec("image", "float32", (1, 8, 8), "NCHW"),),
        (TensorSpec("logits", "float32", (10,), "NC"),),
    )
    return model, {"image": images[test]}, digits.target[test], {"image": images[train[:256]]}
