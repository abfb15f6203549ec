"""The runtimes a board may have, behind one small interface.

Packages add theirs by the entry point group ``edgeglm_agent.engines`` (format -> a class, or a function, that takes
``(path, *, threads)`` and returns an ``Engine``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edgeglm_agent.engines._base import Engine, EngineError, Fault, plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["GROUP", "OURS", "Engine", "EngineError", "Fault", "OpenEngine", "engine_types", "load_engine", "runtime_of"]

GROUP = "edgeglm_agent.engines"


class OpenEngine(Protocol):
    """What opens a file: an engine's class."""

    def __call__(self, path: str | Path, *, threads: int) -> Engine:
        """Return the loaded model. Raises: EngineError."""
        ...


class _Ours(OpenEngine, Protocol):
    def installed(self) -> str: ...


def _onnx() -> _Ours:
    from edgeglm_agent.engines.onnx import OnnxEngine  # a board has one runtime, not both

    return OnnxEngine


def _tflite() -> _Ours:
    from importlib.util import find_spec

    if find_spec("ai_edge_litert") is None and find_spec("tflite_runtime") is not None:
        from edgeglm_agent.engines.tflite_runtime import TfliteRuntimeEngine

        return TfliteRuntimeEngine
    from edgeglm_agent.engines.litert import LiteRtEngine

    return LiteRtEngine


def _openvino() -> _Ours:
    from edgeglm_agent.engines.openvino import OpenVinoEngine

    return OpenVinoEngine


OURS = {"onnx": _onnx, "tflite": _tflite, "openvino": _openvino}


def engine_types() -> dict[str, Callable[[], OpenEngine]]:
    """Return format -> what imports its engine: ours, then those of installed packages.

    Raises:
        EngineError: A package claims a format that is taken (``no-runtime``).
    """
    from importlib.metadata import entry_points  # a board that has none need not look: it takes time and memory

    table: dict[str, Callable[[], OpenEngine]] = dict(OURS)
    for point in entry_points(group=GROUP):
        if point.name in table:
            raise EngineError(
                f"{point.value} claims the format `{point.name}`, which has an engine already; uninstall that package",
                fault="no-runtime",
            )
        table[point.name] = point.load
    return table


def runtime_of(format: str) -> str:  # noqa: A002 - the manifest's word
    """Return name and version of what loads files of one of our formats; of a package's format, an empty string.

    Raises:
        EngineError: It is not installed.
    """
    return OURS[format]().installed() if format in OURS else ""


def load_engine(
    path: str | Path,
    *,
    format: str,  # noqa: A002 - the manifest's word
    threads: int = 1,
    provider: str = "cpu",
    cache: Path | None = None,
) -> Engine:
    """Load a model file into the runtime of its format.

    A damaged file can take the process down with it: load what is not yet trusted in a process of its own, and
    only one model in each.

    Args:
        path: The file.
        format: ``onnx``, ``tflite``, ``openvino``, or one that an installed package has an engine for.
        threads: Threads that the runtime may use, at least 1; none of them spins while it waits.
        provider: ``cpu``; of ONNX also ``cuda`` and ``tensorrt``, proved by the first run.
        cache: Folder for what TensorRT builds on this device; None: nothing is kept.

    Raises:
        EngineError: The runtime is not installed, or refuses the file; ``fault`` tells which.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    if provider != "cpu":
        if format != "onnx":
            raise EngineError(f"files of the format `{format}` run on the cpu alone", fault="no-runtime")
        from edgeglm_agent.engines.onnx import OnnxEngine

        return OnnxEngine(path, threads=threads, provider=provider, cache=cache)
    if format in OURS:
        return OURS[format]()(path, threads=threads)
    known = engine_types()
    if format not in known:
        there_are = ", ".join(known)
        raise EngineError(f"no runtime is known for format `{format}`; there are {there_are}", fault="no-runtime")
    try:
        opens = known[format]()
    except Exception as error:  # someone else's package: whatever it raises is about that package
        raise EngineError(
            f"the package that adds an engine for `{format}` cannot be imported: {plain(error)}", fault="no-runtime"
        ) from error
    return opens(path, threads=threads)
