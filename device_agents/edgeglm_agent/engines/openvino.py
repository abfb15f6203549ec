"""OpenVINO IR files (``model.xml`` with ``model.bin`` beside it) in OpenVINO, on an x86 CPU."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeglm_agent.engines._base import (
    EngineError,
    Passed,
    check_inputs,
    input_layout,
    layout_of,
    plain,
    run_in_batches,
)
from edgeglm_agent.offline import block_openvino_telemetry, go_offline
from edgeglm_agent.wire import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

_PRODUCER = "edgeglm"  # what edgeglm calls a graph that it made from torch
_CONVERTER = "openvino.tools.ovc"  # OpenVINO's own __init__ does without it where it is missing
_DTYPES = {
    "f32": "float32",
    "f16": "float16",
    "f64": "float64",
    "boolean": "bool",
    **{f"{sign}{bits}": f"{'u' * (sign == 'u')}int{bits}" for sign in "iu" for bits in (8, 16, 32, 64)},
}


def silenced_openvino() -> Any:
    """Import OpenVINO without its telemetry package, which would report the very import and leave files at home.

    Raises:
        EngineError: It is not installed.
    """
    go_offline()
    block_openvino_telemetry()
    first = _CONVERTER not in sys.modules
    if first:
        sys.modules[_CONVERTER] = None  # type: ignore[assignment]  # serving needs no converter: 10 MB, 70 ms
    try:
        import openvino
    except ImportError as error:
        raise EngineError(f"openvino cannot be imported: {plain(error)}", fault="no-runtime") from error
    finally:
        if first:
            del sys.modules[_CONVERTER]
    return openvino


def settings(threads: int) -> dict[str, Any]:
    """Return how a model is compiled: for one request at a time, on so many threads, none of them tied to a core.

    Float stays float32: on a processor with BF16 or AMX OpenVINO would compute it in bfloat16 without a word, and
    answer otherwise than the host where the file was proved.
    """
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # two processes would be tied to the same cores
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 32,  # today's default: activations that share a scale before small weights
    }


class OpenVinoEngine:
    """One IR file, compiled for the CPU; a free batch axis is fixed at 1, which OpenVINO runs fastest."""

    provider = "cpu"

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        ov = silenced_openvino()
        self.runtime = self.installed()
        _check_files(Path(path))
        try:
            core = ov.Core()
            model = core.read_model(str(path))
            ours = model.get_friendly_name() == _PRODUCER
            shapes = {port: port.partial_shape for port in model.inputs}
            free = {port: shape for port, shape in shapes.items() if len(shape) and shape[0].is_dynamic}
            if free:
                model.reshape({port: ov.PartialShape([1, *list(shape)[1:]]) for port, shape in free.items()})
            self._compiled = core.compile_model(model, "CPU", settings(threads))
            self._request = self._compiled.create_infer_request()
        except RuntimeError as error:
            raise EngineError(f"{self.runtime} does not load it: {_said(error)}", fault="bad-file") from error
        ports, self._gives = self._compiled.inputs, list(self._compiled.outputs)
        self.inputs = tuple(_input_spec(port, ours=ours) for port in ports)
        self.outputs = tuple(_spec(port) for port in self._gives)
        static = not any(port.partial_shape.is_dynamic for port in ports)
        self._places = {s.name: self._request.get_input_tensor(i).data for i, s in enumerate(self.inputs) if static}
        self.batch: int | None = min(
            (int(port.partial_shape[0].get_length()) for port in ports if len(port.partial_shape)), default=1
        )

        self._passed = Passed({spec.name: np.dtype(spec.dtype) for spec in self.inputs})

    @staticmethod
    def installed() -> str:
        """Return the runtime's name and version. Raises: EngineError."""
        return f"openvino {re.split(r'[-+ ]', silenced_openvino().__version__)[0]}"

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the model on any number of rows (see ``Engine.run``)."""
        if self._passed(inputs):
            return self._run(inputs)
        rows = check_inputs(inputs, self.inputs)
        outputs = run_in_batches(self._run, dict(inputs), rows, self.batch or rows)
        if rows == self.batch:
            self._passed.add(inputs)
        return outputs

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            if self._places:  # a third faster on small networks than to hand the arrays over
                for name, place in self._places.items():
                    np.copyto(place, inputs[name], casting="unsafe")
                values = self._request.infer()
            else:
                typed = {spec.name: np.ascontiguousarray(inputs[spec.name], dtype=spec.dtype) for spec in self.inputs}
                values = self._request.infer(typed, share_inputs=True)
        except RuntimeError as error:
            raise EngineError(f"{self.runtime} failed: {_said(error)}", fault="run-failed") from error
        found = {spec.name: values[port] for spec, port in zip(self.outputs, self._gives, strict=True)}
        return {name: v.astype(np.float32, copy=False) if v.dtype.kind == "f" else v for name, v in found.items()}


def _check_files(path: Path) -> None:
    """Raise EngineError for what OpenVINO would answer with a page on stderr, or take for another format."""
    if not path.is_file():
        raise EngineError(f"there is no file {path}", fault="bad-file")
    with path.open("rb") as file:
        head = file.read(5)
    if head not in (b"<?xml", b"<net "):
        raise EngineError("its first bytes are not those of an OpenVINO IR file", fault="bad-file")
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise EngineError(f"its weights are not there: {weights.name} must lie beside it", fault="bad-file")


def _said(error: Exception) -> str:
    """Return what OpenVINO said, without the places in its source that it names first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from ", "Check '")) and ".cpp:" not in line]
    return (told or lines or [type(error).__name__])[0]


def _spec(port: Any) -> TensorSpec:
    """Return a compiled model's input or output as a spec without its batch axis."""
    kind = port.element_type.get_type_name()
    if kind not in _DTYPES:
        raise EngineError(f"`{port.any_name}` is of type {kind}, which edgeglm cannot feed", fault="bad-file")
    shape = tuple(-1 if axis.is_dynamic else int(axis.get_length()) for axis in list(port.partial_shape)[1:])
    return TensorSpec(port.any_name, _DTYPES[kind], shape, layout_of(len(port.partial_shape), "NCHW"))


def _input_spec(port: Any, *, ours: bool) -> TensorSpec:
    """Return an input's spec; a file converted from channels-last keeps that, one of edgeglm's comes from torch."""
    spec = _spec(port)
    return spec if ours else msgspec.structs.replace(spec, layout=input_layout(spec.shape, "NCHW"))
