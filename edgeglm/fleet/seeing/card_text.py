"""A board's card as text, 80 columns wide."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

from edgeglm_agent.board.pi import in_words
from edgeglm_agent.status_text import amount, duration

from edgeglm.fleet.plain import pairs, plain
from edgeglm.fleet.seeing.listing import figure
from edgeglm.fleet.seeing.times import age, local_iso
from edgeglm.fleet.seeing.window_text import window_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeglm_agent.wire.commands import SlotState

    from edgeglm.fleet.seeing.card import Card, SlotTotal
    from edgeglm.fleet.seeing.flat import FlatWindow

_MOST_SLOTS = 64


def render(card: Card, now_ms: int, *, width: int) -> str:
    """Return the whole card, in lines of at most so many characters."""
    lines = [*_head(card, now_ms, width), *_slots(card, width)]
    if card.problems:
        lines += ["", "problems"]
        for problem in card.problems:
            where = f" ({plain(problem.slot, 63)})" if problem.slot not in ("", "main") else ""
            lines += _wrapped(f"{problem.kind}{where}: {problem.reason}", width, "  ", "    ")
    lines += ["", f"since {local_iso(card.since_ms)}"]
    if not card.totals:
        lines.append("  no window came")
    for total in card.totals:
        lines += _wrapped(_total(total), width, "  ", "    ")
    lines += _windows(card.windows, width)
    if card.events:
        earlier = f" (and {card.more_events} earlier ones: edgeglm fleet logs)" if card.more_events else ""
        lines += ["", f"events{earlier}"]
        for event in card.events:
            slot = f" {plain(event.slot, 63)}" if event.slot else ""
            detail = f" {pairs(json.loads(event.detail), 300)}" if event.detail != "{}" else ""
            text = f"{local_iso(event.at_ms)} {event.severity}{slot} {plain(event.name, 60)}{detail}"
            lines += _wrapped(text, width, "  ", "    ")
    if card.lost.rows or card.lost_rows_ever:
        reasons = f" ({pairs(card.lost.reasons)})" if card.lost.reasons else ""
        text = f"lost for good: {card.lost.rows} rows in this time{reasons}, {card.lost_rows_ever} ever"
        lines += ["", *_wrapped(text, width, "", "  ")]
    if card.replies:
        lines += ["", "answers to commands"]
        for reply in card.replies:
            outcome = "done" if reply.ok else "refused"
            said = f": {plain(reply.said)}" if reply.said else ""
            text = f"{local_iso(reply.received_ms)} {plain(reply.op, 30)} ({plain(reply.id, 63)}) {outcome}{said}"
            lines += _wrapped(text, width, "  ", "    ")
    return "\n".join(lines)


def _head(card: Card, now_ms: int, width: int) -> Iterator[str]:
    def row(name: str, text: str) -> list[str]:
        return _wrapped(text, width, f"{name:7}", " " * 7)

    yield from row(
        "board",
        f"{plain(card.device)} of fleet {plain(card.fleet)}, shard {plain(card.shard)}; first heard "
        f"{local_iso(card.first_seen_ms)}, "
        + (f"last {age(card.last_seen_ms, now_ms)} ago" if card.last_seen_ms else "not since"),
    )
    state = card.state
    if state is None:
        yield from row("state", "it has not said what it is")
    else:
        online = "online" if state.online else "offline"
        parts = [f"{online} since {local_iso(card.state_ms)}"]
        parts += [f"edgeglm-agent {plain(state.agent, 40)}"] if state.agent else []
        parts += [f"windows of {duration(state.window_s)}"] if state.window_s else []
        parts += ["clock synchronised" if state.clock_synchronised else "clock NOT synchronised"]
        yield from row("state", "; ".join(parts))
        if state.board:
            yield from row("is", pairs(state.board, 600))
    if card.windows:
        newest = max(card.windows, key=lambda window: (window.received_ms, window.at_ms))
        if reading := "; ".join(_reading(newest)):
            yield from row("last", reading)


def _reading(window: FlatWindow) -> Iterator[str]:
    if window.board_temperature_c is not None:
        yield f"{window.board_temperature_c:.1f} C"
    if window.board_throttled and (words := in_words(window.board_throttled)):
        yield words
    if window.board_undervoltage:
        yield "UNDER-VOLTAGE"
    if window.board_cpu_percent is not None:
        yield f"processor {window.board_cpu_percent:.0f} %"
    if window.board_gpu_percent is not None:
        yield f"GPU {window.board_gpu_percent:.0f} %"
    if window.board_memory_available_mb is not None:
        yield f"{amount(window.board_memory_available_mb * 1e6)} of memory free"
    if window.board_disk_free_mb is not None:
        yield f"{amount(window.board_disk_free_mb * 1e6)} of disk free"
    if window.board_power_mw:
        yield f"power in mW {pairs(json.loads(window.board_power_mw))}"


def _slots(card: Card, width: int) -> Iterator[str]:
    slots = card.state.slots if card.state else {}
    for name, slot in list(slots.items())[:_MOST_SLOTS]:
        yield ""
        yield from _wrapped(f"{plain(name, 63)}: {_runs(slot)}", width, "", "    ")
        if slot.why:
            yield from _wrapped(
                f"{'passed over' if slot.status == 'serving' else 'why'}: {plain(slot.why, 500)}", width
            )
        if slot.failures:
            yield f"    {slot.failures} failure{'' if slot.failures == 1 else 's'} in a row"
    if len(slots) > _MOST_SLOTS:
        yield f"and {len(slots) - _MOST_SLOTS} more slots"


def _runs(slot: SlotState) -> str:
    text = slot.status + (f" {plain(slot.model, 100)}" if slot.model else "")
    if slot.artifact:
        text += f", {plain(slot.artifact, 100)} ({plain(slot.scheme, 40)}) in {plain(slot.runtime, 60)}"
        text += f" on {plain(slot.provider, 40)}"
    return text + (f"; manifest {plain(slot.manifest_sha256[:12])}" if slot.manifest_sha256 else "")


def _total(total: SlotTotal) -> str:
    failed = sum(total.errors.values())
    text = f"{plain(total.slot, 63) or 'no slot'}: {total.inferences} answered"
    if failed:
        text += f", {failed} failed ({failed / max(1, failed + total.inferences):.2%}; {pairs(total.errors, 100)})"
    text += f", in {total.windows} window{'' if total.windows == 1 else 's'}"
    for name, found in (("from input to result", total.total_ms), ("the model alone", total.model_ms)):
        if found and (name != "the model alone" or found != total.total_ms):
            text += f"; {name} " + ", ".join(f"{key} {figure(value)} ms" for key, value in found.items())
    return text + (f"; {total.unreadable} windows with a damaged histogram" if total.unreadable else "")


def _windows(windows: Sequence[FlatWindow], width: int) -> Iterator[str]:
    for slot in dict.fromkeys(window.slot for window in windows):
        yield ""
        if slot not in ("", "main"):
            yield f"{slot}:"
        yield from window_table([window for window in windows if window.slot == slot], width)


def _wrapped(text: str, width: int, first: str = "    ", rest: str = "      ") -> list[str]:
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=rest)
