"""Training on texts without computing their padding: batches of like lengths, cut to the longest of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeglm.nn.calling import call

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgeglm.data.splits import Split

_ROWS = 1024  # of masks read at a time
_GROUP = 50  # batches that are sorted by length together: enough for like lengths, few enough to stay random
_TOLERANCE = 1e-4  # of max|output|


@dataclass(frozen=True)
class Padding:
    """Where the padding of a split's samples begins, and which inputs have it."""

    mask: str  # input that is 1 for tokens and 0 for padding
    inputs: tuple[str, ...]  # those that are cut with it
    lengths: np.ndarray  # (N,) tokens of every sample of the split

    def cut(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a batch without the columns that are padding in all of its rows."""
        longest = max(1, int(inputs[self.mask].sum(1).max()))
        return {name: value[:, :longest] if name in self.inputs else value for name, value in inputs.items()}

    def by_length(self, rows: np.ndarray) -> np.ndarray:
        """Return where rows stand in the order of their lengths, (N,): neighbours there are cut alike."""
        return np.argsort(self.lengths[rows], kind="stable")

    def grouped(self, order: np.ndarray, batch_size: int, *, seed: list[int]) -> np.ndarray:
        """Return the same rows with those of like length in one batch; the batches come in random order.

        Args:
            order: Row numbers, shuffled.
            batch_size: Rows of one batch.
            seed: Decides the order of batches.
        """
        whole = len(order) // batch_size * batch_size
        span = _GROUP * batch_size
        parts = [order[start : min(start + span, whole)] for start in range(0, whole, span)]
        alike = [part[self.by_length(part)] for part in parts]
        batches = np.concatenate(alike).reshape(-1, batch_size) if alike else np.empty((0, batch_size), order.dtype)
        shuffled = batches[np.random.default_rng(seed).permutation(len(batches))]
        return np.concatenate([shuffled.reshape(-1), order[whole:]])


@torch.no_grad()
def find_padding(network: nn.Module, probe: dict[str, Tensor], split: Split) -> Padding | None:
    """Return the padding of a split, or None where there is none that may be cut.

    An input is a mask when its name says so and its values are ones, then zeros; integers of its shape are cut with it.
    The network must answer the same without the padding: that is tried on the probe.

    Args:
        network: In eval mode while it is tried; its mode is left as it was.
        probe: A few rows by input name.
        split: What is trained on.
    """
    mask = next((name for name, value in probe.items() if "mask" in name and value.ndim == 2 and _whole(value)), None)
    if mask is None:
        return None
    shape = probe[mask].shape
    inputs = tuple(name for name, value in probe.items() if value.shape == shape and _whole(value))
    lengths = np.zeros(len(split), np.int64)
    for start in range(0, len(split), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(split)))
        values = split.rows(rows)[mask] != 0
        lengths[rows] = values.sum(1)
        if not (values == (np.arange(shape[1]) < lengths[rows, None])).all():
            return None  # padding on the left, or gaps
    padding = Padding(mask, inputs, lengths)
    if (lengths == shape[1]).all():
        return None
    return padding if answers_the_same(network, probe, padding) else None


def _whole(value: Tensor) -> bool:
    return not value.is_floating_point() and not value.is_complex()


@torch.no_grad()
def answers_the_same(network: nn.Module, probe: dict[str, Tensor], padding: Padding) -> bool:
    """Return whether a network answers rows that are half padding as it does when they are cut; its mode stays."""
    half = probe[padding.mask].shape[1] // 2
    if half < 1:
        return False
    columns = torch.arange(probe[padding.mask].shape[1], device=probe[padding.mask].device)
    mask = torch.where(columns < half, 1, 0).to(probe[padding.mask].dtype).expand_as(probe[padding.mask])
    padded = {**probe, padding.mask: mask.contiguous()}
    was_training = network.training
    network.eval()
    try:
        whole, short = call(network, padded), call(network, padding.cut(padded))
    except (RuntimeError, ValueError, IndexError):
        return False  # it takes sequences of one length
    finally:
        network.train(was_training)
    return all(
        short[name].shape == value.shape and bool((short[name] - value).abs().max() <= _TOLERANCE * value.abs().max())
        for name, value in whole.items()
        if value.is_floating_point()
    )
