"""What the board tells: each event into the log and the outbox, windows and answers into the outbox."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from edgeglm_agent import logs
from edgeglm_agent.board import clock
from edgeglm_agent.outbox import EVENTS, METRICS, SAMPLES, Outbox
from edgeglm_agent.wire.telemetry import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgeglm_agent.wire.telemetry import Body, Burst, Result, Scalar, Severity, Window


class Records:
    """Keeps what is told until the collector has it; until the outbox is open, in memory."""

    def __init__(self, *, synchronised: Callable[[], bool]) -> None:
        """Take what says whether the board's clock is right."""
        self._synchronised = synchronised
        self._outbox: Outbox | None = None
        self._early: list[tuple[int, Body]] = []  # told before there was an outbox

    def open(self, path: Path, *, quota_bytes: int) -> Outbox:
        """Open the outbox, and put into it what was told before. Raises: OSError."""
        self._outbox = outbox = Outbox(path, quota_bytes=quota_bytes, on_event=self._of_outbox)
        if self._early:
            outbox.put_many(self._early)
            self._early.clear()
        return outbox

    def tell(
        self,
        name: str,
        slot: str,
        severity: Severity,
        detail: dict[str, Scalar],
        *,
        trace_id: str = "",
        at_ms: int = 0,
        uptime_ms: int = 0,
        burst: Burst | None = None,
        channels: tuple[float, ...] = (),
    ) -> None:
        """Write an event to the log and into the outbox."""
        trace_id = trace_id or secrets.token_hex(8)
        logs.log(severity, name, trace_id=trace_id, slot=slot, **detail)
        event = Event(
            name,
            slot,
            trace_id,
            at_ms or time.time_ns() // 1_000_000,
            uptime_ms or clock.uptime_ms(),
            self._synchronised(),
            severity,
            detail,
            burst,
            channels,
        )
        if self._outbox is None:
            self._early.append((EVENTS, event))
        else:
            self._outbox.put(EVENTS, event)

    def put_window(self, window: Window) -> None:
        """Keep a window."""
        if self._outbox is not None:
            self._outbox.put(METRICS, window)

    def put_answers(self, answers: Sequence[Result]) -> None:
        """Keep answers, in one commit: a card takes its time for each."""
        if self._outbox is not None and answers:
            self._outbox.put_many([(SAMPLES, answer) for answer in answers])

    def _of_outbox(self, name: str, detail: dict[str, Scalar]) -> None:
        self.tell(name, "", "error", detail)
