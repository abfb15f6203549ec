"""How a verdict is put into words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeglm.report.figures import format_points, lost_text
from edgeglm.report.types import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.report.types import ArtifactSide, Side

SLACK = 1e-9  # a limit written as 0.1 is met by a measured 0.1, whatever the last bit says
NAMED = 3  # classes or slices that a message names


@dataclass(frozen=True)
class Finding:
    """One line that one artifact did not clearly meet."""

    missed: bool  # False: undecided
    verdict: Verdict


def look_at(side: Side) -> str:
    """Return where the fault may lie when a network is no better than chance; by what its metric is of."""
    metric = side.metric
    if metric is not None and metric.chance_by:
        suspect = "the unit of the targets"
    elif side.per_class:
        suspect = "the order of `labels`"
    else:
        suspect = "which targets are anomalous (`task.anomalous`)" if metric and metric.name == "auc" else "the targets"
    return f"`preprocess`, {suspect}, the weights"


def unmeasured(
    artifact: ArtifactSide,
    line: str,
    limit: float,
    why: str,
    *,
    mend: str = "Measure it, or take the line out of the budget.",
    needed: int | None = None,
) -> Finding:
    """Return that a line cannot be judged, with why and how to mend that."""
    message = f"{artifact.path}: `budget.{line}` cannot be judged: {why}. {mend}"
    return Finding(False, verdict(artifact, line, limit, None, message, needed=needed))


def verdict(
    artifact: ArtifactSide,
    line: str,
    limit: float,
    measured: float | None,
    message: str,
    ci95: tuple[float, float] | None = None,
    needed: int | None = None,
) -> Verdict:
    """Return the verdict on one line of the budget and one artifact."""
    return Verdict(
        key=f"budget.{line}",
        artifact=artifact.path,
        limit=limit,
        measured=measured,
        message=message,
        ci95=ci95,
        n_needed=needed,
    )


def loss(name: str, value: float, interval: tuple[float, float], n: int) -> str:
    """Say how much was lost: `is 0.6 pt worse (95 % interval of the loss -0.9 to 2.1 pt, 500 samples)`."""
    verb = f"is {lost_text(name, value)}" if value else "lost nothing"
    if interval[0] == interval[1]:
        return f"{verb} ({n:,} samples)"
    low, high = format_points(name, interval[0], unit=False).lstrip("+"), format_points(name, interval[1]).lstrip("+")
    return f"{verb} (95 % interval of the loss {low} to {high}, {n:,} samples)"


def against(line: str, allowed: str, *, missed: bool) -> str:
    """Say how what was measured stands to the limit."""
    if missed:
        return f"`budget.{line}` allows {allowed}."
    return f"the limit of `budget.{line}`, {allowed}, lies inside the interval, so it cannot be told."


def more_samples(what: str, needed: int | None) -> str:
    """Say how many samples would tell."""
    if needed is None:
        return "What was lost lies so close to the limit that more samples are unlikely to tell; change one of them."
    about = float(f"{needed:.2g}")  # the rates are measured themselves: more digits would pretend
    return f"At the rates seen, about {about:,.0f} {what} would tell."


def also(rest: Sequence[str], *, missed: bool) -> str:
    """Return `` (also beyond it: `b`, `c` and 2 more)``: what else is like the one that a message is about."""
    if not rest:
        return ""
    shown = ", ".join(f"`{name}`" for name in rest[: NAMED - 1])
    more = len(rest) - (NAMED - 1)
    tail = f" and {more} more" if more > 0 else ""
    return f" ({'also beyond it' if missed else 'also open'}: {shown}{tail})"


def counts(found: Sequence[tuple[str, str, int]]) -> str:
    """Return `` `a` (7), `b` on split `night` (0) and 3 more``: of each split and name, how many samples there are."""
    shown = [f"`{name}`{f' on split `{split}`' if split else ''} ({n})" for split, name, n in found[:NAMED]]
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return ", ".join(shown) + more
