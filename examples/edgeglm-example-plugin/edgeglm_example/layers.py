"""The file format of our networks: JSON, a list of layers with ``weight`` (out, in) and ``bias`` (out,)."""

import json
from pathlib import Path

import numpy as np


def read_layers(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return weight and bias of every layer, float32. Raises: ValueError, OSError."""
    listed = json.loads(path.read_text("utf-8"))
    layers = [(np.array(layer["weight"], "f4"), np.array(layer["bias"], "f4")) for layer in listed]
    width = layers[0][0].shape[1]
    for weight, bias in layers:
        if weight.ndim != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
            raise ValueError(f"a layer of {weight.shape} and {bias.shape} cannot follow {width} values")
        width = len(bias)
    return layers
