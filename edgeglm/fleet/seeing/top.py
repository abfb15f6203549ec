"""``fleet top``: a line a slot, what hurts most first, laid out for a terminal of any size. Pure: no terminal here."""

from __future__ import annotations

import textwrap
import time
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

import msgspec

from edgeglm.fleet.health import KINDS, HealthProblem, current_slots, quantile_ms
from edgeglm.fleet.plain import plain
from edgeglm.fleet.seeing.listing import (
    BoardLine,
    SlotLine,
    board_lines,
    counts,
    figure,
    line_name,
    several_fleets,
    slot_problems,
    worst_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeglm.fleet.store.types import DeviceSummary, SlotSummary

Sort: TypeAlias = Literal["problem", "p95", "errors", "temperature", "drift", "rate", "device"]
SORTS: tuple[Sort, ...] = get_args(Sort)
_MOST_PSI = 999.0  # that is shown: a board may tell any number
_KEYS = "q quit  up/down board  left/right sort: {}  r reverse"
_LEAST_NAMES = 22  # characters of the board and its problem together
_MODEL_FROM = 100  # columns of a terminal that has room for the model
_MODEL = 18
_REASON = 2  # lines
_FRAME = 4 + _REASON  # lines around the table: counts, units, heading, reason, keys
_LEAST_HEIGHT = 9  # lines of a terminal that has room for those


class TopLine(NamedTuple):
    """One slot of a board over its newest window."""

    fleet: str
    device: str
    name: str  # as it is shown
    slot: SlotLine
    latency: bytes  # packed sketch, from input to result
    psi: float | None  # of the feature that has moved the furthest
    problems: list[HealthProblem]


class Look(NamedTuple):
    """The fleet at one moment."""

    at_ms: int
    boards: list[BoardLine]
    lines: list[TopLine]


class _Column(NamedTuple):
    head: str
    width: int
    cell: Callable[[TopLine], str]


_NUMBERS = (
    _Column("PER S", 6, lambda line: figure(line.slot.per_second)),
    _Column("P50", 6, lambda line: figure(quantile_ms(line.latency, 0.5))),
    _Column("P95", 6, lambda line: figure(line.slot.p95_ms)),
    _Column("P99", 6, lambda line: figure(quantile_ms(line.latency, 0.99))),
    _Column("ERR %", 5, lambda line: figure(None if line.slot.error_share is None else line.slot.error_share * 100)),
    _Column("TEMP", 5, lambda line: figure(line.slot.temperature_c)),
    _Column("DRIFT", 5, lambda line: figure(line.psi)),
)
_FIRST_TO_GO = ("P50", "P99", "PER S", "ERR %", "DRIFT", "TEMP", "P95")  # where the terminal is narrow


def look(summaries: Sequence[DeviceSummary], now_ms: int) -> Look:
    """Return what is shown of these boards; percentiles beside p95 are worked out once a line is on the screen."""
    boards = board_lines(summaries, now_ms)
    several = several_fleets(boards)
    lines = []
    for summary, board in zip(summaries, boards, strict=True):
        last = {slot.slot: slot for slot in current_slots(summary)}
        for slot in board.slots:
            newest = last.get(slot.slot)
            lines.append(
                TopLine(
                    board.fleet,
                    board.device,
                    line_name(board, slot.slot, several),
                    slot,
                    (newest.window.total_ms or newest.window.latency_ms) if newest else b"",
                    _psi(newest) if newest else None,
                    slot_problems(board, slot.slot),
                )
            )
    return Look(now_ms, boards, lines)


def _psi(slot: SlotSummary) -> float | None:
    """Return how far the worst feature has moved by the newest window, or else by what the board raised before."""
    told = [drift.psi_milli / 1000 for drift in slot.window.drift]
    told = told or [alarm.psi for alarm in slot.alarms if alarm.psi is not None]
    return min(_MOST_PSI, max(told)) if told else None


def in_order(lines: Sequence[TopLine], sort: Sort, *, backwards: bool = False) -> list[TopLine]:
    """Return lines in an order: what hurts most first, of the same by name; ``backwards``: the least."""

    def hurts(line: TopLine) -> tuple[float, ...]:
        if sort == "problem":
            worst = KINDS.index(line.problems[0].kind) if line.problems else len(KINDS)
            return worst, -len(line.problems), -(line.slot.p95_ms or 0.0)
        value = {
            "p95": line.slot.p95_ms,
            "errors": line.slot.error_share,
            "temperature": line.slot.temperature_c,
            "drift": line.psi,
            "rate": line.slot.per_second,
            "device": 0.0,
        }[sort]
        return (float("inf") if value is None else -value,)

    found = sorted(lines, key=lambda line: (hurts(line), line.fleet, line.device, line.slot.slot))
    return found[::-1] if backwards else found


def table(lines: Sequence[TopLine], width: int | None) -> list[str]:
    """Return a heading and the lines, each of just so many characters; None: nothing is cut, as for a program."""
    numbers = list(_NUMBERS)
    kinds = [[problem.kind for problem in line.problems] for line in lines]
    problems = [(",".join(words) if width is None else worst_of(words)) or "-" for words in kinds]
    if width is None:
        names = max(map(len, ("DEVICE", *(line.name for line in lines))))
        models = max(map(len, ("MODEL", *(plain(line.slot.model, 80) for line in lines))))
        least = 0
    else:
        for head in _FIRST_TO_GO:
            if width - _taken(numbers) >= _LEAST_NAMES:
                break
            numbers = [column for column in numbers if column.head != head]
        models = _MODEL if width >= _MODEL_FROM else 0
        left = max(2, width - _taken(numbers) - (models + 2 if models else 0))
        least = min(left // 2, max(map(len, ("PROBLEM", *problems))))
        names = left - least
    heads = [f"{column.head:>{column.width}}" for column in numbers]
    rows = [["DEVICE", *(["MODEL"] if models else []), " ".join(heads), "PROBLEM"]]
    for line, problem in zip(lines, problems, strict=True):
        cells = [f"{column.cell(line):>{column.width}}" for column in numbers]
        rows.append([line.name, *([plain(line.slot.model, 80) or "-"] if models else []), " ".join(cells), problem])
    widths = [names, *([models] if models else []), len(" ".join(heads)), least]
    return ["  ".join(_cell(cell, size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows]


def _taken(numbers: Sequence[_Column]) -> int:
    return sum(column.width + 1 for column in numbers) + 3


def _cell(text: str, width: int) -> str:
    return plain(text, width).ljust(width) if width else text


class Board(msgspec.Struct):
    """What the user has chosen to see; changed by keys."""

    sort: Sort = "problem"
    backwards: bool = False
    chosen: tuple[str, str, str] | None = None  # fleet, device, slot; None: the first line
    first: int = 0  # line of the table that is shown first


def press(board: Board, key: str, lines: Sequence[TopLine], page: int) -> None:
    """Do what a key says; of one that says nothing, nothing. ``lines`` are in order, ``page`` of them are shown."""
    if key in ("left", "right", "<", ">"):
        step = -1 if key in ("left", "<") else 1
        board.sort = SORTS[(SORTS.index(board.sort) + step) % len(SORTS)]
        board.chosen, board.first = None, 0
    elif key in ("r", "R"):
        board.backwards = not board.backwards
        board.chosen, board.first = None, 0
    else:
        steps = {"up": -1, "down": 1, "k": -1, "j": 1, "page-up": -page, "page-down": page, " ": page}
        steps |= {"home": -len(lines), "end": len(lines)}
        if key in steps and lines:
            place = max(0, min(len(lines) - 1, place_of(board, lines) + steps[key]))
            board.chosen = _key(lines[place])


def place_of(board: Board, lines: Sequence[TopLine]) -> int:
    """Return which line is chosen; a board that is gone leaves the choice to the first one."""
    if board.chosen is not None:
        for place, line in enumerate(lines):
            if _key(line) == board.chosen:
                return place
    return 0


def page_of(height: int) -> int:
    """Return how many lines of the table are shown."""
    return max(1, height - (_FRAME if height >= _LEAST_HEIGHT else 1))


def screen(
    seen: Look, lines: Sequence[TopLine], board: Board, width: int, height: int, trouble: str = ""
) -> tuple[list[str], int, int | None]:
    """Return as many lines as the screen has, which of them is the heading, and which the chosen one.

    Args:
        seen: The fleet.
        lines: Its lines, in order.
        board: What the user has chosen; which line is shown first is set here.
        width: Characters of a line.
        height: Lines.
        trouble: Why the store cannot be read any more; empty: it can.
    """
    page, place = page_of(height), place_of(board, lines)
    board.first = max(min(board.first, place, len(lines) - page), place - page + 1, 0)
    shown = lines[board.first : board.first + page]
    rows = [row.ljust(width)[:width] for row in table(shown, width)]
    chosen = place - board.first if shown else None
    rows += [""] * (page + 1 - len(rows))
    if height < _LEAST_HEIGHT:
        return rows[:height], 0, None if chosen is None else chosen + 1
    clock = time.strftime("%H:%M:%S", time.localtime(seen.at_ms / 1000))
    silent = {_key(line) for line in lines if any(problem.kind == "silent" for problem in line.problems)}
    rate = sum(line.slot.per_second or 0.0 for line in lines if _key(line) not in silent)
    units = f"{figure(rate)} inferences a second; latencies in ms, from input to result"
    keys = _KEYS.format(board.sort + (" (reversed)" if board.backwards else ""))
    if len(lines) > page:
        keys += f"  {place + 1} of {len(lines)}"
    top = [f"{clock}  {counts(seen.boards)}", f"store: {trouble}" if trouble else units]
    return (
        [plain(line, width) for line in top] + rows + [*_told(_reason(lines, place), width), plain(keys, width)],
        2,
        None if chosen is None else chosen + 3,
    )


def _told(text: str, width: int) -> list[str]:
    """Return a text on so many lines, cut where it has more."""
    told = textwrap.wrap(text, width)
    shown = [*told[: _REASON - 1], " ".join(told[_REASON - 1 :])]
    return [plain(line, width) for line in shown] + [""] * (_REASON - len(shown))


def _reason(lines: Sequence[TopLine], place: int) -> str:
    if not lines:
        return "no board has said anything yet"
    line = lines[place]
    if not line.problems:
        return f"{line.name}: no problems; {plain(line.slot.model, 80) or 'no model'} is {line.slot.status}"
    return f"{line.name}: " + "; ".join(f"{problem.kind}: {problem.reason}" for problem in line.problems)


def _key(line: TopLine) -> tuple[str, str, str]:
    return line.fleet, line.device, line.slot.slot
