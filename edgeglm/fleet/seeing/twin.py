"""One board around one moment: what it ran, what it saw, what it said, and whether others had the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edgeglm.errors import UserError
from edgeglm.fleet.health import HealthProblem, newest
from edgeglm.fleet.plain import plain
from edgeglm.fleet.seeing.flat import FlatEvent, FlatGap, FlatWindow, finite, flat_event, flat_gap, flat_window
from edgeglm.fleet.seeing.neighbours import Neighbourhood, held, neighbourhood, problems_at, signs_of, unheard
from edgeglm.fleet.seeing.signals import Piece, Signal, piece_kind, signal_of
from edgeglm.fleet.store.types import Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeglm_agent.wire.telemetry import Event, Scalar

    from edgeglm.fleet.store.base import StoreReader
    from edgeglm.fleet.store.types import DeviceSummary, StoredEvent, StoredResult, StoredWindow

_LONGEST_MS = 3_600_000  # of a window: the agent merges no more
_MOST_WINDOWS = 2_000  # that are read of the board
_EACH_SIDE = 6  # windows of a slot, on either side of the moment
_MOST_EVENTS = 100
_MOST_RESULTS = 20
_MOST_GAPS = 20
_HISTORY = 2_000  # events before the moment, among which is looked for what was loaded
_HISTORY_MS = 35 * 86_400_000  # likewise: events of a board lie among those of all
_ANSWER = 2_000  # characters


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What served in a slot; empty where nothing in the store tells."""

    slot: str
    load: int | None = None  # which load of a model in this slot, by the window of the moment
    model: str = ""  # name and version of the manifest
    manifest: str = ""  # the first digits of its SHA-256
    artifact: str = ""
    scheme: str = ""
    runtime: str = ""
    provider: str = ""
    since_ms: int | None = None  # when it was loaded
    told_by: str = "nothing"  # event, state


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How the agent was set; None where nothing in the store tells."""

    agent: str = ""  # version
    started_ms: int | None = None
    window_s: int | None = None
    sample_share: float | None = None


class Said(FlatEvent, frozen=True, kw_only=True):
    """An event, with the signal around it where the board was to send it."""

    channels: list[float | None] = []  # of an anomaly: the mean reconstruction error of each channel
    signal: Signal | None = None


class Saw(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of the model, with the piece of its input that came along."""

    at_ms: int
    sequence: int
    slot: str
    load: int
    trace_id: str
    answer: str  # JSON
    piece: Piece
    data: bytes  # of the piece: base64 in JSON


class Twin(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that ``fleet twin`` shows."""

    fleet: str
    device: str
    at_ms: int
    since_ms: int
    until_ms: int
    first_seen_ms: int
    unheard: bool  # the moment is before all that was heard of it: nobody can tell how it was
    slot: str  # which is compared with the neighbours'
    settings: Settings
    ran: list[Ran]
    problems: list[HealthProblem]  # by the windows that held the moment
    signs: list[str]
    windows: list[FlatWindow]
    missing: dict[str, str]  # slot -> how far the nearest windows are, where none held the moment
    events: list[Said]
    more_events: int  # within the stretch, that are not among them
    results: list[Saw]
    gaps: list[FlatGap]
    neighbours: Neighbourhood


def twin(reader: StoreReader, summary: DeviceSummary, at_ms: int, around_ms: int, slot: str | None = None) -> Twin:
    """Read what the store has of a board around a moment, and of its neighbours.

    Args:
        reader: Of the store.
        summary: The board.
        at_ms: The moment, Unix.
        around_ms: How much before and after it is looked at.
        slot: Which is compared with that of its neighbours; None: that of its newest window, or the first.

    Raises:
        UserError: The board has no slot of that name.
    """
    device, span = summary.device, Span(at_ms - around_ms, at_ms + around_ms + 1)
    windows: list[StoredWindow] = []
    for stored in reader.windows(Span(span.since_ms - _LONGEST_MS, span.until_ms), device):
        if stored.at_ms + max(0, stored.window.duration_ms) >= span.since_ms:
            windows.append(stored)
        if len(windows) >= _MOST_WINDOWS:
            break
    then = held(windows, at_ms)
    names = list(dict.fromkeys([*then, *(one.window.slot for one in windows), *_slots_of(summary)]))
    if slot is not None and slot not in names:
        there = ", ".join(f"`{plain(name, 63)}`" for name in names) or "none"
        raise UserError(
            f"the board has no slot `{plain(slot, 63)}`", where="--slot", hint=f"it has {there}", code="twin-slot"
        )
    events = [*reader.events(span, device)]
    history = [*reader.events(Span(at_ms - _HISTORY_MS, at_ms + 1), device, newest=_HISTORY)]
    wrong = problems_at(summary, then, at_ms)
    not_yet = unheard(summary, windows, at_ms)
    signs = signs_of(wrong, events) + ([] if then or not_yet else ["silent"])
    last = newest(summary)
    chosen = slot or (last.slot if last and last.slot in names else next(iter(names), ""))
    shown = sorted(events, key=lambda one: abs(one.at_ms - at_ms))[:_MOST_EVENTS]
    results = _nearest(reader, summary, span, at_ms)
    return Twin(
        fleet=device.fleet,
        device=device.name,
        at_ms=at_ms,
        since_ms=span.since_ms,
        until_ms=span.until_ms - 1,
        first_seen_ms=summary.first_seen_ms,
        unheard=not_yet,
        slot=chosen,
        settings=_settings(summary, history, at_ms),
        ran=[_ran(summary, name, then.get(name), history, at_ms) for name in names],
        problems=wrong,
        signs=signs,
        windows=[flat_window(one) for name in names for one in _around(windows, name, at_ms)],
        missing=_missing(windows, names, at_ms),
        events=[_said(one) for one in sorted(shown, key=lambda one: (one.at_ms, one.sequence))],
        more_events=len(events) - len(shown),
        results=[_saw(one) for one in results],
        gaps=[flat_gap(one) for one in [*reader.gaps(span, device)][:_MOST_GAPS]],
        neighbours=neighbourhood(reader, summary, chosen, signs, at_ms, span),
    )


def _slots_of(summary: DeviceSummary) -> Iterable[str]:
    return summary.state.slots if summary.state else ()


def _around(windows: Sequence[StoredWindow], slot: str, at_ms: int) -> list[StoredWindow]:
    own = [one for one in windows if one.window.slot == slot]
    before = [one for one in own if one.at_ms <= at_ms]
    return before[-_EACH_SIDE:] + own[len(before) : len(before) + _EACH_SIDE]


def _missing(windows: Sequence[StoredWindow], names: Sequence[str], at_ms: int) -> dict[str, str]:
    """Return of slots without a window that held the moment how far away the nearest ones are."""
    found = {}
    for name in names:
        own = [one for one in windows if one.window.slot == name]
        ends = [one.at_ms + one.window.duration_ms for one in own if one.at_ms <= at_ms]
        if ends and max(ends) >= at_ms:
            continue
        after = [one.at_ms for one in own if one.at_ms > at_ms]
        parts = [f"the last one before it ended {(at_ms - max(ends)) / 1000:.0f} s earlier"] if ends else []
        parts += [f"the next began {(min(after) - at_ms) / 1000:.0f} s later"] if after else []
        found[name] = ", ".join(parts) or "none came from around it"
    return found


def _settings(summary: DeviceSummary, history: Sequence[StoredEvent], at_ms: int) -> Settings:
    """Return how the agent was set: as it began, and what commands have changed since; else by its newest state."""
    found = Settings()
    for stored in history:
        event = stored.event
        if event.name == "agent-started":
            found = Settings(agent=_text(event, "agent", 40), started_ms=stored.at_ms)
        if event.name == "agent-started" or (event.name == "commanded" and event.detail.get("op") == "set"):
            window_s, share = event.detail.get("window_s"), event.detail.get("sample_share")
            found = msgspec.structs.replace(
                found,
                window_s=window_s if isinstance(window_s, int) else found.window_s,
                sample_share=float(share) if isinstance(share, int | float) else found.sample_share,
            )
    state = summary.state
    if found.started_ms is None and state is not None and 0 < state.since_ms <= at_ms:
        return Settings(agent=plain(state.agent, 40), started_ms=state.since_ms, window_s=state.window_s or None)
    return found


def _ran(
    summary: DeviceSummary, slot: str, stored: StoredWindow | None, history: Sequence[StoredEvent], at_ms: int
) -> Ran:
    """Return what served: by the event of its loading, or by the board's newest state if that is of the same load."""
    load = stored.window.load if stored else None
    loads = [one for one in history if one.event.name == "model-loaded" and one.event.slot == slot]
    same = [one for one in loads if load is not None and one.event.detail.get("load") == load]
    state = summary.state.slots.get(slot) if summary.state else None
    if state is not None and (summary.state_ms > at_ms if load is None else load != state.load):
        state = None  # it speaks of another load, and another time
    found = (same or ([] if state else loads))[-1:]
    if not found and state is None:
        return Ran(slot=plain(slot, 63), load=load)
    event = found[0].event if found else None
    return Ran(
        slot=plain(slot, 63),
        load=load,
        model=_text(event, "model", 80) or plain(state.model if state else "", 80),
        manifest=_text(event, "manifest", 12) or plain(state.manifest_sha256[:12] if state else ""),
        artifact=_text(event, "artifact", 100) or plain(state.artifact if state else "", 100),
        scheme=_text(event, "scheme", 40) or plain(state.scheme if state else "", 40),
        runtime=_text(event, "runtime", 60) or plain(state.runtime if state else "", 60),
        provider=plain(state.provider if state else "", 40),
        since_ms=found[0].at_ms if found else None,
        told_by="event" if found else "state",
    )


def _text(event: Event | None, key: str, most: int) -> str:
    value: Scalar = event.detail.get(key) if event else None
    return plain(value, most) if isinstance(value, str) else ""


def _said(stored: StoredEvent) -> Said:
    event = stored.event
    return Said(
        **msgspec.structs.asdict(flat_event(stored)),
        channels=[*finite(event.channels)],
        signal=signal_of(event.burst, event.detail) if event.burst else None,
    )


def _nearest(reader: StoreReader, summary: DeviceSummary, span: Span, at_ms: int) -> list[StoredResult]:
    """Return the answers nearest to the moment, in their order."""
    before = [*reader.results(summary.device, Span(span.since_ms, at_ms + 1), newest=_MOST_RESULTS)]
    after: list[StoredResult] = []
    for stored in reader.results(summary.device, Span(at_ms + 1, span.until_ms)):
        after.append(stored)
        if len(after) >= _MOST_RESULTS:
            break
    found = sorted([*before, *after], key=lambda one: abs(one.at_ms - at_ms))[:_MOST_RESULTS]
    return sorted(found, key=lambda one: (one.at_ms, one.sequence))


def _saw(stored: StoredResult) -> Saw:
    result = stored.result
    return Saw(
        at_ms=stored.at_ms,
        sequence=stored.sequence,
        slot=plain(result.slot, 63),
        load=result.load,
        trace_id=plain(result.trace_id, 32),
        answer=plain(result.answer[: 4 * _ANSWER].decode(errors="replace"), _ANSWER),
        piece=piece_kind(result.crop),
        data=result.crop,
    )
