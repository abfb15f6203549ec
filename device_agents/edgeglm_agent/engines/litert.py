"""TFLite files in LiteRT, on the CPU with XNNPACK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeglm_agent.engines._base import EngineError, plain
from edgeglm_agent.engines.interpreter import InterpreterEngine

if TYPE_CHECKING:
    from pathlib import Path


class LiteRtEngine(InterpreterEngine):
    """One TFLite file in LiteRT."""

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        """Load a file. Raises: EngineError."""
        super().__init__(path, threads=threads, interpreter=_litert()[0], runtime=self.installed())

    @staticmethod
    def installed() -> str:
        """Return the runtime's name and version. Raises: EngineError."""
        return f"litert {_litert()[1]}"


def _litert() -> tuple[Any, str]:
    """Return the interpreter's type, and the version."""
    try:
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise EngineError(f"ai-edge-litert cannot be imported: {plain(error)}", fault="no-runtime") from error
    return Interpreter, ai_edge_litert.__version__
