"""report.json: bytes to a report and back. Unknown fields pass; another schema does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edgeglm.errors import UserError
from edgeglm.files import write_bytes
from edgeglm.report.types import REPORT_SCHEMA, Report

if TYPE_CHECKING:
    from pathlib import Path

REPORT_NAME = "report.json"
_LONG_BYTES = 1_000_000  # indented, a matrix takes a line a number: nobody reads that


class _Head(msgspec.Struct):
    schema: int


def encode_report(report: Report) -> bytes:
    """Return the report as JSON, ending in a newline; indented unless confusion of many classes makes it long.

    A number that is not finite becomes null.
    """
    compact = msgspec.json.encode(report)
    return (compact if len(compact) > _LONG_BYTES else msgspec.json.format(compact, indent=2)) + b"\n"


def decode_report(data: bytes, *, where: str) -> Report:
    """Return the report that these bytes hold.

    Args:
        data: What was read.
        where: The path as the user gave it, for the error.

    Raises:
        UserError: The bytes are not JSON, lack a field, or are of another schema.
    """
    try:
        schema = msgspec.json.decode(data, type=_Head).schema
        if schema == REPORT_SCHEMA:
            return msgspec.json.decode(data, type=Report)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(
            f"not a report of edgeglm: {error}",
            where=where,
            hint="give the report.json that `edgeglm compress` wrote, or its folder",
            code="report-invalid",
        ) from error
    raise UserError(
        f"a report of schema {schema}; this edgeglm reads schema {REPORT_SCHEMA}",
        where=where,
        hint="read it with the edgeglm that wrote it" if schema > REPORT_SCHEMA else "run `edgeglm compress` again",
        code="report-invalid",
    )


def write_json(report: Report, path: Path) -> None:
    """Write report.json whole or not at all. Raises: StorageError."""
    write_bytes(path, encode_report(report))


def read_json(path: Path) -> Report:
    """Read a report.

    Args:
        path: The file, or the output folder that holds it.

    Raises:
        UserError: There is no such file, it cannot be read, or it is no report of this schema.
    """
    file = path / REPORT_NAME if path.is_dir() else path
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the report: {error.strerror}",
            where=str(file),
            hint="give the output folder of `edgeglm compress`, or a report.json",
            code="report-missing",
        ) from error
    return decode_report(data, where=str(file))
