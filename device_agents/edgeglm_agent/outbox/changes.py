"""One change of the outbox's file after another, whatever the disk does: undone where it fails, damage put aside."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from edgeglm_agent.outbox.file import DamagedError, is_damage, open_file, set_aside, tell_of, untold
from edgeglm_agent.outbox.rescue import Wreck
from edgeglm_agent.outbox.rows import Rows, count_in, name_of
from edgeglm_agent.wire import WireError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeglm_agent.outbox.losses import Losses

_T = TypeVar("_T")
_UNTOLD: tuple[dict[str, int], str] = ({}, "an agent ended before it had told of this damaged file")


class Changes:
    """The open file, or the way back to one.

    Attributes:
        epoch: Eight bytes, random, made with the file; empty while there is no file.
        trouble: Why the disk took the last change not; empty where it did.
    """

    def __init__(
        self, path: Path, rows: Rows, losses: Losses, on_event: Callable[[str, dict[str, Any]], None] | None
    ) -> None:
        """Take what is known of the rows and of those that are lost; the first change opens the file, or makes it."""
        self.epoch = b""
        self.trouble = ""
        self._path = path
        self._rows = rows
        self._losses = losses
        self._on_event = on_event
        self._news: list[tuple[Path, dict[str, Any]]] = []  # damaged files, and what is told of them
        self._asides: dict[Path, tuple[dict[str, int], str]] = {}  # likewise, what waited in each, and its damage
        self._db: sqlite3.Connection | None = None

    @property
    def lost_total(self) -> int:
        """How many rows were lost since the outbox was made."""
        return (self._rows.lost_before or 0) + self._losses.earlier + sum(self._rows.lost.values())

    def run(self, change: Callable[[sqlite3.Connection], _T], *, writes: bool = True) -> _T | None:
        """Return what one transaction gives; None: the disk does not take it, or has nothing to read.

        Raises:
            OutboxBusyError: Another agent has the file open.
        """
        for _ in range(2):  # a damaged file is replaced, then it is done in the new one
            lost = dict(self._rows.lost)
            try:
                if self._db is None:
                    asides = dict.fromkeys(untold(self._path), _UNTOLD) | self._asides
                    self._db = open_file(self._path)
                    self.epoch = self._rows.load(self._db)
                    self._losses.confirm(self._rows.told)
                    for aside, (waited, why) in asides.items():
                        self._rebuild(self._db, aside, waited, why)
                        self._asides.pop(aside, None)
                        lost = dict(self._rows.lost)  # what was lost with the damaged file is lost, whatever follows
                result = self._transaction(self._db, change) if writes else change(self._db)
            except (sqlite3.Error, DamagedError, WireError, msgspec.MsgspecError) as error:
                self.trouble, self._rows.lost = str(error), lost
                self._undo()
                if isinstance(error, sqlite3.Error) and not is_damage(error):
                    return None
                if not self._set_aside():
                    return None
            else:
                self.trouble = ""
                while self._news:
                    aside, detail = self._news.pop(0)
                    if self._on_event is not None:
                        self._on_event("outbox-rebuilt", detail)
                    tell_of(aside)
                return result
        return None

    def close(self) -> None:
        """Let go of the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _transaction(self, db: sqlite3.Connection, change: Callable[[sqlite3.Connection], _T]) -> _T:
        db.execute("begin immediate")
        for reason, counts in self._losses.untold.items():
            self._rows.add_gap(db, reason, [], counts, counted=True)
        result = change(db)
        notes = [("next", self._rows.next), ("lost", self.lost_total)]
        if self._losses.untold:
            notes.append(("told", self._losses.number))
        db.executemany("insert or replace into meta values (?, ?)", notes)
        db.execute("commit")
        self._losses.told()
        return result

    def _undo(self) -> None:
        """Go back to what is on the disk; where that cannot be read, the file is opened anew next time."""
        try:
            if self._db is not None:
                if self._db.in_transaction:
                    self._db.execute("rollback")
                self.epoch = self._rows.load(self._db)
        except (sqlite3.Error, DamagedError):
            self.close()

    def _set_aside(self) -> bool:
        """Keep the damaged file; the next one begins a new epoch. Return whether that could be done."""
        why, waited = self.trouble, dict(self._rows.waiting)
        self.close()
        aside = set_aside(self._path)
        if aside is None:
            self.trouble = f"damaged ({why}), and it cannot be renamed"
            return False
        self._rows.waiting = {}
        self._asides[aside] = waited, why
        return True

    def _rebuild(self, db: sqlite3.Connection, aside: Path, waited: dict[str, int], why: str) -> None:
        """Take over what can be read of the damaged file, with new numbers; the rest is a gap."""
        saved: dict[str, int] = {}
        try:
            for kind in Wreck(aside).pour(
                lambda change: self._transaction(db, change), lambda db, row: self._rows.insert(db, *row)
            ):
                count_in(saved, name_of(kind))
        except sqlite3.Error:  # no room for more: what is left stays in the file that is kept
            if db.in_transaction:
                db.execute("rollback")
            self._rows.load(db)
        lost = {name: max(0, count - saved.get(name, 0)) for name, count in waited.items()}
        self._losses.count("corrupt", lost)
        count_in(self._rows.lost, "corrupt", sum(lost.values()))
        detail = {"why": why, "kept": aside.name, "saved": sum(saved.values()), "rows": sum(lost.values())}
        self._news.append((aside, detail))
