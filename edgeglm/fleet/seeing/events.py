"""Events as lines, and following them as they come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edgeglm.fleet.plain import pairs, plain
from edgeglm.fleet.seeing.times import OPEN_END_MS, local_iso
from edgeglm.fleet.store.types import Span

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from edgeglm.fleet.store.base import StoreReader
    from edgeglm.fleet.store.types import Device, StoredEvent

_POLL_S = 1.0
_SHARE = 4  # of the time that a reading takes: waited before the next, so that following costs little of a large store


def event_line(stored: StoredEvent, *, with_fleet: bool = False, with_device: bool = True) -> str:
    """Return an event on one line: local time, severity, board, slot, name, detail."""
    event = stored.event
    words = [local_iso(stored.at_ms), f"{event.severity:7}"]
    if with_device:
        words.append(plain("/".join(stored.device) if with_fleet else stored.device.name, 130))
    words += [_word(event.slot) or "-", _word(event.name)]
    if event.detail:
        words.append(pairs(event.detail, 500))
    if event.burst is not None:
        words.append(f"burst={len(event.burst.data)}_bytes")
    return " ".join(words)


def follow(
    reader: StoreReader,
    since_ms: int,
    device: Device | None,
    fleet: str | None,
    *,
    stop: threading.Event,
) -> Iterator[StoredEvent]:
    """Return events since then, and until ``stop`` those that come in later, also where they happened before others.

    Each reading looks at the whole stretch again: a board that was away tells of what happened hours ago.
    """
    seen: set[tuple[Device, bytes, int]] = set()
    while not stop.is_set():
        began = time.monotonic()
        for stored in reader.events(Span(since_ms, OPEN_END_MS), device, fleet):
            key = (stored.device, stored.epoch, stored.sequence)
            if key not in seen:
                seen.add(key)
                yield stored
            if stop.is_set():
                return
        stop.wait(max(_POLL_S, _SHARE * (time.monotonic() - began)))


def _word(text: str) -> str:
    return plain(text, 63).replace(" ", "_")
