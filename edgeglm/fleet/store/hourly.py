"""Windows of an hour as one: histograms are added up, so that percentiles over any time stay those of all samples."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.manifest import UNREADABLE
from edgeglm_agent.wire.merging import merge_windows
from edgeglm_agent.wire.telemetry import Row, Window

from edgeglm.fleet.store.keeping import HOUR_MS
from edgeglm.fleet.store.placing import Moment
from edgeglm.fleet.store.rows import COLUMNS, Read, columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_AT_MS, _DEVICE, _STREAM, _SEQUENCE, _RECEIVED_MS, _SLOT = range(6)
_BODY = len(COLUMNS["windows"].split(", ")) - 1
ORDER = "device, stream, slot, at_ms, sequence"  # in which they are to be given


def merged_by_hour(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Return windows, those of one slot, load and hour merged into the first of them.

    What was merged before is merged with what came late. A row that cannot be merged stays as it is.

    Args:
        rows: Of the table ``windows``, in the order of its columns, sorted by ``ORDER``.
    """
    for _, group in groupby(rows, key=_slot_and_hour):
        by_load: dict[int | None, list[tuple[tuple[Any, ...], Window]]] = {}
        for row in group:
            try:
                window = msgspec.msgpack.decode(row[_BODY], type=Window)
            except UNREADABLE:
                yield row
            else:
                by_load.setdefault(window.load, []).append((row, window))
        for found in by_load.values():
            yield from _merged(found)


def _merged(found: list[tuple[tuple[Any, ...], Window]]) -> list[tuple[Any, ...]]:
    rows = [row for row, _ in found]
    if len(found) == 1:
        return rows
    try:
        window = merge_windows([one for _, one in found])
    except (WireError, ValueError, OverflowError):
        return rows
    first = rows[0]
    row = Row(first[_SEQUENCE], 0, msgspec.Raw(msgspec.msgpack.encode(window)))
    read = Read(row, window, Moment(first[_AT_MS], window.uptime_ms, own=True), [])
    received_ms = max(one[_RECEIVED_MS] for one in rows)
    return [columns(read, first[_AT_MS], first[_DEVICE], first[_STREAM], received_ms)]


def _slot_and_hour(row: tuple[Any, ...]) -> tuple[int, int, str, int]:
    return row[_DEVICE], row[_STREAM], row[_SLOT], row[_AT_MS] // HOUR_MS
