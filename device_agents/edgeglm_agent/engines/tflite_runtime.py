"""TFLite files in tflite-runtime, LiteRT's predecessor, for boards whose Python LiteRT has no wheel for.

Version 2.14, its last, computes a fully connected layer of float inputs and 8-bit weights (dynamic INT8) wrongly where
the weights have a scale for each row, as edgeglm's have, and without an error; on aarch64 it may die of it. Such files
are refused before they are run: float32, float16, static INT8 and weight-only INT8 are computed rightly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeglm_agent.engines._base import EngineError, plain
from edgeglm_agent.engines.interpreter import InterpreterEngine

if TYPE_CHECKING:
    from pathlib import Path

# operators whose second input is their weights
_WEIGHED = frozenset({"FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "BATCH_MATMUL", "TRANSPOSE_CONV"})


class TfliteRuntimeEngine(InterpreterEngine):
    """One TFLite file in tflite-runtime."""

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        """Load a file. Raises: EngineError, also for one that the runtime computes wrongly."""
        super().__init__(path, threads=threads, interpreter=_tflite_runtime()[0], runtime=self.installed())
        mixed = _mixed_operator(self._interpreter)
        if mixed:
            raise EngineError(
                f"{self.runtime} computes {mixed} of float inputs and 8-bit weights (dynamic INT8) wrongly: take an "
                "artifact of another scheme, or a Python that ai-edge-litert runs on",
                fault="no-runtime",
            )

    @staticmethod
    def installed() -> str:
        """Return the runtime's name and version. Raises: EngineError."""
        return f"tflite-runtime {_tflite_runtime()[1]}"


def _tflite_runtime() -> tuple[Any, str]:
    """Return the interpreter's type, and the version."""
    try:
        import tflite_runtime
        from tflite_runtime.interpreter import Interpreter
    except ImportError as error:  # also where NumPy is 2: it was built against 1
        raise EngineError(f"tflite-runtime cannot be imported: {plain(error)}", fault="no-runtime") from error
    return Interpreter, tflite_runtime.__version__


def _mixed_operator(interpreter: Any) -> str:
    """Return the first operator that multiplies float inputs by integer weights; empty: there is none."""
    types = {detail["index"]: np.dtype(detail["dtype"]) for detail in interpreter.get_tensor_details()}
    for operator in interpreter._get_ops_details():
        if operator["op_name"] in _WEIGHED and len(operator["inputs"]) > 1:
            values, weights = (types.get(int(index)) for index in operator["inputs"][:2])
            if values == np.float32 and weights is not None and weights.kind in "iu":
                return str(operator["op_name"])
    return ""
