"""Alarms of an anomaly detector: by the limit in the recipe's own `postprocess`, and which samples crossed a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from edgeglm_agent.processing._base import Decision

from edgeglm.data.splits import batches
from edgeglm.report.types import AlarmRate, Change, SplitResult
from edgeglm.tasks.changes import Changes, turned
from edgeglm.tasks.statistics import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm_agent.processing import Postprocess

    from edgeglm.data.splits import Arrays, Split
    from edgeglm.tasks.anomaly import Anomaly

_ALARM, _LIMIT = "recipe_alarm", "recipe_limit"  # beside what is judged: what the recipe's own limit decides, and it
_ROWS = 256  # of a split in memory at a time


@dataclass(frozen=True)
class LimitJudge:
    """The task with the recipe's operations, which decide by a limit of their own as the board will."""

    task: Anomaly
    postprocess: Postprocess

    def prepared(self, outputs: Arrays, split: Split) -> Arrays:
        """Return what the task judges, and beside it the decision on each sample."""
        judged = self.task.prepared(outputs, split)
        found: list[Decision] = []
        for rows, inputs in batches(split, _ROWS):
            part = {name: values[rows] for name, values in outputs.items()}
            results = self.postprocess.batch(part, inputs=inputs)
            decided = [one for one in results if isinstance(one, Decision)]
            if len(decided) < len(results):
                return judged  # the limit is for several scores a sample: nothing is decided
            found += decided
        alarms, limits = [one.exceeded for one in found], [one.limit for one in found]
        return {**judged, _ALARM: np.array(alarms), _LIMIT: np.array(limits)}

    def evaluate(
        self, outputs: Arrays, targets: np.ndarray | None, labels: Sequence[str], baseline: Arrays | None = None
    ) -> SplitResult:
        """Return what the task says, and what the recipe's own limit comes to."""
        result = self.task.evaluate(outputs, targets, labels, baseline)
        if _ALARM not in outputs or targets is None:
            return result
        anomalous = self.task.marks(targets) == 1
        rate = _alarm_rate(
            outputs[_ALARM], anomalous, limit=float(outputs[_LIMIT][0]), wanted=self.task.false_alarm_rate
        )
        return msgspec.structs.replace(result, alarms=rate)

    def changes(self, before: Arrays, after: Arrays, targets: np.ndarray | None, labels: Sequence[str]) -> Changes:
        """Return the samples that crossed the recipe's own limit."""
        if _ALARM not in before or _ALARM not in after:
            return self.task.changes(before, after, targets, labels)
        return crossings(
            [self.task.shown_scores(outputs) for outputs in (before, after)],
            [outputs[_ALARM] for outputs in (before, after)],
            [float(outputs[_LIMIT][0]) for outputs in (before, after)],
            None if targets is None else self.task.marks(targets) == 1,
        )

    def outputs_read(self, outputs: Arrays) -> Arrays:
        """Return the output that is the score, or that gives the input back."""
        return self.task.outputs_read(outputs)


def _alarm_rate(alarms: np.ndarray, anomalous: np.ndarray, *, limit: float, wanted: float) -> AlarmRate:
    """Return the share of normal samples that set off an alarm, with its interval; there is one of each kind at least.

    Args:
        alarms: (N,) bool.
        anomalous: (N,) bool.
        limit: What was decided by.
        wanted: The share that is allowed.
    """
    false, normal = int(alarms[~anomalous].sum()), int((~anomalous).sum())
    return AlarmRate(
        limit=limit,
        false_alarms=false,
        normal=normal,
        rate=false / normal,
        ci95=wilson_interval(false, normal),
        wanted=wanted,
        detection_rate=float(alarms[anomalous].mean()),
    )


def crossings(
    scores: Sequence[np.ndarray], alarms: Sequence[np.ndarray], limits: Sequence[float], anomalous: np.ndarray | None
) -> Changes:
    """Return the samples on which the decision changed: those that turned wrong first, the furthest across first.

    Args:
        scores: Before and after, (N,) each.
        alarms: The same, bool: beyond the limit.
        limits: Before and after.
        anomalous: (N,) bool, what is right; None: not known.
    """
    right = [None if anomalous is None else decided == anomalous for decided in alarms]
    across = np.abs(scores[1] - limits[1]) / (float(np.std(scores[0])) or 1.0)

    def told_of(place: int, row: int) -> str:
        word = "alarm" if alarms[place][row] else "normal"
        return f"{word}: {scores[place][row]:.4g}, limit {limits[place]:.4g}"

    def tell(row: int) -> Change:
        return Change(
            row=row,
            expected="" if anomalous is None else ("anomalous" if anomalous[row] else "normal"),
            before=told_of(0, row),
            after=told_of(1, row),
            right_before=None if right[0] is None else bool(right[0][row]),
            right_after=None if right[1] is None else bool(right[1][row]),
        )

    order = turned(*right, count=len(across)) + 0.1 + 0.9 * across / (1 + across)
    return Changes(np.where(alarms[0] != alarms[1], order, 0.0), tell, "samples crossed the limit")
