"""TFLite files in an interpreter of LiteRT or of tflite-runtime, which have the same interface."""

from __future__ import annotations

import contextlib
import os
import threading
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
from edgeglm_agent.wire import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_stderr_lock = threading.Lock()


class _Signature:
    """One way to call a file: a batch size and lengths; of a file older than signatures the bare graph."""

    def __init__(self, interpreter: Any, name: str | None, *, alone: bool) -> None:
        self._interpreter = interpreter
        takes = {detail["name"]: detail for detail in interpreter.get_input_details()}
        gives = {detail["name"]: detail for detail in interpreter.get_output_details()}
        self._runner = None if name is None else interpreter.get_signature_runner(name)
        if self._runner is not None:
            of_graph = (_indices(takes), _indices(gives))
            takes, gives = self._runner.get_input_details(), self._runner.get_output_details()
            # twice as fast without it; but an interpreter is not invoked while there are runners
            if alone and (_indices(takes), _indices(gives)) == of_graph:
                self._runner = None
        self.takes: dict[str, Any] = takes
        self.gives: dict[str, Any] = gives
        self.is_graph = self._runner is None
        self.inputs = tuple(_input_spec(name, detail) for name, detail in takes.items())
        self.outputs = tuple(_spec(name, detail) for name, detail in gives.items())
        self.batch = min((int(d["shape"][0]) for d in takes.values() if len(d["shape"])), default=1)
        self._in = tuple((name, int(detail["index"])) for name, detail in takes.items())
        self._out = tuple((name, int(detail["index"])) for name, detail in gives.items())
        self._as_it_is = all(np.dtype(detail["dtype"]) == np.float32 for detail in gives.values())

    def fits(self, inputs: Mapping[str, np.ndarray]) -> bool:
        """Return whether inputs have this signature's shapes, whatever their number of rows."""
        return all(inputs[spec.name].shape[1:] == spec.shape for spec in self.inputs)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run as many rows as the batch size says. Raises: ValueError, RuntimeError."""
        if self._runner is None:
            interpreter = self._interpreter
            for name, index in self._in:
                interpreter.set_tensor(index, inputs[name])
            interpreter.invoke()
            values = {name: interpreter.get_tensor(index) for name, index in self._out}
        else:
            values = self._runner(**inputs)
        if self._as_it_is:
            return values
        return {name: _from_file(values[name], detail) for name, detail in self.gives.items()}


class InterpreterEngine:
    """One TFLite file in an interpreter; of several signatures, the one that fits the inputs is run.

    Signatures belong together when they have the inputs and outputs of ``serving_default``, else of the first one, by
    name and number of axes; others are not looked at.
    """

    provider = "cpu"

    def __init__(self, path: str | Path, *, threads: int, interpreter: Any, runtime: str) -> None:
        """Load a file.

        Args:
            path: The file.
            threads: Of the runtime.
            interpreter: The runtime's type.
            runtime: Its name and version.

        Raises:
            EngineError: The file is refused.
        """
        self.runtime = runtime
        if not Path(path).is_file():
            raise EngineError(f"there is no file {path}", fault="bad-file")
        try:
            with _quiet():
                # from a path it is verified and mapped; from bytes it would be copied
                self._interpreter = interpreter(model_path=str(path), num_threads=threads)
                self._interpreter.allocate_tensors()
                names = list(self._interpreter.get_signature_list())
                names.sort(key=lambda name: name != "serving_default")
                found = [_Signature(self._interpreter, name, alone=len(names) < 2) for name in names or [None]]
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"{self.runtime} does not load it: {plain(error)}", fault="bad-file") from error
        chief = found[0]
        self._chief = chief
        self._signatures = [signature for signature in found if _alike(signature, chief)]
        self.inputs = tuple(_common(spec, (s.inputs for s in self._signatures)) for spec in chief.inputs)
        self.outputs = tuple(_common(spec, (s.outputs for s in self._signatures)) for spec in chief.outputs)
        batches = {signature.batch for signature in self._signatures}
        self.batch: int | None = chief.batch if len(batches) == 1 else None
        self._passed = Passed({name: np.dtype(detail["dtype"]) for name, detail in chief.takes.items()})

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the model on any number of rows (see ``Engine.run``)."""
        try:
            if self._passed(inputs):
                return self._chief.run(inputs)
            return self._run_checked(inputs)
        except (ValueError, RuntimeError) as error:
            if isinstance(error, EngineError):
                raise
            raise EngineError(f"{self.runtime} failed: {plain(error)}", fault="run-failed") from error

    def _run_checked(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
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

        outputs = run_in_batches(run, typed, rows, *fitting)
        if fitting.get(rows) is self._chief:
            self._passed.add(typed)
        return outputs


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


def _indices(details: Mapping[str, Any]) -> set[int]:
    return {int(detail["index"]) for detail in details.values()}


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
    with _stderr_lock:
        saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(sink)
