"""A metric of the user's own: a function of outputs, targets and labels."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from msgspec import Meta

from edgeglm.errors import EntryError
from edgeglm.report.types import Drop, Metric, SplitResult
from edgeglm.tasks._base import TaskConfig, judged_output
from edgeglm.tasks.statistics import (
    bootstrap_rows,
    mean_interval,
    paired_drop,
    paired_mean_drop,
    percentile_interval,
    wilson_interval,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm_agent.processing import Postprocess
    from edgeglm_agent.wire import TensorSpec

    from edgeglm.data.splits import Arrays, Data, Split
    from edgeglm.sources.entry import Entries
    from edgeglm.tasks._base import Judge
    from edgeglm.tasks.changes import Changes

_KEY = "task.entry"
_PARAMETERS = ("outputs", "targets", "labels")


class OwnMetric(TaskConfig, tag="metric", frozen=True, kw_only=True):
    """A function of yours judges: it takes outputs (by name), targets and labels, and returns the metric."""

    is_share: ClassVar[bool] = False  # what it lies between is for the function to say
    judges_classes: ClassVar[bool] = False

    entry: Annotated[str, Meta(pattern=r"^[^:\s]+:[A-Za-z_]\w*\Z")]  # `path.py:function`, or `module:function`
    name: Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_-]*\Z")] = "metric"  # of the metric, in the report
    higher_is_better: bool = True  # false: it is an error
    per_sample: bool = False  # true: it returns one number, or true and false, for each sample; the metric is the mean
    resamples: Annotated[int, Meta(ge=100, le=10000)] = 1000  # calls for each interval, where it is not by sample

    def check(self, outputs: Sequence[TensorSpec], data: Data) -> None:
        """Refuse an output that does not exist. Raises: ModelError."""
        del data
        judged_output(outputs, self.output)

    def bind(self, *, entries: Entries, postprocess: Postprocess) -> Judge:
        """Return what calls the function. Raises: EntryError: it cannot be found, or takes other parameters."""
        del postprocess
        function = entries.resolve(self.entry, key=_KEY)
        try:
            inspect.signature(function).bind(**dict.fromkeys(_PARAMETERS))
        except ValueError:
            pass  # a builtin without a signature: the call will tell
        except TypeError as error:
            raise EntryError(
                f"`{self.entry}` does not take what it is called with: {error}",
                where=_KEY,
                hint=f"it is called with {', '.join(_PARAMETERS)}, by name: give it these parameters",
                code="entry-arguments",
            ) from None
        return OwnJudge(self, entries)


@dataclass(frozen=True)
class OwnJudge:
    """The task with where its function is found."""

    task: OwnMetric
    entries: Entries

    def prepared(self, outputs: Arrays, split: Split) -> Arrays:
        """Return the outputs: the function takes them as they are."""
        del split
        return outputs

    def evaluate(
        self, outputs: Arrays, targets: np.ndarray | None, labels: Sequence[str], baseline: Arrays | None = None
    ) -> SplitResult:
        """Return what the function makes of the outputs, and against a baseline what was lost.

        Raises:
            EntryError: The function raised, or did not return what the recipe says (``entry-result``).
        """
        if self.task.per_sample:
            return self._by_sample(outputs, targets, labels, baseline)
        return self._by_draw(outputs, targets, labels, baseline)

    def changes(self, before: Arrays, after: Arrays, targets: np.ndarray | None, labels: Sequence[str]) -> Changes:
        """Return how far the outputs moved: what of it matters, the function alone knows."""
        return self.task.changes(before, after, targets, labels)

    def outputs_read(self, outputs: Arrays) -> Arrays:
        """Return all outputs: which of them count, the function alone knows."""
        return self.task.outputs_read(outputs)

    def _by_sample(
        self, outputs: Arrays, targets: np.ndarray | None, labels: Sequence[str], baseline: Arrays | None
    ) -> SplitResult:
        scores = self._scores(outputs, targets, labels)
        before = None if baseline is None else self._scores(baseline, targets, labels)
        counts = scores.dtype == bool and self.task.higher_is_better
        n, value = len(scores), float(scores.mean(dtype=np.float64))
        interval = wilson_interval(int(scores.sum()), n) if scores.dtype == bool else mean_interval(scores)
        drop = None
        if before is not None:
            drop = (
                paired_drop(before, scores)
                if counts and before.dtype == bool
                else paired_mean_drop(
                    before.astype(np.float64), scores.astype(np.float64), higher_is_better=self.task.higher_is_better
                )
            )
        return self._result(value, n, interval, drop)

    def _by_draw(
        self, outputs: Arrays, targets: np.ndarray | None, labels: Sequence[str], baseline: Arrays | None
    ) -> SplitResult:
        n = len(next(iter(outputs.values())))
        draws = list(bootstrap_rows(n, self.task.resamples))
        value = self._value(outputs, targets, labels)
        drawn = np.array([self._value(outputs, targets, labels, rows) for rows in draws])
        drop = None
        if baseline is not None:
            sign = 1.0 if self.task.higher_is_better else -1.0
            lost = sign * (self._value(baseline, targets, labels) - value)
            drawn_before = np.array([self._value(baseline, targets, labels, rows) for rows in draws])
            interval = percentile_interval(sign * (drawn_before - drawn)) or (lost, lost)
            drop = Drop(value=lost, ci95=interval, n=n, worse=0, better=0, method="bootstrap")
        return self._result(value, n, percentile_interval(drawn) or (value, value), drop)

    def _result(self, value: float, n: int, interval: tuple[float, float], drop: Drop | None) -> SplitResult:
        metric = Metric(
            name=self.task.name, value=value, n=n, ci95=interval, higher_is_better=self.task.higher_is_better
        )
        return SplitResult(metric=metric, drop=drop)

    def _value(
        self, outputs: Arrays, targets: np.ndarray | None, labels: Sequence[str], rows: np.ndarray | None = None
    ) -> float:
        """Return the metric over these samples; of a draw NaN is allowed: it is then left out."""
        if rows is not None:
            outputs = {name: values[rows] for name, values in outputs.items()}
            targets = None if targets is None else targets[rows]
        found = self._called(outputs, targets, labels)
        try:
            value = float(found)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise self._unfit(f"a {type(found).__name__}, not one number", "return a float") from None
        if rows is None and not np.isfinite(value):
            raise self._unfit(f"{value}", "return a finite number")
        return value

    def _scores(self, outputs: Arrays, targets: np.ndarray | None, labels: Sequence[str]) -> np.ndarray:
        """Return one number, or true and false, for each sample."""
        n = len(next(iter(outputs.values())))
        try:
            found = np.asarray(self._called(outputs, targets, labels))
        except ValueError:  # lists of different lengths
            raise self._unfit("what is no array", "return one number for each sample") from None
        if found.shape != (n,) or found.dtype.kind not in "biuf":
            raise self._unfit(
                f"an array of shape {found.shape} and type {found.dtype} for {n} samples",
                "return one number for each sample, or write `per_sample: false`",
            )
        if not np.isfinite(found).all():
            raise self._unfit(f"NaN or Inf, first for sample {int(np.argmin(np.isfinite(found)))}", "mend the function")
        return found if found.dtype == bool else found.astype(np.float64)

    def _called(self, outputs: Arrays, targets: np.ndarray | None, labels: Sequence[str]) -> object:
        return self.entries.call(self.task.entry, key=_KEY, outputs=outputs, targets=targets, labels=list(labels))

    def _unfit(self, found: str, hint: str) -> EntryError:
        return EntryError(f"`{self.task.entry}` returned {found}", where=_KEY, hint=hint, code="entry-result")
