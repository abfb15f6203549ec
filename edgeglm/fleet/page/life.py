"""One board over a stretch of time: its windows as curves, and what happened meanwhile. Pure but for the reader."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
from edgeglm_agent.board.pi import in_words
from edgeglm_agent.status_text import amount, duration

from edgeglm.fleet.health import HealthProblem, offline, problems
from edgeglm.fleet.histograms import added_up, quantiles
from edgeglm.fleet.page.glance import shown_problems
from edgeglm.fleet.page.groups import board_kind
from edgeglm.fleet.page.stretches import AHEAD_MS, by_hour, by_window
from edgeglm.fleet.page.words import fact, listed
from edgeglm.fleet.plain import MOST_CHARACTERS, plain
from edgeglm.fleet.store.alarms import RAISED, standing
from edgeglm.fleet.store.hour_sums import Figures
from edgeglm.fleet.store.keeping import HOUR_MS
from edgeglm.fleet.store.types import Span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeglm.fleet.health import Usual
    from edgeglm.fleet.page.stretches import Histograms, Stretches
    from edgeglm.fleet.store.base import StoreReader
    from edgeglm.fleet.store.types import DeviceSummary, StoredEvent

SPANS = {"1h": 3_600_000, "6h": 21_600_000, "24h": 86_400_000, "7d": 604_800_000, "30d": 2_592_000_000}
_BY_HOUR_MS = 120 * HOUR_MS  # spans of so many hours, and longer ones, are drawn by the hour
_MOST_EVENTS = 200
_MOST_FEATURES = 4  # whose drift is drawn
_MOST_SLOTS = 64
_BREAK = 3  # windows of a curve's own length without one: the curve is broken
_SHARES = (0.5, 0.95, 0.99)
_NOTHING = (None,) * 4


class SlotFacts(msgspec.Struct, frozen=True):
    """What a slot runs."""

    slot: str
    facts: list[tuple[str, str]]


class Told(msgspec.Struct, frozen=True):
    """Something that happened."""

    at_ms: int
    severity: str
    slot: str
    name: str
    detail: str


class Curves(msgspec.Struct, kw_only=True):
    """Columns of one length; None where nothing was told, and where windows are missing."""

    at_s: list[float] = []
    p50_ms: list[float | None] = []  # from input to result
    p95_ms: list[float | None] = []
    p99_ms: list[float | None] = []
    model_p95_ms: list[float | None] = []  # the model alone
    per_second: list[float | None] = []
    error_percent: list[float | None] = []
    temperature_c: list[float | None] = []
    cpu_percent: list[float | None] = []  # of the board
    psi: dict[str, list[float | None]] = {}  # by feature
    psi_limits: dict[
        str, float
    ] = {}  # of those that were raised: another than usual where a model's reference is small


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """The whole stretch; percentiles are those of all its samples together."""

    windows: int
    inferences: int
    errors: int
    errors_by_kind: str
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    unreadable: int  # windows whose histogram is damaged


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """What the page of a board shows."""

    fleet: str
    device: str
    kind: str
    online: bool | None
    last_seen_ms: int
    now_ms: int
    since_ms: int  # of what is shown
    asked_since_ms: int  # earlier, where that was too much
    facts: list[tuple[str, str]]
    slots: list[SlotFacts]
    slot: str  # whose curves these are
    problems: list[HealthProblem]
    total: Total
    curves: Curves
    events: list[Told]
    earlier_events: bool  # there are more than are shown


def life(
    reader: StoreReader,
    summary: DeviceSummary,
    span: str,
    slot: str | None,
    now_ms: int,
    usual: Mapping[tuple[str, str], Usual],
) -> Life:
    """Read a board's life; however long the span, a bounded number of windows is read and of points returned.

    Args:
        reader: Of the store.
        summary: The board.
        span: One of ``SPANS``.
        slot: Whose curves; None, or one that there is not: the first.
        now_ms: Where the span ends.
        usual: See ``health.usual_models``.
    """
    names = list(dict.fromkeys([*(summary.state.slots if summary.state else ()), *summary.slots]))[:_MOST_SLOTS]
    chosen = slot if slot is not None and slot in names else next(iter(names), "")
    asked_ms = now_ms - SPANS[span]
    if SPANS[span] >= _BY_HOUR_MS:
        asked_ms = asked_ms // HOUR_MS * HOUR_MS
        since_ms, stretches = by_hour(reader, summary.device, chosen, Span(asked_ms, now_ms))
    else:
        since_ms, stretches = by_window(reader, summary.device, chosen, Span(asked_ms, now_ms))
    stretches.reach(since_ms)
    whole = Figures()
    for one in stretches.found.values():
        whole.merge(one)
    kinds = sorted(whole.errors, key=lambda kind: (-whole.errors[kind], kind))
    events = [*reader.events(Span(since_ms, now_ms + AHEAD_MS), summary.device, newest=_MOST_EVENTS + 1)]
    histograms = stretches.histograms()
    (p50,), (p95,), (p99,) = quantiles(added_up(histograms.whole), *_SHARES)
    length_ms = max(whole.length_ms // max(1, whole.windows), stretches.length_ms)
    curves = _curves(stretches, histograms, _BREAK * length_ms)
    curves.psi_limits = _limits(summary, chosen, events)
    return Life(
        fleet=summary.device.fleet,
        device=summary.device.name,
        kind=board_kind(summary),
        online=None if summary.state is None else not offline(summary),
        last_seen_ms=summary.last_seen_ms,
        now_ms=now_ms,
        since_ms=since_ms,
        asked_since_ms=asked_ms,
        facts=_facts(summary),
        slots=[_slot(summary, name) for name in names],
        slot=plain(chosen, 63),
        problems=shown_problems(problems(summary, now_ms, usual)),
        total=Total(
            windows=whole.windows,
            inferences=whole.inferences,
            errors=sum(whole.errors.values()),
            errors_by_kind=listed({kind: whole.errors[kind] for kind in kinds}, MOST_CHARACTERS),
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            unreadable=stretches.unreadable,
        ),
        curves=curves,
        events=[_told(event) for event in reversed(events[-_MOST_EVENTS:])],
        earlier_events=len(events) > _MOST_EVENTS,
    )


def _curves(stretches: Stretches, histograms: Histograms, break_ms: int) -> Curves:
    curves = Curves()
    worst: Counter[str] = Counter()
    for one in stretches.found.values():
        for feature, psi_milli in one.psi_milli.items():
            worst[feature] = max(worst[feature], psi_milli)
    names: dict[str, set[str]] = {}  # as they are shown; of long ones several may be the same
    for feature, _ in worst.most_common():
        names.setdefault(plain(feature, 60), set()).add(feature)
    curves.psi = {name: [] for name in [*names][:_MOST_FEATURES]}
    shown = [(names[name], values) for name, values in curves.psi.items()]
    figures = zip(*quantiles(histograms.whole, *_SHARES), *quantiles(histograms.model, 0.95), strict=True)
    before: int | None = None
    for number, latencies in zip(histograms.numbers, figures, strict=True):
        at_ms = number * stretches.length_ms
        if before is not None and at_ms - before > break_ms:
            _point(curves, (before + at_ms) / 2000, Figures(), _NOTHING, shown)
        _point(curves, at_ms / 1000, stretches.found[number], latencies, shown)
        before = at_ms
    return curves


def _limits(summary: DeviceSummary, slot: str, events: list[StoredEvent]) -> dict[str, float]:
    """Return the limits that the board itself told with drift that it raised."""
    raised = [
        *standing((one.at_ms, one.event) for one in events if one.event.slot == slot and one.event.name == RAISED)
    ]
    raised += summary.slots[slot].alarms if slot in summary.slots else ()
    return {plain(one.feature, 60): one.limit for one in raised if one.limit is not None}


def _point(
    curves: Curves,
    at_s: float,
    figures: Figures,
    latencies_ms: tuple[float | None, ...],
    shown: list[tuple[set[str], list[float | None]]],
) -> None:
    curves.at_s.append(at_s)
    for column, latency_ms in zip(
        (curves.p50_ms, curves.p95_ms, curves.p99_ms, curves.model_p95_ms), latencies_ms, strict=True
    ):
        column.append(latency_ms)
    errors = sum(figures.errors.values())
    seconds, samples = figures.length_ms / 1000, figures.inferences + errors
    curves.per_second.append(figures.inferences / seconds if seconds else None)
    curves.error_percent.append(100 * errors / samples if samples > 0 else None)
    curves.temperature_c.append(None if figures.hottest_decic is None else figures.hottest_decic / 10)
    weight_ms = figures.cpu_weight_ms
    curves.cpu_percent.append(figures.cpu_permille_ms / weight_ms / 10 if weight_ms else None)
    for features, values in shown:
        psi_milli = max((figures.psi_milli[one] for one in features if one in figures.psi_milli), default=None)
        values.append(None if psi_milli is None else psi_milli / 1000)


def _facts(summary: DeviceSummary) -> list[tuple[str, str]]:
    state = summary.state
    facts = [("fleet", summary.device.fleet), ("shard", summary.shard)]
    if state is not None:
        facts += [("agent", plain(state.agent, 40))] if state.agent else []
        facts += [("window", duration(state.window_s))] if state.window_s else []
        facts.append(("clock", "synchronised" if state.clock_synchronised else "not synchronised"))
        facts += [fact(key, value) for key, value in [*state.board.items()][:24]]
    facts.append(("rows", f"{summary.rows}"))
    facts += [("lost for good", f"{summary.lost_rows} rows")] if summary.lost_rows else []
    facts += [("came twice", f"{summary.duplicates} rows")] if summary.duplicates else []
    newest = max(summary.slots.values(), key=lambda slot: slot.received_ms, default=None)
    board = newest.window.board if newest else None
    if board is not None and board.throttled and (words := in_words(board.throttled)):
        facts.append(("firmware", words))
    return facts


def _slot(summary: DeviceSummary, name: str) -> SlotFacts:
    state = summary.state.slots.get(name) if summary.state else None
    if state is None:
        return SlotFacts(plain(name, 63), [])
    facts = {
        "status": state.status,
        "model": state.model,
        "manifest": state.manifest_sha256[:12],
        "artifact": state.artifact,
        "scheme": state.scheme,
        "runtime": state.runtime,
        "runs on": state.provider,
        "why": state.why,
        "failures in a row": str(state.failures) if state.failures else "",
    }
    return SlotFacts(plain(name, 63), [(key, plain(value, 500)) for key, value in facts.items() if value])


def _told(stored: StoredEvent) -> Told:
    event = stored.event
    detail = listed(event.detail, 500)
    if event.burst is not None:
        burst = f"a burst of {amount(len(event.burst.data))}"
        detail = f"{detail}, {burst}" if detail else burst
    return Told(stored.at_ms, event.severity, plain(event.slot, 63), plain(event.name, 60), detail)
