"""An engine: our JSON networks on a board that has NumPy alone. It imports neither torch nor the SDK."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from edgeglm_agent.engines import EngineError
from edgeglm_agent.wire import TensorSpec

from edgeglm_example.layers import read_layers

if TYPE_CHECKING:
    from collections.abc import Mapping


class JsonMlpEngine:
    """One JSON network; takes any number of rows."""

    batch = None
    runtime = f"numpy {np.__version__}"
    provider = "cpu"

    def __init__(self, path: str | Path, *, threads: int) -> None:
        try:
            self._layers = read_layers(Path(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EngineError(f"not a network in JSON: {error}", fault="bad-file") from error
        self.inputs = (TensorSpec("input", "float32", (self._layers[0][0].shape[1],), "NC"),)
        self.outputs = (TensorSpec("output", "float32", (len(self._layers[-1][1]),), "NC"),)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by name."""
        values = inputs["input"]
        if values.ndim != 2 or values.shape[1:] != self.inputs[0].shape:
            raise EngineError(f"`input` is of shape {values.shape}", fault="bad-input")
        for number, (weight, bias) in enumerate(self._layers):
            values = (np.maximum(values, 0) if number else values) @ weight.T + bias
        return {"output": values}
