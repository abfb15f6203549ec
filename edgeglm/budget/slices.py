"""What the metric lost in every slice of every split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.budget.metrics import by_chance, metrics_of, proves_nothing
from edgeglm.budget.wording import (
    SLACK,
    Finding,
    against,
    also,
    counts,
    loss,
    more_samples,
    unmeasured,
    verdict,
)
from edgeglm.report.figures import format_limit
from edgeglm.report.types import COUNTED
from edgeglm.tasks.statistics import samples_needed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeglm.report.types import ArtifactSide, Drop, Side

_LINE = "per_slice_drop"


def judge_slices(baseline: Side, artifact: ArtifactSide, limit: float) -> Iterator[Finding]:
    """Judge the paired drop in every slice of enough samples; one finding names the worst.

    Within the limit proves nothing where neither side is better than chance on the split that holds the slices.

    Slices of fewer samples are named where there is a verdict; one without any that counts leaves it undecided.
    """
    named = [("", result) for result in artifact.slices]
    named += [(split, result) for split, part in artifact.splits.items() for result in part.slices]
    counted: list[tuple[str, str, Drop]] = [
        (split, result.name, result.drop) for split, result in named if result.n >= COUNTED and result.drop is not None
    ]
    few = [(split, result.name, result.n) for split, result in named if result.n < COUNTED]
    if not counted:
        if named and len(few) == len(named):
            why = f"no slice has {COUNTED} evaluation samples, the least that a slice is judged by"
            mend = f"Evaluate on at least {COUNTED} samples of each slice."
            yield unmeasured(artifact, _LINE, limit, why, mend=mend, needed=COUNTED)
        else:
            yield unmeasured(artifact, _LINE, limit, "what the metric lost in slices was not measured")
        return
    missed = [part for part in counted if part[2].ci95[0] > limit + SLACK]
    worst = missed or [part for part in counted if part[2].ci95[1] > limit + SLACK]
    if not worst:
        befores, afters = metrics_of(baseline), metrics_of(artifact)
        for split in dict.fromkeys(split for split, _, _ in counted):
            after = afters.get(split)
            if after is not None and proves_nothing(befores.get(split), after):
                where = f" on split `{split}`" if split else ""
                yield by_chance(artifact, _LINE, limit, None, where)
        return
    worst.sort(key=lambda part: (-part[2].value, -part[2].ci95[1]))
    split, name, drop = worst[0]
    metric = _metric_name(artifact)
    needed = None if missed else samples_needed(drop, limit)
    advice = (
        "Look at the training data of these slices, distil longer, or prune less."
        if missed
        else more_samples(f"samples of `{name}`", needed)
    )
    where = f" on split `{split}`" if split else ""
    message = (
        f"{artifact.path}: {metric} in the slice `{name}`{where} {loss(metric, drop.value, drop.ci95, drop.n)}"
        f"{also([other for _, other, _ in worst[1:]], missed=bool(missed))}; "
        f"{against(_LINE, format_limit(metric, limit), missed=bool(missed))} {advice}"
    )
    if few:
        message += f" Not judged, with fewer than {COUNTED} samples: {counts(few)}."
    yield Finding(bool(missed), verdict(artifact, _LINE, limit, drop.value, message, drop.ci95, needed))


def _metric_name(artifact: ArtifactSide) -> str:
    return "the metric" if artifact.metric is None else artifact.metric.name
