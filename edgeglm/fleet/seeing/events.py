"""Events as lines, and following them as they come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edgeglm.errors import EdgeglmError
from edgeglm.fleet.plain import pairs, plain
from edgeglm.fleet.seeing.times import OPEN_END_MS, local_iso
from edgeglm.fleet.store.types import Span

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from edgeglm.fleet.store.base import StoreReader
    from edgeglm.fleet.store.types import Device, StoredEvent
    from edgeglm.log import Log

_POLL_S = 1.0
_AGAIN_MS = 60_000  # of what came in last: a commit may take that long, and several collectors do not take turns
_ENOUGH = 10_000  # kept in mind, before what is older is forgotten within one reading
_PASSING = ("store-unreachable", "store-locked")  # errors that end by themselves
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
    log: Log,
) -> Iterator[StoredEvent]:
    """Return events since then, and until ``stop`` those that come in later, also where they happened before others.

    A board that was away tells of what happened hours ago, so what follows goes by when it came in. A row is committed
    after it came in, so the newest minute is looked at again, and only its events are kept in mind. A store that cannot
    be asked for now is told of once, and asked again; what came in from then on is looked at until a minute after it
    answers, since collectors take that long to commit what they had in hand.

    Raises: StoreError, StorageError: The store is damaged, gone or of a newer version.
    """
    newest_ms, enough = 0, _ENOUGH
    shown: dict[tuple[Device, bytes, int], int] = {}  # when each came in
    reached_ms, caught_up = since_ms, False  # of what was there at the start
    trouble = _Trouble(log)
    while not stop.is_set():
        began = time.monotonic()
        again_ms = trouble.since(newest_ms) - _AGAIN_MS
        shown = _since(again_ms, shown)
        if caught_up:
            found = reader.events_received(again_ms, device, fleet)
        else:
            found = reader.events(Span(reached_ms, OPEN_END_MS), device, fleet)
        try:
            for stored in found:
                newest_ms = max(newest_ms, stored.received_ms)
                reached_ms = max(reached_ms, stored.at_ms)
                key = (stored.device, stored.epoch, stored.sequence)
                if key not in shown and stored.at_ms >= since_ms:
                    yield stored
                shown[key] = stored.received_ms
                if stop.is_set():
                    return
                if len(shown) >= enough:
                    shown = _since(trouble.since(newest_ms) - _AGAIN_MS, shown)
                    enough = max(_ENOUGH, 2 * len(shown))
        except EdgeglmError as error:
            if error.code not in _PASSING:
                raise
            trouble.begins(error, newest_ms)
        else:
            caught_up = True
            trouble.ends()
        stop.wait(max(_POLL_S, _SHARE * (time.monotonic() - began)))


class _Trouble:
    """A store that cannot be asked for now: told once, with how far one had come before."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._before_ms: int | None = None
        self._over_s: float | None = None  # since when it answers again

    def begins(self, error: EdgeglmError, newest_ms: int) -> None:
        if self._before_ms is None:
            self._before_ms = newest_ms
        elif self._over_s is None:
            return
        self._over_s = None
        problem = error.problems[0]
        self._log.warn(f"{problem.where}: {problem.message}; it is tried again ({problem.hint})")

    def ends(self) -> None:
        if self._before_ms is None:
            return
        if self._over_s is None:
            self._over_s = time.monotonic()
            self._log.note("the store can be read again")
        elif time.monotonic() - self._over_s > _AGAIN_MS / 1000:
            self._before_ms = self._over_s = None

    def since(self, newest_ms: int) -> int:
        """Return from when on rows may still come that have not been seen."""
        return newest_ms if self._before_ms is None else self._before_ms


def _since(moment_ms: int, shown: dict[tuple[Device, bytes, int], int]) -> dict[tuple[Device, bytes, int], int]:
    return {key: received_ms for key, received_ms in shown.items() if received_ms >= moment_ms}


def _word(text: str) -> str:
    return plain(text, 63).replace(" ", "_")
