"""What was wrong with boards at one moment of the past, and whether one of them was alone with it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from edgeglm.fleet.health import THRESHOLDS, HealthProblem, error_share, problems, quantile_ms
from edgeglm.fleet.plain import plain
from edgeglm.fleet.store.alarms import Alarm
from edgeglm.fleet.store.types import SlotSummary, Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeglm.fleet.store.base import StoreReader
    from edgeglm.fleet.store.types import Device, DeviceSummary, StoredEvent, StoredWindow

MOST_WINDOWS = 50_000  # of the whole fleet, that are read
_MOST_EVENTS = 20_000
_ORDINARY = ("info",)  # severities that are no sign of anything


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """Another board of the fleet around that moment, by its window that held the moment or was the last before."""

    device: str
    model: str  # of its slot of that name, by the newest that it said
    same_model: bool
    silent: bool  # no window of it held the moment
    unheard: bool = False  # nothing of it had come yet: nobody can tell how it was, and it is compared with nobody
    p95_ms: float | None = None
    error_share: float | None = None
    psi: float | None = None
    temperature_c: float | None = None
    signs: list[str] = []  # kinds of problems, and names of warnings and errors that it told


class Company(msgspec.Struct, frozen=True):
    """How many neighbours had the same sign."""

    sign: str
    too: int
    of: int


class Neighbourhood(msgspec.Struct, frozen=True, kw_only=True):
    """The other boards of the fleet."""

    boards: list[Neighbour] = []  # those with signs first
    compared: str = "none"  # same-model, where there are any, else same-fleet
    company: list[Company] = []  # of each sign of the board itself
    cut: bool = False  # the fleet said more than was read: what came late in the stretch is missing


def problems_at(summary: DeviceSummary, windows: Mapping[str, StoredWindow], at_ms: int) -> list[HealthProblem]:
    """Return what was wrong with a board by its windows of that moment, by slot; nothing of what it said later."""
    slots = {
        name: SlotSummary(name, stored.at_ms, at_ms, stored.window, _drifting(stored))
        for name, stored in windows.items()
    }
    then = msgspec.structs.replace(
        summary, slots=slots, state=None, lost_rows=0, taken_back=0, clock_off_ms=None, last_seen_ms=at_ms
    )
    return [problem for problem in problems(then, at_ms) if problem.kind != "silent"]


def _drifting(stored: StoredWindow) -> tuple[Alarm, ...]:
    limit = THRESHOLDS.drift_psi
    moved = [drift for drift in stored.window.drift if drift.psi_milli >= limit * 1000]
    return tuple(Alarm(drift.feature, drift.psi_milli / 1000, limit, stored.at_ms) for drift in moved)


def signs_of(found: Iterable[HealthProblem], events: Iterable[StoredEvent]) -> list[str]:
    """Return the signs that a board was not well: kinds of problems, and names of warnings and errors."""
    told = (plain(event.event.name, 40) for event in events if event.event.severity not in _ORDINARY)
    return list(dict.fromkeys([*(problem.kind for problem in found), *told]))


def held(windows: Iterable[StoredWindow], at_ms: int) -> dict[str, StoredWindow]:
    """Return the window of each slot that held a moment, or the last before it where no three of them are missing."""
    begun = {stored.window.slot: stored for stored in windows if stored.at_ms <= at_ms}  # the last of each
    return {slot: stored for slot, stored in begun.items() if at_ms - _end_ms(stored) <= _late_ms(stored)}


def unheard(summary: DeviceSummary, windows: Iterable[StoredWindow], at_ms: int) -> bool:
    """Tell whether a moment is before all that was heard of a board: that it says nothing of it is no sign.

    Args:
        summary: The board.
        windows: Those of around the moment; a board that was first heard later may tell of a time before.
        at_ms: The moment.
    """
    return at_ms < summary.first_seen_ms and all(stored.at_ms > at_ms for stored in windows)


def _end_ms(stored: StoredWindow) -> int:
    return stored.at_ms + max(0, stored.window.duration_ms)


def _late_ms(stored: StoredWindow) -> int:
    length_ms = stored.window.duration_ms // max(1, stored.window.merged)
    return max(THRESHOLDS.silent_windows * length_ms, THRESHOLDS.least_silence_s * 1000)


def neighbourhood(
    reader: StoreReader,
    summary: DeviceSummary,
    slot: str,
    own_signs: Sequence[str],
    at_ms: int,
    span: Span,
) -> Neighbourhood:
    """Look at the other boards of a fleet at the same time; however many they are, a bounded number of rows is read.

    Args:
        reader: Of the store.
        summary: The board itself.
        slot: Which of its slots is compared.
        own_signs: What was wrong with it.
        at_ms: The moment.
        span: Around it.
    """
    fleet = summary.device.fleet
    others = [one for one in reader.devices(fleet) if one.device != summary.device]
    windows: dict[Device, list[StoredWindow]] = {}
    events: dict[Device, list[StoredEvent]] = {}
    count = 0
    for count, stored in enumerate(reader.windows(Span(span.since_ms, at_ms + 1), fleet=fleet), 1):
        windows.setdefault(stored.device, []).append(stored)
        if count >= MOST_WINDOWS:
            break
    told = 0
    for told, event in enumerate(reader.events(span, fleet=fleet), 1):
        events.setdefault(event.device, []).append(event)
        if told >= _MOST_EVENTS:
            break
    own = _model_of(summary, slot)
    boards = [
        _neighbour(one, slot, own, windows.get(one.device, []), events.get(one.device, []), at_ms) for one in others
    ]
    heard = [one for one in boards if not one.unheard]
    alike = [one for one in heard if one.same_model]
    compared = alike or heard
    counted = Counter(sign for one in compared for sign in one.signs)
    return Neighbourhood(
        boards=sorted(
            boards, key=lambda one: (not one.same_model, -len(one.signs), one.unheard, one.silent, one.device)
        ),
        compared="same-model" if alike else "same-fleet" if heard else "none",
        company=[Company(sign, counted[sign], len(compared)) for sign in own_signs],
        cut=count >= MOST_WINDOWS or told >= _MOST_EVENTS,
    )


def _neighbour(
    summary: DeviceSummary,
    slot: str,
    own: tuple[str, str],
    windows: list[StoredWindow],
    events: list[StoredEvent],
    at_ms: int,
) -> Neighbour:
    then = held(windows, at_ms)
    model = _model_of(summary, slot)
    not_yet = unheard(summary, windows, at_ms)
    silent = not then and not not_yet
    line = Neighbour(
        device=plain(summary.device.name),
        model=plain(model[0], 80),
        same_model=bool(own[0]) and model == own,
        silent=silent,
        unheard=not_yet,
        signs=signs_of(problems_at(summary, then, at_ms), events) + (["silent"] if silent else []),
    )
    stored = then.get(slot)
    if stored is None:
        return line
    window, board = stored.window, stored.window.board
    tenths = board.temperature_decic if board else None
    return msgspec.structs.replace(
        line,
        p95_ms=quantile_ms(window.total_ms or window.latency_ms, 0.95),
        error_share=error_share(window),
        psi=max((drift.psi_milli / 1000 for drift in window.drift), default=None),
        temperature_c=None if tenths is None else tenths / 10,
    )


def _model_of(summary: DeviceSummary, slot: str) -> tuple[str, str]:
    state = summary.state.slots.get(slot) if summary.state else None
    return (state.model, state.manifest_sha256) if state else ("", "")
