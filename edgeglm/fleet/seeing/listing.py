"""The boards at a glance: a line a slot, or a line a problem."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
from edgeglm_agent.status_text import table
from edgeglm_agent.suggest import nearest

from edgeglm.errors import UserError
from edgeglm.fleet.health import (
    KINDS,
    HealthProblem,
    current_slots,
    error_share,
    newest,
    offline,
    problems,
    quantile_ms,
    slot_state,
    usual_models,
)
from edgeglm.fleet.plain import plain
from edgeglm.fleet.quiet import quiet
from edgeglm.fleet.seeing.times import age

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.fleet.store.types import DeviceSummary, SlotSummary

_UNCUT = 10_000  # characters of a line that goes to another program
_LEAST_REASON = 30
_LEAST_COLUMN = 8
_MODEL, _STATUS = 1, 2  # columns
NONE_YET = """no board has said anything yet. To hear from boards:
  1. let a broker and a collector run, unless they do: edgeglm fleet up
     (or apart: edgeglm fleet broker; edgeglm fleet collect --broker mqtt://localhost)
  2. on each board, in agent.toml:
       [mqtt]
       host = "the broker's name or address"
"""


class SlotLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one slot of a board did over its newest window; None where nobody knows."""

    slot: str
    model: str
    status: str
    p95_ms: float | None = None  # from input to result handed out
    per_second: float | None = None
    errors: int | None = None
    error_share: float | None = None
    temperature_c: float | None = None  # the board's hottest zone


class BoardLine(msgspec.Struct, frozen=True, kw_only=True):
    """One board."""

    fleet: str
    device: str
    last_seen_ms: int
    online: bool | None  # None: it has never said
    slots: list[SlotLine]
    problems: list[HealthProblem]


class NothingComes(msgspec.Struct, frozen=True, kw_only=True):
    """Boards that all stopped at one moment: collector, broker or the way to it is down."""

    since_ms: int  # when the last message came
    boards: int  # that spoke until then
    reason: str  # in words


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What ``fleet ls --json`` prints."""

    boards: list[BoardLine]
    unreadable: int  # messages and rows of the whole store that could not be read, ever
    nothing_comes: NothingComes | None  # from any board of those that were asked for; None: something does


def board_lines(summaries: Sequence[DeviceSummary], now_ms: int) -> list[BoardLine]:
    """Return the boards in their order; which model is wrong is told from all that are given."""
    usual = usual_models(summaries)
    return [
        BoardLine(
            fleet=summary.device.fleet,
            device=summary.device.name,
            last_seen_ms=summary.last_seen_ms,
            online=None if summary.state is None else not offline(summary),
            slots=_slots(summary),
            problems=problems(summary, now_ms, usual),
        )
        for summary in summaries
    ]


def nothing_comes(summaries: Sequence[DeviceSummary], now_ms: int) -> NothingComes | None:
    """Return since when nothing comes from any of these boards; None: something does, or they are too few to tell."""
    found = quiet(summaries, now_ms)
    return found and NothingComes(since_ms=found.since_ms, boards=found.boards, reason=found.reason(now_ms))


def only(boards: Sequence[BoardLine], kinds: Sequence[str]) -> list[BoardLine]:
    """Return the boards with their problems of some kinds alone.

    Raises:
        UserError: There is no such kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            near = nearest(kind, KINDS)
            raise UserError(
                f"no problem is called `{plain(kind, 60)}`",
                where="--problem",
                hint=f"did you mean `{near[0]}`?" if near else f"there are {', '.join(KINDS)}",
                code="problem-unknown",
            )
    return [
        msgspec.structs.replace(board, problems=[problem for problem in board.problems if problem.kind in kinds])
        for board in boards
    ]


def worst_first(boards: Sequence[BoardLine]) -> list[BoardLine]:
    """Return the boards that have problems: the worst first, and of the same those that have more."""
    ill = [board for board in boards if board.problems]
    return sorted(ill, key=lambda board: (KINDS.index(board.problems[0].kind), -len(board.problems)))


def render(boards: Sequence[BoardLine], now_ms: int, *, width: int | None) -> str:
    """Return a table, a line a slot; None for the width: nothing is cut."""
    rows: list[list[str]] = []
    several = several_fleets(boards)
    for board in boards:
        for slot in board.slots:
            kinds = [problem.kind for problem in slot_problems(board, slot.slot)]
            share = slot.error_share
            rows.append(
                [
                    line_name(board, slot.slot, several),
                    plain(slot.model, 80) or "-",
                    "offline" if board.online is False else slot.status,
                    age(board.last_seen_ms, now_ms) if board.last_seen_ms else "-",
                    figure(slot.p95_ms),
                    figure(slot.per_second),
                    figure(None if share is None else share * 100),
                    figure(slot.temperature_c),
                    (worst_of(kinds) if width else ",".join(kinds)) or "-",
                ]
            )
    head = ["DEVICE", "MODEL", "STATUS", "SEEN", "P95 MS", "PER S", "ERR %", "TEMP", "PROBLEM"]
    if width:
        _shorten(head, rows, _MODEL, width)
        _shorten(head, rows, _STATUS, width)
    return "\n".join(table(head, rows, width=width or _UNCUT))


def line_name(board: BoardLine, slot: str, with_fleet: bool) -> str:
    """Return what a line of a slot begins with: the board, with its fleet where there are several, and the slot."""
    return _name(board, with_fleet) + (f":{plain(slot, 63)}" if slot not in ("", "main") else "")


def slot_problems(board: BoardLine, slot: str) -> list[HealthProblem]:
    """Return what is wrong with a slot, or with the board as a whole, the worst first; one of each kind."""
    found: dict[str, HealthProblem] = {}
    for problem in board.problems:
        if problem.slot in ("", slot) or len(board.slots) == 1:
            found.setdefault(problem.kind, problem)
    return [*found.values()]


def worst_of(kinds: Sequence[str]) -> str:
    """Return the first kind of problem, and how many there are beside it."""
    return f"{kinds[0]} +{len(kinds) - 1}" if len(kinds) > 1 else "".join(kinds)


def _shorten(head: Sequence[str], rows: Sequence[list[str]], column: int, width: int) -> None:
    """Cut one column so far that all fit, or to its least: what a board is called is cut last."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    room = max(_LEAST_COLUMN, widths[column] - max(0, sum(widths) + 2 * (len(head) - 1) - width))
    for row in rows:
        row[column] = plain(row[column], room)


def render_problems(boards: Sequence[BoardLine], *, width: int | None) -> str:
    """Return a line a problem, with its reason; where a width is given, reasons go on in further lines."""
    several = several_fleets(boards)
    rows = [
        (_name(board, several), problem.kind, f"{plain(problem.slot, 63)}: " if _says_slot(problem) else "", problem)
        for board in boards
        for problem in board.problems
    ]
    names = max((len(name) for name, *_ in rows), default=0)
    kinds = max((len(kind) for _, kind, *_ in rows), default=0)
    left = max(len("DEVICE"), names) + 2 + max(len("PROBLEM"), kinds) + 2
    lines = [f"{'DEVICE':{left - max(7, kinds) - 4}}  {'PROBLEM':{max(7, kinds)}}  REASON"]
    for name, kind, slot, problem in rows:
        head = f"{name:{left - max(7, kinds) - 4}}  {kind:{max(7, kinds)}}  "
        text = slot + problem.reason
        room = _UNCUT if width is None else max(_LEAST_REASON, width - left)
        first, *more = textwrap.wrap(text, room) or [""]
        lines += [head + first, *(" " * left + line for line in more)]
    return "\n".join(lines)


def counts(boards: Sequence[BoardLine]) -> str:
    """Return how many there are, and how many of them have which problem."""
    found = Counter(kind for board in boards for kind in {problem.kind for problem in board.problems})
    ill = sum(bool(board.problems) for board in boards)
    total = f"{len(boards)} board{'' if len(boards) == 1 else 's'}"
    if not ill:
        return f"{total}, no problems"
    kinds = ", ".join(f"{found[kind]} {kind}" for kind in KINDS if found[kind])
    return f"{total}, {ill} with problems: {kinds}"


def _name(board: BoardLine, with_fleet: bool) -> str:
    return plain(f"{board.fleet}/{board.device}" if with_fleet else board.device, 130)


def several_fleets(boards: Sequence[BoardLine]) -> bool:
    """Tell whether boards have to be named with their fleets."""
    return len({board.fleet for board in boards}) > 1


def figure(value: float | None) -> str:
    """Return a number in three digits; a dash for None."""
    if value is None:
        return "-"
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}" if abs(value) < 1e6 else f"{value:.1e}"


def _says_slot(problem: HealthProblem) -> bool:
    return problem.slot not in ("", "main")


def _slots(summary: DeviceSummary) -> list[SlotLine]:
    last = newest(summary)
    board = last.window.board if last else None
    tenths = board.temperature_decic if board else None
    degrees = None if tenths is None else tenths / 10
    windows = {slot.slot: slot for slot in current_slots(summary)}
    names = [*(summary.state.slots if summary.state else {})]
    names += [name for name in windows if name not in names and (name or len(windows) == 1)]
    return [_slot(summary, name, windows.get(name), degrees) for name in names or [""]]


def _slot(summary: DeviceSummary, name: str, last: SlotSummary | None, degrees: float | None) -> SlotLine:
    state = slot_state(summary, name)
    line = SlotLine(
        slot=name,
        model=state.model if state else "",
        status=state.status if state else "no model" if summary.state else "-",
        temperature_c=degrees,
    )
    if last is None:
        return line
    window = last.window
    return msgspec.structs.replace(
        line,
        p95_ms=quantile_ms(window.total_ms or window.latency_ms, 0.95),
        per_second=per_second(window.inferences, window.duration_ms),
        errors=sum(window.errors.values()),
        error_share=error_share(window),
    )


def per_second(inferences: int, duration_ms: int) -> float | None:
    """Return the rate; None: the window has no length."""
    return inferences * 1000 / duration_ms if duration_ms > 0 else None
