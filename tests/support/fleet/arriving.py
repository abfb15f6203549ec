"""What arrives at a store, made as simply as can be."""

from __future__ import annotations

from edgeglm_agent.wire.commands import State
from edgeglm_agent.wire.telemetry import Event, Row, Window, row_of

from edgeglm.fleet.store.types import (
    Device,
    IncomingBatch,
    Span,
    Stream,
)

NOW = 1_800_000_000_000
EVER = Span(-(2**61), 2**61)
BOARD = Device("works", "press-1")
STREAM = Stream(BOARD, b"epoch--1")


def window(number: int, *, at_ms: int | None = None, uptime_ms: int | None = None, slot: str = "main") -> Window:
    start_ms = NOW - 20_000_000 + number * 1000 if at_ms is None else at_ms
    return Window(
        slot, 1, "00" * 8, start_ms, number * 1000 if uptime_ms is None else uptime_ms, 1000, True, inferences=number
    )


def unset(number: int, uptime_ms: int, *, start_ms: int = 5000) -> Row:
    body = Window("main", 1, "00" * 8, start_ms, uptime_ms, 1000, False, inferences=number)
    return row_of(number, body)


def event(name: str = "throttled", *, at_ms: int = NOW) -> Event:
    return Event(name, "main", "00" * 8, at_ms, 1000, True, "info", {"why": "hot"})


def state(*, session: str = "s1", online: bool = True, since_ms: int = NOW, device: str = BOARD.name) -> State:
    return State(1, device, "boot", session, online, since_ms=since_ms, clock_synchronised=True)


def batch(*rows: Row, stream: Stream = STREAM, at_ms: int = NOW) -> IncomingBatch:
    return IncomingBatch(stream, rows, at_ms)


def windows(*numbers: int) -> list[Row]:
    return [row_of(number, window(number)) for number in numbers]
