"""Judge what a run made by the recipe's budget: met, missed, or not to be told from what was measured.

What is counted on samples (`metric_drop`, `per_class_drop`) is judged by its paired 95 % interval: met when the whole
interval is within the limit, missed when the whole of it is beyond, undecided when the limit lies inside. So is
`min_speedup`, by the interval over the rounds of timing. Size, memory and latency are judged by their value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from edgeglm.report.figures import (
    as_percent,
    format_bytes,
    format_ms,
    format_points,
    format_ratio,
    significant,
)
from edgeglm.report.types import COUNTED, BudgetResult, ClassResult, Drop, Verdict
from edgeglm.tasks.statistics import samples_needed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeglm.boards import Board
    from edgeglm.recipe.types import Budget
    from edgeglm.report.types import ArtifactSide, Host, Metric, Side

_MB = 1e6
_SLACK = 1e-9  # a limit written as 0.1 is met by a measured 0.1, whatever the last bit says
_NAMED = 3  # classes that a message names
_ARCHES = {"amd64": "x86_64", "arm64": "aarch64"}  # other systems' words for what boards.py says as Linux does


@dataclass(frozen=True)
class _Finding:
    """One line that one artifact did not clearly meet."""

    missed: bool  # False: undecided
    verdict: Verdict


def judge(baseline: Side, artifacts: Sequence[ArtifactSide], budget: Budget, board: Board, host: Host) -> BudgetResult:
    """Judge every artifact by every line of the budget.

    Args:
        baseline: The original network as measured in the same run.
        artifacts: Every file that was made, measured.
        budget: The limits; a line that is None is not judged.
        board: The target; a speed-up is judged only on a host of its architecture.
        host: The machine that measured.

    Returns:
        ``met`` False when anything is missed; else None when anything is undecided or nothing is limited; else True.
    """
    findings = [
        finding for artifact in artifacts for finding in _judge_artifact(baseline, artifact, budget, board, host)
    ]
    violations = [finding.verdict for finding in findings if finding.missed]
    undecided = [finding.verdict for finding in findings if not finding.missed]
    judged = any(limit is not None for limit in msgspec.structs.astuple(budget))
    met = False if violations else None if undecided or not judged else True
    return BudgetResult(met=met, violations=violations, undecided=undecided)


def _judge_artifact(
    baseline: Side, artifact: ArtifactSide, budget: Budget, board: Board, host: Host
) -> Iterator[_Finding]:
    if budget.metric_drop is not None:
        yield from _judge_metric(baseline, artifact, budget.metric_drop)
    if budget.per_class_drop is not None:
        yield from _judge_classes(baseline, artifact, budget.per_class_drop)
    if budget.size_mb is not None:
        mend = (
            "Quantize it, or prune more." if artifact.scheme == "none" else "Prune more, or choose a smaller network."
        )
        yield from _judge_bytes(
            artifact, "size_mb", budget.size_mb, artifact.size_bytes, ("its size", "the file is"), mend
        )
    if budget.peak_rss_mb is not None:
        mend = "Prune more, use a smaller input, or the runtime that needs less."
        said = ("its peak memory", "the peak of a process that serves it on this host is")
        yield from _judge_bytes(artifact, "peak_rss_mb", budget.peak_rss_mb, artifact.peak_rss_bytes, said, mend)
    if budget.min_speedup is not None:
        yield from _judge_speedup(baseline, artifact, budget.min_speedup, board, host)
    if budget.host_latency_p95_ms is not None:
        yield from _judge_latency(artifact, budget.host_latency_p95_ms)


def _judge_metric(baseline: Side, artifact: ArtifactSide, limit: float) -> Iterator[_Finding]:
    """Judge the paired drop on every evaluation split, each on its own."""
    before = _metrics_of(baseline)
    splits: list[tuple[str, Metric | None, Drop | None]] = [("", artifact.metric, artifact.drop)]
    splits += [(name, result.metric, result.drop) for name, result in artifact.splits.items()]
    for split, metric, drop in splits:
        where = f" on split `{split}`" if split else ""
        if metric is None or drop is None:
            yield _unmeasured(artifact, "metric_drop", limit, f"what its metric lost{where} was not measured")
            continue
        if drop.ci95[1] <= limit + _SLACK:
            if _proves_nothing(before.get(split), metric):
                yield _by_chance(artifact, "metric_drop", limit, drop.value, where, drop.ci95)
            continue
        missed = drop.ci95[0] > limit + _SLACK
        needed = None if missed else samples_needed(drop, limit)
        allowed = _points(metric.name, limit)
        advice = (
            "Distil longer, prune less, or leave sensitive layers in float with `ignore`."
            if missed
            else _more_samples("evaluation samples", needed)
        )
        message = (
            f"{artifact.path}: {metric.name}{where} {_loss(metric.name, drop.value, drop.ci95, drop.n)}; "
            f"{_against('metric_drop', allowed, missed=missed)} {advice}"
        )
        yield _Finding(missed, _verdict(artifact, "metric_drop", limit, drop.value, message, drop.ci95, needed))


def _judge_classes(baseline: Side, artifact: ArtifactSide, limit: float) -> Iterator[_Finding]:
    """Judge the figure (recall, iou, ...) of every class of enough samples on every split; one finding names the worst.

    Classes of fewer samples are named where there is a verdict; one without any leaves it undecided.
    """
    named = [("", result) for result in artifact.per_class]
    named += [(split, result) for split, part in artifact.splits.items() for result in part.per_class]
    counted = [(split, result) for split, result in named if result.n >= COUNTED and result.drop is not None]
    if not counted:
        if named and all(result.n < COUNTED for _, result in named):
            yield _unmeasured(
                artifact,
                "per_class_drop",
                limit,
                f"no class has {COUNTED} evaluation samples, the least that a class is judged by",
                mend=f"Evaluate on at least {COUNTED} samples of each class.",
                needed=COUNTED,
            )
        else:
            yield _unmeasured(artifact, "per_class_drop", limit, "what its classes lost was not measured")
        return
    missed = [pair for pair in counted if _class_interval(pair[1])[0] > limit + _SLACK]
    worst = missed or [pair for pair in counted if _class_interval(pair[1])[1] > limit + _SLACK]
    if not worst:
        if absent := [(split, result) for split, result in named if not result.n]:
            yield _unmeasured(
                artifact,
                "per_class_drop",
                limit,
                f"there is no evaluation sample of {_class_names(absent)}",
                mend="Evaluate on samples of every class.",
                needed=COUNTED,
            )
        elif _proves_nothing(baseline.metric, artifact.metric):
            yield _by_chance(artifact, "per_class_drop", limit, None, "")
        return
    worst.sort(key=lambda pair: (-(pair[1].drop or 0.0), -_class_interval(pair[1])[1]))
    split, first = worst[0]
    needed = None if missed else _class_samples_needed(first, limit)
    value, interval = first.drop or 0.0, _class_interval(first)
    where = f" on split `{split}`" if split else ""
    allowed = _points(first.metric, limit)
    advice = (
        "Look at these classes' training data, distil longer, or prune less."
        if missed
        else f"More samples of `{first.label}` would tell."
        if first.worse is None
        else _more_samples(f"samples of `{first.label}`", needed)
    )
    message = (
        f"{artifact.path}: {first.metric.replace('_', ' ')} of `{first.label}`{where} "
        f"{_loss(first.metric, value, interval, first.n)}"
        f"{_others(worst[1:], missed=bool(missed))}; "
        f"{_against('per_class_drop', allowed, missed=bool(missed))} {advice}"
    )
    if few := [(split, result) for split, result in named if result.n < COUNTED]:
        message += f" Not judged, with fewer than {COUNTED} samples: {_class_names(few)}."
    yield _Finding(bool(missed), _verdict(artifact, "per_class_drop", limit, value, message, interval, needed))


def _metrics_of(side: Side) -> dict[str, Metric | None]:
    """Return split -> metric; the split that decides goes by the name ``""``."""
    return {"": side.metric} | {name: result.metric for name, result in side.splits.items()}


def _proves_nothing(before: Metric | None, after: Metric | None) -> bool:
    """Tell whether neither side is better than chance: an artifact that answers anything at all would lose nothing."""
    return bool(before and after and before.no_better_than_chance and after.no_better_than_chance)


def _by_chance(
    artifact: ArtifactSide,
    line: str,
    limit: float,
    measured: float | None,
    where: str,
    ci95: tuple[float, float] | None = None,
) -> _Finding:
    message = (
        f"{artifact.path}: `budget.{line}` proves nothing{where}: neither the baseline nor this file is better than "
        "chance. Look at `preprocess`, the order of `labels` and the weights."
    )
    return _Finding(False, _verdict(artifact, line, limit, measured, message, ci95))


def _judge_bytes(
    artifact: ArtifactSide, line: str, limit: float, measured: int | None, said: tuple[str, str], mend: str
) -> Iterator[_Finding]:
    if measured is None:
        yield _unmeasured(artifact, line, limit, f"{said[0]} was not measured")
    elif measured / _MB > limit * (1 + _SLACK):
        less = 100 * (1 - limit * _MB / measured)
        message = (
            f"{artifact.path}: {said[1]} {format_bytes(measured)}; `budget.{line}` allows {limit:g} MB, "
            f"{significant(less, 2)} % less. {mend}"
        )
        yield _Finding(True, _verdict(artifact, line, limit, measured / _MB, message))


def _judge_speedup(
    baseline: Side, artifact: ArtifactSide, limit: float, board: Board, host: Host
) -> Iterator[_Finding]:
    line = "min_speedup"
    if _ARCHES.get(host.machine.lower(), host.machine) != board.arch:
        seen = "" if artifact.speedup is None else f" On this host it is {format_ratio(artifact.speedup)}."
        message = (
            f"{artifact.path}: this host ({host.machine}) cannot tell the speed-up on the {board.name} ({board.arch}), "
            f"of which `budget.min_speedup` asks {limit:g}x.{seen} Measure it on the board."
        )
        yield _Finding(False, _verdict(artifact, line, limit, artifact.speedup, message))
    elif artifact.speedup is None:
        yield _unmeasured(artifact, line, limit, "its speed-up was not measured")
    else:
        low, high = artifact.speedup_ci95 or (artifact.speedup, artifact.speedup)  # an older report has no interval
        least = limit * (1 - _SLACK)
        if low >= least:
            return
        missed = high < least
        said = f"{artifact.path}: its speed-up on this host is {format_ratio(artifact.speedup)}"
        if details := _speedup_details(baseline, artifact):
            said += f" ({details})"
        message = (
            f"{said}; `budget.min_speedup` asks {limit:g}x. "
            "Prune more, or take the format or scheme that is faster here."
            if missed
            else f"{said}; {_against(line, f'{limit:g}x', missed=False)} "
            "Measure again on a quieter machine, prune more, or ask for less."
        )
        yield _Finding(missed, _verdict(artifact, line, limit, artifact.speedup, message, artifact.speedup_ci95))


def _speedup_details(baseline: Side, artifact: ArtifactSide) -> str:
    """Return the times behind a speed-up and its interval, as far as they were measured."""
    details = []
    if baseline.latency_ms is not None and artifact.latency_ms is not None:
        details.append(f"{format_ms(baseline.latency_ms.p50)} ms to {format_ms(artifact.latency_ms.p50)} ms")
    if artifact.speedup_ci95 is not None:
        low, high = artifact.speedup_ci95
        details.append(f"95 % interval {format_ratio(low)} to {format_ratio(high)}")
    return ", ".join(details)


def _judge_latency(artifact: ArtifactSide, limit: float) -> Iterator[_Finding]:
    line = "host_latency_p95_ms"
    if artifact.latency_ms is None:
        yield _unmeasured(artifact, line, limit, "its latency was not measured")
    elif (p95 := artifact.latency_ms.p95) > limit * (1 + _SLACK):
        message = (
            f"{artifact.path}: its p95 latency on this host is {format_ms(p95)} ms; "
            f"`budget.host_latency_p95_ms` allows {limit:g} ms. Prune more, or take the format or scheme that is "
            "faster here; a busy machine also raises p95."
        )
        yield _Finding(True, _verdict(artifact, line, limit, p95, message))


def _unmeasured(
    artifact: ArtifactSide,
    line: str,
    limit: float,
    why: str,
    *,
    mend: str = "Measure it, or take the line out of the budget.",
    needed: int | None = None,
) -> _Finding:
    message = f"{artifact.path}: `budget.{line}` cannot be judged: {why}. {mend}"
    return _Finding(False, _verdict(artifact, line, limit, None, message, needed=needed))


def _verdict(
    artifact: ArtifactSide,
    line: str,
    limit: float,
    measured: float | None,
    message: str,
    ci95: tuple[float, float] | None = None,
    needed: int | None = None,
) -> Verdict:
    return Verdict(
        key=f"budget.{line}",
        artifact=artifact.path,
        limit=limit,
        measured=measured,
        message=message,
        ci95=ci95,
        n_needed=needed,
    )


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


def _class_names(found: Sequence[tuple[str, ClassResult]]) -> str:
    """Return `` `a` (7), `b` on split `night` (0) and 3 more``: classes, with how many samples they have."""
    shown = [
        f"`{result.label}`{f' on split `{split}`' if split else ''} ({result.n})" for split, result in found[:_NAMED]
    ]
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(shown) + more


def _others(rest: Sequence[tuple[str, ClassResult]], *, missed: bool) -> str:
    if not rest:
        return ""
    shown = ", ".join(f"`{result.label}`" for _, result in rest[: _NAMED - 1])
    more = len(rest) - (_NAMED - 1)
    tail = f" and {more} more" if more > 0 else ""
    return f" ({'also beyond it' if missed else 'also open'}: {shown}{tail})"


def _points(name: str, value: float) -> str:
    return f"{round(100 * value, 6):g} pt" if as_percent(name) else f"{value:g}"


def _loss(name: str, value: float, interval: tuple[float, float], n: int) -> str:
    """Say how much was lost: `lost 0.6 pt (95 % interval -0.9 to 2.1 pt, 500 samples)`."""
    if value > 0:
        verb = f"lost {format_points(name, value).lstrip('+')}"
    elif value < 0:
        verb = f"gained {format_points(name, -value).lstrip('+')}"
    else:
        verb = "lost nothing"
    if interval[0] == interval[1]:
        return f"{verb} ({n:,} samples)"
    low, high = (format_points(name, end).lstrip("+") for end in interval)
    return f"{verb} (95 % interval of the loss {low.removesuffix(' pt')} to {high}, {n:,} samples)"


def _against(line: str, allowed: str, *, missed: bool) -> str:
    if missed:
        return f"`budget.{line}` allows {allowed}."
    return f"the limit of `budget.{line}`, {allowed}, lies inside the interval, so it cannot be told."


def _more_samples(what: str, needed: int | None) -> str:
    if needed is None:
        return "What was lost lies so close to the limit that more samples are unlikely to tell; change one of them."
    about = float(f"{needed:.2g}")  # the rates are measured themselves: more digits would pretend
    return f"At the rates seen, about {about:,.0f} {what} would tell."
