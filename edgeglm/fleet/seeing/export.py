"""Windows, events, answers and gaps as a file for other programs: CSV or Parquet, a row each, with units in names."""

from __future__ import annotations

import csv
import os
import sys
import types
from typing import IO, TYPE_CHECKING, Literal, TypeAlias, get_args, get_type_hints

import msgspec

from edgeglm.errors import UserError
from edgeglm.files import check_replaceable, replacing
from edgeglm.fleet.seeing.flat import (
    FlatEvent,
    FlatGap,
    FlatResult,
    FlatRow,
    FlatWindow,
    flat_event,
    flat_gap,
    flat_result,
    flat_window,
)
from edgeglm.fleet.seeing.parquet import write_parquet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from edgeglm.fleet.store.base import StoreReader
    from edgeglm.fleet.store.types import Device, Span
    from edgeglm.log import Log

What: TypeAlias = Literal["windows", "events", "results", "gaps"]
Format: TypeAlias = Literal["csv", "parquet"]
WHAT: tuple[What, ...] = get_args(What)
_ROWS: dict[What, type[FlatRow]] = {
    "windows": FlatWindow,
    "events": FlatEvent,
    "results": FlatResult,
    "gaps": FlatGap,
}
_SQL = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN"}
_PRIVATE = 0o600  # as the store
_TOLD_ROWS = 100_000  # a quarter of a minute
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes a cell for that begins so


def rows(reader: StoreReader, what: What, span: Span, fleet: str | None, device: Device | None) -> Iterator[FlatRow]:
    """Return flat rows, the oldest first."""
    if what == "windows":
        yield from (flat_window(stored) for stored in reader.windows(span, device, fleet))
    elif what == "events":
        yield from (flat_event(stored) for stored in reader.events(span, device, fleet))
    elif what == "results":
        yield from (flat_result(stored) for stored in reader.results(device, span, fleet=fleet))
    else:
        gaps = (stored for stored in reader.gaps(span, device) if fleet in (None, stored.device.fleet))
        yield from (flat_gap(stored) for stored in gaps)


def format_of(path: Path | None) -> Format:
    """Return the format that a file's name says; of one without an ending, or without a file, it is CSV.

    Raises:
        UserError: It ends as another program's files do.
    """
    ending = path.suffix.lower() if path is not None else ""
    if ending == ".parquet":
        return "parquet"
    if ending in ("", ".csv", ".txt"):
        return "csv"
    raise UserError(
        f"no file that ends in {ending} is written",
        where=str(path),
        hint="name it .csv or .parquet, or say which it is to be: --format csv",
        code="export-name",
    )


def told(found: Iterable[FlatRow], what: What, log: Log) -> Iterator[FlatRow]:
    """Return rows, and say now and then how far they go: those of a large fleet's week take a while."""
    for count, row in enumerate(found, 1):
        yield row
        if count % _TOLD_ROWS == 0:
            log.note(f"{count} {what}, up to {row.at_utc or row.at_ms}")


def check_target(path: Path | None, file_format: Format, *, force: bool) -> None:
    """Refuse what cannot be written to, before anything is read.

    Args:
        path: None: stdout.
        file_format: Of the file.
        force: Whether a file that is there is replaced.

    Raises:
        UserError: The file is there, or is a folder or a device, or Parquet would go to stdout.
    """
    if path is None:
        if file_format == "parquet":
            raise UserError(
                "a Parquet file cannot go to stdout", hint="name it: -o windows.parquet", code="export-name"
            )
    elif path.is_dir():
        raise UserError("this is a folder", where=str(path), hint="name a file", code="export-exists")
    elif os.path.lexists(path) and not force:
        raise UserError(
            "this is there already, and is left as it is",
            where=str(path),
            hint="choose another name, or --force to replace it",
            code="export-exists",
        )
    else:
        check_replaceable(path)


def write(found: Iterable[FlatRow], what: What, file_format: Format, path: Path | None, *, force: bool) -> int:
    """Write rows to a file of its owner's alone, whole or not there, or as CSV to stdout; return how many.

    Args:
        found: See ``rows``.
        what: What they are.
        file_format: Of the file.
        path: None: stdout.
        force: Whether a file that is there is replaced.

    Raises:
        UserError: See ``check_target``.
        MissingExtraError: Parquet needs the extra ``fleet``.
        StorageError: The disk is full or refuses.
    """
    check_target(path, file_format, force=force)
    if path is None:
        return write_csv(found, what, sys.stdout)
    if file_format == "parquet":
        return write_parquet(found, columns(what), path)
    with replacing(path, mode=_PRIVATE) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        return write_csv(found, what, file)


def write_csv(found: Iterable[FlatRow], what: What, file: IO[str]) -> int:
    """Write CSV with a heading. A text that a spreadsheet would take for a formula gets an apostrophe in front."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_ROWS[what].__struct_fields__)
    count = 0
    for row in found:
        count += 1
        writer.writerow([_cell(value) for value in msgspec.structs.astuple(row)])
    return count


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def columns(what: What) -> dict[str, str]:
    """Return the columns with their SQL types."""
    hints = get_type_hints(_ROWS[what])
    return {name: "TIMESTAMP" if name == "at_utc" else _sql(hints[name]) for name in _ROWS[what].__struct_fields__}


def _sql(hint: type | types.UnionType) -> str:
    kinds = hint.__args__ if isinstance(hint, types.UnionType) else (hint,)
    return next(_SQL[kind] for kind in kinds if kind in _SQL)
