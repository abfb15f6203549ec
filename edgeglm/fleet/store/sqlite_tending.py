"""What is done beside the collector: older rows go into segments, windows of an hour become one, old rows are removed.

A segment is written, synced and renamed first; then one short transaction lists it and deletes its rows from the
journal. Killed at any moment, a row is in one place: a file that is not listed is removed at the next run.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

from edgeglm.files import storage_errors
from edgeglm.fleet.store import segment_list, sqlite_hours
from edgeglm.fleet.store.hourly import ORDER, merged_by_hour
from edgeglm.fleet.store.keeping import DAY_MS, Tended
from edgeglm.fleet.store.rows import COLUMNS
from edgeglm.fleet.store.segment_files import SegmentFiles, SegmentGoneError
from edgeglm.fleet.store.sqlite_schema import PRUNE_ALARM_EVENTS, told
from edgeglm.fleet.store.tables import ROW_TABLES

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from pathlib import Path

    from edgeglm.fleet.store.hour_sums import HourKey
    from edgeglm.fleet.store.keeping import Keeping
    from edgeglm.fleet.store.segment_list import Segment, Written

_CHUNK = 20_000  # rows of a transaction: to delete them takes less than a tenth of a second
_CHUNK_BYTES = 32_000_000  # likewise, in memory: answers may have pictures with them
_MOST_SEGMENTS = 4  # of a table and day: as many become one
_MOST_ROWS = 1_000_000  # of a segment: DuckDB sorts them in memory
_LONGEST_REST_S = 2.0
_LOCKED_S = 60.0  # a collector in full flow leaves little room between two commits
_KEY = "at_ms, device, stream, sequence"


class SqliteTending:
    """One run, by whoever holds the store's lock."""

    def __init__(
        self, path: Path, keeping: Keeping, now_ms: int, stop: threading.Event | None = None, *, paced: bool = False
    ) -> None:
        """Take note of what is to be done.

        Args:
            path: The store.
            keeping: What it keeps, and how long.
            now_ms: What ages count from.
            stop: Ends it between two steps.
            paced: Whether it rests after each step as long as that took, since somebody else is at work.
        """
        self._path, self._keeping, self._now_ms = path, keeping, now_ms
        self._stop, self._paced = stop, paced
        self._files = SegmentFiles(segment_list.folder_of(path), threads=1)
        self.done = Tended()

    def run(self) -> Tended:
        """Do what is due. Raises: StoreError, StorageError: What was done until then is done, and nothing is lost."""
        with told(self._path), storage_errors(self._path), self._all_there():
            self._db = sqlite3.connect(self._path, isolation_level=None, timeout=_LOCKED_S)
            try:
                self._db.execute("pragma synchronous = full")
                for took_s in self._steps():
                    if self._rested(took_s):
                        break
            finally:
                self._db.close()
                self._files.close()
        return self.done

    def _rested(self, took_s: float) -> bool:
        """Rest after a step; return whether to stop."""
        rest_s = min(took_s, _LONGEST_REST_S) if self._paced else 0.0
        if self._stop is not None:
            return self._stop.wait(rest_s)
        time.sleep(rest_s)
        return False

    def _steps(self) -> Iterator[float]:
        """Do it, a step at a time; say how long each took."""
        for steps in (self._sweep(), self._remove(), self._compact(), self._sum_hours(), self._merge_hours()):
            while True:
                began = time.monotonic()
                try:
                    next(steps)
                except StopIteration:
                    break
                yield time.monotonic() - began

    def _sweep(self) -> Iterator[None]:
        """Remove files that no copy and no reader can want any more, and those that a kill has left."""
        old = segment_list.expired(self._db, self._now_ms - segment_list.GRACE_MS)
        if old:
            self._files.remove([name for _, name in old])
            with self._transaction():
                self._db.executemany("delete from segments where id = ?", [(number,) for number, _ in old])
        self._files.keep_only(segment_list.names(self._db))
        with self._transaction():
            self._db.execute(PRUNE_ALARM_EVENTS)
        yield

    def _remove(self) -> Iterator[None]:
        """Remove what is too old."""
        forgotten = self._keeping.forgotten_before_ms(self._now_ms)
        if forgotten:
            with self._transaction():  # first: of what goes from now on nobody asks whether it came before
                self._db.executemany(
                    "insert into removed values (?, ?) on conflict do update"
                    " set before_ms = max(before_ms, excluded.before_ms)",
                    forgotten.items(),
                )
        limits = self._keeping.removed_before_ms(self._now_ms)
        for source, before_ms in limits.items():
            old = [one for one in segment_list.listed(self._db, source) if one.day < before_ms // DAY_MS]
            for day, segments in groupby(old, key=lambda one: one.day):
                some = [*segments]
                with self._transaction():
                    segment_list.replace(self._db, some, self._now_ms)
                    if source == "windows":  # at once: no sum is of windows that are not there
                        self._db.execute("delete from hour_sums where day = ?", (day,))
                self.done.removed_rows += sum(one.rows for one in some)
                yield
            while True:
                (last,) = self._db.execute(
                    f"select max(at_ms) from (select at_ms from {source} where at_ms < ? order by at_ms limit ?)",  # noqa: S608
                    (before_ms, _CHUNK),
                ).fetchone()
                if last is None:
                    break
                with self._transaction():
                    count = self._db.execute(f"delete from {source} where at_ms <= ?", (last,)).rowcount  # noqa: S608
                self.done.removed_rows += count
                yield
        while "windows" in limits:  # of days that have no segment any more, whoever took that off the list
            statement = "select min(day) from hour_sums where day < ?"
            (day,) = self._db.execute(statement, (limits["windows"] // DAY_MS,)).fetchone()
            if day is None:
                break
            with self._transaction():
                self._db.execute("delete from hour_sums where day = ?", (day,))
            yield
        if len(limits) == len(ROW_TABLES):  # where rows were put is of use as long as there may be some
            with self._transaction():
                self._db.execute("delete from placed where at_ms < ?", (min(limits.values()),))

    def _sum_hours(self) -> Iterator[None]:
        """Add up the windows of segments that an earlier version wrote, the newest first: a page asks for those."""
        for one in reversed(segment_list.listed(self._db, "windows")):
            if one.summed:
                continue
            sums: dict[HourKey, bytes] = {}
            for device in self._files.devices([one.name]):  # a few boards' windows at a time
                rows = self._files.rows(COLUMNS["windows"], [one.name], "device between ? and ?", device, _KEY)
                sums |= sqlite_hours.summed_rows(self._db, self._files, rows)
                yield
            with self._transaction():
                statement = "update segments set summed = 1 where id = ? and replaced_ms is null"
                if self._db.execute(statement, (one.id,)).rowcount:  # else a board was forgotten meanwhile
                    sqlite_hours.save(self._db, sums)
            yield

    def _compact(self) -> Iterator[None]:
        """Move rows of closed days from the journal into segments."""
        before_ms = self._keeping.compacted_before_ms(self._now_ms)
        crowded_ms = self._keeping.crowded_before_ms(self._now_ms)
        for source in ROW_TABLES:
            fresh: Counter[int] = Counter()
            while rows := self._oldest(source, 0, before_ms, before_ms):
                day = rows[0][0] // DAY_MS
                fresh[day] += self._move(source, day, rows, before_ms)
                yield
            for day in range(before_ms // DAY_MS, (crowded_ms or 0) // DAY_MS + 1):
                assert crowded_ms is not None
                until_ms = min(crowded_ms, (day + 1) * DAY_MS)
                while _is_full(rows := self._oldest(source, day * DAY_MS, until_ms, crowded_ms)):
                    fresh[day] += self._move(source, day, rows, crowded_ms)
                    yield
            for day, segments in self._by_day(source).items():
                few, rows_of_few = self._smallest(segments)
                if len(few) > 1 and (len(few) >= _MOST_SEGMENTS or fresh[day] > 1):
                    names = [one.name for one in few]
                    hourly = all(one.hourly for one in few)
                    self._exchange(few, [self._files.rewrite(source, day, names, rows_of_few, hourly=hourly)])
                    yield

    @staticmethod
    def _smallest(segments: list[Segment]) -> tuple[list[Segment], int]:
        """Return as many of the smallest as make one segment, and how many rows that will have."""
        few: list[Segment] = []
        rows = 0
        for one in sorted(segments, key=lambda one: one.rows):
            if rows + one.rows > _MOST_ROWS:
                break
            few.append(one)
            rows += one.rows
        return few, rows

    def _oldest(self, source: str, since_ms: int, before_ms: int, received_before_ms: int) -> list[tuple[Any, ...]]:
        """Return the oldest rows of one day; what came late stays in the journal as long as what was in time."""
        since = "at_ms >= ? and" if since_ms else "? = 0 and"  # a row may claim any time
        where = f"{since} at_ms < ? and received_ms < ?"
        found = self._db.execute(
            f"select {COLUMNS[source]} from {source} where {where} order by {_KEY} limit ?",  # noqa: S608
            (since_ms, before_ms, received_before_ms, _CHUNK),
        )
        rows, size = list[tuple[Any, ...]](), 0
        for row in found:
            if size >= _CHUNK_BYTES or (rows and row[0] // DAY_MS != rows[0][0] // DAY_MS):
                break
            rows.append(row)
            size += len(row[-1])
        found.close()
        return rows

    def _move(self, source: str, day: int, rows: list[tuple[Any, ...]], before_ms: int) -> bool:
        """Move rows into a segment; False: others came in between them meanwhile, and nothing was done."""
        written = self._files.write(source, day, rows)
        sums = sqlite_hours.summed_rows(self._db, self._files, rows) if source == "windows" else {}
        first, last = rows[0][:4], rows[-1][:4]
        with self._transaction():
            segment_list.add(self._db, written)
            deleted = self._db.execute(
                f"delete from {source} where at_ms >= ? and at_ms <= ? and received_ms < ?"  # noqa: S608
                f" and ({_KEY}) >= (?, ?, ?, ?) and ({_KEY}) <= (?, ?, ?, ?)",
                (first[0], last[0], before_ms, *first, *last),
            ).rowcount
            if deleted != len(rows):
                self._db.execute("rollback")
            else:
                sqlite_hours.save(self._db, sums)
        if deleted != len(rows):
            self._files.remove([written.name])
            return False
        self.done.compacted_rows += len(rows)
        self.done.segments += 1
        return True

    def _merge_hours(self) -> Iterator[None]:
        """Let windows of an hour become one."""
        before_ms = self._keeping.merged_before_ms(self._now_ms)
        if before_ms is None:
            return
        for day, segments in self._by_day("windows").items():
            if day >= before_ms // DAY_MS or all(one.hourly for one in segments):
                continue
            names = [one.name for one in segments]
            merged: list[tuple[Any, ...]] = []
            for device in self._files.devices(names):  # a few boards' windows at a time
                rows = self._files.rows(COLUMNS["windows"], names, "device between ? and ?", device, ORDER)
                merged += merged_by_hour(rows)
                yield
            before = sum(one.rows for one in segments)
            self._exchange(segments, [self._files.write("windows", day, merged, hourly=True)])
            self.done.merged_windows += before
            self.done.hourly_windows += len(merged)
            yield

    def _by_day(self, source: str) -> dict[int, list[Segment]]:
        """Return segments that may become others; windows not before they are in sums."""
        listing = segment_list.listed(self._db, source)
        days = {day: [*some] for day, some in groupby(listing, key=lambda one: one.day)}
        return {day: some for day, some in days.items() if source != "windows" or all(one.summed for one in some)}

    def _exchange(self, old: list[Segment], new: list[Written]) -> None:
        """List segments in the place of others."""
        with self._transaction():
            segment_list.replace(self._db, old, self._now_ms)
            for one in new:
                segment_list.add(self._db, one)
        self.done.segments += len(new)

    @contextmanager
    def _all_there(self) -> Iterator[None]:
        try:
            yield
        except SegmentGoneError as error:
            raise segment_list.missing(self._files.folder) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("begin immediate")
        try:
            yield
            if self._db.in_transaction:
                self._db.execute("commit")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("rollback")
            raise


def _is_full(rows: list[tuple[Any, ...]]) -> bool:
    """Return whether rows make a segment before their day is over."""
    return len(rows) == _CHUNK or sum(len(row[-1]) for row in rows) >= _CHUNK_BYTES
