"""Which artifact comes first: the manifest's order, which an agent follows and the report's star shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeglm.report.types import ArtifactSide, BudgetResult


def preferred_order(
    sides: list[ArtifactSide], budget: BudgetResult, *, metric_judged: bool, same_machine: bool
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
    """

    def rank(index: int) -> tuple[float, ...]:
        side = sides[index]
        missed = sum(verdict.artifact == side.path for verdict in budget.violations)
        undecided = sum(verdict.artifact == side.path for verdict in budget.undecided)
        broken = side.parity is not None and not side.parity.passed
        lost = not metric_judged and side.drop is not None and side.drop.ci95[0] > 0
        return (missed, undecided, broken, lost, -_speed(side) if same_machine else index)

    return sorted(range(len(sides)), key=rank)


def _speed(side: ArtifactSide) -> float:
    if side.speedup_ci95 is None:
        return side.speedup or 0.0
    return side.speedup_ci95[1 if side.scheme == "none" else 0]
