"""ONNX files in ONNX Runtime, on the CPU or a GPU."""

from __future__ import annotations

import re
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
from edgeglm_agent.offline import go_offline
from edgeglm_agent.wire import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeglm_agent.engines.engine_cache import EngineCache
    from edgeglm_agent.engines.providers import Proof

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
    """One ONNX file in an inference session, on one provider."""

    def __init__(
        self, path: str | Path, *, threads: int = 1, provider: str = "cpu", cache: str | Path | None = None
    ) -> None:
        """Load a file.

        Args:
            path: The file.
            threads: Of the CPU.
            provider: ``cpu``, ``cuda`` or ``tensorrt``. That a GPU computes is proved by the first ``run``.
            cache: Folder for what TensorRT builds on this device; None: it builds at every start.

        Raises:
            EngineError: The provider is not there, or the file is refused.
        """
        ort = silenced_onnxruntime()
        self.runtime = f"onnxruntime {ort.__version__}"
        self.provider = provider
        self._proof: Proof | None = None
        self._cache: EngineCache | None = None
        if provider == "cpu":
            self._session = self._opened(ort, Path(path), _options(ort, threads), ["CPUExecutionProvider"])
        else:
            self._session = self._on_gpu(ort, Path(path), threads, cache)
        ours = self._session.get_modelmeta().producer_name == _PRODUCER
        self.inputs = tuple(_input_spec(value, ours=ours) for value in self._session.get_inputs())
        self.outputs = tuple(_spec(value) for value in self._session.get_outputs())
        fixed = {
            value.shape[0] for value in self._session.get_inputs() if value.shape and isinstance(value.shape[0], int)
        }
        self.batch: int | None = min(fixed) if fixed else None
        if provider == "tensorrt":
            _check_lengths(self.inputs)
        self._names = [spec.name for spec in self.outputs]
        self._widened = any(spec.dtype in ("float16", "float64") for spec in self.outputs)
        self._passed = Passed({spec.name: np.dtype(spec.dtype) for spec in self.inputs})

    def _on_gpu(self, ort: Any, path: Path, threads: int, cache: str | Path | None) -> Any:
        """Return a session on a provider that is yet to be proved. Engines that do not load are built once more."""
        from edgeglm_agent.engines import providers  # a board without a GPU has no use for it: 10 ms

        providers.check_built_in(ort, self.provider)
        if self.provider == "tensorrt" and cache is not None and path.is_file():
            self._cache = providers.tensorrt_cache(ort, path, Path(cache))
        try:
            session = self._to_be_proved(ort, path, threads)
        except EngineError:
            if self._cache is None or not self._cache.used:
                raise
            self._cache.clear()
            session = self._to_be_proved(ort, path, threads)
        providers.check_started(ort, session, self.provider)
        return session

    def _to_be_proved(self, ort: Any, path: Path, threads: int) -> Any:
        from edgeglm_agent.engines import providers

        if self._cache is not None and not self._cache.open():
            self._cache = None  # a disk that cannot be written: engines are built at every start
        options = _options(ort, threads)
        self._proof = providers.Proof(self.provider, options)
        return self._opened(ort, path, options, providers.arguments(ort, self.provider, path=path, cache=self._cache))

    def _opened(self, ort: Any, path: Path, options: Any, providers: list[Any]) -> Any:
        try:
            return ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
        except Exception as error:  # its exceptions share no base class
            raise EngineError(f"{self.runtime} does not load it: {_said(error)}", fault="bad-file") from error

    @staticmethod
    def installed() -> str:
        """Return the runtime's name and version. Raises: EngineError."""
        return f"onnxruntime {silenced_onnxruntime().__version__}"

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the model on any number of rows (see ``Engine.run``)."""
        if self._passed(inputs):
            return self._run(inputs)
        rows = check_inputs(inputs, self.inputs)
        if self.batch is None and self.provider.startswith("tensorrt"):
            self.batch = rows  # another number of rows would have it build another engine, for minutes
        typed = {spec.name: np.ascontiguousarray(inputs[spec.name], dtype=spec.dtype) for spec in self.inputs}
        if self.batch in (None, rows):
            outputs = self._run(typed)
            self._passed.add(typed)
            return outputs
        return run_in_batches(self._run, typed, rows, self.batch or rows)

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            values = self._session.run(self._names, inputs)
        except Exception as error:
            raise EngineError(f"{self.runtime} failed: {_said(error)}", fault="run-failed") from error
        if self._proof is not None:
            proof, self._proof = self._proof, None
            self.provider = proof.finish(self._session)
            if self._cache is not None:
                self._cache.seal()
        outputs = dict(zip(self._names, values))  # noqa: B905 - strict costs, and it gives what it was asked for
        if self._widened:
            return {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in outputs.items()}
        return outputs


def _options(ort: Any, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    for pool in ("intra_op", "inter_op"):
        # threads that spin take the cores of everything else on a board, and falsify timings beside them
        options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
    return options


def _check_lengths(inputs: tuple[TensorSpec, ...]) -> None:
    """Refuse inputs of free lengths: TensorRT would build an engine, for minutes, whenever a new one comes in.

    Source: https://github.com/microsoft/onnxruntime/issues/13851.
    """
    free = [spec.name for spec in inputs if -1 in spec.shape]
    if free:
        raise EngineError(
            f"tensorrt builds its engine for one shape, and `{free[0]}` has a free length: take cuda or cpu",
            fault="no-runtime",
        )


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
