"""Which artifact comes first: the manifest's order, which an agent follows and the report's star shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.report.types import ArtifactSide, BudgetResult


def preferred_order(
    sides: list[ArtifactSide],
    budget: BudgetResult,
    *,
    metric_judged: bool,
    same_machine: bool,
    before: Sequence[str] = (),
) -> list[int]:
    """Return the indices of the artifacts, best first.

    Fewest budget lines missed, then fewest undecided, then those whose answers agree with the network they were made
    from, then those whose metric has no proven loss (unless the budget judges that). Among equals the fastest comes
    first where the target is this kind of machine; for another machine the recipe's order stands, since this host's
    latency would be a guess about it. A quantized file counts by the lower end of its speed-up's 95 % interval and a
    float one by the upper end, so INT8 is preferred only where it is faster beyond doubt.

    Args:
        sides: The artifacts, in the recipe's order.
        budget: What each missed, and what could not be decided.
        metric_judged: Whether the budget has a line for the metric.
        same_machine: Whether the target's architecture is this host's.
        before: Paths as an earlier run of the same files ordered them by its timing, which then stands for speed.
    """
    judged = [faults(side, budget, metric_judged=metric_judged) for side in sides]

    def place(index: int) -> float:
        if not same_machine:
            return index
        path = sides[index].path
        return before.index(path) if path in before else -_speed(sides[index])

    return sorted(range(len(sides)), key=lambda index: (*judged[index], place(index)))


def why_first(
    first: ArtifactSide, second: ArtifactSide, budget: BudgetResult, *, metric_judged: bool, same_machine: bool
) -> str:
    """Return what put an artifact before the next one, by the rules of ``preferred_order``."""
    pairs = zip(
        _REASONS,
        faults(first, budget, metric_judged=metric_judged),
        faults(second, budget, metric_judged=metric_judged),
        strict=True,
    )
    for reason, mine, others in pairs:
        if mine < others:
            return reason
    if same_machine and first.candidate and second.candidate:
        return "none that is as right is faster on this host beyond doubt, or as fast and smaller"
    if not same_machine and first.candidate:
        return "first by the rule for this board; this host is not what the target is, so its speed decides nothing"
    if not same_machine:
        return "first in the recipe; this host is not what the target is, so its speed decides nothing"
    if first.scheme == "none" and second.scheme != "none":
        return "no quantized file is faster on this host beyond doubt"
    return "the fastest on this host" + (", even at the low end of its interval" if first.scheme != "none" else "")


_REASONS = (
    "it misses fewer lines of the budget",
    "fewer of its budget lines are undecided",
    "its answers agree with the network's",
    "it has no proven loss",
)


def faults(side: ArtifactSide, budget: BudgetResult, *, metric_judged: bool) -> tuple[int, int, bool, bool]:
    """Return what speaks against an artifact, the gravest first, in the order of ``_REASONS``."""
    missed = sum(verdict.artifact == side.path for verdict in budget.violations)
    undecided = sum(verdict.artifact == side.path for verdict in budget.undecided)
    broken = side.parity is not None and not side.parity.passed
    lost = not metric_judged and side.drop is not None and side.drop.ci95[0] > 0
    return missed, undecided, broken, lost


def _speed(side: ArtifactSide) -> float:
    if side.speedup_ci95 is None:
        return side.speedup or 0.0
    return side.speedup_ci95[1 if side.scheme == "none" else 0]
