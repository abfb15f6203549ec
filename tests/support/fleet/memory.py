"""A store's reading side over lists, for what only reads: the real ones are tested by themselves, and end to end."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from edgeglm.fleet.store.types import (
    Device,
    DeviceSummary,
    Hours,
    IncomingReply,
    PackedWindow,
    Poison,
    Span,
    StoredEvent,
    StoredGap,
    StoredResult,
    StoredWindow,
)


class ListReader(msgspec.Struct):
    """What is in the lists."""

    boards: list[DeviceSummary] = []
    stored_windows: list[StoredWindow] = []
    stored_events: list[StoredEvent] = []
    stored_gaps: list[StoredGap] = []
    stored_replies: list[IncomingReply] = []
    stored_results: list[StoredResult] = []
    stored_poison: list[Poison] = []

    def fleets(self) -> list[str]:
        return sorted({board.device.fleet for board in self.boards})

    def devices(self, fleet: str | None = None) -> list[DeviceSummary]:
        return [board for board in self.boards if fleet in (None, board.device.fleet)]

    def device(self, device: Device) -> DeviceSummary | None:
        return next((board for board in self.boards if board.device == device), None)

    def windows(
        self, span: Span, device: Device | None = None, fleet: str | None = None, newest: int | None = None
    ) -> Iterator[StoredWindow]:
        found = [
            one
            for one in sorted(self.stored_windows, key=lambda one: one.at_ms)
            if span.since_ms <= one.at_ms < span.until_ms
            and device in (None, one.device)
            and fleet in (None, one.device.fleet)
        ]
        yield from found if newest is None else found[-newest:]

    def packed_windows(self, device: Device, span: Span, newest: int) -> list[PackedWindow]:
        return [
            PackedWindow(one.at_ms, one.epoch, one.sequence, msgspec.msgpack.encode(one.window))
            for one in self.windows(span, device, newest=newest)
        ]

    def hours(self, device: Device, slot: str, span: Span, newest: int) -> Hours:  # noqa: ARG002
        return Hours([], self.packed_windows(device, span, newest))  # nothing is added up

    def events(
        self, span: Span, device: Device | None = None, fleet: str | None = None, newest: int | None = None
    ) -> Iterator[StoredEvent]:
        found = [
            one
            for one in sorted(self.stored_events, key=lambda one: one.at_ms)
            if span.since_ms <= one.at_ms < span.until_ms
            and device in (None, one.device)
            and fleet in (None, one.device.fleet)
        ]
        yield from found if newest is None else found[-newest:]

    def events_received(
        self, since_ms: int, device: Device | None = None, fleet: str | None = None
    ) -> Iterator[StoredEvent]:
        for one in sorted(self.stored_events, key=lambda one: one.received_ms):
            if device in (None, one.device) and fleet in (None, one.device.fleet) and one.received_ms >= since_ms:
                yield one

    def results(
        self, device: Device | None, span: Span, newest: int | None = None, fleet: str | None = None
    ) -> Iterator[StoredResult]:
        found = [
            one
            for one in self.stored_results
            if device in (None, one.device)
            and fleet in (None, one.device.fleet)
            and span.since_ms <= one.at_ms < span.until_ms
        ]
        yield from found if newest is None else found[-newest:]

    def gaps(self, span: Span, device: Device | None = None) -> Iterator[StoredGap]:
        for one in self.stored_gaps:
            if device in (None, one.device) and span.since_ms <= one.at_ms < span.until_ms:
                yield one

    def replies(self, device: Device, span: Span) -> Iterator[IncomingReply]:  # noqa: ARG002
        yield from (one for one in self.stored_replies if one.device == device)

    def poison(self, newest: int) -> list[Poison]:
        return sorted(self.stored_poison, key=lambda one: -one.received_ms)[:newest]

    def poison_count(self) -> int:
        return len(self.stored_poison)

    def identity(self) -> str:
        return ""

    def close(self) -> None:
        pass
