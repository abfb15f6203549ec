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
_AGAIN_MS = 60_000  # of what came in last: a commit may take that long, and several collectors do not take turns
_ENOUGH = 10_000  # kept in mind, before what is older is forgotten within one reading
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

    A board that was away tells of what happened hours ago, so what follows goes by when it came in. A row is committed
    after it came in, so the newest minute is looked at again, and only its events are kept in mind.
    """
    newest_ms, enough = 0, _ENOUGH
    shown: dict[tuple[Device, bytes, int], int] = {}  # when each came in
    found = reader.events(Span(since_ms, OPEN_END_MS), device, fleet)
    while not stop.is_set():
        began = time.monotonic()
        for stored in found:
            newest_ms = max(newest_ms, stored.received_ms)
            key = (stored.device, stored.epoch, stored.sequence)
            if key not in shown and stored.at_ms >= since_ms:
                yield stored
            shown[key] = stored.received_ms
            if stop.is_set():
                return
            if len(shown) >= enough:
                shown = _since(newest_ms - _AGAIN_MS, shown)
                enough = max(_ENOUGH, 2 * len(shown))
        shown = _since(newest_ms - _AGAIN_MS, shown)
        stop.wait(max(_POLL_S, _SHARE * (time.monotonic() - began)))
        found = reader.events_received(newest_ms - _AGAIN_MS, device, fleet)


def _since(moment_ms: int, shown: dict[tuple[Device, bytes, int], int]) -> dict[tuple[Device, bytes, int], int]:
    return {key: received_ms for key, received_ms in shown.items() if received_ms >= moment_ms}


def _word(text: str) -> str:
    return plain(text, 63).replace(" ", "_")
