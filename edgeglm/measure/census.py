"""What a model file is made of: weights by type, parameters, multiply-accumulates, inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar, cast

from edgeglm.errors import EdgeglmError, ExportError, MissingExtraError, ModelError
from edgeglm.measure.external_data import corrupt, model_file_sha256
from edgeglm.measure.worker import Runner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeglm_agent.wire import TensorSpec

_Answer = TypeVar("_Answer")

Kind = Literal["convolution", "product", "lstm", "recurrent", "table"]  # recurrent: GRU, plain RNN, a loop


@dataclass(frozen=True)
class Operator:
    """One operator with weights, or a product of two computed values."""

    kind: Kind
    params: int  # weights; 0: both factors are computed
    macs: int | None  # of all rows of the file; None: a shape is not known


class Graph(Protocol):
    """A file read in, whatever its format."""

    def weight_dtypes(self) -> dict[str, int]:
        """Return type -> bytes of all constants; what several nodes share counts once."""
        ...

    def params(self) -> int:
        """Return the number of weights, without what describes quantization or shapes."""
        ...

    def macs(self) -> int | None:
        """Return the multiply-accumulates of one sample; None when a shape is not known."""
        ...


class SourceGraph(Graph, Protocol):
    """A file of a format that a model may come in."""

    def operators(self) -> list[Operator]:
        """Return every operator that multiplies by weights, or looks up in them, in the file's order."""
        ...

    def stripped(self) -> bytes:
        """Return the file without what no runtime reads; names stay, since `ignore` patterns match them."""
        ...


def weight_dtypes(path: Path, format: str) -> dict[str, int]:  # noqa: A002 - the manifest's word
    """Return the bytes of all constants by type: ``{"int8": 98304, "float32": 512}``; what is shared counts once.

    Raises:
        ModelError: The file cannot be read (``file-unloadable``, ``model-file-missing``).
        MissingExtraError: The library that reads this format is not installed.
    """
    return _asked(path, format, lambda graph: graph.weight_dtypes())


def count_file_params(path: Path, format: str) -> int:  # noqa: A002
    """Return the number of weights; scales, zero points and shapes are not weights. Raises: as ``weight_dtypes``."""
    return _asked(path, format, lambda graph: graph.params())


def count_file_macs(path: Path, format: str) -> int | None:  # noqa: A002
    """Return the multiply-accumulates of one sample in convolutions, matrix products and recurrent layers.

    Float and every quantized form count alike; a file with a fixed batch counts for one row of it; of several
    signatures the one that is served counts. None when the shapes inside the file are not known.

    Raises:
        ModelError, MissingExtraError: As ``weight_dtypes``.
    """
    return _asked(path, format, lambda graph: graph.macs())


def describe(path: Path, format: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:  # noqa: A002
    """Return inputs and outputs as the runtime sees them; see ``describe_with_batch``."""
    inputs, outputs, _ = describe_with_batch(path, format)
    return inputs, outputs


def describe_with_batch(
    path: Path,
    format: str,  # noqa: A002
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], int | None]:
    """Return inputs, outputs and fixed batch size (None: any), after the runtime has loaded the file.

    It does so in a process of its own.

    Raises:
        ModelError: The file is missing, or the runtime does not load it (``model-file-missing``, ``file-unloadable``).
        MissingExtraError: The runtime is not installed.
    """
    _check_exists(path)
    try:
        with Runner(path, format=format) as runner:
            return runner.inputs, runner.outputs, runner.batch
    except ExportError as error:
        model_file_sha256(path, format)  # says it better when the reason is a file of weights that is not there
        raise corrupt(path, format, error.problems[0].message) from error


def _asked(path: Path, format: str, question: Callable[[Graph], _Answer]) -> _Answer:  # noqa: A002
    """Return what a file answers; one may parse and still contradict itself. Raises: as ``weight_dtypes``."""
    graph = read_graph(path, format)
    try:
        return question(graph)
    except Exception as error:  # shapes that are no numbers, layers that are not there, ...
        raise corrupt(path, format, f"{type(error).__name__}: {error}") from error


def read_graph(path: Path, format: str) -> Graph:  # noqa: A002
    """Return a file as a graph that can be counted. Raises: as ``weight_dtypes``."""
    _check_exists(path)
    try:
        if format == "onnx":
            from edgeglm.measure.onnx_census import OnnxGraph

            return OnnxGraph(path)
        if format == "openvino":
            from edgeglm.measure.openvino_census import OpenVinoGraph

            return OpenVinoGraph(path)
        from edgeglm.measure.tflite_census import TfliteGraph

        return TfliteGraph(path)
    except EdgeglmError:
        raise
    except ImportError as error:
        hint = f"install it: pip install 'edgeglm[{format}]'"
        raise MissingExtraError(f"reading {format} files needs {error.name}", hint=hint, where=str(path)) from error
    except Exception as error:  # damaged bytes raise whatever they lead the parser to
        raise corrupt(path, format, f"{type(error).__name__}: {error}") from error


def read_source(path: Path, format: str) -> SourceGraph:  # noqa: A002
    """Return an ONNX or TFLite file as a graph. Raises: as ``weight_dtypes``."""
    return cast("SourceGraph", read_graph(path, format))


def _check_exists(path: Path) -> None:
    if not path.is_file():
        hint = "paths in a recipe are relative to the recipe"
        raise ModelError("there is no such file", hint=hint, where=str(path), code="model-file-missing")
