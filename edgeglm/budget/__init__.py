"""Judge what a run made by the recipe's budget: met, missed, or not to be told from what was measured.

What is counted on samples (`metric_drop`, `per_class_drop`, `per_slice_drop`) is judged by its paired 95 % interval:
met when the whole interval is within the limit, missed when the whole of it is beyond, undecided when the limit lies
inside. So is `min_speedup`, by the interval over the rounds of timing. Size, memory and latency are judged by their
value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edgeglm.budget.measured import judge_bytes, judge_latency, judge_speedup
from edgeglm.budget.metrics import judge_classes, judge_metric
from edgeglm.budget.slices import judge_slices
from edgeglm.report.types import BudgetResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeglm.boards import Board
    from edgeglm.budget.wording import Finding
    from edgeglm.recipe.types import Budget
    from edgeglm.report.types import ArtifactSide, Host, Side


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
) -> Iterator[Finding]:
    if budget.metric_drop is not None:
        yield from judge_metric(baseline, artifact, budget.metric_drop)
    if budget.per_class_drop is not None:
        yield from judge_classes(baseline, artifact, budget.per_class_drop)
    if budget.per_slice_drop is not None:
        yield from judge_slices(baseline, artifact, budget.per_slice_drop)
    if budget.size_mb is not None:
        mend = (
            "Quantize it, or prune more." if artifact.scheme == "none" else "Prune more, or choose a smaller network."
        )
        yield from judge_bytes(
            artifact, "size_mb", budget.size_mb, artifact.size_bytes, ("its size", "the file is"), mend
        )
    if budget.peak_rss_mb is not None:
        mend = "Prune more, use a smaller input, or the runtime that needs less."
        said = ("its peak memory", "the peak of a process that serves it on this host is")
        yield from judge_bytes(artifact, "peak_rss_mb", budget.peak_rss_mb, artifact.peak_rss_bytes, said, mend)
    if budget.min_speedup is not None:
        yield from judge_speedup(baseline, artifact, budget.min_speedup, board, host)
    if budget.host_latency_p95_ms is not None:
        yield from judge_latency(artifact, budget.host_latency_p95_ms)
