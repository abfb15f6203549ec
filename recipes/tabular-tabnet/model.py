"""TabNet: a network that looks at a few columns of a table at a time, by attention, in a sequence of decisions.

Source: Arik and Pfister 2019, "TabNet: Attentive Interpretable Tabular Learning", arXiv:1908.07442, section 3. Three
things differ. The masks come from a softmax of a low temperature where the paper has a sparsemax (Martins and Astudillo
2016), which sorts: no INT8 kernel does that. Decisions share no layers: a layer with the batch normalisation of each
decision folded into it would be stored once for each all the same. And that normalisation is without ghost batches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Gated(nn.Module):
    """A linear layer whose outputs are let through by another: a gated linear unit, normalised."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.value = nn.Linear(features, width, bias=False)
        self.value_norm = nn.BatchNorm1d(width)
        self.gate = nn.Linear(features, width, bias=False)
        self.gate_norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Take (B, features), return (B, width)."""
        return self.value_norm(self.value(x)) * torch.sigmoid(self.gate_norm(self.gate(x)))


class Transformer(nn.Module):
    """The feature transformer: four gated units, three of them with a way around."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.first = Gated(features, width)
        self.others = nn.ModuleList([Gated(width, width) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        """Take (B, features), return (B, width); residuals are scaled so that their variance stays."""
        x = self.first(x)
        for unit in self.others:
            x = (x + unit(x)) * 0.5**0.5
        return x


class TabNet(nn.Module):
    """A sequence of decisions, each on its own columns; their sum goes to a linear head."""

    def __init__(self, features: int, width: int, decisions: int, relaxation: float, classes: int) -> None:
        super().__init__()
        self.first = Transformer(features, 2 * width)
        self.attentions = nn.ModuleList(
            [nn.Sequential(nn.Linear(width, features, bias=False), nn.BatchNorm1d(features)) for _ in range(decisions)]
        )
        self.transformers = nn.ModuleList([Transformer(features, 2 * width) for _ in range(decisions)])
        self.head = nn.Linear(width, classes)
        self.width, self.relaxation = width, relaxation
        self.sharpness = 3.0  # 1 / temperature of the masks

    def forward(self, features: Tensor) -> Tensor:
        """Take standardised features (B, 30), return logits (B, classes)."""
        logits, _ = self.explain(features)
        return logits

    def explain(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits (B, classes), and the mask of each decision, (B, 30): which columns it looked at."""
        attended = self.first(features)[:, self.width :]
        unused = torch.ones_like(features)  # how free each column still is
        total, masks = features.new_zeros(()), []
        for attention, transformer in zip(self.attentions, self.transformers, strict=True):
            mask = torch.softmax(self.sharpness * attention(attended) * unused, dim=-1)
            unused = unused * (self.relaxation - mask)
            out = transformer(mask * features)
            total = total + torch.relu(out[:, : self.width])
            attended = out[:, self.width :]
            masks.append(mask)
        return self.head(total), masks


def build(
    features: int = 30, width: int = 16, decisions: int = 3, relaxation: float = 1.5, classes: int = 2
) -> nn.Module:
    """Return the network with random weights; edgeglm loads those that the recipe names."""
    return TabNet(features, width, decisions, relaxation, classes)
