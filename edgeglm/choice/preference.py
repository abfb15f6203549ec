"""Which artifact comes first: the manifest's order, which an agent follows and the report's star shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeglm.report.types import ArtifactSide, BudgetResult, Verdict

_LEAST_LIMIT = 0.001  # stands for a limit of 0, of which any loss would be infinitely many times too much


@dataclass(frozen=True)
class Faults:
    """What speaks against an artifact."""

    missed: int  # lines of the budget
    over: float  # how many times over its limits it is, all that it misses multiplied; 1: it misses nothing
    undecided: int  # lines of the budget
    broken: bool  # its answers are not those of the network it was made from
    lost: bool  # a proven loss that no line of the budget judges

    @property
    def refused(self) -> bool:
        """Whether it must not be a fall-back."""
        return bool(self.missed) or self.broken

    @property
    def order(self) -> tuple[bool, bool, float, int, bool, bool]:
        """What sorts artifacts, in the order of ``_REASONS``: what misses the budget least is the least bad."""
        return bool(self.missed), bool(self.missed) and self.broken, self.over, self.undecided, self.broken, self.lost

    @property
    def counts(self) -> tuple[int, int, bool, bool]:
        """The same without how far: what tells whether another file of the same network is any worse."""
        return self.missed, self.undecided, self.broken, self.lost

    def no_more_than(self, other: Faults) -> bool:
        """Return whether nothing speaks against it that does not speak against the other as much."""
        each = zip(self.counts, other.counts, strict=True)
        return self.over <= other.over and all(mine <= others for mine, others in each)


_REASONS = (
    "it misses no line of the budget",
    "its answers agree with the network's",
    "it is the least bad: {mine} times over the limits it misses, the next {others} times",
    "fewer of its budget lines are undecided",
    "its answers agree with the network's",
    "it has no proven loss",
)


def preferred_order(
    sides: list[ArtifactSide],
    budget: BudgetResult,
    *,
    metric_judged: bool,
    same_machine: bool,
    before: Sequence[str] = (),
) -> list[int]:
    """Return the indices of the artifacts, best first.

    Those that miss no line of the budget, then those that miss it least (``Faults.over``); among equals those with the
    fewest undecided lines, then those whose answers agree with the network they were made from, then those whose metric
    has no proven loss (unless the budget judges that). Of what misses a line, wrong answers come last, however near the
    limits. Among equals the fastest comes first where the target is this kind of machine; for another machine the
    recipe's order stands, since this host's latency would be a guess about it. A quantized file counts by the lower end
    of its speed-up's 95 % interval and a float one by the upper end, so INT8 is preferred only where it is faster
    beyond doubt.

    Args:
        sides: The artifacts, in the recipe's order.
        budget: What each missed, and what could not be decided.
        metric_judged: Whether the budget has a line for the metric.
        same_machine: Whether the target's architecture is this host's.
        before: Paths as an earlier run of the same files ordered them by its timing, which then stands for speed, and
            for how far a limit was missed, which may be one of speed.
    """
    judged = [faults(side, budget, metric_judged=metric_judged) for side in sides]

    def place(index: int) -> tuple[float, ...]:
        path, found = sides[index].path, judged[index]
        missed, astray, over, *others = found.order
        if path in before and missed:
            return missed, astray, before.index(path)
        if not same_machine:
            speed: float = index
        else:
            speed = before.index(path) if path in before else -speed_beyond_doubt(sides[index])
        return missed, astray, over, *others, speed

    return sorted(range(len(sides)), key=place)


def why_first(
    first: ArtifactSide,
    second: ArtifactSide,
    budget: BudgetResult,
    *,
    metric_judged: bool,
    same_machine: bool,
    kept: bool = False,
) -> str:
    """Return what put an artifact before the next one, by the rules of ``preferred_order``.

    ``kept`` says that an earlier run of the same files chose by its timing.
    """
    mine = faults(first, budget, metric_judged=metric_judged)
    others = faults(second, budget, metric_judged=metric_judged)
    for reason, one, other in zip(_REASONS, mine.order, others.order, strict=True):
        if one < other:
            return reason.format(mine=f"{mine.over:.2f}", others=f"{others.over:.2f}")
        if one > other:
            break
    if not same_machine and first.candidate:
        return "first by the rule for this board; this host is not what the target is, so its speed decides nothing"
    if not same_machine:
        return "first in the recipe; this host is not what the target is, so its speed decides nothing"
    if kept:
        return "an earlier run of the same files chose it by its timing, and that choice is kept"
    slower = first.speedup_ci95 is not None and first.speedup_ci95[1] < 1
    return _by_speed(first, second) + ("; slower than the original" if slower else "")


def _by_speed(first: ArtifactSide, second: ArtifactSide) -> str:
    """Return what the speed of two files says for the first, against which no more speaks."""
    if first.candidate and second.candidate:
        return "of the files that are as right, none is faster on this host beyond doubt, nor as fast and smaller"
    if speed_beyond_doubt(first) == speed_beyond_doubt(second):
        return "before the next in the recipe; by speed on this host neither comes first"
    if first.scheme == "none" and second.scheme != "none":
        return "of the files that are as right, no quantized one is faster on this host beyond doubt"
    mine, others = first.speedup or 0.0, second.speedup or 0.0
    low, high = (first.speedup_ci95 or (mine, mine))[0], (second.speedup_ci95 or (others, others))[1]
    if low > high:
        return "faster on this host than the next, even at the low end of its interval"
    if mine > others:
        return "faster on this host than the next by the median, though their intervals overlap"
    end = "high" if first.scheme == "none" else "low"
    return f"faster on this host than the next by the {end} end of its interval, though not by the median"


def faults(side: ArtifactSide, budget: BudgetResult, *, metric_judged: bool) -> Faults:
    """Return what speaks against an artifact; what it missed as a candidate that was passed over counts as well."""
    missed = [line for line in (*budget.violations, *budget.passed_over) if line.artifact == side.path]
    undecided = [line for line in (*budget.undecided, *budget.passed_over_undecided) if line.artifact == side.path]
    return Faults(
        missed=len(missed),
        over=times_over(missed),
        undecided=len(undecided),
        broken=side.parity is not None and not side.parity.passed,
        lost=not metric_judged and side.drop is not None and side.drop.ci95[0] > 0,
    )


def times_over(missed: Iterable[Verdict]) -> float:
    """Return how many times over its limits something is: twice as large as allowed and half as fast makes 4.

    The product weighs lines of any unit alike, so that 1 % too much in two lines is less bad than ten times the loss
    that one of them allows.

    Args:
        missed: The lines that it clearly missed.
    """
    ratios = []
    for line in missed:
        if line.measured is None:
            continue
        limit = line.limit or _LEAST_LIMIT
        ratios.append(limit / line.measured if line.key == "budget.min_speedup" else line.measured / limit)
    return math.prod(max(1.0, ratio) for ratio in ratios)


def speed_beyond_doubt(side: ArtifactSide) -> float:
    """Return the speed-up that a file counts by: of a quantized one the lower end of the interval, else the upper."""
    if side.speedup_ci95 is None:
        return side.speedup or 0.0
    return side.speedup_ci95[1 if side.scheme == "none" else 0]
