"""The opset and the IR version of an ONNX file, and whether a board takes them; read without importing onnx."""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from edgeglm.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import onnx

    from edgeglm.boards import Board

# fields of ModelProto and OperatorSetIdProto, and protobuf's wire types
_IR_VERSION, _GRAPH, _OPSET_IMPORT = 1, 7, 8
_DOMAIN, _VERSION = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Versions:
    """What a file says of itself; 0 where it says nothing."""

    ir: int
    opset: int  # of ONNX's own operators
    has_graph: bool = True


def read_versions(path: Path) -> Versions:
    """Return the versions of a file, passing over its graph: cheap however large the file is.

    Raises:
        ValueError: It is no protobuf message, or one that is cut short.
    """
    ir, opset, has_graph = 0, 0, False
    with path.open("rb") as file:
        for number, value in _fields(file, {_OPSET_IMPORT}):
            if number == _IR_VERSION and isinstance(value, int):
                ir = value
            elif number == _OPSET_IMPORT and isinstance(value, bytes):
                entry = dict(_fields(BytesIO(value), {_DOMAIN}))
                version = entry.get(_VERSION, 0)
                if entry.get(_DOMAIN, b"") in (b"", b"ai.onnx") and isinstance(version, int):
                    opset = max(opset, version)
            elif number == _GRAPH:
                has_graph = True
    return Versions(ir, opset, has_graph)


def check_opset(path: Path, board: Board, *, where: str) -> None:
    """Refuse a file of a newer opset than the board takes; one that cannot be read is left to its reader.

    Raises:
        ExportError: ``opset-too-new``.
    """
    try:
        opset = read_versions(path).opset
    except ValueError:
        return
    if opset > board.opset:
        raise _too_new(f"opset {opset}", f"opset {board.opset}", board, where)


def lower_ir_version(model: onnx.ModelProto, board: Board, *, where: str) -> None:
    """Give the model, which is changed, an IR version that the board loads, where its opsets go with that.

    Raises:
        ExportError: ``opset-too-new``: they do not.
    """
    from onnx import helper

    if model.ir_version <= board.ir_version:
        return
    least = helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    if least > board.ir_version:
        raise _too_new(f"IR version {least}", f"IR version {board.ir_version}", board, where)
    model.ir_version = board.ir_version


def _too_new(found: str, taken: str, board: Board, where: str) -> ExportError:
    return ExportError(
        f"the file uses ONNX {found}; {board.name} takes {taken}",
        where=where,
        hint=f"export it again with opset_version={board.opset}, or choose another target",
        code="opset-too-new",
    )


def _fields(file: BinaryIO, wanted: set[int]) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of a message's fields: of integers, and of byte strings that are wanted; others empty."""
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    while file.tell() < end:
        tag = _varint(file)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            yield number, _varint(file)
        elif kind == _BYTES:
            length = _varint(file)
            if number in wanted:
                yield number, file.read(length)
            else:
                file.seek(length, os.SEEK_CUR)
                yield number, b""
        elif kind in (_FIXED32, _FIXED64):
            file.seek(4 if kind == _FIXED32 else 8, os.SEEK_CUR)
        else:
            raise ValueError(f"a field of wire type {kind}")
    if file.tell() > end:
        raise ValueError("cut short")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("cut short")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number of more than 64 bits")
