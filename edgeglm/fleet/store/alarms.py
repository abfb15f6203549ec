"""Which alarms of drift stand: what a board has raised and not cleared. Pure.

A board raises drift after two windows in a row beyond its limit, and clears it likewise, so an alarm does not flicker
as the newest window alone would.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeglm_agent.wire.telemetry import Event, Scalar

RAISED, CLEARED, LOADED = "drift-raised", "drift-cleared", "model-loaded"
EVENTS = (RAISED, CLEARED, LOADED)  # what tells of alarms
NEWEST = 32  # such events of a slot that are looked at: a model has 16 features at most


class Alarm(msgspec.Struct, frozen=True):
    """A feature that has moved, and not come back."""

    feature: str
    psi: float | None  # the stability index when it was raised; None: it was not told
    limit: float | None  # beyond which it was raised; a model that was proved on few samples has a higher one
    since_ms: int  # when it was raised, as the store places it


def in_order(rows: Iterable[tuple[int, int, int, Event]]) -> list[tuple[int, Event]]:
    """Return events by time, but those of one stream by their numbers: its clock may have been set back in between.

    Args:
        rows: Each with its place in time, its stream and its sequence number.
    """
    latest: dict[int, int] = {}
    placed: list[tuple[int, int, int, int, Event]] = []
    for at_ms, stream, sequence, event in sorted(rows, key=lambda row: row[1:3]):
        latest[stream] = max(at_ms, latest.get(stream, at_ms))
        placed.append((latest[stream], stream, sequence, at_ms, event))
    placed.sort(key=lambda one: one[:3])
    return [(at_ms, event) for _, _, _, at_ms, event in placed]


def standing(events: Iterable[tuple[int, Event]]) -> tuple[Alarm, ...]:
    """Return what was raised and neither cleared since nor left behind by another load of a model.

    Args:
        events: Of one slot, those of ``EVENTS``, the oldest first, each with its place in time.
    """
    raised: dict[str, Alarm] = {}
    for at_ms, event in events:
        feature = str(event.detail.get("feature", ""))
        if event.name == LOADED:
            raised.clear()
        elif event.name == RAISED:
            psi, limit = _number(event.detail.get("psi")), _number(event.detail.get("limit"))
            raised[feature] = Alarm(feature, psi, limit, at_ms)
        elif event.name == CLEARED:
            raised.pop(feature, None)
    return tuple(raised.values())


def _number(value: Scalar) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None  # type: ignore[arg-type]
