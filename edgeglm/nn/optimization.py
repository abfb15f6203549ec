"""Optimizers and their learning rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

    from edgeglm.steps._training import TrainingConfig


def make_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return AdamW or SGD with Nesterov momentum; biases and normalisation weights do not decay.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101 (AdamW); Goyal et al. 2017, arXiv:1706.02677, section 5.3
    (no decay of normalisation).
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0, fused=True
        )
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def learning_rate(step: int, *, total: int, warmup: int, peak: float) -> float:
    """Return the rate of one step: a linear rise to the peak, then half a cosine down to almost zero.

    Args:
        step: From 0 to ``total - 1``.
        total: Steps of the whole run.
        warmup: Steps of the rise; the peak is reached at the last of them.
        peak: Highest rate.

    Source: Loshchilov and Hutter 2017, arXiv:1608.03983, section 3 (one period); Goyal et al. 2017,
    arXiv:1706.02677, section 2.2 (warm-up).
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Return how many batches an epoch has; a last batch of one sample is dropped: batch norm cannot learn from it."""
    steps = math.ceil(samples / batch_size)
    return steps - 1 if steps > 1 and batch_size > 1 and samples % batch_size == 1 else steps
