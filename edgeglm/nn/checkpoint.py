"""A training run on disk, so that a kill at any moment costs a few seconds and changes no bit of the result."""

from __future__ import annotations

import hashlib
import io
import pickle
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgeglm.files import write_bytes
from edgeglm.nn.weights import all_tensors, set_unsaved_buffers

if TYPE_CHECKING:
    from pathlib import Path

_DIGEST_BYTES = 32  # of SHA-256, before the rest


def full_state(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of all parameters and buffers on the CPU, those that ``state_dict`` leaves out included."""
    return {name: tensor.to("cpu", copy=True) for name, tensor in all_tensors(module).items()}


def load_full_state(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Put back what ``full_state`` returned."""
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if isinstance(value, Tensor):
                value.copy_(state[name])
    set_unsaved_buffers(module, state)


def write_checkpoint(path: Path, key: str, state: dict[str, Any]) -> None:
    """Write the state of a run, whole or not at all.

    Args:
        path: The file.
        key: What the run is: everything that decides its result.
        state: Tensors, numbers, strings, and lists and dicts of them.

    Raises:
        StorageError: The disk is full or refuses.
    """
    buffer = io.BytesIO()
    torch.save({"key": key, **state}, buffer)
    content = buffer.getvalue()
    # a sync after each epoch is some percent of a small network's training; after a power cut the digest tells
    write_bytes(path, hashlib.sha256(content).digest() + content, synced=False)


def read_checkpoint(path: Path | None, key: str) -> dict[str, Any] | None:
    """Return the state of a run; None when there is none, when it is torn, or when it is of another run."""
    if path is None or not path.is_file():
        return None
    try:
        whole = memoryview(path.read_bytes())
        content = whole[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != whole[:_DIGEST_BYTES]:
            return None
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
        return None
    return loaded if isinstance(loaded, dict) and loaded.get("key") == key else None
