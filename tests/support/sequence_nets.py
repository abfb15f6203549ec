"""Small recurrent networks and transformers, as people write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeglm.data.splits import ArraySplit
from edgeglm.nn.loading import build_python_model
from tests.support.checkpoints import TINY

if TYPE_CHECKING:
    from edgeglm.model import Model

SERIES = ArraySplit(
    {"x": np.random.default_rng(0).normal(size=(32, 10, 8)).astype(np.float32)}, np.arange(32, dtype=np.int64) % 4
)
TOKENS = ArraySplit(
    {
        "input_ids": np.random.default_rng(0).integers(2, TINY["vocab_size"], (32, 12)),
        "attention_mask": (np.arange(12) < np.arange(4, 36)[:, None] % 9 + 3).astype(np.int64),
    },
    np.arange(32, dtype=np.int64) % 4,
)


def model_of(module: nn.Module, split: ArraySplit = SERIES) -> Model:
    return build_python_model(module, None, split.rows(np.arange(4)), where="model.entry")


class Autoencoder(nn.Module):
    """LSTM, its last state repeated, LSTM, linear."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.encoder = nn.LSTM(8, hidden, batch_first=True)
        self.decoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 8)

    def forward(self, x: Tensor) -> Tensor:
        _, (state, _) = self.encoder(x)
        again, _ = self.decoder(state[-1].unsqueeze(1).repeat(1, x.shape[1], 1))
        return self.out(again)


class HandsStateOn(nn.Module):
    """An encoder of two layers whose state the decoder begins with."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.encoder = nn.LSTM(8, hidden, num_layers=2, batch_first=True)
        self.decoder = nn.LSTM(8, hidden, num_layers=2, batch_first=True)
        self.out = nn.Linear(hidden, 8)

    def forward(self, x: Tensor) -> Tensor:
        _, state = self.encoder(x)
        return self.out(self.decoder(torch.zeros_like(x), state)[0])


class Bidirectional(nn.Module):
    """A linear layer into a GRU of two layers and two directions, and a norm behind it."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 24)
        self.rnn = nn.GRU(24, hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.norm, self.head = nn.LayerNorm(2 * hidden), nn.Linear(2 * hidden, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.rnn(F.relu(self.embed(x)))[0]).mean(1))


class OwnState(nn.Module):
    """Makes its first state itself, and has a batch norm behind it."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.hidden_size = hidden
        self.rnn = nn.RNN(8, hidden, batch_first=True)
        self.norm, self.head = nn.BatchNorm1d(hidden), nn.Linear(hidden, 4)

    def forward(self, x: Tensor) -> Tensor:
        first = torch.zeros(1, x.shape[0], self.hidden_size, dtype=x.dtype)
        return self.head(self.norm(self.rnn(x, first)[0][:, -1]))


class Flattened(nn.Module):
    """Two LSTMs in a row, time first, and all moments side by side."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.one, self.two = nn.LSTM(8, hidden), nn.LSTM(hidden, hidden, bias=False)
        self.head = nn.Linear(10 * hidden, 4)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.two(self.one(x.transpose(0, 1))[0])
        return self.head(states.transpose(0, 1).flatten(1))


class Torch(nn.Module):
    """torch's own encoder layers."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, **settings)
        self.embed, self.head = nn.Linear(8, 32), nn.Linear(32, 4)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x)).mean(1))


class Fused(nn.Module):
    """One layer for query, key and value, as in timm."""

    def __init__(self, *, divides: bool = False) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.divides = 4, 8, divides
        self.scale = 8**-0.5
        self.qkv, self.proj, self.head = nn.Linear(8, 96), nn.Linear(32, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        rows, length, _ = x.shape
        q, k, v = self.qkv(x).reshape(rows, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        scale = self.head_dim**-0.5 if self.divides else self.scale
        mixed = (q @ k.transpose(-2, -1) * scale).softmax(-1) @ v
        return self.head(self.proj(mixed.transpose(1, 2).reshape(rows, length, -1)).mean(1))


class ByHand(nn.Module):
    """A block as tutorials write it: sizes as attributes, the scale computed from one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.h, self.d_k = 4, 8
        self.embed, self.head = nn.Linear(8, 32), nn.Linear(32, 4)
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(32, 32) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        q, k, v = (
            layer(x).view(*x.shape[:2], self.h, self.d_k).transpose(1, 2) for layer in (self.wq, self.wk, self.wv)
        )
        mixed = (q @ k.transpose(-2, -1) / self.d_k**0.5).softmax(-1) @ v
        return self.head(self.wo(mixed.transpose(1, 2).reshape(*x.shape[:2], self.h * self.d_k)).mean(1))


class Pooled(nn.Module):
    """The mean of an encoder's states, where the mask is one."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        return (states * mask).sum(1) / mask.sum(1)


def encoder_of(kind: str, **changes: Any) -> nn.Module:
    """Return an encoder of transformers with random weights: ``BertModel``, ``DistilBertModel``, ..."""
    import transformers

    settings = {**TINY, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, **changes}
    if kind.startswith("DistilBert"):
        names = {"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"}
        names |= {"intermediate_size": "hidden_dim"}
        settings = {names.get(name, name): value for name, value in settings.items()}
    cls = getattr(transformers, kind)
    torch.manual_seed(0)
    return Pooled(cls(cls.config_class(**settings)).eval())
