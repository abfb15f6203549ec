"""Rows of any number as a Parquet file, piece by piece: beside the file, room is taken for its pieces alone."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgeglm.errors import MissingExtraError, StorageError
from edgeglm.files import replacing, storage_errors
from edgeglm.leftovers import removed_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_PIECE_ROWS = 50_000  # that are there as text for a moment: a kilobyte each
_PRIVATE = 0o600  # as the store


def write_parquet(found: Iterable[msgspec.Struct], columns: Mapping[str, str], path: Path) -> int:
    """Write a file of its owner's alone, whole or not at all; return how many rows it has.

    Args:
        found: The rows.
        columns: Name of each -> its SQL type.
        path: The file.

    Raises:
        MissingExtraError: The extra ``fleet`` is not installed.
        StorageError: The disk is full or refuses.
    """
    try:
        import duckdb
    except ImportError as error:
        raise MissingExtraError("writing Parquet needs duckdb", hint="pip install 'edgeglm[fleet]'") from error
    remaining, count = iter(found), 0
    with replacing(path, mode=_PRIVATE) as temporary, _pieces(path) as folder, duckdb.connect(":memory:") as database:
        lines, pieces = (
            folder / "rows.jsonl",
            list[str](),
        )  # JSON keeps None and text apart, and duckdb reads it quickly
        while (some := _write_lines(islice(remaining, _PIECE_ROWS), lines)) or not pieces:
            pieces.append(str(folder / f"{len(pieces)}.parquet"))
            # the types are said, so that a file of no rows has its columns too
            table = database.read_json(str(lines), columns=dict(columns), format="newline_delimited")
            with _told(path):
                table.write_parquet(pieces[-1], compression="zstd")
            count += some
        with _told(path):
            database.read_parquet(pieces).write_parquet(str(temporary), compression="zstd")
    return count


@contextmanager
def _pieces(path: Path) -> Iterator[Path]:
    """Make a folder beside the file: a disk that has room for that has it for its pieces, which /tmp may not."""
    with storage_errors(path):
        made = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    with removed_after(made):
        yield made


def _write_lines(found: Iterable[msgspec.Struct], lines: Path) -> int:
    encode, count = msgspec.json.Encoder().encode, 0
    with lines.open("wb") as file:
        for count, row in enumerate(found, 1):  # noqa: B007 - how many there were
            file.write(encode(row))
            file.write(b"\n")
    return count


@contextmanager
def _told(path: Path) -> Iterator[None]:
    import duckdb

    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise StorageError(
            f"cannot write: {' '.join(str(error).split())[:300]}",
            where=str(path),
            hint="make room on this disk, or choose another file with -o",
            code="disk-full",
        ) from error
