"""Several windows of one slot as one, so that a board over its byte budget says less and loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from edgeglm_agent.wire.sketch import Sketch, pack_numbers, unpack_numbers
from edgeglm_agent.wire.telemetry import BoardReading, Drift, Power, Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_Key = TypeVar("_Key", str, int)


def merge_windows(windows: Sequence[Window]) -> Window:
    """Return one window for several of one slot and load, given in the order of time.

    Counts and sketches are added up; shares and power are weighted by time, energy by inferences; memory,
    temperature, free space and drift are their worst.

    Raises:
        ValueError: There are none, or they are of different slots or loads.
        WireError: A packed field is damaged.
    """
    if len({(window.slot, window.load) for window in windows}) != 1:
        raise ValueError("windows of one slot and one load are merged")
    first, last = windows[0], windows[-1]
    spread = any(window.total_ms for window in windows)
    return msgspec.structs.replace(
        first,
        duration_ms=max(
            sum(window.duration_ms for window in windows), last.uptime_ms + last.duration_ms - first.uptime_ms
        ),
        inferences=sum(window.inferences for window in windows),
        errors=_added(window.errors for window in windows),
        latency_ms=_sketches(window.latency_ms for window in windows),
        total_ms=_sketches(window.total_ms or window.latency_ms for window in windows) if spread else b"",
        cpu_permille=_mean((window.cpu_permille, window.duration_ms) for window in windows),
        rss_kb=_highest(window.rss_kb for window in windows),
        energy_uj=_mean((window.energy_uj, window.inferences) for window in windows),
        confidence=_bins(window.confidence for window in windows),
        classes=_added(window.classes for window in windows),
        drift=_worst(drift for window in windows for drift in window.drift),
        board=_board([(window.board, window.duration_ms) for window in windows if window.board is not None]),
        merged=sum(window.merged for window in windows),
    )


def _added(tables: Iterable[Mapping[_Key, int]]) -> dict[_Key, int]:
    total: dict[_Key, int] = {}
    for table in tables:
        for key, count in table.items():
            total[key] = total.get(key, 0) + count
    return total


def _sketches(packed: Iterable[bytes]) -> bytes:
    total = Sketch()
    for one in packed:
        total.merge(Sketch.unpack(one))
    return total.pack()


def _bins(packed: Iterable[bytes]) -> bytes:
    total: list[int] = []
    for one in packed:
        counts = unpack_numbers(one)
        total += [0] * (len(counts) - len(total))
        for index, count in enumerate(counts):
            total[index] += count
    return pack_numbers(total)


def _mean(weighted: Iterable[tuple[int | None, int]]) -> int | None:
    known = [(value, weight) for value, weight in weighted if value is not None]
    weights = sum(weight for _, weight in known)
    if not known:
        return None
    if not weights:
        return known[-1][0]
    return round(sum(value * weight for value, weight in known) / weights)


def _highest(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _lowest(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)


def _worst(drifts: Iterable[Drift]) -> tuple[Drift, ...]:
    """Return each feature at its worst; populations differ, so indices cannot be added up."""
    worst: dict[str, Drift] = {}
    for drift in drifts:
        if drift.feature not in worst or drift.psi_milli > worst[drift.feature].psi_milli:
            worst[drift.feature] = drift
    return tuple(sorted(worst.values(), key=lambda drift: -drift.psi_milli))


def _board(readings: Sequence[tuple[BoardReading, int]]) -> BoardReading | None:
    if not readings:
        return None
    boards = [board for board, _ in readings]
    throttled = [board.throttled for board in boards if board.throttled is not None]
    bits = 0
    for one in throttled:
        bits |= one
    under = [board.undervoltage for board in boards if board.undervoltage is not None]
    rails = dict.fromkeys(power.rail for board in boards for power in board.power)
    power = {
        rail: _mean((p.mw, weight) for board, weight in readings for p in board.power if p.rail == rail)
        for rail in rails
    }
    return BoardReading(
        cpu_permille=_mean((board.cpu_permille, weight) for board, weight in readings),
        memory_available_mb=_lowest(board.memory_available_mb for board in boards),
        disk_free_mb=_lowest(board.disk_free_mb for board in boards),
        temperature_decic=_highest(board.temperature_decic for board in boards),
        throttled=bits if throttled else None,
        undervoltage=any(under) if under else None,
        gpu_permille=_mean((board.gpu_permille, weight) for board, weight in readings),
        power=tuple(Power(rail, mw) for rail, mw in power.items() if mw is not None),
    )
