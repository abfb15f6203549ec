"""A board's windows, the newest first, added up by stretches of time that grow with what was read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.sketch import Sketch

from edgeglm.fleet.store.types import Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeglm_agent.wire.telemetry import Window

    from edgeglm.fleet.store.base import StoreReader
    from edgeglm.fleet.store.types import Device, StoredWindow

_POINTS = 240  # of a curve, at most; at least half of that where there is so much
_SHORTEST_MS = 1000
_PAGE = 1000  # windows that are in memory at once


class Bucket:
    """What windows say of one stretch of time."""

    __slots__ = ("board", "cpu", "errors", "hottest", "inferences", "length_ms", "model", "psi", "whole")

    def __init__(self) -> None:
        self.whole, self.model = Sketch(), Sketch()
        self.inferences = self.errors = self.length_ms = 0
        self.hottest: float | None = None
        self.cpu: tuple[float, int] = (0.0, 0)  # weighted by time
        self.psi: dict[str, float] = {}

    def add(self, window: Window) -> bool:
        """Add one; False: its histogram is damaged, and left out."""
        self.inferences += window.inferences
        self.errors += sum(window.errors.values())
        self.length_ms += max(0, window.duration_ms)
        board = window.board
        if board is not None and board.temperature_decic is not None:
            degrees = board.temperature_decic / 10
            self.hottest = degrees if self.hottest is None else max(self.hottest, degrees)
        if board is not None and board.cpu_permille is not None:
            total, weight = self.cpu
            length = max(1, window.duration_ms)
            self.cpu = (total + board.cpu_permille / 10 * length, weight + length)
        for drift in window.drift:
            self.psi[drift.feature] = max(self.psi.get(drift.feature, 0.0), drift.psi_milli / 1000)
        try:
            model = Sketch.unpack(window.latency_ms)
            whole = Sketch.unpack(window.total_ms) if window.total_ms else model
        except WireError:
            return False
        self.model.merge(model)
        self.whole.merge(whole)
        return True

    def merge(self, other: Bucket) -> None:
        """Add what another says."""
        self.inferences += other.inferences
        self.errors += other.errors
        self.length_ms += other.length_ms
        if other.hottest is not None:
            self.hottest = other.hottest if self.hottest is None else max(self.hottest, other.hottest)
        self.cpu = (self.cpu[0] + other.cpu[0], self.cpu[1] + other.cpu[1])
        for feature, psi in other.psi.items():
            self.psi[feature] = max(self.psi.get(feature, 0.0), psi)
        self.model.merge(other.model)
        self.whole.merge(other.whole)


class Stretches:
    """Stretches of one length, by their number; it doubles as often as keeps them few."""

    def __init__(self, until_ms: int) -> None:
        """Begin at the newest end."""
        self._until_ms = until_ms
        self.length_ms = _SHORTEST_MS
        self.found: dict[int, Bucket] = {}

    def at(self, at_ms: int) -> Bucket:
        """Return the stretch that a moment is in."""
        self.reach(at_ms)
        return self.found.setdefault(at_ms // self.length_ms, Bucket())

    def reach(self, since_ms: int) -> None:
        """Grow until a curve from that moment on has few enough points."""
        while (self._until_ms - since_ms) // self.length_ms > _POINTS:
            self.length_ms *= 2
            before, self.found = self.found, {}
            for number, bucket in before.items():
                if (there := self.found.get(number // 2)) is None:
                    self.found[number // 2] = bucket
                else:
                    there.merge(bucket)


def backwards(reader: StoreReader, device: Device, span: Span) -> Iterator[StoredWindow]:
    """Yield a board's windows within a span, the newest first, a bounded number of them in memory."""
    until_ms, seen = span.until_ms, set[tuple[bytes, int]]()
    while True:
        page = [*reader.windows(Span(span.since_ms, until_ms), device, newest=_PAGE)]
        yield from (one for one in reversed(page) if (one.epoch, one.sequence) not in seen)
        if len(page) < _PAGE:
            return
        oldest_ms = page[0].at_ms
        # of the page's first moment there may be more; not of one that fills a page
        until_ms = oldest_ms if oldest_ms == page[-1].at_ms else oldest_ms + 1
        seen = {(one.epoch, one.sequence) for one in page if one.at_ms == oldest_ms}
