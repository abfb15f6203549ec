"""ONNX files in ONNX Runtime, on the CPU."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeglm_agent.engines._base import EngineError, check_inputs, input_layout, layout_of, plain, run_in_batches
from edgeglm_agent.offline import go_offline
from edgeglm_agent.wire import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PRODUCER = "edgeglm"
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    **{f"tensor({kind})": kind for kind in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")},
}


def silenced_onnxruntime() -> Any:
    """Import ONNX Runtime with its telemetry off; official builds send it by default since 1.29.

    The variable that silences it must be set before the library starts, since the first event leaves when it does;
    the call then covers builds that do not know the variable.

    Raises:
        EngineError: It is not installed.
    """
    go_offline()
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(f"onnxruntime cannot be imported: {plain(error)}", fault="no-runtime") from error
    onnxruntime.disable_telemetry_events()
    onnxruntime.set_default_logger_severity(4)  # fatal only: what fails is raised
    return onnxruntime


class OnnxEngine:
    """One ONNX file in an inference session."""

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        ort = silenced_onnxruntime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        for pool in ("intra_op", "inter_op"):
            # threads that spin take the cores of everything else on a board, and falsify timings beside them
            options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class
            raise EngineError(
                f"onnxruntime {ort.__version__} does not load it: {_said(error)}", fault="bad-file"
            ) from error
        self.runtime = f"onnxruntime {ort.__version__}"
        ours = self._session.get_modelmeta().producer_name == _PRODUCER
        self.inputs = tuple(_input_spec(value, ours=ours) for value in self._session.get_inputs())
        self.outputs = tuple(_spec(value) for value in self._session.get_outputs())
        fixed = {
            value.shape[0] for value in self._session.get_inputs() if value.shape and isinstance(value.shape[0], int)
        }
        self.batch: int | None = min(fixed) if fixed else None

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the model on any number of rows (see ``Engine.run``)."""
        rows = check_inputs(inputs, self.inputs)
        typed = {spec.name: np.ascontiguousarray(inputs[spec.name], dtype=spec.dtype) for spec in self.inputs}
        if self.batch is None:
            return self._run(typed)
        return run_in_batches(self._run, typed, rows, self.batch)

    def _run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            values = self._session.run(None, inputs)
        except Exception as error:
            raise EngineError(f"{self.runtime} failed: {_said(error)}", fault="run-failed") from error
        return {
            spec.name: value.astype(np.float32) if value.dtype.kind == "f" and value.dtype != np.float32 else value
            for spec, value in zip(self.outputs, values, strict=True)
        }


def _said(error: Exception) -> str:
    """Return what ONNX Runtime said, without its prefix of codes and path."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:\s*)?", "", plain(error))


def _spec(value: Any) -> TensorSpec:
    """Return a session's input or output as a spec without its batch axis."""
    if value.type not in _DTYPES:
        raise EngineError(f"`{value.name}` is of type {value.type}, which edgeglm cannot feed", fault="bad-file")
    shape = tuple(length if isinstance(length, int) else -1 for length in value.shape[1:])
    return TensorSpec(value.name, _DTYPES[value.type], shape, layout_of(len(value.shape), "NCHW"))


def _input_spec(value: Any, *, ours: bool) -> TensorSpec:
    """Return an input's spec; a file converted from channels-last keeps that, one of edgeglm's comes from torch."""
    spec = _spec(value)
    return spec if ours else msgspec.structs.replace(spec, layout=input_layout(spec.shape, "NCHW"))
