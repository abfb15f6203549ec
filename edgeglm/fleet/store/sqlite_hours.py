"""Sums of hours in an SQLite store: of all windows in segments that are marked so. Only who tends it adds to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edgeglm.fleet.store.hour_sums import HourKey, hour_sum, merged, summed
from edgeglm.fleet.store.keeping import DAY_MS, HOUR_MS
from edgeglm.fleet.store.rows import COLUMNS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

_NAMES = COLUMNS["windows"].split(", ")
_AT_MS, _DEVICE, _SLOT, _BODY = (_NAMES.index(name) for name in ("at_ms", "device", "slot", "body"))


def summed_rows(db: sqlite3.Connection, rows: Iterable[tuple[Any, ...]]) -> dict[HourKey, bytes]:
    """Return what windows come to by the hour, with what is there already.

    Args:
        db: The store.
        rows: Of the table ``windows``, in the order of its columns.
    """
    sums = {}
    for key, found in summed((row[_AT_MS], row[_DEVICE], row[_SLOT], row[_BODY]) for row in rows).items():
        there = db.execute(
            "select body from hour_sums where day = ? and device = ? and slot = ? and hour = ?", _place(key)
        ).fetchone()
        one = found.sum if there is None else merged(hour_sum(there[0]), found.sum)
        sums[key] = msgspec.msgpack.encode(one)
    return sums


def save(db: sqlite3.Connection, sums: Mapping[HourKey, bytes]) -> None:
    """Write sums, within the transaction that lists the segments of their windows."""
    db.executemany(
        "insert or replace into hour_sums (day, device, slot, hour, body) values (?, ?, ?, ?, ?)",
        ((*_place(key), body) for key, body in sorted(sums.items())),
    )


def _place(key: HourKey) -> tuple[int, int, str, int]:
    return key.hour * HOUR_MS // DAY_MS, key.device, key.slot, key.hour
