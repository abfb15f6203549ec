"""What a store holds as flat rows, one value a column, units in the names: for files that other programs read.

Texts that boards wrote are plain, numbers fit 64 bits, and percentiles are those of the window's own histogram.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import msgspec
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.sketch import Sketch, unpack_numbers

from edgeglm.fleet.plain import json_line, plain, plain_values
from edgeglm.fleet.seeing.signals import piece_kind
from edgeglm.fleet.seeing.times import utc_iso
from edgeglm.fleet.store.rows import lost_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeglm_agent.wire.telemetry import BoardReading

    from edgeglm.fleet.store.types import Stored, StoredEvent, StoredGap, StoredResult, StoredWindow

_LARGEST = (1 << 63) - 1
_TEXT = 65_536  # characters of a table
_MOST_CHANNELS = 1024


class FlatRow(msgspec.Struct, frozen=True, kw_only=True):
    """What every row begins with."""

    fleet: str
    device: str
    at_utc: str | None  # ISO; None: no calendar has it
    at_ms: int  # the same, Unix
    received_ms: int
    epoch: str  # hex: with device and sequence, what the row is known by
    sequence: int


class FlatWindow(FlatRow, frozen=True, kw_only=True):
    """One slot over one window."""

    slot: str
    load: int
    trace_id: str
    duration_ms: int
    windows_merged: int
    clock_synchronised: bool
    inferences: int
    inferences_per_s: float | None
    errors: int
    errors_by_kind: str  # JSON, as every table within a row
    total_p50_ms: float | None  # from input to result handed out
    total_p95_ms: float | None
    total_p99_ms: float | None
    model_p50_ms: float | None  # the model alone
    model_p95_ms: float | None
    model_p99_ms: float | None
    worker_cpu_percent: float | None  # of one core
    worker_rss_kb: int | None
    energy_uj: int | None  # per inference
    drift_feature: str | None  # the worst
    drift_psi: float | None
    drift_js: float | None
    drift_samples: int | None
    confidence: str | None  # counts in ten bins of 0.1
    classes: str
    board_cpu_percent: float | None
    board_gpu_percent: float | None
    board_memory_available_mb: int | None
    board_disk_free_mb: int | None
    board_temperature_c: float | None
    board_throttled: int | None  # bits
    board_undervoltage: bool | None
    board_power_mw: str | None  # by rail


class FlatEvent(FlatRow, frozen=True, kw_only=True):
    """Something that happened."""

    slot: str
    name: str
    severity: str
    trace_id: str
    clock_synchronised: bool
    detail: str
    burst_bytes: int | None
    channel_errors: str | None  # of an anomaly: the mean reconstruction error of each channel


class FlatResult(FlatRow, frozen=True, kw_only=True):
    """One answer of a model."""

    slot: str
    load: int
    trace_id: str
    answer: str  # JSON, on one line; of what is none a JSON string
    piece_format: str | None  # of the input that came along: jpeg, png, npy, other
    piece_bytes: int | None


class FlatGap(FlatRow, frozen=True, kw_only=True):
    """Rows that are lost for good."""

    reason: str
    rows: int
    rows_by_kind: str


def flat_window(stored: StoredWindow) -> FlatWindow:
    """Return a window as a flat row."""
    window, board = stored.window, stored.window.board
    model = percentiles_ms(window.latency_ms)
    total = percentiles_ms(window.total_ms) if window.total_ms else model
    worst = window.drift[0] if window.drift else None
    return FlatWindow(
        **_head(stored),
        slot=plain(window.slot),
        load=_int(window.load),
        trace_id=plain(window.trace_id),
        duration_ms=_int(window.duration_ms),
        windows_merged=_int(window.merged),
        clock_synchronised=window.clock_synchronised,
        inferences=_int(window.inferences),
        inferences_per_s=window.inferences * 1000 / window.duration_ms if window.duration_ms > 0 else None,
        errors=_int(sum(window.errors.values())),
        errors_by_kind=_table(window.errors),
        total_p50_ms=total[0],
        total_p95_ms=total[1],
        total_p99_ms=total[2],
        model_p50_ms=model[0],
        model_p95_ms=model[1],
        model_p99_ms=model[2],
        worker_cpu_percent=_scaled(window.cpu_permille, 10),
        worker_rss_kb=_int_or_none(window.rss_kb),
        energy_uj=_int_or_none(window.energy_uj),
        drift_feature=plain(worst.feature) if worst else None,
        drift_psi=worst.psi_milli / 1000 if worst else None,
        drift_js=worst.js_milli / 1000 if worst else None,
        drift_samples=_int(worst.n) if worst else None,
        confidence=_bins(window.confidence),
        classes=_table({str(key): count for key, count in window.classes.items()}),
        **_reading(board),
    )


def _reading(board: BoardReading | None) -> dict[str, Any]:
    return {
        "board_cpu_percent": _scaled(board.cpu_permille, 10) if board else None,
        "board_gpu_percent": _scaled(board.gpu_permille, 10) if board else None,
        "board_memory_available_mb": _int_or_none(board.memory_available_mb) if board else None,
        "board_disk_free_mb": _int_or_none(board.disk_free_mb) if board else None,
        "board_temperature_c": _scaled(board.temperature_decic, 10) if board else None,
        "board_throttled": _int_or_none(board.throttled) if board else None,
        "board_undervoltage": board.undervoltage if board else None,
        "board_power_mw": _table({power.rail: power.mw for power in board.power}) if board and board.power else None,
    }


def flat_event(stored: StoredEvent) -> FlatEvent:
    """Return an event as a flat row; of a burst its size alone."""
    event = stored.event
    return FlatEvent(
        **_head(stored),
        slot=plain(event.slot),
        name=plain(event.name),
        severity=event.severity,
        trace_id=plain(event.trace_id),
        clock_synchronised=event.clock_synchronised,
        detail=_table(event.detail),
        burst_bytes=len(event.burst.data) if event.burst else None,
        channel_errors=json.dumps([*finite(event.channels)]) if event.channels else None,
    )


def flat_result(stored: StoredResult) -> FlatResult:
    """Return an answer as a flat row; of the piece of its input the size alone."""
    result = stored.result
    return FlatResult(
        **_head(stored),
        slot=plain(result.slot),
        load=_int(result.load),
        trace_id=plain(result.trace_id),
        answer=_answer(result.answer),
        piece_format=piece_kind(result.crop) or None,
        piece_bytes=len(result.crop) or None,
    )


def flat_gap(stored: StoredGap) -> FlatGap:
    """Return a gap as a flat row."""
    return FlatGap(
        **_head(stored),
        reason=plain(stored.gap.reason),
        rows=_int(lost_rows(stored.gap)),
        rows_by_kind=_table(stored.gap.counts),
    )


def percentiles_ms(packed: bytes) -> tuple[float | None, float | None, float | None]:
    """Return p50, p95 and p99 of a packed sketch; None each: it is empty or damaged."""
    try:
        sketch = Sketch.unpack(packed)
    except WireError:
        return None, None, None
    return percentiles(sketch)


def percentiles(sketch: Sketch) -> tuple[float | None, float | None, float | None]:
    """Return p50, p95 and p99."""
    return sketch.quantile(0.5), sketch.quantile(0.95), sketch.quantile(0.99)


def finite(values: Sequence[float]) -> Iterator[float | None]:
    """Return numbers that JSON has; None in the place of others, and no more than a board has channels."""
    yield from (value if math.isfinite(value) else None for value in values[:_MOST_CHANNELS])


def _head(stored: Stored) -> dict[str, Any]:
    return {
        "fleet": plain(stored.device.fleet),
        "device": plain(stored.device.name),
        "at_utc": utc_iso(stored.at_ms),
        "at_ms": _int(stored.at_ms),
        "received_ms": _int(stored.received_ms),
        "epoch": stored.epoch.hex(),
        "sequence": _int(stored.sequence),
    }


def _table(values: Mapping[str, object]) -> str:
    text = json.dumps(plain_values(dict(values)), ensure_ascii=False, default=str)
    return text if len(text) <= _TEXT else json.dumps({"left out": f"{len(values)} entries, {len(text)} characters"})


def _answer(document: bytes) -> str:
    try:
        text = json_line(document)
    except ValueError:
        return json.dumps(plain(document[:_TEXT].decode(errors="replace"), _TEXT), ensure_ascii=False)
    return text if len(text) <= _TEXT else json.dumps({"left out": f"{len(text)} characters"})


def _bins(packed: bytes) -> str | None:
    try:
        return json.dumps(unpack_numbers(packed)[:100]) if packed else None
    except WireError:
        return None


def _int(value: int) -> int:
    return max(-_LARGEST, min(_LARGEST, value))


def _int_or_none(value: int | None) -> int | None:
    return None if value is None else _int(value)


def _scaled(value: int | None, by: int) -> float | None:
    return None if value is None else value / by
