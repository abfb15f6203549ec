"""Sums of hours in an SQLite store: of all windows in segments that are marked so. Only who tends it adds to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from edgeglm_agent.wire.manifest import UNREADABLE

from edgeglm.fleet.store import segment_list
from edgeglm.fleet.store.hour_sums import hour_sum, summed
from edgeglm.fleet.store.keeping import DAY_MS, HOUR_MS
from edgeglm.fleet.store.rows import COLUMNS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from edgeglm.fleet.store.hour_sums import HourKey, HourSum
    from edgeglm.fleet.store.segment_files import SegmentFiles

_NAMES = COLUMNS["windows"].split(", ")
_AT_MS, _DEVICE, _SLOT, _BODY = (_NAMES.index(name) for name in ("at_ms", "device", "slot", "body"))


def summed_rows(db: sqlite3.Connection, files: SegmentFiles, rows: Iterable[tuple[Any, ...]]) -> dict[HourKey, bytes]:
    """Return what windows come to by the hour, with what is there already.

    Args:
        db: The store.
        files: Its segments.
        rows: Of the table ``windows``, in the order of its columns.
    """

    def known(key: HourKey) -> HourSum | None:
        there = db.execute(
            "select body from hour_sums where day = ? and device = ? and slot = ? and hour = ?", _place(key)
        ).fetchone()
        if there is None:
            return None
        try:
            return hour_sum(there[0])
        except UNREADABLE:
            return _anew(db, files, key)

    found = summed(((row[_AT_MS], row[_DEVICE], row[_SLOT], row[_BODY]) for row in rows), known)
    return {key: msgspec.msgpack.encode(one.sum) for key, one in found.items()}


def save(db: sqlite3.Connection, sums: Mapping[HourKey, bytes]) -> None:
    """Write sums, within the transaction that lists the segments of their windows."""
    db.executemany(
        "insert or replace into hour_sums (day, device, slot, hour, body) values (?, ?, ?, ?, ?)",
        ((*_place(key), body) for key, body in sorted(sums.items())),
    )


def _anew(db: sqlite3.Connection, files: SegmentFiles, key: HourKey) -> HourSum | None:
    """Return what a sum that is damaged was, of the windows that are in it."""
    day = key.hour * HOUR_MS // DAY_MS
    names = [one.name for one in segment_list.listed(db, "windows") if one.summed and one.day == day]
    where = "device = ? and slot = ? and at_ms >= ? and at_ms < ?"
    given = (key.device, key.slot, key.hour * HOUR_MS, (key.hour + 1) * HOUR_MS)
    found = summed((*one,) for one in files.rows("at_ms, device, slot, body", names, where, given, "at_ms"))
    return found[key].sum if key in found else None


def _place(key: HourKey) -> tuple[int, int, str, int]:
    return key.hour * HOUR_MS // DAY_MS, key.device, key.slot, key.hour
