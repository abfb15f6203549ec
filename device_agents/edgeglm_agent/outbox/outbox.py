"""Rows with a sequence number each, in one SQLite file, until the collector has them.

A row is written, its number taken and the numbers' high-water mark moved in one transaction that is on the disk before
``put`` returns, so neither ``kill -9`` nor a power cut loses a row or gives a number twice. What is lost for want of
room is counted, and told to the collector as a ``Gap``. The disk's faults never come out of here as exceptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edgeglm_agent.outbox.changes import Changes
from edgeglm_agent.outbox.losses import Losses
from edgeglm_agent.outbox.rows import AT_ONCE, GAP, METRICS, WINDOW, Rows, count_in
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.telemetry import KINDS, Ack, Body, Gap, Row, Window, unpack_ranges

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_LOOKED_AT = 2000  # rows that one call of ``merge_unsent_windows`` looks at


class Outbox:
    """One open outbox, used by one thread."""

    def __init__(
        self, path: Path, *, quota_bytes: int, on_event: Callable[[str, dict[str, Any]], None] | None = None
    ) -> None:
        """Open the outbox, or make it.

        Args:
            path: Its file; the folder is there.
            quota_bytes: Over it the oldest row of the lowest priority goes.
            on_event: Is told of ``outbox-rebuilt``, with what was wrong and where the damaged file lies; may ``put``.

        Raises:
            OutboxBusyError: Another agent has it open.
        """
        self.path = path
        self._rows = Rows(quota_bytes)
        self._losses = Losses(path.with_suffix(".losses"))
        self._changes = Changes(path, self._rows, self._losses, on_event)
        self._run = self._changes.run
        self._run(lambda _: None)
        self._losses.prepare()

    @property
    def epoch(self) -> bytes:
        """Eight bytes, random, made with the file; empty while there is no file."""
        return self._changes.epoch

    @property
    def high_water(self) -> int:
        """The highest sequence number that was given."""
        return self._rows.next - 1

    @property
    def waiting(self) -> dict[str, int]:
        """How many rows wait, by kind: ``Window``, ``Event``, ``Result``, ``Gap``."""
        return self._rows.waiting

    @property
    def stored_bytes(self) -> int:
        """What the rows take, as the quota counts it."""
        return self._rows.stored_bytes

    @property
    def quota_bytes(self) -> int:
        """What they may take."""
        return self._rows.quota_bytes

    @property
    def lost(self) -> dict[str, int]:
        """Rows that were lost since the start, by reason: ``quota``, ``disk``, ``corrupt``, ``rejected``."""
        return self._rows.lost

    @property
    def lost_total(self) -> int:
        """How many rows were lost since the outbox was made."""
        return self._changes.lost_total

    @property
    def trouble(self) -> str:
        """Why the disk took the last change not; empty where it did."""
        return self._changes.trouble

    def highest(self, priority: int) -> int:
        """Return a number at or above that of the priority's newest row: nothing new waits above it."""
        return self._rows.highest[priority]

    def put(self, priority: int, body: Body) -> int:
        """Keep a row, in one commit; return its sequence number, 0 where it was lost (and counted)."""
        return self.put_many([(priority, body)])[0]

    def put_many(self, rows: Sequence[tuple[int, Body]]) -> list[int]:
        """Keep several rows in one commit; return their numbers, 0 for those that were lost."""
        encoded = [
            (priority, KINDS.index(type(body)), *_place(body), msgspec.msgpack.encode(body)) for priority, body in rows
        ]

        def change(db: sqlite3.Connection) -> list[int]:
            return [self._rows.insert(db, *row) for row in encoded]

        numbers = self._run(change)
        if numbers is None:
            lost: dict[str, int] = {}
            for _, body in rows:
                count_in(lost, type(body).__name__)
            self._losses.count("disk", lost)
            count_in(self.lost, "disk", len(rows))
            return [0] * len(rows)
        return numbers

    def settle(self) -> bool:
        """Write the gap of rows that the disk did not take, if it does now. Return whether nothing is untold."""
        if self._losses.untold:
            self._run(lambda _: None)
        self._losses.prepare()  # the disk may have been full when the outbox was made
        return not self._losses.untold

    def pending(
        self, priority: int, *, after: int = 0, through: int | None = None, limit_bytes: int = 16_384
    ) -> list[Row]:
        """Return rows with numbers in ``(after, through]`` in their order, at least one, as many as fit."""

        def read(db: sqlite3.Connection) -> list[Row]:
            rows: list[Row] = []
            room = limit_bytes
            cursor = db.execute(
                "select sequence, kind, body, replaces from rows where priority = ? and sequence > ? and sequence <= ?"
                " order by sequence limit 1000",
                (priority, after, self._rows.next if through is None else through),
            )
            for sequence, kind, body, replaces in cursor:
                room -= len(body) + len(replaces) + 8
                if rows and room < 0:
                    break
                rows.append(Row(sequence, kind, msgspec.Raw(body), replaces))
            cursor.close()
            return rows

        return self._run(read, writes=False) or []

    def mark_sent(self, sequences: Sequence[int], notes: Mapping[str, float] | None = None) -> bool:
        """Write that these rows may have left, before they do: they are merged and changed no more.

        Args:
            sequences: Of rows that are about to be published.
            notes: Numbers to keep beside them, in the same commit; see ``note``.

        Returns:
            Whether that is on the disk. If not, they must not be sent.
        """

        def change(db: sqlite3.Connection) -> bool:
            db.executemany("update rows set sent = 1 where sequence = ?", [(number,) for number in sequences])
            db.executemany("insert or replace into meta values (?, ?)", [*(notes or {}).items()])
            return True

        return self._run(change) is not None

    def acknowledge(self, ack: Ack) -> int:
        """Let go of what the collector has. Return how many rows that were.

        Rows that were never sent stay, whatever is said of them.

        Raises:
            WireError: It speaks of numbers that were never given, or its ranges are damaged.
        """
        if ack.epoch != self.epoch:
            return 0
        runs = [(0, ack.through), *unpack_ranges(ack.beyond)]
        if ack.through < 0 or max(last for _, last in runs) >= self._rows.next:
            raise WireError(f"an acknowledgement beyond {self._rows.next - 1}, the last number that was given")

        count = 0
        for first, last in runs:
            # of what is gone already nothing is written: a card wears out
            sent = self._run(lambda db, run=(first, last): self._rows.has_sent(db, *run), writes=False)  # type: ignore[misc]
            dropped: int | None = AT_ONCE if sent else 0
            while dropped == AT_ONCE:
                dropped = self._run(lambda db, run=(first, last): self._rows.drop_sent(db, *run))  # type: ignore[misc]
                count += dropped or 0
        return count

    def reject(self, sequences: Sequence[int]) -> int:
        """Give up rows that the broker refuses for good: they become a gap. Return how many; gaps themselves stay."""

        def change(db: sqlite3.Connection) -> int:
            lost: list[tuple[int, int, bytes]] = []
            for sequence in sequences:
                lost += db.execute(
                    "select sequence, kind, replaces from rows where sequence = ? and kind != ?", (sequence, GAP)
                ).fetchall()
                self._rows.drop(db, "sequence = ? and kind != ?", (sequence, GAP))
            self._rows.add_gap(db, "rejected", lost)
            return len(lost)

        return self._run(change) or 0

    def merge_unsent_windows(self, group: int) -> int:
        """Make one window of each so many neighbours of one slot and load that were never sent.

        The merged one keeps the last one's number and says which it replaces, in the same commit.

        Args:
            group: How many become one, at least 2.

        Returns:
            How many rows there are less.
        """

        def change(db: sqlite3.Connection) -> int:
            together: dict[tuple[str, int], list[tuple[int, bytes, bytes]]] = {}
            for sequence, slot, load, body, replaces in db.execute(
                "select sequence, slot, load, body, replaces from rows"
                " where priority = ? and kind = ? and sent = 0 order by sequence limit ?",
                (METRICS, WINDOW, _LOOKED_AT),
            ):
                together.setdefault((slot, load), []).append((sequence, body, replaces))
            return sum(
                self._rows.merge(db, rows[start : start + group])
                for rows in together.values()
                for start in range(0, len(rows) - 1, group)
            )

        return self._run(change) or 0

    def unsent_windows(self) -> tuple[int, int]:
        """Return how many windows were never sent, and their bytes."""

        def read(db: sqlite3.Connection) -> tuple[int, int]:
            count, size = db.execute(
                "select count(*), total(length(body) + length(replaces)) from rows"
                " where priority = ? and kind = ? and sent = 0",
                (METRICS, WINDOW),
            ).fetchone()
            return count, int(size)

        return self._run(read, writes=False) or (0, 0)

    def note(self, key: str) -> float | None:
        """Return a number that ``mark_sent`` kept."""

        def read(db: sqlite3.Connection) -> float | None:
            row = db.execute("select value from meta where key = ?", (key,)).fetchone()
            return float(row[0]) if row else None

        return self._run(read, writes=False)

    def remember_command(self, request_id: str, until_ms: int, now_ms: int) -> bool | None:
        """Remember a command's id until its deadline.

        Returns:
            Whether it is new; None: the disk does not take it, so it would be forgotten by a restart.
        """

        def change(db: sqlite3.Connection) -> bool:
            db.execute("delete from commands where until_ms < ?", (now_ms,))
            before = db.total_changes
            db.execute("insert or ignore into commands values (?, ?)", (request_id, until_ms))
            return db.total_changes > before

        return self._run(change)

    def close(self) -> None:
        """Let go of the files."""
        self._changes.close()
        self._losses.close()


def _place(body: Body) -> tuple[str, int]:
    """Return what a row is found by: a window's slot and load, a gap's reason."""
    if isinstance(body, Window):
        return body.slot, body.load
    return (body.reason, 0) if isinstance(body, Gap) else ("", 0)
