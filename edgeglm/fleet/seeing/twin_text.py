"""A board around a moment as text."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

from edgeglm_agent.status_text import amount, duration, table

from edgeglm.fleet.plain import pairs, plain
from edgeglm.fleet.seeing.listing import figure
from edgeglm.fleet.seeing.times import local_iso
from edgeglm.fleet.seeing.twin import Settings
from edgeglm.fleet.seeing.window_text import window_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeglm.fleet.seeing.neighbours import Neighbourhood
    from edgeglm.fleet.seeing.signals import Signal
    from edgeglm.fleet.seeing.twin import Ran, Said, Twin

_MOST_NEIGHBOURS = 12
_MOST_CURVES = 16
_BLOCKS, _ASCII = " ▁▂▃▄▅▆▇█", " .:-=+*#@"  # a curve's levels, from its lowest to its highest


def render(twin: Twin, *, width: int, blocks: bool = True) -> str:
    """Return it in lines of at most so many characters; ``blocks``: curves may be drawn with them."""
    around = duration((twin.until_ms - twin.at_ms) / 1000)
    head = f"{plain(twin.device)} of fleet {plain(twin.fleet)} at {local_iso(twin.at_ms)}, {around} before and after"
    lines = _wrapped(head, width, "")
    if twin.unheard:
        lines += _wrapped(f"nothing had come from it yet: it was first heard {local_iso(twin.first_seen_ms)}", width)
    lines += ["", "it ran"]
    for ran in twin.ran:
        lines += _wrapped(_ran(ran), width)
    lines += _wrapped(_settings(twin), width)
    lines += ["", "wrong with it"]
    for problem in twin.problems:
        where = f" ({plain(problem.slot, 63)})" if problem.slot not in ("", "main") else ""
        lines += _wrapped(f"{problem.kind}{where}: {problem.reason}", width)
    if "silent" in twin.signs:
        lines += _wrapped("silent: no window of it held the moment", width)
    told = [sign for sign in twin.signs if sign not in {"silent", *(problem.kind for problem in twin.problems)}]
    if told:
        lines += _wrapped(f"it told: {', '.join(told)}", width)
    if twin.unheard and not twin.signs:
        lines.append("  nobody can tell")
    elif not twin.signs:
        lines.append("  nothing, as far as its windows and events say")
    lines += _windows(twin, width)
    lines += ["", "it said" if twin.events else "it told no events"]
    for event in twin.events:
        lines += _event(event, width, _BLOCKS if blocks else _ASCII)
    if twin.more_events:
        lines.append(f"  and {twin.more_events} more, further from the moment")
    if twin.results:
        lines += ["", "it answered"]
    for saw in twin.results:
        piece = f"; {saw.piece} of {amount(len(saw.data))}" if saw.piece else ""
        lines += _wrapped(f"{local_iso(saw.at_ms, milliseconds=True)} {saw.slot} {saw.answer[:300]}{piece}", width)
    for gap in twin.gaps:
        lines += _wrapped(
            f"{gap.rows} rows are lost for good: {gap.reason} {pairs(json.loads(gap.rows_by_kind))}", width, ""
        )
    return "\n".join([*lines, *_neighbours(twin.neighbours, width)])


def _ran(ran: Ran) -> str:
    name = ran.slot or "no slot"
    if ran.told_by == "nothing":
        return f"{name}: nothing in the store tells what" + ("" if ran.load is None else f"; load {ran.load}")
    text = f"{name}: {ran.model or 'a model'}"
    text += f" (manifest {ran.manifest})" if ran.manifest else ""
    text += f", {ran.artifact}" if ran.artifact else ""
    text += f" ({ran.scheme})" if ran.scheme else ""
    text += f" in {ran.runtime}" if ran.runtime else ""
    text += f" on {ran.provider}" if ran.provider else ""
    text += "" if ran.load is None else f"; load {ran.load}"
    return text + (f", since {local_iso(ran.since_ms)}" if ran.since_ms is not None else "")


def _settings(twin: Twin) -> str:
    found = twin.settings
    if found == Settings():
        return "nothing in the store tells how the agent was set"
    parts = [f"edgeglm-agent {found.agent}".rstrip()]
    parts += [f"since {local_iso(found.started_ms)}"] if found.started_ms is not None else []
    parts += [f"windows of {duration(found.window_s)}"] if found.window_s else []
    parts += [f"{found.sample_share:.1%} of the answers sampled"] if found.sample_share is not None else []
    return "; ".join(parts)


def _windows(twin: Twin, width: int) -> Iterator[str]:
    slots = dict.fromkeys([*(window.slot for window in twin.windows), *twin.missing])
    for slot in slots:
        own = [window for window in twin.windows if window.slot == slot]
        yield ""
        if slot not in ("", "main") or len(slots) > 1:
            yield f"{plain(slot, 63) or 'no slot'}:"
        if slot in twin.missing:
            yield from _wrapped(f"no window held the moment; {twin.missing[slot]}", width)
        if own:
            yield from window_table(own, width, around_ms=twin.at_ms)


def _event(event: Said, width: int, levels: str) -> Iterator[str]:
    slot = f" {event.slot}" if event.slot else ""
    detail = f" {pairs(json.loads(event.detail), 300)}" if event.detail != "{}" else ""
    yield from _wrapped(f"{local_iso(event.at_ms)} {event.severity}{slot} {event.name}{detail}", width)
    if event.channels:
        worst = sorted(enumerate(event.channels), key=lambda one: -(one[1] if one[1] is not None else 0.0))
        shown = ", ".join(f"channel {number} {figure(error)}" for number, error in worst[:8])
        more = f", and {len(worst) - 8} smaller ones" if len(worst) > 8 else ""
        yield from _wrapped(f"error by channel: {shown}{more}", width, "    ")
    if event.signal is not None:
        yield from _signal(event.signal, width, levels)


def _signal(signal: Signal, width: int, levels: str) -> Iterator[str]:
    shape = " x ".join(map(str, signal.shape))
    text = f"signal: {plain(shape, 60)} of {plain(signal.dtype)}, {amount(len(signal.data))}"
    text += f", {figure(signal.rate_hz)} Hz" if signal.rate_hz is not None else ""
    text += f"; sample {signal.at} (from 0) went over the limit" if signal.at is not None else ""
    text += f"; cannot be read: {signal.trouble}" if signal.trouble else ""
    yield from _wrapped(text, width, "    ")
    for number, channel in enumerate(signal.channels[:_MOST_CURVES]):
        room = max(0, width - 42)
        curve = _curve(channel.points, levels)[:room]
        yield f"      {number:>2} {figure(channel.low):>9} to {figure(channel.high):>9}  {curve}".rstrip()[:width]
    if len(signal.channels) > _MOST_CURVES:
        yield f"      and {len(signal.channels) - _MOST_CURVES} more channels"


def _curve(points: list[float], levels: str) -> str:
    if not points:
        return ""
    low, high = min(points), max(points)
    step = (high - low) / (len(levels) - 1) or 1.0
    return "".join(levels[max(1, min(len(levels) - 1, round((point - low) / step)))] for point in points)


def _neighbours(found: Neighbourhood, width: int) -> Iterator[str]:
    yield ""
    if not found.boards:
        yield "it has no neighbours: no other board of the fleet is known"
        return
    alike = sum(one.same_model for one in found.boards)
    others = f"{len(found.boards)} other board{'' if len(found.boards) == 1 else 's'} of the fleet"
    yield from _wrapped(f"neighbours: {others}, {alike} with the same model", width, "")
    whom = "boards with the same model" if found.compared == "same-model" else "other boards"
    for one in found.company:
        if not one.of:
            verdict = "no other board had been heard"
        else:
            verdict = f"{one.too} of {one.of} {whom} too" if one.too else f"it is alone (of {one.of + 1})"
        yield from _wrapped(f"{one.sign}: {verdict}", width)
    head = ["DEVICE", "MODEL", "P95 MS", "ERR %", "TEMP", "DRIFT", "SIGNS"]
    rows = [
        [
            one.device,
            one.model or "-",
            figure(one.p95_ms),
            figure(None if one.error_share is None else one.error_share * 100),
            figure(one.temperature_c),
            figure(one.psi),
            ", ".join(one.signs) or ("not heard yet" if one.unheard else "-"),
        ]
        for one in found.boards[:_MOST_NEIGHBOURS]
    ]
    yield from (f"  {line}" for line in table(head, rows, width=width - 2))
    if len(found.boards) > _MOST_NEIGHBOURS:
        yield f"  and {len(found.boards) - _MOST_NEIGHBOURS} more; --json has them all"
    if found.cut:
        yield from _wrapped("the fleet said more than is read for this: give a shorter --around", width)


def _wrapped(text: str, width: int, first: str = "  ") -> list[str]:
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * (len(first) + 2))
