"""Segments: rows of one table and one day as Parquet, sorted by board and time; written and read by DuckDB."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from edgeglm.errors import MissingExtraError, StorageError
from edgeglm.files import replacing
from edgeglm.fleet.store.rows import COLUMNS, TEXTS
from edgeglm.fleet.store.segment_list import Written, missing
from edgeglm.fleet.store.tables import Place

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    import duckdb

    from edgeglm.errors import StoreError

_ORDER = "device, at_ms, stream, sequence"
_FORMAT = "format parquet, compression zstd, row_group_size 4096, use_tmp_file false"  # so few boards are in a group
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SegmentGoneError(Exception):
    """A segment that was listed has been removed meanwhile: there is a newer list."""


class SegmentFiles:
    """The folder. Not for several threads at once."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Take note of it; nothing is opened until it is needed.

        Args:
            folder: May not be there yet.
            threads: How many DuckDB may use; None: as many as there are processors.
        """
        self.folder = folder
        self._threads = threads
        self._db: duckdb.DuckDBPyConnection | None = None

    def write(self, source: str, day: int, rows: Sequence[tuple[Any, ...]], *, hourly: bool = False) -> Written:
        """Write rows, in the order of ``COLUMNS``, as a segment. Raises: StorageError: The disk is full or refuses."""
        import numpy as np

        columns = COLUMNS[source].split(", ")
        given: dict[str, Any] = {}
        select = []
        for name, values in zip(columns, zip(*rows, strict=True), strict=True):
            if name == "body" or name in TEXTS:
                given[name] = np.empty(len(values), object)
                given[name][:] = [bytes(one) for one in values] if name == "body" else values
                select.append(f"{name}::{'blob' if name == 'body' else 'varchar'} as {name}")
            else:  # what is not known is said beside it: of a column of Nones no type can be told
                given[name] = np.array([0 if one is None else one for one in values], np.int64)
                given[f"has_{name}"] = np.array([one is not None for one in values], bool)
                select.append(f"case when has_{name} then {name} end as {name}")
        database = self._connected()
        database.register("given", given)
        select_all = f"select {', '.join(select)} from given"  # noqa: S608 - names of our own
        written = self._write(source, day, select_all, len(rows), hourly=hourly)
        database.unregister("given")
        return written

    def rewrite(
        self, source: str, day: int, names: Sequence[str], rows: int, *, hourly: bool, without: int | None = None
    ) -> Written:
        """Write segments of one day as one.

        Args:
            source: The table that their rows are of.
            day: Their day.
            names: Of their files.
            rows: How many there will be.
            hourly: Whether they are windows that were merged.
            without: A board that is left out.
        """
        where = f"where device <> {without:d}" if without is not None else ""
        files = ", ".join(_quoted(self.folder / name) for name in names)
        select = f"select {COLUMNS[source]} from read_parquet([{files}]) {where}"  # noqa: S608 - names of our own
        return self._write(source, day, select, rows, hourly=hourly, names=names)

    def rows(
        self,
        columns: str,
        names: Sequence[str],
        where: str,
        given: Sequence[Any],
        order: str,
        limit: int | None = None,
    ) -> list[tuple[Any, ...]]:
        """Return columns of rows in an order. Raises: SegmentGoneError, StoreError: A segment is not there any more."""
        if not names:
            return []
        statement = f"select {columns} from read_parquet(?) where {where} order by {order}"  # noqa: S608 - of our own
        if limit is not None:
            statement += f" limit {limit:d}"
        with self._told(names):
            return self._connected().execute(statement, [self._paths(names), *given]).fetchall()

    def count(self, names: Sequence[str], device: int) -> int:
        """Return how many rows of a board are in segments."""
        return len(self.rows("device", names, "device = ?", (device,), "device"))

    def devices(self, names: Sequence[str], most_rows: int = 10_000) -> list[tuple[int, int]]:
        """Return the boards of segments as runs (first, last), each of about so many rows."""
        runs: list[tuple[int, int]] = []
        rows = most_rows
        with self._told(names):
            found = self._connected().execute(
                "select device, count(*) from read_parquet(?) group by device order by device", [self._paths(names)]
            )
            for device, count in found.fetchall():
                if rows + count > most_rows:
                    runs.append((device, device))
                    rows = 0
                runs[-1] = (runs[-1][0], device)
                rows += count
        return runs

    def bodies(self, names: Sequence[str], places: Collection[Place]) -> dict[Place, bytes]:
        """Return the bodies of rows that are there. Raises: StoreError: A segment is missing."""
        if not names:
            return {}
        keys = [list(column) for column in zip(*places, strict=True)]
        asked = ", ".join(f"unnest(?::bigint[]) as {name}" for name in Place._fields)
        with self._told(names):
            found = (
                self._connected()
                .execute(
                    f"select {', '.join(Place._fields)}, body from read_parquet(?)"  # noqa: S608 - names of our own
                    f" join (select {asked}) using ({', '.join(Place._fields)})",
                    [self._paths(names), *keys],
                )
                .fetchall()
            )
        return {Place(*row[:4]): bytes(row[4]) for row in found}

    def remove(self, names: Collection[str]) -> None:
        """Remove files; what is not there does not matter."""
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def keep_only(self, names: Collection[str]) -> None:
        """Remove every other file: a run that was killed has left it."""
        if self.folder.is_dir():
            self.remove({file.name for file in self.folder.iterdir() if file.is_file()} - set(names))

    def close(self) -> None:
        """Let it go."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _write(
        self, source: str, day: int, select: str, rows: int, *, hourly: bool, names: Sequence[str] = ()
    ) -> Written:
        """Write, read again, sync, and rename: a file that is there is whole."""
        date = (_EPOCH + timedelta(days=max(0, day))).strftime("%Y%m%d")  # a calendar has no days without end
        path = self.folder / f"{source}-{date}-{secrets.token_hex(4)}.parquet"
        self.folder.mkdir(mode=0o700, exist_ok=True)
        database = self._connected()
        try:
            with replacing(path, mode=0o600) as temporary, self._told_writing(path, names):
                database.execute(f"copy ({select} order by {_ORDER}) to {_quoted(temporary)} ({_FORMAT})").fetchall()
                ((count, received_ms, _),) = database.execute(
                    "select count(*), coalesce(max(received_ms), 0), sum(octet_length(body))"  # noqa: S608 - all is read
                    f" from read_parquet({_quoted(temporary)})"
                ).fetchall()
                if count != rows and names:
                    raise self._damaged(names)
                if count != rows:
                    raise RuntimeError(f"{count} of {rows} rows are in {path.name}")
                size = temporary.stat().st_size
        except BaseException:
            self.close()  # what was begun in it is of no use any more
            raise
        return Written(source, day, path.name, rows, size, int(received_ms), int(hourly))

    def _damaged(self, names: Sequence[str]) -> StoreError:
        return missing(self.folder / names[0] if len(names) == 1 else self.folder)

    def _paths(self, names: Sequence[str]) -> list[str]:
        return [str(self.folder / name) for name in names]

    def _connected(self) -> duckdb.DuckDBPyConnection:
        if self._db is None:
            try:
                import duckdb
            except ImportError as error:
                raise MissingExtraError(
                    "a store's older rows need duckdb", hint="pip install 'edgeglm[fleet]'", where=str(self.folder)
                ) from error
            settings: dict[str, str | bool | int | float | list[str]] = {"autoinstall_known_extensions": False}
            if self._threads is not None:  # beside a collector: little of everything
                settings |= {
                    "threads": self._threads,
                    "memory_limit": "1GB",
                    "temp_directory": str(self.folder / ".spill"),
                }
            self._db = duckdb.connect(":memory:", config=settings)
            self._db.execute("set parquet_metadata_cache = true")  # no segment changes, no name is used twice
        return self._db

    @contextmanager
    def _told(self, names: Sequence[str]) -> Iterator[None]:
        import duckdb

        try:
            yield
        except (duckdb.Error, UnicodeDecodeError) as error:
            if not (isinstance(error, duckdb.IOException) or _tells_of_damage(error)):
                raise
            if any(not (self.folder / name).exists() for name in names):
                raise SegmentGoneError from error
            raise self._damaged(names) from error

    @contextmanager
    def _told_writing(self, path: Path, names: Sequence[str]) -> Iterator[None]:
        import duckdb

        try:
            yield
        except (duckdb.Error, UnicodeDecodeError) as error:
            if gone := [name for name in names if not (self.folder / name).exists()]:
                raise missing(self.folder / gone[0]) from error
            if names and (_tells_of_damage(error) or any(name in str(error) for name in names)):
                raise self._damaged(names) from error
            if not isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException):
                raise
            raise StorageError(
                f"cannot write: {' '.join(str(error).split())[:300]}",
                where=str(path),
                hint="make room on this disk: rows stay where they are until there is some",
                code="disk-full",
            ) from error


def _tells_of_damage(error: Exception) -> bool:
    """Return whether DuckDB says that a file is not as it was written: mostly without a type, or not in UTF-8."""
    import duckdb

    return type(error) is duckdb.Error or isinstance(error, duckdb.InvalidInputException | UnicodeDecodeError)


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
