"""A task: a reading is right when it lies within the tolerance of its instrument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from msgspec import Meta

from edgeglm.errors import DataError
from edgeglm.report.types import Metric, SplitResult
from edgeglm.tasks import TaskConfig
from edgeglm.tasks.statistics import paired_drop, wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.data.splits import Arrays


class Tolerance(TaskConfig, tag="tolerance", frozen=True, kw_only=True):
    """The share of samples whose every output lies close enough to its target."""

    within: Annotated[float, Meta(gt=0)] = 0.1  # largest difference that is right, in the targets' unit

    def evaluate(
        self, outputs: Arrays, targets: np.ndarray | None, labels: Sequence[str], baseline: Arrays | None = None
    ) -> SplitResult:
        """Return the share that is right, and what was lost against the baseline on the same samples."""
        if targets is None:
            raise DataError("`tolerance` needs targets", hint="give every split its targets", code="data-invalid")
        right = self._right(outputs, targets)
        before = None if baseline is None else self._right(baseline, targets)
        correct, n = int(right.sum()), len(right)
        return SplitResult(
            metric=Metric(
                name="tolerance_accuracy",
                value=correct / n,
                n=n,
                ci95=wilson_interval(correct, n),
                higher_is_better=True,
            ),
            drop=None if before is None else paired_drop(before, right),  # without it, metric_drop cannot be judged
        )

    def _right(self, outputs: Arrays, targets: np.ndarray) -> np.ndarray:
        """Return (N,) bool."""
        answers = outputs[self.output or next(iter(outputs))]  # (N, K)
        return np.asarray((np.abs(answers - targets) <= self.within).all(axis=1))
