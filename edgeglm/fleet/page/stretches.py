"""A board's windows, the newest first, added up by stretches of time that grow with what was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from edgeglm_agent.wire.telemetry import BoardReading, Drift

from edgeglm.fleet.page.histograms import Table, joined, table, unpacked
from edgeglm.fleet.store.types import Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeglm.fleet.page.histograms import Ints
    from edgeglm.fleet.store.base import StoreReader
    from edgeglm.fleet.store.types import Device, PackedWindow

_POINTS = 240  # of a curve, at most; at least half of that where there is so much
_SHORTEST_MS = 1000
_PAGE = 10_000  # windows that are in memory at once: 30 days of 300 s


class Seen(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A ``Window``, of which what no curve needs is left packed: of a month there are thousands."""

    slot: str
    load: int
    trace_id: msgspec.Raw
    start_ms: int
    uptime_ms: int
    duration_ms: int
    clock_synchronised: bool
    inferences: int
    errors: dict[str, int] = {}
    latency_ms: bytes = b""
    total_ms: bytes = b""
    cpu_permille: int | None = None
    rss_kb: int | None = None
    energy_uj: int | None = None
    confidence: msgspec.Raw = msgspec.Raw()
    classes: msgspec.Raw = msgspec.Raw()
    drift: tuple[Drift, ...] = ()
    board: BoardReading | None = None
    merged: int = 1


seen = msgspec.msgpack.Decoder(Seen).decode


class Bucket:
    """What windows say of one stretch of time, but for their histograms."""

    __slots__ = ("cpu_permille_ms", "cpu_weight_ms", "errors", "hottest_decic", "inferences", "length_ms", "psi_milli")

    def __init__(self) -> None:
        self.inferences = self.errors = self.length_ms = 0
        self.hottest_decic: int | None = None
        self.cpu_permille_ms = self.cpu_weight_ms = 0  # weighted by time
        self.psi_milli: dict[str, int] = {}

    def add(self, window: Seen) -> None:
        """Add one."""
        self.inferences += window.inferences
        if window.errors:
            self.errors += sum(window.errors.values())
        self.length_ms += max(0, window.duration_ms)
        board = window.board
        if board is not None:
            self._hot(board.temperature_decic)
            if board.cpu_permille is not None:
                weight_ms = max(1, window.duration_ms)
                self.cpu_permille_ms += board.cpu_permille * weight_ms
                self.cpu_weight_ms += weight_ms
        for drift in window.drift:
            self.psi_milli[drift.feature] = max(self.psi_milli.get(drift.feature, 0), drift.psi_milli)

    def merge(self, other: Bucket) -> None:
        """Add what another says."""
        self.inferences += other.inferences
        self.errors += other.errors
        self.length_ms += other.length_ms
        self._hot(other.hottest_decic)
        self.cpu_permille_ms += other.cpu_permille_ms
        self.cpu_weight_ms += other.cpu_weight_ms
        for feature, psi_milli in other.psi_milli.items():
            self.psi_milli[feature] = max(self.psi_milli.get(feature, 0), psi_milli)

    def _hot(self, decic: int | None) -> None:
        if decic is not None and (self.hottest_decic is None or decic > self.hottest_decic):
            self.hottest_decic = decic


class _Part(NamedTuple):
    """Histograms of some windows."""

    length_ms: int  # of the stretches
    numbers: Ints  # of the stretches, one for each row
    whole: Table
    model: Table


class Histograms(NamedTuple):
    """Those of all stretches, a row each, in the order of time."""

    numbers: list[int]
    whole: Table  # from input to result
    model: Table  # the model alone


class Stretches:
    """Stretches of one length, by their number; it doubles as often as keeps them few."""

    def __init__(self, until_ms: int) -> None:
        """Begin at the newest end."""
        self._until_ms = until_ms
        self.length_ms = _SHORTEST_MS
        self.found: dict[int, Bucket] = {}
        self._parts: list[_Part] = []

    def add(self, windows: Sequence[tuple[int, Seen]]) -> int:
        """Add windows with their moments, the newest first; return of how many the histogram is damaged."""
        if not windows:
            return 0
        self.reach(windows[-1][0])
        length_ms, found = self.length_ms, self.found
        for at_ms, window in windows:
            number = at_ms // length_ms
            if (bucket := found.get(number)) is None:
                bucket = found[number] = Bucket()
            bucket.add(window)
        latencies, damaged = unpacked([one.latency_ms for _, one in windows])
        totals, damaged_totals = unpacked([one.total_ms for _, one in windows])
        sound = np.ones(len(windows), bool)
        sound[[*(damaged | damaged_totals)]] = False
        own = np.array([bool(one.total_ms) for _, one in windows])  # where not, the whole is what the model takes
        numbers, rows = np.unique(np.array([at_ms // length_ms for at_ms, _ in windows], np.int64), return_inverse=True)
        model = whole = table(latencies, rows, len(numbers), sound)
        if own.any():
            every = np.arange(len(numbers))
            both = (table(totals, rows, len(numbers), sound), table(latencies, rows, len(numbers), sound & ~own))
            whole = joined([(one, every) for one in both], len(numbers))
        self._parts.append(_Part(length_ms, numbers, whole, model))
        return len(windows) - int(sound.sum())

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

    def histograms(self) -> Histograms:
        """Return all histograms, in the order of time."""
        numbers = sorted(self.found)
        all_numbers = np.array(numbers, np.int64)
        rows = [np.searchsorted(all_numbers, one.numbers * one.length_ms // self.length_ms) for one in self._parts]
        wholes = [(one.whole, at) for one, at in zip(self._parts, rows, strict=True)]
        models = [(one.model, at) for one, at in zip(self._parts, rows, strict=True)]
        return Histograms(numbers, joined(wholes, len(numbers)), joined(models, len(numbers)))


def backwards(reader: StoreReader, device: Device, span: Span) -> Iterator[list[PackedWindow]]:
    """Yield a board's windows within a span by pages, the newest first, a bounded number of them in memory."""
    until_ms, known = span.until_ms, set[tuple[bytes, int]]()
    while True:
        page = reader.packed_windows(device, Span(span.since_ms, until_ms), _PAGE)
        yield [one for one in reversed(page) if (one.epoch, one.sequence) not in known]
        if len(page) < _PAGE:
            return
        oldest_ms = page[0].at_ms
        # of the page's first moment there may be more; not of one that fills a page
        until_ms = oldest_ms if oldest_ms == page[-1].at_ms else oldest_ms + 1
        known = {(one.epoch, one.sequence) for one in page if one.at_ms == oldest_ms}
