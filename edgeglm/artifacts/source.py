"""A model that is a file already, as the float file that everything else is made from."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeglm.artifacts.onnx_versions import check_opset, lower_ir_version
from edgeglm.errors import EdgeglmError
from edgeglm.files import replacing
from edgeglm.measure.census import describe, read_source
from edgeglm.measure.execution import execution_warnings
from edgeglm.measure.external_data import corrupt
from edgeglm.measure.worker import Runner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeglm_agent.wire import TensorSpec

    from edgeglm.boards import Board
    from edgeglm.model import ModelFile


def describe_source(
    path: Path,
    format: str,  # noqa: A002
    constants: Mapping[str, Any],
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return inputs and outputs of a user's model file as ``take_source`` will leave them.

    Raises:
        ModelError: The file is missing or damaged, or a constant does not fit.
    """
    given = describe(path, format) if not constants else None  # finds what is wrong with the file
    made = _prepared(path, constants) if format == "onnx" else None
    if made is None:
        return given or describe(path, format)
    with tempfile.TemporaryDirectory(prefix="edgeglm-source-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(made)
        return describe(copy, format)


def take_source(source: ModelFile, path: Path, *, board: Board) -> tuple[int | None, list[str]]:
    """Write a user's model file without metadata, in versions that the board loads, and load what was written.

    Args:
        source: The user's file, and which of its inputs become constants.
        path: Where it goes.
        board: Caps the opset of an ONNX file and its IR version, which is lowered where the opset allows that.

    Returns:
        Its fixed batch size (None: any), and warnings about how this host executes it.

    Raises:
        ModelError: The source is missing or damaged.
        StorageError: The file cannot be written.
        ExportError: ``opset-too-new``, or what was written does not load.
    """
    if source.format == "onnx":
        check_opset(source.path, board, where=str(source.path))
    made = _prepared(source.path, source.constants) if source.format == "onnx" else None
    with replacing(path, synced=False) as temporary:
        if made is not None:
            temporary.write_bytes(made)
        data = read_source(source.path if made is None else temporary, source.format).stripped()
        if source.format == "onnx":
            data = _loadable(data, board, where=str(source.path))
        temporary.write_bytes(data)
    with Runner(path, format=source.format) as runner:
        return runner.batch, execution_warnings(runner, scheme="none")


def _prepared(path: Path, constants: Mapping[str, Any]) -> bytes | None:
    from edgeglm.artifacts.onnx_source import read_prepared

    try:
        return read_prepared(path, constants)
    except EdgeglmError:
        raise
    except Exception as error:  # damaged bytes raise whatever they lead the parser to
        raise corrupt(path, "onnx", f"{type(error).__name__}: {error}") from error


def _loadable(data: bytes, board: Board, *, where: str) -> bytes:
    import onnx

    from edgeglm.artifacts.onnx_compact import to_bytes

    model = onnx.load_model_from_string(data)
    lower_ir_version(model, board, where=where)
    return to_bytes(model)
