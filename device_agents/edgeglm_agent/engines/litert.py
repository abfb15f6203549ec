"""TFLite files in LiteRT, on the CPU with XNNPACK."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeglm_agent.engines._base import EngineError, check_inputs, input_layout, layout_of, plain, run_in_batches
from edgeglm_agent.wire import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_stderr_lock = threading.Lock()


class LiteRtEngine:
    """One TFLite file in an interpreter: its signature ``serving_default``, else its first, else the bare graph."""

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        try:
            import ai_edge_litert
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise EngineError(f"ai-edge-litert cannot be imported: {plain(error)}", fault="no-runtime") from error
        self.runtime = f"litert {ai_edge_litert.__version__}"
        if not Path(path).is_file():
            raise EngineError(f"there is no file {path}", fault="bad-file")
        try:
            with _quiet():
                # from a path it is verified and mapped; from bytes it would be copied
                self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
                self._interpreter.allocate_tensors()
                signatures = self._interpreter.get_signature_list()
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"{self.runtime} does not load it: {plain(error)}", fault="bad-file") from error
        if signatures:
            name = "serving_default" if "serving_default" in signatures else next(iter(signatures))
            self._runner = self._interpreter.get_signature_runner(name)
            self._takes = self._runner.get_input_details()
            self._gives = self._runner.get_output_details()
        else:  # files older than signatures
            self._runner = None
            self._takes = {detail["name"]: detail for detail in self._interpreter.get_input_details()}
            self._gives = {detail["name"]: detail for detail in self._interpreter.get_output_details()}
        self.inputs = tuple(_input_spec(name, detail) for name, detail in self._takes.items())
        self.outputs = tuple(_spec(name, detail) for name, detail in self._gives.items())
        self.batch: int | None = min((int(d["shape"][0]) for d in self._takes.values() if len(d["shape"])), default=1)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the model on any number of rows (see ``Engine.run``)."""
        rows = check_inputs(inputs, self.inputs)
        typed = {name: _to_file(inputs[name], detail) for name, detail in self._takes.items()}
        return run_in_batches(self._run, typed, rows, self.batch or rows)

    def _run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            if self._runner is not None:
                values = self._runner(**inputs)
            else:
                for name, detail in self._takes.items():
                    self._interpreter.set_tensor(detail["index"], inputs[name])
                self._interpreter.invoke()
                values = {name: self._interpreter.get_tensor(detail["index"]) for name, detail in self._gives.items()}
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"{self.runtime} failed: {plain(error)}", fault="run-failed") from error
        return {name: _from_file(values[name], detail) for name, detail in self._gives.items()}


def _quantized(detail: Mapping[str, Any]) -> bool:
    return np.dtype(detail["dtype"]).kind in "iu" and detail["quantization"][0] != 0.0


def _spec(name: str, detail: Mapping[str, Any]) -> TensorSpec:
    dtype = "float32" if _quantized(detail) else np.dtype(detail["dtype"]).name
    shape = tuple(int(length) for length in detail["shape"])
    return TensorSpec(name, dtype, shape[1:], layout_of(len(shape), "NHWC"))


def _input_spec(name: str, detail: Mapping[str, Any]) -> TensorSpec:
    """Return an input's spec; a file that was converted from torch may have kept its channels first."""
    spec = _spec(name, detail)
    return msgspec.structs.replace(spec, layout=input_layout(spec.shape, "NHWC"))


def _to_file(values: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """Return the values in the file's own type; real numbers are quantized where the file takes integers."""
    dtype = np.dtype(detail["dtype"])
    if values.dtype.kind == "f" and _quantized(detail):
        scale, zero_point = detail["quantization"]
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values / np.float32(scale)) + zero_point, limits.min, limits.max)
    return np.ascontiguousarray(values, dtype=dtype)


def _from_file(values: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    if _quantized(detail):
        scale, zero_point = detail["quantization"]
        return np.asarray((values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale))
    return values.astype(np.float32) if values.dtype.kind == "f" else values


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the library writes to stderr while it loads from the user; it writes below Python, to the descriptor.

    An error is raised as well, so nothing is lost.
    """
    with _stderr_lock, tempfile.TemporaryFile() as sink:
        saved = os.dup(2)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
