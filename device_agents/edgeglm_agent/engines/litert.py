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
    from collections.abc import Iterable, Iterator, Mapping

_stderr_lock = threading.Lock()


class _Signature:
    """One way to call a file: a batch size and lengths; of a file older than signatures the bare graph."""

    def __init__(self, interpreter: Any, name: str | None) -> None:
        self._interpreter = interpreter
        self._runner = None if name is None else interpreter.get_signature_runner(name)
        if self._runner is not None:
            self.takes: dict[str, Any] = self._runner.get_input_details()
            self._gives: dict[str, Any] = self._runner.get_output_details()
        else:
            self.takes = {detail["name"]: detail for detail in interpreter.get_input_details()}
            self._gives = {detail["name"]: detail for detail in interpreter.get_output_details()}
        self.inputs = tuple(_input_spec(name, detail) for name, detail in self.takes.items())
        self.outputs = tuple(_spec(name, detail) for name, detail in self._gives.items())
        self.batch = min((int(d["shape"][0]) for d in self.takes.values() if len(d["shape"])), default=1)

    def fits(self, inputs: Mapping[str, np.ndarray]) -> bool:
        """Return whether inputs have this signature's shapes, whatever their number of rows."""
        return all(inputs[spec.name].shape[1:] == spec.shape for spec in self.inputs)

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run as many rows as the batch size says. Raises: ValueError, RuntimeError."""
        if self._runner is not None:
            values = self._runner(**inputs)
        else:
            for name, detail in self.takes.items():
                self._interpreter.set_tensor(detail["index"], inputs[name])
            self._interpreter.invoke()
            values = {name: self._interpreter.get_tensor(detail["index"]) for name, detail in self._gives.items()}
        return {name: _from_file(values[name], detail) for name, detail in self._gives.items()}


class LiteRtEngine:
    """One TFLite file in an interpreter; of several signatures, the one that fits the inputs is run.

    Signatures belong together when they have the inputs and outputs of ``serving_default``, else of the first one, by
    name and number of axes; others are not looked at.
    """

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
                names = list(self._interpreter.get_signature_list())
                names.sort(key=lambda name: name != "serving_default")
                found = [_Signature(self._interpreter, name) for name in names or [None]]
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"{self.runtime} does not load it: {plain(error)}", fault="bad-file") from error
        chief = found[0]
        self._signatures = [signature for signature in found if _alike(signature, chief)]
        self.inputs = tuple(_common(spec, (s.inputs for s in self._signatures)) for spec in chief.inputs)
        self.outputs = tuple(_common(spec, (s.outputs for s in self._signatures)) for spec in chief.outputs)
        batches = {signature.batch for signature in self._signatures}
        self.batch: int | None = chief.batch if len(batches) == 1 else None

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the model on any number of rows (see ``Engine.run``)."""
        rows = check_inputs(inputs, self.inputs)
        fitting = {s.batch: s for s in self._signatures if s.fits(inputs)}
        if not fitting:
            raise EngineError(
                f"no signature takes inputs of these lengths: {_lengths({k: v.shape[1:] for k, v in inputs.items()})}; "
                f"there are {', or '.join(_lengths({i.name: i.shape for i in s.inputs}) for s in self._signatures)}",
                fault="bad-input",
            )
        takes = next(iter(fitting.values())).takes
        typed = {name: _to_file(inputs[name], detail) for name, detail in takes.items()}

        def run(part: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return fitting[len(next(iter(part.values())))].run(part)

        try:
            return run_in_batches(run, typed, rows, *fitting)
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"{self.runtime} failed: {plain(error)}", fault="run-failed") from error


def _alike(signature: _Signature, chief: _Signature) -> bool:
    def form(specs: tuple[TensorSpec, ...]) -> list[tuple[str, str, int]]:
        return sorted((spec.name, spec.dtype, len(spec.shape)) for spec in specs)

    same = form(signature.inputs) == form(chief.inputs) and form(signature.outputs) == form(chief.outputs)
    # a scale is read from the signature that runs, but inputs are typed once for all that fit
    return same and all(
        signature.takes[name]["quantization"] == detail["quantization"] for name, detail in chief.takes.items()
    )


def _common(chief: TensorSpec, signatures: Iterable[tuple[TensorSpec, ...]]) -> TensorSpec:
    """Return one spec for all of this name: a length that they differ in is -1."""
    shapes = [spec.shape for specs in signatures for spec in specs if spec.name == chief.name]
    shape = tuple(lengths[0] if len(set(lengths)) == 1 else -1 for lengths in zip(*shapes, strict=True))
    return msgspec.structs.replace(chief, shape=shape)


def _lengths(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"`{name}` {'x'.join(map(str, shape))}" for name, shape in sorted(shapes.items()))


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
