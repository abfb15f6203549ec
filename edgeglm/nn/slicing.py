"""Where in a layer's tensors a channel lies, and taking channels out of a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch_pruning as tp
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

_PRUNERS = tp.pruner.function.PrunerBox


class Place(NamedTuple):
    """What of one tensor belongs to some channels."""

    leaf: str  # the tensor's name in its layer
    axis: int
    indexes: list[int]  # on that axis
    owners: list[int]  # for each index: which of the channels asked for it belongs to, by its place among them


def places(layer: nn.Module, side: str, channels: Collection[int]) -> Iterator[Place]:
    """Yield where the channels of one side of a layer lie in its parameters.

    Args:
        layer: Any layer that pruning knows.
        side: "in", "out", or "hidden" of a recurrent layer.
        channels: On that side. Hidden units count through the parts of a recurrent layer, each direction of each of
            its layers: unit u of part p is ``p * hidden_size + u``.
    """
    channels = list(channels)
    if isinstance(layer, nn.RNNBase):
        yield from _recurrent_places(layer, side, channels)
        return
    owners = list(range(len(channels)))
    if isinstance(getattr(layer, "weight", None), Tensor):
        axis, indexes = weight_axis(layer, side, channels)
        yield Place("weight", axis, indexes, owners)
    if side == "out" and isinstance(getattr(layer, "bias", None), Tensor):
        yield Place("bias", -1, channels, owners)


def weight_axis(layer: nn.Module, side: str, channels: Collection[int]) -> tuple[int, list[int]]:
    """Return the axis of ``layer.weight`` that this side lies on, and where on it these channels are."""
    channels = list(channels)
    if isinstance(layer, nn.Embedding | nn.LayerNorm):
        return -1, channels
    if not isinstance(layer, nn.modules.conv._ConvNd):
        return (1 if side == "in" else 0), channels
    crossed = layer.transposed and layer.groups == 1
    if side == "out":
        return (1 if crossed else 0), channels
    per_group = layer.in_channels // layer.groups
    return (0 if crossed else 1), [channel % per_group for channel in channels]


def parts_of(layer: nn.RNNBase) -> list[str]:
    """Return the suffix of the parameters of each part: ``l0``, ``l0_reverse``, ``l1``, ..."""
    directions = ("", "_reverse") if layer.bidirectional else ("",)
    return [f"l{index}{direction}" for index in range(layer.num_layers) for direction in directions]


def _recurrent_places(layer: nn.RNNBase, side: str, channels: list[int]) -> Iterator[Place]:
    """Yield the rows of all gates and the columns that carry the state on; see ``places``."""
    parts, size = parts_of(layer), layer.hidden_size
    directions = 2 if layer.bidirectional else 1
    if side == "in":
        for part in parts[:directions]:
            yield Place(f"weight_ih_{part}", 1, channels, list(range(len(channels))))
        return
    gates = layer.get_parameter("weight_hh_l0").shape[0] // size
    for number, part in enumerate(parts):
        mine = [(owner, unit % size) for owner, unit in enumerate(channels) if unit // size == number]
        rows = [gate * size + unit for gate in range(gates) for _, unit in mine]
        owners = [owner for _ in range(gates) for owner, _ in mine]
        yield Place(f"weight_ih_{part}", 0, rows, owners)
        yield Place(f"weight_hh_{part}", 0, rows, owners)
        if layer.bias:
            yield Place(f"bias_ih_{part}", 0, rows, owners)
            yield Place(f"bias_hh_{part}", 0, rows, owners)
        yield Place(f"weight_hh_{part}", 1, [unit for _, unit in mine], [owner for owner, _ in mine])
        level, direction = divmod(number, directions)
        for reader in parts[directions * (level + 1) : directions * (level + 2)]:  # the layer stacked on this one
            columns = [direction * size + unit for _, unit in mine]
            yield Place(f"weight_ih_{reader}", 1, columns, [owner for owner, _ in mine])


def remover(layer: nn.Module) -> Callable[[str, list[int]], None]:
    """Return a function that takes channels out of one side of the layer, in place.

    Asked for before any layer changes: a grouped convolution with one channel left a group looks like a depthwise one.
    """
    if isinstance(layer, nn.RNNBase):
        return lambda side, channels: _cut_recurrent(layer, side, channels)
    pruner = _PRUNERS[tp.ops.module2type(layer)]

    def remove(side: str, channels: list[int]) -> None:
        cut = pruner.prune_out_channels if side == "out" else pruner.prune_in_channels
        cut(layer, channels)

    return remove


def _cut_recurrent(layer: nn.RNNBase, side: str, channels: list[int]) -> None:
    """Slice every gate; each part loses as many hidden units as the others, or a ValueError is raised."""
    parts = parts_of(layer)
    if side == "hidden":
        lost = [sum(unit // layer.hidden_size == number for unit in channels) for number in range(len(parts))]
        if len(set(lost)) != 1:
            raise ValueError(f"the parts of a recurrent layer lose {lost} units: it holds one hidden size for all")
    gone: dict[tuple[str, int], set[int]] = {}
    for place in places(layer, side, channels):
        gone.setdefault((place.leaf, place.axis), set()).update(place.indexes)
    for (leaf, axis), indexes in gone.items():
        old = layer.get_parameter(leaf)
        setattr(layer, leaf, nn.Parameter(without(old.detach(), axis, indexes)))
    if side == "hidden":
        layer.hidden_size -= len(channels) // len(parts)
    else:
        layer.input_size -= len(set(channels))
    layer.flatten_parameters()


def without(tensor: Tensor, axis: int, indexes: Collection[int]) -> Tensor:
    """Return the tensor without these slices of one axis."""
    kept = torch.tensor(sorted(set(range(tensor.shape[axis])) - set(indexes)), dtype=torch.long)
    return tensor.index_select(axis, kept)
