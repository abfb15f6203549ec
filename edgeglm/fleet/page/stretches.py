"""A board's windows, the newest first, added up by stretches of time that grow with what was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from edgeglm_agent.wire.manifest import UNREADABLE

from edgeglm.fleet.histograms import Table, joined, latencies
from edgeglm.fleet.store.hour_sums import Figures, hour_sum, seen
from edgeglm.fleet.store.keeping import HOUR_MS
from edgeglm.fleet.store.types import Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from edgeglm.fleet.histograms import Ints
    from edgeglm.fleet.store.base import StoreReader
    from edgeglm.fleet.store.hour_sums import HourSum, Seen
    from edgeglm.fleet.store.types import Device, PackedWindow

_POINTS = 240  # of a curve, at most; at least half of that where there is so much
_SHORTEST_MS = 1000
_MOST_WINDOWS = 20_000  # that are read for one answer
_MOST_NOT_SUMMED = 30_000  # likewise, of those of hours that are not summed: a store does that within hours
AHEAD_MS = 300_000  # boards' clocks may be
_PAGE = 10_000  # windows that are in memory at once


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

    def __init__(self, until_ms: int, shortest_ms: int = _SHORTEST_MS) -> None:
        """Begin at the newest end."""
        self._until_ms = until_ms
        self.length_ms = shortest_ms
        self.found: dict[int, Figures] = {}
        self.unreadable = 0  # windows whose histogram is damaged
        self._parts: list[_Part] = []

    def add(self, windows: Sequence[tuple[int, Seen]]) -> None:
        """Add windows with their moments, the newest first."""
        if not windows:
            return
        self.reach(windows[-1][0])
        for at_ms, window in windows:
            self._at(at_ms).add(window)
        numbers, rows = self._numbers([at_ms for at_ms, _ in windows])
        whole, model, sound = latencies(
            [one.latency_ms for _, one in windows], [one.total_ms for _, one in windows], rows, len(numbers)
        )
        self._parts.append(_Part(self.length_ms, numbers, whole, model))
        self.unreadable += len(windows) - int(sound.sum())

    def add_hours(self, hours: Sequence[tuple[int, HourSum]]) -> None:
        """Add sums of hours, with when these begin, in the order of time; no stretch is shorter than an hour."""
        if not hours:
            return
        self.reach(hours[0][0])
        for at_ms, one in hours:
            self._at(at_ms).merge(one.figures)
            self.unreadable += one.unreadable
        numbers, rows = self._numbers([at_ms for at_ms, _ in hours])
        whole, model, sound = latencies(
            [one.latency_ms or one.total_ms for _, one in hours],
            [one.total_ms if one.latency_ms else b"" for _, one in hours],
            rows,
            len(numbers),
        )
        self._parts.append(_Part(self.length_ms, numbers, whole, model))
        self.unreadable += sum(max(1, hours[at][1].figures.windows) for at in np.flatnonzero(~sound).tolist())

    def _at(self, at_ms: int) -> Figures:
        number = at_ms // self.length_ms
        if (figures := self.found.get(number)) is None:
            figures = self.found[number] = Figures()
        return figures

    def _numbers(self, times_ms: Sequence[int]) -> tuple[Ints, Ints]:
        """Return the stretches of some moments, and of each moment which of them it is in."""
        return np.unique(np.array(times_ms, np.int64) // self.length_ms, return_inverse=True)

    def reach(self, since_ms: int) -> None:
        """Grow until a curve from that moment on has few enough points."""
        while (self._until_ms - since_ms) // self.length_ms > _POINTS:
            self.length_ms *= 2
            before, self.found = self.found, {}
            for number, figures in before.items():
                if (there := self.found.get(number // 2)) is None:
                    self.found[number // 2] = figures
                else:
                    there.merge(figures)

    def histograms(self) -> Histograms:
        """Return all histograms, in the order of time."""
        numbers = sorted(self.found)
        all_numbers = np.array(numbers, np.int64)
        rows = [np.searchsorted(all_numbers, one.numbers * one.length_ms // self.length_ms) for one in self._parts]
        wholes = [(one.whole, at) for one, at in zip(self._parts, rows, strict=True)]
        models = [(one.model, at) for one, at in zip(self._parts, rows, strict=True)]
        return Histograms(numbers, joined(wholes, len(numbers)), joined(models, len(numbers)))


def by_window(reader: StoreReader, device: Device, slot: str, span: Span) -> tuple[int, Stretches]:
    """Return a slot's windows added up, and since when."""
    stretches, oldest_ms, count = Stretches(span.until_ms), span.until_ms, 0
    for page in _backwards(reader, device, Span(span.since_ms, span.until_ms + AHEAD_MS)):
        some, room = page[: _MOST_WINDOWS - count], _MOST_WINDOWS - count
        count += len(some)
        oldest_ms = some[-1].at_ms if some else oldest_ms
        _add(stretches, some, slot)
        if len(page) > room:
            return oldest_ms, stretches
    return span.since_ms, stretches


def by_hour(reader: StoreReader, device: Device, slot: str, span: Span) -> tuple[int, Stretches]:
    """Return what a slot did by the hour added up, and since when. Of a sum that is damaged the windows are read."""
    stretches, since_ms = Stretches(span.until_ms, HOUR_MS), span.since_ms
    found = reader.hours(device, slot, Span(since_ms, span.until_ms + AHEAD_MS), _MOST_NOT_SUMMED + 1)
    sums: list[tuple[int, HourSum]] = []
    windows = found.windows
    for one in reversed(found.sums):
        try:
            sums.append((one.at_ms, hour_sum(one.body)))
        except UNREADABLE:
            end_ms = one.at_ms + HOUR_MS
            if len(windows) > _MOST_NOT_SUMMED:
                since_ms = max(since_ms, end_ms)
            else:
                others = [window for window in windows if not one.at_ms <= window.at_ms < end_ms]
                own = reader.packed_windows(device, Span(one.at_ms, end_ms), _MOST_NOT_SUMMED + 1)
                windows = sorted([*others, *own])
    if len(windows) > _MOST_NOT_SUMMED:
        windows = windows[-_MOST_NOT_SUMMED:]
        oldest_ms = windows[0].at_ms
        whole_ms = -(-oldest_ms // HOUR_MS) * HOUR_MS  # of the hour that is cut a sum may have others
        since_ms = max(since_ms, whole_ms if whole_ms <= windows[-1].at_ms else oldest_ms)
    _add(stretches, [window for window in reversed(windows) if window.at_ms >= since_ms], slot)
    stretches.add_hours([one for one in reversed(sums) if one[0] >= since_ms])
    return since_ms, stretches


def _add(stretches: Stretches, windows: Iterable[PackedWindow], slot: str) -> None:
    """Add those of a slot, given the newest first; of one that is damaged nothing tells the slot."""
    some: list[tuple[int, Seen]] = []
    for one in windows:
        try:
            window = seen(one.body)
        except UNREADABLE:
            stretches.unreadable += 1
        else:
            some += [(one.at_ms, window)] if window.slot == slot else []
    stretches.add(some)


def _backwards(reader: StoreReader, device: Device, span: Span) -> Iterator[list[PackedWindow]]:
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
