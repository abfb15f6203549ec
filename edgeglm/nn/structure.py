"""Changes of structure as data, and weights as files: what is needed to have a pruned network again.

A file of weights alone does not say which channels are gone. An edit does: it lists, for every layer, the channels
that were taken out, as plain JSON. Replayed on the user's own fresh network, the edits give the pruned structure
without unpickling anything. One edit is::

    {"edit": "prune", "layers": [["layer1.0.conv1", "out", [3, 5]], ["layer1.0.bn1", "out", [3, 5]],
                                 ["layer1.0.conv2", "in", [3, 5]], ["scale", "axis 1", [3, 5]]]}

The indexes of one edit all count the channels as they were before that edit. A layer's side is ``out``, ``in``,
``hidden`` of a recurrent layer, or an axis of a parameter that stands alone. ``counts``, where an edit has it, lists
attributes and the share of them that is left (``["encoder.0.attention", "num_heads", 3, 4]``: three of four),
``scaled`` layers and the number that they are multiplied by. The other edits are
``unpack-attention``, which lists layers (``edgeglm.nn.attention``), ``drop-layers`` (``edgeglm.nn.blocks``),
and ``sparsify``, which lists layers whose zeros stay zero (``edgeglm.nn.sparsity``).
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from edgeglm.errors import ModelError
from edgeglm.files import write_bytes
from edgeglm.nn.attention import unpack_attention
from edgeglm.nn.blocks import leave_out
from edgeglm.nn.slicing import remover, without
from edgeglm.nn.weights import all_tensors, fit_weights, read_weights, set_unsaved_buffers, storage_key

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edgeglm.model import Edit, Model


def replay(original: Model, edits: Iterable[Edit]) -> Model:
    """Return a network of the edited structure, with what remains of the original's weights.

    Args:
        original: The user's own network, as it was loaded; left as it is.
        edits: From ``Model.edits``, perhaps by way of JSON.

    Raises:
        ModelError: The edits were made on another network.
    """
    module = deepcopy(original.module)
    edits = tuple(edits)
    for edit in edits:
        try:
            apply_edit(module, edit)
        except (AttributeError, AssertionError, KeyError, IndexError, RuntimeError, ValueError) as error:
            raise ModelError(
                f"a stored change of structure does not fit this network: {error}",
                code="structure-mismatch",
                hint="the network's code has changed since: run `edgeglm cache clear` and compress again",
            ) from error
    return original.with_module(module.eval(), *edits)


def apply_edit(module: nn.Module, edit: Edit) -> None:
    """Change the network in place as one edit says."""
    kinds = {"prune": _prune, "unpack-attention": _unpack, "drop-layers": leave_out, "sparsify": _require_layers}
    kind = edit.get("edit")
    if kind not in kinds:
        raise ValueError(f"unknown edit {kind!r}")
    kinds[kind](module, edit)


def _prune(module: nn.Module, edit: Edit) -> None:
    for name, factor in edit.get("scaled", []):
        layer = module.get_submodule(name)
        with torch.no_grad():
            for parameter in layer.parameters(recurse=False):
                parameter.mul_(factor)
    # looked up before anything goes: a grouped convolution with one channel left a group looks like a depthwise one
    removers = {
        name: remover(module.get_submodule(name)) for name, side, _ in edit["layers"] if not side.startswith("axis ")
    }
    for name, side, indexes in edit["layers"]:
        if side.startswith("axis "):
            _prune_parameter(module, name, int(side.removeprefix("axis ")), indexes)
            continue
        layer = module.get_submodule(name)
        trainable = {leaf: parameter.requires_grad for leaf, parameter in layer.named_parameters(recurse=False)}
        with torch.no_grad():
            removers[name](side, indexes)
        for leaf, wanted in trainable.items():  # what was cut is a new parameter, and new ones are trainable
            layer.get_parameter(leaf).requires_grad_(wanted)
    for name, attribute, kept, units in edit.get("counts", []):
        owner = module.get_submodule(name)
        value = getattr(owner, attribute)
        if not isinstance(value, int) or value * kept % units:
            raise ValueError(f"`{attribute}` of `{name}` is {value}: {kept} of {units} parts of it are no whole number")
        setattr(owner, attribute, value * kept // units)


def _require_layers(module: nn.Module, edit: Edit) -> None:
    """Look for the layers: which of their weights are zero, the weights themselves say."""
    for name in edit["layers"]:
        module.get_submodule(name)


def _unpack(module: nn.Module, edit: Edit) -> None:
    for name in edit["layers"]:
        unpack_attention(module, name)


def _prune_parameter(module: nn.Module, name: str, axis: int, indexes: list[int]) -> None:
    """Take slices out of a parameter that belongs to no layer that torch-pruning knows."""
    owner = module.get_submodule(name.rpartition(".")[0])
    leaf = name.rpartition(".")[2]
    old = getattr(owner, leaf)
    setattr(owner, leaf, nn.Parameter(without(old.detach(), axis, indexes), requires_grad=old.requires_grad))


def weight_bytes(module: nn.Module) -> bytes:
    """Return all weights and buffers as safetensors, those included that ``state_dict`` leaves out.

    The same network gives the same bytes. A tensor that several names share is written once, under the first of them.
    """
    seen: set[tuple[int, Any]] = set()
    tensors: dict[str, Tensor] = {}
    for name, tensor in all_tensors(module).items():
        key = storage_key(tensor)
        if key not in seen:
            seen.add(key)
            tensors[name] = tensor.cpu().contiguous().clone()
    return save(tensors)


def save_weights(model: Model, path: Path) -> None:
    """Write the weights as safetensors, durably and in one piece.

    Raises:
        StorageError: The disk is full, or refuses.
    """
    write_bytes(path, weight_bytes(model.module))


def load_weights(model: Model, path: Path) -> Model:
    """Return the model with the weights of a file of ``save_weights``; the one passed in is left as it was.

    Raises:
        ModelError: The weights are of another structure, or the file is torn.
    """
    module, weights = deepcopy(model.module), read_weights(path, str(path))
    fit_weights(module, weights, name=path.name, where=str(path))
    set_unsaved_buffers(module, weights)
    return model.with_module(module.eval())
