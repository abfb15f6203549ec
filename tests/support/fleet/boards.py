"""What a store says of boards, made up: summaries, windows, events, and a store that holds them."""

from __future__ import annotations

from typing import Any

import msgspec
from edgeglm_agent.wire.commands import SlotState, State
from edgeglm_agent.wire.sketch import Sketch
from edgeglm_agent.wire.telemetry import BoardReading, Event, Gap, Window, pack_ranges
from edgeglm_agent.wire.topics import shard_of

from edgeglm.fleet.store.alarms import Alarm
from edgeglm.fleet.store.types import Device, DeviceSummary, SlotSummary, StoredEvent, StoredGap, StoredWindow

NOW_MS = 1_800_000_000_000
MINUTE_MS = 60_000
# a colour, a cursor that goes home, a line end, the C1 form of an escape, a turn of the direction, a terminal's answer
HOSTILE = "\x1b[31mred\x1b[H\r\n\x9b2J\u202egpj.exe\x1b]0;title\x07"


def sketch(*values: float) -> bytes:
    made = Sketch()
    for value in values:
        made.add(value)
    return made.pack()


def window(slot: str = "main", *, at_ms: int = NOW_MS - 6 * MINUTE_MS, **values: Any) -> Window:
    made: dict[str, Any] = {
        "slot": slot,
        "load": 1,
        "trace_id": "0123456789abcdef",
        "start_ms": at_ms,
        "uptime_ms": 1000,
        "duration_ms": 300_000,
        "clock_synchronised": True,
        "inferences": 3000,
        "latency_ms": sketch(*[10.0] * 90, *[20.0] * 10),
        "board": BoardReading(cpu_permille=330, temperature_decic=612),
    }
    return Window(**(made | values))


def slot(model: str = "kws 1.2", manifest_sha256: str = "aa" * 32, **values: Any) -> SlotState:
    made: dict[str, Any] = {"status": "serving", "load": 1, "model": model, "manifest_sha256": manifest_sha256}
    return SlotState(**(made | values))


def state(name: str = "gate-1", **values: Any) -> State:
    made: dict[str, Any] = {
        "schema": 1,
        "device": name,
        "boot_id": "b",
        "session": "s",
        "online": True,
        "window_s": 300,
        "slots": {"main": slot()},
    }
    return State(**(made | values))


def summary(
    name: str = "gate-1",
    *windows: Window,
    fleet: str = "north",
    said: State | str | None = "",
    received_ms: int = NOW_MS - MINUTE_MS,
    alarms: tuple[Alarm, ...] = (),
    **values: Any,
) -> DeviceSummary:
    """Return a board that is well, but for what is said otherwise; ``said``: its state, None: none ever came."""
    made = DeviceSummary(
        device=Device(fleet, name),
        shard=shard_of(name),
        first_seen_ms=NOW_MS - 86_400_000,
        last_seen_ms=received_ms,
        state=state(name) if isinstance(said, str) else said,
        state_ms=NOW_MS - 3_600_000,
        slots={
            one.slot: SlotSummary(one.slot, one.start_ms, received_ms, one, alarms) for one in windows or (window(),)
        },
        lost_rows=0,
        lost_at_ms=0,
        duplicates=0,
        clock_off_ms=12,
    )
    return msgspec.structs.replace(made, **values)


def stored_window(device: Device, sequence: int, made: Window, epoch: bytes = b"12345678") -> StoredWindow:
    return StoredWindow(device, epoch, sequence, made.start_ms, made.start_ms + 1000, made)


def event(*, at_ms: int = NOW_MS, **values: Any) -> Event:
    made: dict[str, Any] = {
        "name": "drift-raised",
        "slot": "main",
        "trace_id": "0123456789abcdef",
        "at_ms": at_ms,
        "uptime_ms": 1,
        "clock_synchronised": True,
        "severity": "warning",
        "detail": {"feature": "input.x", "psi": 0.412},
    }
    return Event(**(made | values))


def stored_event(device: Device, sequence: int, *, at_ms: int = NOW_MS, **values: Any) -> StoredEvent:
    return StoredEvent(device, b"12345678", sequence, at_ms, at_ms + 1000, event(at_ms=at_ms, **values))


def stored_gap(device: Device, sequence: int, numbers: list[int], reason: str = "quota") -> StoredGap:
    gap = Gap(reason, pack_ranges(numbers), {"window": len(numbers)})
    return StoredGap(device, b"12345678", sequence, NOW_MS, NOW_MS, gap)
