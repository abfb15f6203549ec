"""A model that is a file already, as the float file that everything else is made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.artifacts.onnx_versions import check_opset, lower_ir_version
from edgeglm.files import replacing
from edgeglm.measure.census import read_source
from edgeglm.measure.execution import execution_warnings
from edgeglm.measure.worker import Runner

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.boards import Board


def take_source(source: Path, path: Path, *, format: str, board: Board) -> tuple[int | None, list[str]]:  # noqa: A002
    """Write a user's model file without metadata, in versions that the board loads, and load what was written.

    Args:
        source: The user's file.
        path: Where it goes.
        format: ``onnx`` or ``tflite``.
        board: Caps the opset of an ONNX file and its IR version, which is lowered where the opset allows that.

    Returns:
        Its fixed batch size (None: any), and warnings about how this host executes it.

    Raises:
        ModelError: The source is missing or damaged.
        StorageError: The file cannot be written.
        ExportError: ``opset-too-new``, or what was written does not load.
    """
    if format == "onnx":
        check_opset(source, board, where=str(source))
    data = read_source(source, format).stripped()
    if format == "onnx":
        data = _loadable(data, board, where=str(source))
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    with Runner(path, format=format) as runner:
        return runner.batch, execution_warnings(runner, scheme="none")


def _loadable(data: bytes, board: Board, *, where: str) -> bytes:
    import onnx

    from edgeglm.artifacts.onnx_graph import to_bytes

    model = onnx.load_model_from_string(data)
    lower_ir_version(model, board, where=where)
    return to_bytes(model)
