"""The fleet at one moment, ready to be shown; and what has changed since another. Pure: summaries in, JSON out."""

from __future__ import annotations

import copy
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
from edgeglm_agent.wire.sketch import Sketch

from edgeglm.fleet.health import KINDS, HealthProblem, current_slots
from edgeglm.fleet.page.groups import Group, Sketches, board_kind, groups
from edgeglm.fleet.plain import plain
from edgeglm.fleet.quiet import quiet
from edgeglm.fleet.seeing.flat import percentiles
from edgeglm.fleet.seeing.listing import SlotLine, board_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.fleet.quiet import Quiet
    from edgeglm.fleet.store.types import Device, DeviceSummary

_MOST_SLOTS = 16  # of a board, in a line
_POINT_MS = 10_000  # from one point of the trend to the next
_MOST_POINTS = 360


class BoardView(msgspec.Struct, frozen=True):
    """A line of the table."""

    id: str  # fleet/device
    fleet: str
    device: str
    kind: str  # of board
    seen_ms: int
    online: bool | None
    slots: list[SlotLine]
    problems: list[HealthProblem]


class Trouble(msgspec.Struct, frozen=True):
    """Why the store cannot be read, in words for people."""

    what: str
    hint: str = ""
    code: str = ""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet in a few figures; percentiles are those of all samples of the boards' newest windows."""

    boards: int = 0
    ill: int = 0
    online: int = 0
    kinds: dict[str, int] = {}  # problem -> boards
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    per_second: float = 0.0
    error_share: float | None = None
    unreadable: int = 0  # messages and rows, ever
    trouble: Trouble | None = None
    quiet: str = ""  # why nothing comes from any board
    newest_ms: int = 0  # when anything last came


class Point(msgspec.Struct, frozen=True):
    """One moment of the trend."""

    at_ms: int
    ill: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    per_second: float


class Glance:
    """Everything that pages show of the whole fleet, and since when each part is as it is. One does not change.

    Attributes:
        version: Rises with every look at the store.
        at_ms: Of the last look that succeeded.
        head, groups, trend, lines: What is shown; lines as JSON, by board.
        problems: Of each board.
        nothing: Since when nothing comes from any of them; None: something does.
    """

    def __init__(self) -> None:
        self.version = 0
        self.at_ms = 0
        self.head = Head()
        self.groups: list[Group] = []
        self.trend: list[Point] = []
        self.lines: dict[str, bytes] = {}
        self.problems: dict[Device, list[HealthProblem]] = {}
        self.nothing: Quiet | None = None
        self._changed: dict[str, int] = {}  # board -> version of its line
        self._gone: dict[str, int] = {}
        self._sketches = Sketches()

    def after(self, summaries: Sequence[DeviceSummary], unreadable: int, now_ms: int) -> Glance:
        """Return what is known once the store says this."""
        new = Glance()
        new.version, new.at_ms, new._sketches = self.version + 1, now_ms, self._sketches
        new._changed, new._gone = dict(self._changed), dict(self._gone)
        new._take(self, summaries, unreadable, now_ms)
        return new

    def failed(self, trouble: Trouble) -> Glance:
        """Return what is known once the store cannot be read: what was, said to be old."""
        new = copy.copy(self)
        new.version = self.version + 1
        new.head = msgspec.structs.replace(self.head, trouble=trouble)
        return new

    def _take(self, before: Glance, summaries: Sequence[DeviceSummary], unreadable: int, now_ms: int) -> None:
        found = board_lines(summaries, now_ms)
        self.problems = problems = {
            summary.device: line.problems for summary, line in zip(summaries, found, strict=True)
        }
        kinds = [board_kind(summary) for summary in summaries]
        self._take_lines(
            before.lines,
            [
                BoardView(
                    f"{line.fleet}/{line.device}",
                    line.fleet,
                    line.device,
                    kind,
                    line.last_seen_ms,
                    line.online,
                    [_shown(slot) for slot in line.slots[:_MOST_SLOTS]],
                    shown_problems(line.problems),
                )
                for line, kind in zip(found, kinds, strict=True)
            ],
        )
        self.groups = groups(summaries, problems, self._sketches)
        whole = Sketch()
        for summary in summaries:
            if not any(problem.kind == "silent" for problem in problems[summary.device]):
                for slot in current_slots(summary):
                    whole.merge(self._sketches.whole(slot.window))
        self._sketches.turn()
        counted = Counter(kind for line in found for kind in {problem.kind for problem in line.problems})
        samples = sum(group.samples + group.errors for group in self.groups)
        p50, p95, p99 = percentiles(whole)
        self.nothing = quiet(summaries, now_ms)
        self.head = Head(
            boards=len(found),
            ill=sum(bool(line.problems) for line in found),
            online=sum(line.online is True for line in found),
            kinds={kind: counted[kind] for kind in KINDS if counted[kind]},
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            per_second=sum(group.per_second for group in self.groups),
            error_share=sum(group.errors for group in self.groups) / samples if samples > 0 else None,
            unreadable=unreadable,
            quiet=self.nothing.reason(now_ms) if self.nothing else "",
            newest_ms=max((summary.last_seen_ms for summary in summaries), default=0),
        )
        self.trend = before.trend
        if not self.trend or now_ms - self.trend[-1].at_ms >= _POINT_MS:
            point = Point(now_ms, self.head.ill, p50, p95, p99, self.head.per_second)
            self.trend = [*before.trend[1 - _MOST_POINTS :], point]

    def line_version(self, board: str) -> int:
        """Return when a board's line last changed; 0: there is none."""
        return self._changed.get(board, 0)

    def lines_since(self, version: int) -> tuple[list[bytes], list[str]]:
        """Return the lines that are new since then, and the boards that are gone."""
        changed = [line for board, line in self.lines.items() if self._changed[board] > version]
        return changed, [board for board, at in self._gone.items() if at > version]

    def _take_lines(self, before: dict[str, bytes], views: Sequence[BoardView]) -> None:
        encode = msgspec.json.Encoder().encode
        lines = {view.id: encode(view) for view in views}
        for board, line in lines.items():
            if before.get(board) != line:
                self._changed[board] = self.version
            self._gone.pop(board, None)
        for board in before.keys() - lines.keys():
            del self._changed[board]
            self._gone[board] = self.version
        self.lines = lines


def shown_problems(found: Sequence[HealthProblem]) -> list[HealthProblem]:
    """Return problems with the names of their slots made plain; their reasons are."""
    return [msgspec.structs.replace(problem, slot=plain(problem.slot, 63)) for problem in found]


def _shown(slot: SlotLine) -> SlotLine:
    return msgspec.structs.replace(
        slot, slot=plain(slot.slot, 63), model=plain(slot.model, 80), status=plain(slot.status, 20)
    )
