"""Which candidates of `auto` need not be timed to the end: those that cannot win once another is faster."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeglm.choice.candidates import Candidate
    from edgeglm.choice.preference import Faults
    from edgeglm.recipe import Budget


def rivals(
    candidates: Sequence[Candidate], standing: Callable[[int], Faults], budget: Budget, *, same_machine: bool
) -> dict[int, list[int]]:
    """Return candidate -> those that will be taken instead of it, if they are faster; by their places.

    A rival is of the same `auto` and the same format, so that it is no fall-back that is lost, and no more speaks
    against it, as far as that is known before anything is timed. There are none where speed does not decide: for
    another machine, for `keep: pareto`, and where the budget limits what timing measures besides the median (peak
    memory, p95), by which a slower file may be the better one.

    Args:
        candidates: Of every file that was made.
        standing: What speaks against the file of a place: its answers and its size.
        budget: Of the recipe.
        same_machine: Whether the target's architecture is this host's.
    """
    found: dict[int, list[int]] = {}
    if not same_machine or budget.peak_rss_mb is not None or budget.host_latency_p95_ms is not None:
        return found
    for place, candidate in enumerate(candidates):
        if not candidate.is_auto or candidate.config.search.keep == "pareto":
            continue
        alike = [
            other
            for other, one in enumerate(candidates)
            if other != place and one.where == candidate.where and one.config.format == candidate.config.format
        ]
        better = [other for other in alike if standing(other).order <= standing(place).order]
        if better:
            found[place] = better
    return found
