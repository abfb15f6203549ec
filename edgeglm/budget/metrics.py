"""What is counted on samples: the metric on every split, and the figure of every class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.budget.wording import (
    SLACK,
    Finding,
    against,
    also,
    counts,
    look_at,
    loss,
    more_samples,
    unmeasured,
    verdict,
)
from edgeglm.report.figures import format_limit
from edgeglm.report.types import COUNTED, ClassResult, Drop
from edgeglm.tasks.statistics import samples_needed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeglm.report.types import ArtifactSide, Metric, Side


def judge_metric(baseline: Side, artifact: ArtifactSide, limit: float) -> Iterator[Finding]:
    """Judge the paired drop on every evaluation split, each on its own."""
    before = metrics_of(baseline)
    splits: list[tuple[str, Metric | None, Drop | None]] = [("", artifact.metric, artifact.drop)]
    splits += [(name, result.metric, result.drop) for name, result in artifact.splits.items()]
    for split, metric, drop in splits:
        where = f" on split `{split}`" if split else ""
        if metric is None or drop is None:
            yield unmeasured(artifact, "metric_drop", limit, f"what its metric lost{where} was not measured")
            continue
        if drop.ci95[1] <= limit + SLACK:
            if proves_nothing(before.get(split), metric):
                yield by_chance(artifact, "metric_drop", limit, drop.value, where, drop.ci95)
            continue
        missed = drop.ci95[0] > limit + SLACK
        needed = None if missed else samples_needed(drop, limit)
        allowed = format_limit(metric.name, limit)
        advice = (
            "Distil longer, prune less, or leave sensitive layers in float with `ignore`."
            if missed
            else more_samples("evaluation samples", needed)
        )
        message = (
            f"{artifact.path}: {metric.name}{where} {loss(metric.name, drop.value, drop.ci95, drop.n)}; "
            f"{against('metric_drop', allowed, missed=missed)} {advice}"
        )
        yield Finding(missed, verdict(artifact, "metric_drop", limit, drop.value, message, drop.ci95, needed))


def judge_classes(baseline: Side, artifact: ArtifactSide, limit: float) -> Iterator[Finding]:
    """Judge the figure (recall, iou, ...) of every class of enough samples on every split; one finding names the worst.

    Classes of fewer samples are named where there is a verdict; one without any leaves it undecided.
    """
    named = [("", result) for result in artifact.per_class]
    named += [(split, result) for split, part in artifact.splits.items() for result in part.per_class]
    counted = [(split, result) for split, result in named if result.n >= COUNTED and result.drop is not None]
    if not counted:
        if named and all(result.n < COUNTED for _, result in named):
            yield unmeasured(
                artifact,
                "per_class_drop",
                limit,
                f"no class has {COUNTED} evaluation samples, the least that a class is judged by",
                mend=f"Evaluate on at least {COUNTED} samples of each class.",
                needed=COUNTED,
            )
        else:
            yield unmeasured(artifact, "per_class_drop", limit, "what its classes lost was not measured")
        return
    missed = [pair for pair in counted if _class_interval(pair[1])[0] > limit + SLACK]
    worst = missed or [pair for pair in counted if _class_interval(pair[1])[1] > limit + SLACK]
    if not worst:
        if absent := [(split, result) for split, result in named if not result.n]:
            yield unmeasured(
                artifact,
                "per_class_drop",
                limit,
                f"there is no evaluation sample of {_counts(absent)}",
                mend="Evaluate on samples of every class.",
                needed=COUNTED,
            )
        elif proves_nothing(baseline.metric, artifact.metric):
            yield by_chance(artifact, "per_class_drop", limit, None, "")
        return
    worst.sort(key=lambda pair: (-(pair[1].drop or 0.0), -_class_interval(pair[1])[1]))
    split, first = worst[0]
    needed = None if missed else _class_samples_needed(first, limit)
    value, interval = first.drop or 0.0, _class_interval(first)
    where = f" on split `{split}`" if split else ""
    allowed = format_limit(first.metric, limit)
    advice = (
        "Look at these classes' training data, distil longer, or prune less."
        if missed
        else f"More samples of `{first.label}` would tell."
        if first.worse is None
        else more_samples(f"samples of `{first.label}`", needed)
    )
    message = (
        f"{artifact.path}: {first.metric.replace('_', ' ')} of `{first.label}`{where} "
        f"{loss(first.metric, value, interval, first.n)}"
        f"{also([result.label for _, result in worst[1:]], missed=bool(missed))}; "
        f"{against('per_class_drop', allowed, missed=bool(missed))} {advice}"
    )
    if few := [(split, result) for split, result in named if result.n < COUNTED]:
        message += f" Not judged, with fewer than {COUNTED} samples: {_counts(few)}."
    yield Finding(bool(missed), verdict(artifact, "per_class_drop", limit, value, message, interval, needed))


def _class_interval(result: ClassResult) -> tuple[float, float]:
    """The interval of a class's drop; without one (an older report) the value stands for both ends."""
    drop = result.drop or 0.0
    return result.ci95 or (drop, drop)


def _class_samples_needed(result: ClassResult, limit: float) -> int | None:
    if result.worse is None or result.better is None or result.drop is None:
        return None
    interval = _class_interval(result)
    drop = Drop(value=result.drop, ci95=interval, n=result.n, worse=result.worse, better=result.better)
    return samples_needed(drop, limit)


def _counts(found: Sequence[tuple[str, ClassResult]]) -> str:
    return counts([(split, result.label, result.n) for split, result in found])


def metrics_of(side: Side) -> dict[str, Metric | None]:
    """Return split -> metric; the split that decides goes by the name ``""``."""
    return {"": side.metric} | {name: result.metric for name, result in side.splits.items()}


def proves_nothing(before: Metric | None, after: Metric | None) -> bool:
    """Tell whether neither side is better than chance: an artifact that answers anything at all would lose nothing."""
    return bool(before and after and before.no_better_than_chance and after.no_better_than_chance)


def by_chance(
    artifact: ArtifactSide,
    line: str,
    limit: float,
    measured: float | None,
    where: str,
    ci95: tuple[float, float] | None = None,
) -> Finding:
    """Return that a line proves nothing, since neither side is better than chance, or what its metric names for it."""
    by = artifact.metric.chance_by if artifact.metric is not None else ""
    message = (
        f"{artifact.path}: `budget.{line}` proves nothing{where}: neither the baseline nor this file is better than "
        f"{by or 'chance'}. Look at {look_at(artifact)}."
    )
    return Finding(False, verdict(artifact, line, limit, measured, message, ci95))
