"""The runtimes a board may have, behind one small interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm_agent.engines._base import Engine, EngineError, Fault

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FORMATS", "Engine", "EngineError", "Fault", "load_engine"]

FORMATS = ("onnx", "tflite")


def load_engine(path: str | Path, *, format: str, threads: int = 1) -> Engine:  # noqa: A002 - the manifest's word
    """Load a model file into the runtime of its format.

    A damaged file can take the process down with it: load what is not yet trusted in a process of its own, and
    only one model in each.

    Args:
        path: The file.
        format: ``onnx`` or ``tflite``.
        threads: Threads that the runtime may use, at least 1; none of them spins while it waits.

    Raises:
        EngineError: The runtime is not installed, or refuses the file; ``fault`` tells which.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    if format == "onnx":
        from edgeglm_agent.engines.onnx import OnnxEngine  # a board has one runtime, not both

        return OnnxEngine(path, threads=threads)
    if format == "tflite":
        from edgeglm_agent.engines.litert import LiteRtEngine

        return LiteRtEngine(path, threads=threads)
    raise EngineError(f"no runtime is known for format `{format}`; there are {', '.join(FORMATS)}", fault="no-runtime")
