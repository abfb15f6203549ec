"""The rows in the outbox's file, and what is known of them in memory: changed inside a transaction of the outbox's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edgeglm_agent.outbox.file import DamagedError
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.merging import merge_windows
from edgeglm_agent.wire.telemetry import KINDS, Gap, Window, pack_runs, unpack_ranges

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence

EVENTS, METRICS, SAMPLES = PRIORITIES = (0, 1, 2)  # the lowest goes out first and is dropped last
GAP, WINDOW = KINDS.index(Gap), KINDS.index(Window)
AT_ONCE = 200  # rows that one transaction lets go: it has to fit into the log on a full disk
_ROW_BYTES = 64  # what a row costs beside its body: number, index entry, cell
_GAP_ROOM = 256  # kept free for telling of what goes
_SIZE = f"length(body) + length(replaces) + {_ROW_BYTES}"


class Rows:
    """Numbers, sizes and losses. After a transaction that failed, ``load`` brings back what is on the disk.

    Attributes:
        next: The next sequence number.
        highest: By priority, a number at or above that of its newest row.
        waiting: How many rows wait, by kind.
        stored_bytes: What they take.
        lost: Rows lost since the start, by reason.
        lost_before: Rows lost in earlier runs; None before the file was read.
        told: Up to which number of ``Losses`` gaps tell of them.
    """

    def __init__(self, quota_bytes: int) -> None:
        self.quota_bytes = quota_bytes
        self.next = 1
        self.highest = dict.fromkeys(PRIORITIES, 0)
        self.waiting: dict[str, int] = {}
        self.stored_bytes = 0
        self.lost: dict[str, int] = {}
        self.lost_before: int | None = None
        self.told = 0

    def load(self, db: sqlite3.Connection) -> bytes:
        """Take what the file says, and return its epoch. Raises: DamagedError."""
        found: dict[str, Any] = dict(db.execute("select key, value from meta").fetchall())
        if not isinstance(found.get("epoch"), bytes) or not isinstance(found.get("next"), int):
            raise DamagedError("epoch and numbers are missing")
        (size, last) = db.execute(f"select total({_SIZE}), max(sequence) from rows").fetchone()  # noqa: S608 - ours
        if self.lost_before is None:
            lost = found.get("lost")
            self.lost_before = lost if isinstance(lost, int) else 0
        told = found.get("told")
        self.told = told if isinstance(told, int) else 0
        if found["next"] <= (last or 0):
            raise DamagedError("rows above the highest number that was given")
        self.next, self.stored_bytes = found["next"], int(size)
        self.highest = dict.fromkeys(PRIORITIES, self.next - 1)
        self.waiting = {
            name_of(kind): count for kind, count in db.execute("select kind, count(*) from rows group by kind")
        }
        epoch: bytes = found["epoch"]
        return epoch

    def insert(self, db: sqlite3.Connection, priority: int, kind: int, slot: str, load: int, body: bytes) -> int:
        """Return the new row's number, 0 where there is no room for its priority."""
        size = len(body) + _ROW_BYTES
        if not self.make_room(db, priority, size):
            self.add_gap(db, "quota", [], {name_of(kind): 1})
            return 0
        sequence = self.next
        db.execute(
            "insert into rows (sequence, priority, kind, slot, load, body) values (?, ?, ?, ?, ?, ?)",
            (sequence, priority, kind, slot, load, body),
        )
        self.next += 1
        self.highest[priority] = sequence
        self.stored_bytes += size
        count_in(self.waiting, name_of(kind))
        return sequence

    def make_room(self, db: sqlite3.Connection, priority: int, size: int) -> bool:
        """Drop the oldest rows of the lowest priority, down to the newcomer's own; return whether it fits now."""
        if size > self.quota_bytes:
            return False
        lost: list[tuple[int, int, bytes]] = []
        for lower in range(SAMPLES, priority - 1, -1):
            while self.stored_bytes + size + _GAP_ROOM > self.quota_bytes:
                oldest = db.execute(
                    "select sequence, kind, replaces from rows where priority = ? and kind != ?"
                    " order by sequence limit 1",
                    (lower, GAP),
                ).fetchone()
                if oldest is None:
                    break
                lost.append(oldest)
                self.drop(db, "sequence = ?", (oldest[0],))
        self.add_gap(db, "quota", lost)
        return self.stored_bytes + size <= self.quota_bytes

    def add_gap(
        self,
        db: sqlite3.Connection,
        reason: str,
        rows: Iterable[tuple[int, int, bytes]],
        counts: Mapping[str, int] | None = None,
        *,
        counted: bool = False,
    ) -> None:
        """Tell that rows are lost; a gap that has not left yet takes them in.

        Args:
            db: In a transaction.
            reason: Of the gap.
            rows: Number, kind, and what each replaces.
            counts: Rows without a number, by kind.
            counted: They are in ``lost`` already.
        """
        added = dict(counts or {})
        runs: list[tuple[int, int]] = []
        for sequence, kind, replaces in rows:
            own = [(sequence, sequence), *unpack_ranges(replaces)]
            count_in(added, name_of(kind), sum(last - first + 1 for first, last in own))
            runs += own
        if not added and reason != "corrupt":  # of a damaged file it may be unknown what was in it
            return
        if not counted:
            count_in(self.lost, reason, sum(added.values()))
        unsent = db.execute(
            "select sequence, body from rows where priority = ? and kind = ? and slot = ? and sent = 0"
            " order by sequence desc limit 1",
            (EVENTS, GAP, reason),
        ).fetchone()
        if unsent is None:
            body = msgspec.msgpack.encode(Gap(reason, pack_runs(runs), added))
            db.execute(
                "insert into rows (sequence, priority, kind, slot, load, body) values (?, ?, ?, ?, 0, ?)",
                (self.next, EVENTS, GAP, reason, body),
            )
            self.highest[EVENTS] = self.next
            self.next += 1
            self.stored_bytes += len(body) + _ROW_BYTES
            count_in(self.waiting, "Gap")
            return
        known = msgspec.msgpack.decode(unsent[1], type=Gap)
        for kind_name, count in known.counts.items():
            count_in(added, kind_name, count)
        body = msgspec.msgpack.encode(Gap(reason, pack_runs([*runs, *unpack_ranges(known.ranges)]), added))
        db.execute("update rows set body = ? where sequence = ?", (body, unsent[0]))
        self.stored_bytes += len(body) - len(unsent[1])

    def merge(self, db: sqlite3.Connection, rows: Sequence[tuple[int, bytes, bytes]]) -> int:
        """Return how many rows there are less."""
        if len(rows) < 2:
            return 0
        try:
            merged = merge_windows([msgspec.msgpack.decode(body, type=Window) for _, body, _ in rows])
            runs = [run for _, _, replaces in rows for run in unpack_ranges(replaces)]
        except (WireError, msgspec.MsgspecError):
            return 0
        runs += [(sequence, sequence) for sequence, _, _ in rows[:-1]]
        for sequence, _, _ in rows[:-1]:
            self.drop(db, "sequence = ?", (sequence,))
        body, replaces = msgspec.msgpack.encode(merged), pack_runs(runs)
        db.execute("update rows set body = ?, replaces = ? where sequence = ?", (body, replaces, rows[-1][0]))
        self.stored_bytes += len(body) + len(replaces) - len(rows[-1][1]) - len(rows[-1][2])
        return len(rows) - 1

    def has_sent(self, db: sqlite3.Connection, first: int, last: int) -> bool:
        """Return whether there are sent rows in a range."""
        found = db.execute("select 1 from rows where sequence between ? and ? and sent = 1 limit 1", (first, last))
        return found.fetchone() is not None

    def drop_sent(self, db: sqlite3.Connection, first: int, last: int) -> int:
        """Drop so many sent rows of a range as a transaction can on a full disk."""
        among = "select sequence from rows where sequence between ? and ? and sent = 1 limit ?"
        return self.drop(db, f"sequence in ({among})", (first, last, AT_ONCE))

    def drop(self, db: sqlite3.Connection, where: str, values: tuple[int, ...]) -> int:
        """Drop what a condition of ours names, and return how many rows that were."""
        dropped = 0
        for kind, count, size in db.execute(
            f"select kind, count(*), total({_SIZE}) from rows where {where} group by kind",  # noqa: S608 - ours
            values,
        ).fetchall():
            dropped += count
            self.stored_bytes -= int(size)
            count_in(self.waiting, name_of(kind), -count)
        if dropped:
            db.execute(f"delete from rows where {where}", values)  # noqa: S608 - ours
        return dropped


def count_in(table: dict[str, int], key: str, count: int = 1) -> None:
    """Add to a table of counts."""
    table[key] = table.get(key, 0) + count


def name_of(kind: int) -> str:
    """Return a kind's name; of a later version's, which a downgrade left, its number."""
    return KINDS[kind].__name__ if 0 <= kind < len(KINDS) else f"kind-{kind}"
