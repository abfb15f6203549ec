"""The tables in PostgreSQL: a question for all of a transaction at a time, rows by COPY.

Several collectors may write. A transaction holds the streams that it has rows of until it is committed, so that the
next one to write them sees what it knows; streams and boards are taken in order, so that none waits for another that
waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeglm.fleet.store.postgres_days import Days
from edgeglm.fleet.store.postgres_hours import tell_late
from edgeglm.fleet.store.rows import COLUMNS, TEXTS
from edgeglm.fleet.store.tables import ROW_TABLES, STREAM_COLUMNS, NewDevice, Place
from edgeglm.fleet.store.types import Device

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import psycopg


class BoardGoneError(Exception):
    """A board that was known is there no more: somebody has let the store forget it."""


class PostgresTables:
    """See ``Tables``."""

    alone = False

    def __init__(self, db: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._db = db
        self._days = Days()
        self._staged: set[str] = set()  # tables that rows were staged for in this transaction
        for table in ROW_TABLES:
            db.execute(f"create temp table staged_{table} (like {table}) on commit delete rows")

    def begin(self) -> None:
        """Begin a transaction."""
        self._staged.clear()
        self._db.execute("begin")

    def forget_all(self) -> None:
        """Forget what there is: the transaction was not kept."""
        self._days.forget()

    def devices(self, devices: Collection[Device]) -> dict[Device, int]:
        """Return the numbers of those boards that are known."""
        found = self._all(
            "select d.fleet, d.name, d.id from devices d"
            " join unnest(%s::text[], %s::text[]) as g (fleet, name) on d.fleet = g.fleet and d.name = g.name",
            *_columns(devices, 2),
        )
        return {Device(fleet, name): number for fleet, name, number in found}

    def forgotten(self, devices: Collection[Device]) -> set[Device]:
        """Return those boards that were forgotten, and have not said anything since."""
        found = self._all(
            "select f.fleet, f.name from forgotten f"
            " join unnest(%s::text[], %s::text[]) as g (fleet, name) on f.fleet = g.fleet and f.name = g.name",
            *_columns(devices, 2),
        )
        return {Device(fleet, name) for fleet, name in found}

    def add_devices(self, devices: Sequence[NewDevice]) -> dict[Device, int]:
        """Add boards, and return their numbers; they are forgotten no more."""
        fleets, names = _columns([one.device for one in devices], 2)
        self._db.execute(
            "insert into devices (fleet, name, shard, first_seen_ms, heard_ms)"
            " select * from unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[])"
            " on conflict do nothing",
            (fleets, names, *_columns([one[1:] for one in devices], 3)),
        )
        self._db.execute(
            "delete from forgotten f using unnest(%s::text[], %s::text[]) as g (fleet, name)"
            " where f.fleet = g.fleet and f.name = g.name",
            (fleets, names),
        )
        return self.devices([one.device for one in devices])

    def states(self, devices: Collection[int]) -> dict[int, bytes | None]:
        """Return boards' newest states, as they came; each waits here until nobody else is about to change it."""
        found = self._all(
            "select id, state from devices where id = any(%s) order by id for no key update", sorted(devices)
        )
        if len(found) < len(devices):
            raise BoardGoneError
        return {device: None if state is None else bytes(state) for device, state in found}

    def save_states(self, states: Mapping[int, tuple[bytes, int]]) -> None:
        """Write boards' states, and when they came."""
        if states:
            self._db.execute(
                "update devices d set state = g.state, state_ms = g.state_ms"
                " from unnest(%s::bigint[], %b::bytea[], %s::bigint[]) as g (id, state, state_ms) where d.id = g.id",
                _columns([(device, *state) for device, state in states.items()], 3),
            )

    def save_heard(self, heard: Mapping[int, int]) -> None:
        """Write when boards said something that is no row; never back in time."""
        if heard:
            done = self._db.execute(
                "update devices d set heard_ms = greatest(d.heard_ms, g.at_ms)"
                " from unnest(%s::bigint[], %s::bigint[]) as g (id, at_ms) where d.id = g.id",
                _columns(sorted(heard.items()), 2),
            )
            if done.rowcount < len(heard):
                raise BoardGoneError

    def add_replies(self, replies: Iterable[tuple[int, str, int, bytes]]) -> None:
        """Add answers, where the request has none yet."""
        self._db.execute(
            "insert into replies (device, request, received_ms, body)"
            " select * from unnest(%s::bigint[], %s::text[], %s::bigint[], %b::bytea[]) on conflict do nothing",
            _columns(replies, 4),
        )

    def streams(self, keys: Collection[tuple[int, bytes]]) -> list[tuple[Any, ...]]:
        """Return those streams that are known; each waits here until those that have it have committed."""
        names = ", ".join(f"s.{name}" for name in STREAM_COLUMNS.split(", "))
        return self._all(
            f"select {names} from streams s join unnest(%s::bigint[], %b::bytea[]) as g (device, epoch)"  # noqa: S608
            " on s.device = g.device and s.epoch = g.epoch order by s.id for update of s",
            *_columns(keys, 2),
        )

    def count_streams(self, device: int) -> int:
        """Return how many streams a board has."""
        ((count,),) = self._all("select count(*) from streams where device = %s", device)
        return int(count)

    def add_streams(self, streams: Sequence[tuple[int, bytes, int | None]]) -> None:
        """Add streams; those that are there stay."""
        self._db.execute(
            "insert into streams (device, epoch, copy_of)"
            " select * from unnest(%s::bigint[], %b::bytea[], %s::bigint[]) on conflict do nothing",
            _columns(streams, 3),
        )

    def save_streams(self, streams: Sequence[tuple[Any, ...]]) -> None:
        """Write what changes with every row."""
        self._db.execute(
            "update streams s set through = g.through, beyond = g.beyond, last_ms = g.last_ms, rows = g.rows,"
            " duplicates = g.duplicates, clock_off_ms = g.clock_off_ms from unnest(%s::bigint[], %s::bigint[],"
            " %b::bytea[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])"
            " as g (id, through, beyond, last_ms, rows, duplicates, clock_off_ms) where s.id = g.id",
            _columns(streams, 7),
        )

    def save_streams_rarely(self, streams: Sequence[tuple[Any, ...]]) -> None:
        """Write what seldom changes."""
        self._db.execute(
            "update streams s set lost = g.lost, taken_back = g.taken_back, taken_back_at_ms = g.taken_back_at_ms,"
            " lost_rows = g.lost_rows, lost_at_ms = g.lost_at_ms from unnest(%s::bigint[], %b::bytea[], %s::bigint[],"
            " %s::bigint[], %s::bigint[], %s::bigint[])"
            " as g (id, lost, taken_back, taken_back_at_ms, lost_rows, lost_at_ms) where s.id = g.id",
            _columns(streams, 6),
        )

    def bodies(self, table: str, places: Collection[Place]) -> dict[Place, bytes]:
        """Return the bodies of rows that are there."""
        found = self._all(
            f"select t.at_ms, t.device, t.stream, t.sequence, t.body from {table} t"  # noqa: S608
            " join unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])"
            " as g (at_ms, device, stream, sequence)"
            " on t.at_ms = g.at_ms and t.device = g.device and t.stream = g.stream and t.sequence = g.sequence",
            *_columns(places, 4),
        )
        return {Place(*row[:4]): bytes(row[4]) for row in found}

    def placed(self, keys: Collection[tuple[int, int]]) -> dict[tuple[int, int], int]:
        """Return where rows were put in time."""
        found = self._all(
            "select p.stream, p.sequence, p.at_ms from placed p join unnest(%s::bigint[], %s::bigint[])"
            " as g (stream, sequence) on p.stream = g.stream and p.sequence = g.sequence",
            *_columns(keys, 2),
        )
        return {(stream, sequence): at_ms for stream, sequence, at_ms in found}

    def add_placed(self, placed: Sequence[tuple[int, int, int]]) -> None:
        """Add where rows were put; the first stays."""
        if placed:
            self._db.execute(
                "insert into placed select * from unnest(%s::bigint[], %s::bigint[], %s::bigint[])"
                " on conflict do nothing",
                _columns(placed, 3),
            )

    def add_rows(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows: all of them, or it raises."""
        columns = COLUMNS[table]
        names = columns.split(", ")
        self._days.have(self._db, {row[0] for row in rows}, max(row[4] for row in rows))
        if table in self._staged:
            self._db.execute(f"delete from staged_{table}")  # noqa: S608
        self._staged.add(table)
        types = ["bytea" if name == "body" else "text" if name in TEXTS else "int8" for name in names]
        with self._db.cursor().copy(f"copy staged_{table} ({columns}) from stdin (format binary)") as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row((*row[:-1], bytes(row[-1])))
        done = self._db.execute(
            f"insert into {table} ({columns}) select {columns} from staged_{table} on conflict do nothing"  # noqa: S608
        )
        if table == "windows":
            tell_late(self._db, rows)
        if done.rowcount < len(rows):  # what it knows of the stream says otherwise: no row goes unsaid
            raise RuntimeError(f"{len(rows) - done.rowcount} of {len(rows)} rows are in {table} already")

    def add_alarm_events(self, events: Sequence[tuple[Any, ...]]) -> None:
        """Add events that tell of drift."""
        if events:
            self._db.execute(
                "insert into alarm_events (device, slot, at_ms, stream, sequence, body) select * from"
                " unnest(%s::bigint[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %b::bytea[])",
                _columns([(*one[:-1], bytes(one[-1])) for one in events], 6),
            )

    def removed(self) -> dict[str, int]:
        """Return of each table before when its rows were removed or merged, where any were."""
        return dict(self._all("select source, before_ms from removed"))

    def slots(self, devices: Collection[int]) -> dict[int, set[str]]:
        """Return the slots of boards whose newest windows are known at once."""
        found: dict[int, set[str]] = {}
        for device, slot in self._all("select device, slot from latest where device = any(%s)", [*devices]):
            found.setdefault(device, set()).add(slot)
        return found

    def save_latest(self, latest: Sequence[tuple[Any, ...]]) -> None:
        """Write slots' newest windows; an older one does not count."""
        if latest:
            self._db.execute(
                "insert into latest (device, slot, at_ms, received_ms, body)"
                " select * from unnest(%s::bigint[], %s::text[], %s::bigint[], %s::bigint[], %b::bytea[])"
                " on conflict (device, slot) do update set at_ms = excluded.at_ms, received_ms = excluded.received_ms,"
                " body = excluded.body where excluded.at_ms >= latest.at_ms",
                _columns([(*one[:-1], bytes(one[-1])) for one in sorted(latest, key=_of_slot)], 5),
            )

    def add_poison(self, poison: Sequence[tuple[str, str, bytes, int]], *, counted: int, kept: int) -> None:
        """Add what cannot be read, keep so many of them in all, and count them."""
        self._db.execute(
            "insert into counters (name, value) values ('poison', %s)"
            " on conflict (name) do update set value = counters.value + excluded.value",
            (counted,),
        )
        self._db.execute(
            "insert into poison (topic, reason, payload, received_ms)"
            " select * from unnest(%s::text[], %s::text[], %b::bytea[], %s::bigint[])",
            _columns(poison, 4),
        )
        self._db.execute("delete from poison where id <= (select max(id) from poison) - %s", (kept,))

    def forget(self, device: Device, topic: str, now_ms: int) -> int:
        """Remove everything known of a board; return how many rows that were."""
        found = self._all("select id from devices where fleet = %s and name = %s for update", *device)
        if not found:
            return 0
        ((number,),) = found
        self._all("select id from streams where device = %s order by id for update", number)
        rows = 0
        for table in ROW_TABLES:
            rows += self._db.execute(f"delete from {table} where device = %s", (number,)).rowcount  # noqa: S608
        self._db.execute("delete from devices where id = %s", (number,))  # and with it all that names it
        self._db.execute("delete from poison where topic = %s or starts_with(topic, %s)", (topic, f"{topic}/"))
        self._db.execute(
            "insert into forgotten values (%s, %s, %s) on conflict (fleet, name) do update set at_ms = excluded.at_ms",
            (*device, now_ms),
        )
        return rows

    def _all(self, statement: str, *given: Any) -> list[tuple[Any, ...]]:
        return self._db.execute(statement, given).fetchall()


def _columns(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    """Return rows as columns: what ``unnest`` takes."""
    columns = [[*column] for column in zip(*rows, strict=True)]
    return columns or [[] for _ in range(width)]


def _of_slot(row: tuple[Any, ...]) -> tuple[int, str]:
    return row[0], row[1]
