"""Reading a file of weights and fitting it to a network. Nothing is unpickled."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from edgeglm.errors import ModelError
from edgeglm.sources.lfs import refuse_lfs_pointer
from edgeglm.sources.pickle_scan import CHECKPOINT_KEYS, conversion, is_pickle, refuse_full_pickle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn

# what DataParallel, torch.compile and training frameworks put before every name
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")


def read_weights(path: Path, where: str) -> dict[str, Tensor]:
    """Return the weights that a file holds: safetensors, or a state_dict that torch loads weights-only.

    Args:
        path: The file. A checkpoint that keeps its weights under a usual key (``state_dict``, ``model``, ...) is
            looked into.
        where: The place in the recipe, or the path as the user gave it, for errors.

    Raises:
        UserError: The file is a pointer of git-lfs.
        ModelError: The file is missing, torn, a full pickle, or holds no weights.
    """
    if not path.is_file():
        raise ModelError("no such file", where=where, code="weights-missing", hint="the path is relative to the recipe")
    refuse_lfs_pointer(path, where)
    with path.open("rb") as file:
        head = file.read(9)
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        try:
            return load_safetensors(path.read_bytes())
        except SafetensorError as error:
            raise _torn(path, where, error) from error
    return _state_of(_load_weights_only(path, where), path, where)


def _load_weights_only(path: Path, where: str) -> Any:
    refuse_full_pickle(path, where)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not is_pickle(path):
            raise _torn(path, where, ValueError("it is neither a zip archive nor a pickle")) from error
        raise ModelError(
            f"{path.name} holds Python objects beside weights; loading it could run any code, so it is not loaded",
            where=where,
            code="weights-pickle",
            hint=conversion(path),
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        raise _torn(path, where, error) from error


def _torn(path: Path, where: str, error: Exception) -> ModelError:
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    return ModelError(
        f"{path.name} cannot be read as weights: {reason}",
        where=where,
        code="weights-corrupt",
        hint="the file is cut short, or is neither safetensors nor a state_dict: save or copy it again",
    )


def _state_of(loaded: Any, path: Path, where: str) -> dict[str, Tensor]:
    found = loaded if isinstance(loaded, dict) else {}
    for _ in range(3):  # a checkpoint in a checkpoint is seen in the wild; deeper is not
        found = next((found[key] for key in CHECKPOINT_KEYS if isinstance(found.get(key), dict)), found)
    state = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if not state:
        holds = f"a {type(loaded).__name__}, not a state_dict"
        if isinstance(loaded, dict):
            holds = f"no weights but the keys {', '.join(map(str, loaded))}" if loaded else "an empty dict"
        raise ModelError(
            f"{path.name} holds {holds}",
            where=where,
            code="weights-no-state-dict",
            hint="save the weights alone: `torch.save(model.state_dict(), path)`",
        )
    return state


def fit_weights(module: nn.Module, weights: dict[str, Tensor], *, name: str, where: str) -> None:
    """Load weights into a network, or say everything in which they differ.

    Args:
        module: The network; its tensors keep their own types.
        weights: Name -> tensor. A prefix that every name carries (``module.``, ``_orig_mod.``, ...) is taken off when
            the names fit then. Buffers that are not persistent may be among them or not; those of another shape,
            which the network makes for itself, are left as they are.
        name: The file's name, for errors.
        where: As in ``read_weights``.

    Raises:
        ModelError: ``weights-mismatch``, listing every missing, unexpected and differently shaped tensor;
            ``weights-nan``, naming every tensor that is not finite.
    """
    expected = _saved_tensors(module)
    unsaved = {key: owner.get_buffer(leaf) for owner, leaf, key in _unsaved_buffers(module)}
    weights = _without_prefix(weights, expected | unsaved)
    twins = _twins(expected)
    missing = [
        key
        for key in expected
        if key not in weights
        and not key.endswith("num_batches_tracked")  # files of torch < 0.4.1 lack it, and eval does not use it
        and not any(twin in weights for twin in twins[key])
    ]
    unexpected = [key for key in weights if key not in expected and key not in unsaved]
    shapes = [
        f"{key}: {tuple(weights[key].shape)} in the file, {tuple(tensor.shape)} in the network"
        for key, tensor in expected.items()
        if key in weights and weights[key].shape != tensor.shape
    ]
    if missing or unexpected or shapes:
        lines = [
            *(f"  missing in the file: {key} {tuple(expected[key].shape)}" for key in missing),
            *(f"  not in the network: {key} {tuple(weights[key].shape)}" for key in unexpected),
            *(f"  of another shape: {line}" for line in shapes),
        ]
        raise ModelError(
            f"{name} does not fit the network: {len(missing)} missing, {len(unexpected)} unexpected, "
            f"{len(shapes)} of another shape\n" + "\n".join(lines),
            where=where,
            code="weights-mismatch",
            hint="build the network with the arguments it was trained with (`model.args`), or name its own weights",
        )
    saved = {key: tensor for key, tensor in weights.items() if key in expected}
    broken = [key for key, tensor in saved.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise ModelError(
            f"{name} holds NaN or infinity in {', '.join(broken)}",
            where=where,
            code="weights-nan",
            hint="training diverged before this file was written: take an earlier checkpoint",
        )
    module.load_state_dict({key: tensor.to(expected[key].dtype) for key, tensor in saved.items()}, strict=False)
    alike = {key: weights[key] for key in unsaved if key in weights and _shape(unsaved[key]) == weights[key].shape}
    set_unsaved_buffers(module, alike)


def all_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers by name, those included that ``state_dict`` leaves out; no copies."""
    unsaved = ((name, owner.get_buffer(leaf)) for owner, leaf, name in _unsaved_buffers(module))
    return _saved_tensors(module) | {name: tensor.detach() for name, tensor in unsaved if isinstance(tensor, Tensor)}


def set_unsaved_buffers(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Give the buffers that ``state_dict`` leaves out these values, whatever shape they have now.

    Args:
        module: The network; a buffer that keeps its shape stays the tensor that it is.
        tensors: By name, as in ``all_tensors``; names of other tensors are passed over.
    """
    for owner, leaf, name in _unsaved_buffers(module):
        old, new = owner.get_buffer(leaf), tensors.get(name)
        if new is None or (_shape(old) == new.shape and torch.equal(old, new.to(old.device, old.dtype))):
            continue  # a constant, perhaps one that no copy can be made into (``expand``)
        if _shape(old) == new.shape:
            with torch.no_grad():
                old.copy_(new)
        else:  # forward() made it
            place = old if isinstance(old, Tensor) else next(module.parameters(), new)
            setattr(owner, leaf, new.to(place.device, copy=True))


def _saved_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return what ``state_dict`` holds, without an extra state that is no tensor."""
    return {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}


def _unsaved_buffers(module: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """Yield the layer, the name in it and the whole name of each buffer that is not persistent."""
    for prefix, layer in module.named_modules():
        for leaf in sorted(layer._non_persistent_buffers_set):
            yield layer, leaf, f"{prefix}.{leaf}" if prefix else leaf


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


def _without_prefix(weights: dict[str, Tensor], expected: dict[str, Any]) -> dict[str, Tensor]:
    """Take off what every name begins with, as often as needed; keep what fits the most names."""
    best = weights
    while prefix := next((prefix for prefix in _PREFIXES if all(key.startswith(prefix) for key in weights)), ""):
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
        if sum(key in expected for key in weights) > sum(key in expected for key in best):
            best = weights
    return best


def _twins(state: dict[str, Any]) -> dict[str, list[str]]:
    """Return for every name the other names of the same tensor (tied weights)."""
    by_storage: dict[tuple[int, Any], list[str]] = {}
    for key, tensor in state.items():
        by_storage.setdefault(storage_key(tensor), []).append(key)
    return {key: [other for other in names if other != key] for names in by_storage.values() for key in names}


def storage_key(tensor: Tensor) -> tuple[int, Any]:
    """Return what two names have in common exactly when they are one tensor."""
    if tensor.numel() == 0:
        return (id(tensor), None)
    return (tensor.data_ptr(), (tuple(tensor.shape), tensor.stride(), tensor.dtype))
