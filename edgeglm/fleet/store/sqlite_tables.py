"""The tables in SQLite. Rows go in a hundred to a statement: each step of SQLite's lets another thread have Python."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from edgeglm.fleet.store.keeping import DAY_MS
from edgeglm.fleet.store.rows import COLUMNS
from edgeglm.fleet.store.segment_files import SegmentGoneError
from edgeglm.fleet.store.segment_list import add, listed
from edgeglm.fleet.store.segment_list import missing as missing_segment
from edgeglm.fleet.store.tables import ROW_TABLES, STREAM_COLUMNS, NewDevice, Place

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from edgeglm.fleet.store.segment_files import SegmentFiles
    from edgeglm.fleet.store.types import Device

_MOST_AT_ONCE = 128  # rows of a statement
# each found by the key, so that sums of all other boards need not be gone through
_DAYS_OF_SUMS = """
with recursive days (day) as (
    select min(day) from hour_sums
    union all select (select min(day) from hour_sums where day > days.day) from days where days.day is not null
) select day from days
"""


class SqliteTables:
    """See ``Tables``."""

    alone = True

    def __init__(self, db: sqlite3.Connection, segments: SegmentFiles) -> None:
        self._db = db
        self._segments = segments

    def devices(self, devices: Collection[Device]) -> dict[Device, int]:
        """Return the numbers of those boards that are known."""
        found = {}
        for device in devices:
            row = self._db.execute("select id from devices where fleet = ? and name = ?", device).fetchone()
            if row is not None:
                found[device] = int(row[0])
        return found

    def forgotten(self, devices: Collection[Device]) -> set[Device]:
        """Return those boards that were forgotten, and have not said anything since."""
        statement = "select 1 from forgotten where fleet = ? and name = ?"
        return {device for device in devices if self._db.execute(statement, device).fetchone()}

    def add_devices(self, devices: Sequence[NewDevice]) -> dict[Device, int]:
        """Add boards, and return their numbers; they are forgotten no more."""
        self._db.executemany(
            "insert into devices (fleet, name, shard, first_seen_ms, heard_ms) values (?, ?, ?, ?, ?)",
            [(*one.device, *one[1:]) for one in devices],
        )
        self._db.executemany("delete from forgotten where fleet = ? and name = ?", [one.device for one in devices])
        return self.devices([one.device for one in devices])

    def states(self, devices: Collection[int]) -> dict[int, bytes | None]:
        """Return boards' newest states, as they came."""
        found = {}
        for device in devices:
            (found[device],) = self._db.execute("select state from devices where id = ?", (device,)).fetchone()
        return found

    def save_states(self, states: Mapping[int, tuple[bytes, int]]) -> None:
        """Write boards' states, and when they came."""
        self._db.executemany(
            "update devices set state = ?, state_ms = ? where id = ?",
            [(*state, device) for device, state in states.items()],
        )

    def save_heard(self, heard: Mapping[int, int]) -> None:
        """Write when boards said something that is no row; never back in time."""
        self._db.executemany(
            "update devices set heard_ms = max(heard_ms, ?) where id = ?",
            [(at, device) for device, at in heard.items()],
        )

    def add_replies(self, replies: Iterable[tuple[int, str, int, bytes]]) -> None:
        """Add answers, where the request has none yet."""
        self._db.executemany(
            "insert or ignore into replies (device, request, received_ms, body) values (?, ?, ?, ?)", replies
        )

    def streams(self, keys: Collection[tuple[int, bytes]]) -> list[tuple[Any, ...]]:
        """Return those streams that are known."""
        statement = f"select {STREAM_COLUMNS} from streams where device = ? and epoch = ?"  # noqa: S608
        return [row for key in keys if (row := self._db.execute(statement, key).fetchone()) is not None]

    def count_streams(self, device: int) -> int:
        """Return how many streams a board has."""
        (count,) = self._db.execute("select count(*) from streams where device = ?", (device,)).fetchone()
        return int(count)

    def add_streams(self, streams: Sequence[tuple[int, bytes, int | None]]) -> None:
        """Add streams; those that are there stay."""
        self._many("insert or ignore into streams (device, epoch, copy_of) values", streams)

    def save_streams(self, streams: Sequence[tuple[Any, ...]]) -> None:
        """Write what changes with every row."""
        names = "id, through, beyond, last_ms, rows, duplicates, clock_off_ms"
        self._many(f"with given ({names}) as (values", streams, f") {_updated(names)}")

    def save_streams_rarely(self, streams: Sequence[tuple[Any, ...]]) -> None:
        """Write what seldom changes."""
        names = "id, lost, taken_back, taken_back_at_ms, lost_rows, lost_at_ms"
        self._many(f"with given ({names}) as (values", streams, f") {_updated(names)}")

    def bodies(self, table: str, places: Collection[Place]) -> dict[Place, bytes]:
        """Return the bodies of rows that are there."""
        statement = f"select body from {table} where at_ms = ? and device = ? and stream = ? and sequence = ?"  # noqa: S608
        found = {}
        for place in places:
            row = self._db.execute(statement, place).fetchone()
            if row is not None:
                found[place] = bytes(row[0])
        missing = [place for place in places if place not in found]
        if missing:
            days = {place.at_ms // DAY_MS for place in missing}
            names = [one.name for one in listed(self._db, table) if one.day in days]
            try:
                found.update(self._segments.bodies(names, missing))
            except SegmentGoneError as error:
                raise missing_segment(self._segments.folder) from error
        return found

    def placed(self, keys: Collection[tuple[int, int]]) -> dict[tuple[int, int], int]:
        """Return where rows were put in time."""
        found = {}
        for key in keys:
            row = self._db.execute("select at_ms from placed where stream = ? and sequence = ?", key).fetchone()
            if row is not None:
                found[key] = int(row[0])
        return found

    def add_placed(self, placed: Sequence[tuple[int, int, int]]) -> None:
        """Add where rows were put; the first stays."""
        self._many("insert or ignore into placed values", placed)

    def add_rows(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows: all of them, or it raises."""
        self._many(f"insert into {table} ({COLUMNS[table]}) values", rows)

    def add_alarm_events(self, events: Sequence[tuple[Any, ...]]) -> None:
        """Add events that tell of drift."""
        self._many("insert into alarm_events (device, slot, at_ms, stream, sequence, body) values", events)

    def removed(self) -> dict[str, int]:
        """Return of each table before when its rows were removed or merged, where any were."""
        return dict(self._db.execute("select source, before_ms from removed").fetchall())

    def slots(self, devices: Collection[int]) -> dict[int, set[str]]:
        """Return the slots of boards whose newest windows are known at once."""
        statement = "select slot from latest where device = ?"
        return {device: {slot for (slot,) in self._db.execute(statement, (device,))} for device in devices}

    def save_latest(self, latest: Sequence[tuple[Any, ...]]) -> None:
        """Write slots' newest windows; an older one does not count."""
        self._many(
            "insert into latest (device, slot, at_ms, received_ms, body) values",
            latest,
            " on conflict do update set at_ms = excluded.at_ms, received_ms = excluded.received_ms,"
            " body = excluded.body where excluded.at_ms >= at_ms",
        )

    def add_poison(self, poison: Sequence[tuple[str, str, bytes, int]], *, counted: int, kept: int) -> None:
        """Add what cannot be read, keep so many of them in all, and count them."""
        self._many("insert into poison (topic, reason, payload, received_ms) values", poison)
        self._db.execute("delete from poison where id <= (select max(id) from poison) - ?", (kept,))
        self._db.execute(
            "insert into counters (name, value) values ('poison', ?)"
            " on conflict do update set value = value + excluded.value",
            (counted,),
        )

    def forget(self, device: Device, topic: str, now_ms: int) -> int:
        """Remove everything known of a board; return how many rows that were."""
        found = self._db.execute("select id from devices where fleet = ? and name = ?", device).fetchone()
        if found is None:
            return 0
        rows = 0
        for table in ROW_TABLES:
            rows += self._db.execute(f"delete from {table} where device = ?", found).rowcount  # noqa: S608
        rows += self._forget_in_segments(found[0])
        self._db.execute("delete from placed where stream in (select id from streams where device = ?)", found)
        for table in ("streams", "latest", "replies", "alarm_events"):
            self._db.execute(f"delete from {table} where device = ?", found)  # noqa: S608
        self._db.execute(f"delete from hour_sums where day in ({_DAYS_OF_SUMS}) and device = ?", found)  # noqa: S608
        self._db.execute("delete from devices where id = ?", found)
        self._db.execute(
            "delete from poison where topic = ? or substr(topic, 1, ?) = ?", (topic, len(topic) + 1, f"{topic}/")
        )
        self._db.execute("insert or replace into forgotten values (?, ?, ?)", (*device, now_ms))
        return rows

    def _forget_in_segments(self, device: int) -> int:
        """Write segments that a board has rows in without it, and leave nothing else listed that it may be in."""
        self._db.execute("delete from segments where replaced_ms is not null")
        rows = 0
        for one in listed(self._db):
            if count := self._segments.count([one.name], device):
                rows += count
                self._db.execute("delete from segments where id = ?", (one.id,))
                if count < one.rows:
                    left, hourly = one.rows - count, bool(one.hourly)
                    new = self._segments.rewrite(one.source, one.day, [one.name], left, hourly=hourly, without=device)
                    add(self._db, new._replace(summed=one.summed))
        return rows

    def _many(self, head: str, rows: Sequence[tuple[Any, ...]], tail: str = "") -> None:
        """Execute a statement for many rows, in powers of two of them, so that few statements are there to remember."""
        start, left = 0, len(rows)
        if not left:
            return
        one = f"({', '.join('?' * len(rows[0]))})"
        while left:
            count = min(_MOST_AT_ONCE, 1 << (left.bit_length() - 1))
            statement = f"{head} {', '.join([one] * count)}{tail}"
            self._db.execute(statement, [*chain.from_iterable(rows[start : start + count])])
            start, left = start + count, left - count


def _updated(names: str) -> str:
    """Return what writes the columns of ``given`` to the streams of its ids."""
    changed = ", ".join(f"{name} = given.{name}" for name in names.split(", ")[1:])
    return f"update streams set {changed} from given where streams.id = given.id"  # noqa: S608 - names of our own
