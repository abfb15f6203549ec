"""What slots did by the hour: as a reader says it, and as it follows from the windows one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.sketch import Sketch
from edgeglm_agent.wire.telemetry import Window

from edgeglm.fleet.store.base import StoreReader
from edgeglm.fleet.store.hour_sums import HourSum, hour_sum
from edgeglm.fleet.store.keeping import HOUR_MS
from edgeglm.fleet.store.types import Device, Span


class Hour:
    """One hour of one slot."""

    def __init__(self) -> None:
        self.windows = self.inferences = self.length_ms = self.unreadable = 0
        self.cpu_permille_ms = self.cpu_weight_ms = 0
        self.errors: Counter[str] = Counter()
        self.psi_milli: dict[str, int] = {}
        self.hottest_decic: list[int] = []
        self.whole, self.model = Sketch(), Sketch()

    def add(self, window: Window) -> None:
        self.windows += window.merged
        self.inferences += window.inferences
        self.length_ms += window.duration_ms
        self.errors.update(window.errors)
        for drift in window.drift:
            self.psi_milli[drift.feature] = max(self.psi_milli.get(drift.feature, 0), drift.psi_milli)
        if window.board is not None:
            self.hottest_decic += [window.board.temperature_decic] if window.board.temperature_decic is not None else []
            if window.board.cpu_permille is not None:
                self.cpu_permille_ms += window.board.cpu_permille * window.duration_ms
                self.cpu_weight_ms += window.duration_ms
        try:
            model, whole = Sketch.unpack(window.latency_ms), Sketch.unpack(window.total_ms or window.latency_ms)
        except WireError:
            self.unreadable += 1
        else:
            self.model.merge(model)
            self.whole.merge(whole)

    def add_sum(self, one: HourSum) -> None:
        figures = one.figures
        self.windows += figures.windows
        self.inferences += figures.inferences
        self.length_ms += figures.length_ms
        self.unreadable += one.unreadable
        self.cpu_permille_ms += figures.cpu_permille_ms
        self.cpu_weight_ms += figures.cpu_weight_ms
        self.errors.update(figures.errors)
        for feature, milli in figures.psi_milli.items():
            self.psi_milli[feature] = max(self.psi_milli.get(feature, 0), milli)
        self.hottest_decic += [figures.hottest_decic] if figures.hottest_decic is not None else []
        self.whole.merge(Sketch.unpack(one.total_ms))
        self.model.merge(Sketch.unpack(one.latency_ms or one.total_ms))

    def told(self) -> dict[str, Any]:
        return vars(self) | {
            "hottest_decic": max(self.hottest_decic, default=None),
            "whole": self.whole.counts,
            "model": self.model.counts,
        }


def by_hour(reader: StoreReader, device: Device, slot: str, span: Span) -> dict[int, dict[str, Any]]:
    """Return what a reader says of each hour."""
    found, hours = reader.hours(device, slot, span, 100_000), dict[int, Hour]()
    assert [one.at_ms for one in found.windows] == sorted(one.at_ms for one in found.windows)
    assert [one.at_ms for one in found.sums] == sorted({one.at_ms for one in found.sums})
    for one in found.sums:
        hours.setdefault(one.at_ms // HOUR_MS, Hour()).add_sum(hour_sum(one.body))
    _add(hours, slot, ((one.at_ms, msgspec.msgpack.decode(one.body, type=Window)) for one in found.windows))
    return _told(hours)


def one_by_one(reader: StoreReader, device: Device, slot: str, span: Span) -> dict[int, dict[str, Any]]:
    """Return what follows from each of the windows that there are."""
    hours: dict[int, Hour] = {}
    _add(hours, slot, ((one.at_ms, one.window) for one in reader.windows(span, device)))
    return _told(hours)


def _add(hours: dict[int, Hour], slot: str, windows: Iterable[tuple[int, Window]]) -> None:
    for at_ms, window in windows:
        if window.slot == slot:
            hours.setdefault(at_ms // HOUR_MS, Hour()).add(window)


def _told(hours: dict[int, Hour]) -> dict[int, dict[str, Any]]:
    return {hour: one.told() for hour, one in sorted(hours.items())}
