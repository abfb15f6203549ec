"""Regression and forecasting: numbers a sample, judged by their root mean squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeglm.data.splits import batches
from edgeglm.errors import DataError, ModelError
from edgeglm.report.types import Metric, SplitResult
from edgeglm.tasks._base import ObjectiveName, TaskConfig, finite_output, judged_output
from edgeglm.tasks.changes import Changes, value_changes
from edgeglm.tasks.statistics import bootstrap_drop, bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm_agent.wire import TensorSpec

    from edgeglm.data.splits import Arrays, Data, Split

_MOST_NAMED = 32  # outputs or steps that get a figure of their own
_ROWS = 256  # of a split in memory at a time
_LAST = "last_value"  # beside the outputs: what a series ends with


class Regression(TaskConfig, tag="regression", frozen=True, kw_only=True):
    """Outputs are numbers (N, ...), targets the same; without targets the original's outputs take their place."""

    objective: ClassVar[ObjectiveName] = "values"
    reads_one_output: ClassVar[bool] = True
    judges_classes: ClassVar[bool] = False
    is_share: ClassVar[bool] = False

    output: str | None = None  # name of the output that is judged; None: the first

    def read_targets(
        self, targets: np.ndarray | None, *, labels: Sequence[str], judged: bool, where: str
    ) -> np.ndarray | None:
        """Return the targets as float64. Raises: DataError (``data-targets``): one is not finite."""
        del labels, judged
        if targets is None:
            return None
        targets = targets.astype(np.float64)
        finite = np.isfinite(targets).reshape(len(targets), -1).all(axis=1)
        if not finite.all():
            raise DataError(
                f"{int((~finite).sum())} targets are NaN or infinite, first that of sample {int(np.argmin(finite))}",
                hint="remove these samples, or fill the gaps before",
                where=where,
                code="data-targets",
                sample=int(np.argmin(finite)),
            )
        return targets

    def check(self, outputs: Sequence[TensorSpec], data: Data) -> None:
        """Refuse targets that are not one number for each that the model puts out.

        Raises:
            ModelError: The output named does not exist, or holds no real numbers.
            DataError: Targets and output differ in size.
        """
        spec = judged_output(outputs, self.output)
        if not spec.dtype.startswith("float"):
            raise ModelError(
                f"output `{spec.name}` is of type {spec.dtype}; regression is judged on real numbers",
                hint="name another output in `task.output`",
                where="task",
                code="output-not-numbers",
            )
        size = int(np.prod(spec.shape))
        for name, split in data.splits.items():
            if split.targets is not None and split.targets.size != len(split) * size:
                raise DataError(
                    f"targets of shape {list(split.targets.shape)} do not fit output `{spec.name}` of "
                    f"{list(spec.shape)} for each sample",
                    hint="give one number for each number that the model puts out, or name another output in "
                    "`task.output`",
                    where=f"data, split `{name}`",
                    code="data-targets",
                )

    def follows_original(self, targets: np.ndarray | None) -> bool:
        """Return whether there are no targets."""
        return targets is None

    def evaluate(
        self, outputs: Arrays, targets: np.ndarray | None, labels: Sequence[str], baseline: Arrays | None = None
    ) -> SplitResult:
        """Return the root mean squared error, and in ``metrics_extra`` the mean absolute one and R2.

        Args:
            outputs: The model's outputs over a whole split.
            targets: Numbers of the same size; None: the error is that to the baseline's outputs, of the baseline 0.
            labels: Names of the numbers, where there are as many; each gets its own error.
            baseline: The original's outputs on the same samples.

        Raises:
            ModelError: The outputs hold NaN or Inf.
        """
        got = _flat(finite_output(outputs, self.output))
        before = got if baseline is None else _flat(finite_output(baseline, self.output))
        wanted = before if targets is None else targets.reshape(len(got), -1).astype(np.float64)
        errors, errors_before = (got - wanted) ** 2, (before - wanted) ** 2
        mine, others = errors.mean(axis=1), errors_before.mean(axis=1)
        extra = {"mae": float(np.abs(got - wanted).mean())}
        if targets is not None and (spread := float(((wanted - wanted.mean(axis=0)) ** 2).sum())) > 0:
            extra["r2"] = 1 - float(errors.sum()) / spread
        chance, chance_by = (None, "") if targets is None else self._trivial(outputs, wanted, targets.shape)
        extra |= self._by_number(errors, labels, () if targets is None else targets.shape[1:])
        drop = None
        if baseline is not None:
            drop = bootstrap_drop(
                lambda rows: _root(others[rows]),
                lambda rows: _root(mine[rows]),
                len(got),
                higher_is_better=False,
                worse=int((mine > others).sum()),
                better=int((mine < others).sum()),
            )
        metric = Metric(
            name="rmse",
            value=_root(mine),
            n=len(got),
            ci95=bootstrap_interval(lambda rows: _root(mine[rows]), len(got)),
            higher_is_better=False,
            chance=chance,
            chance_by=chance_by,
        )
        return SplitResult(metric=metric, metrics_extra=extra, drop=drop)

    def changes(self, before: Arrays, after: Arrays, targets: np.ndarray | None, labels: Sequence[str]) -> Changes:
        """Return how far each answer moved beside the error: see ``value_changes``."""
        del labels
        return value_changes(finite_output(before, self.output), finite_output(after, self.output), targets)

    def _trivial(self, outputs: Arrays, wanted: np.ndarray, shape: tuple[int, ...]) -> tuple[float | None, str]:
        """Return the error of the best answer that takes no model, and which that is; None where nothing varies.

        Args:
            outputs: What ``prepared`` gave.
            wanted: The targets, (N, values).
            shape: As they were given.
        """
        del outputs, shape
        error = _root(((wanted - wanted.mean(axis=0)) ** 2).mean(axis=1))
        return (error, "always answering the mean") if error > 0 else (None, "")

    def _by_number(self, errors: np.ndarray, labels: Sequence[str], shape: tuple[int, ...]) -> dict[str, float]:
        """Return the error of each number of the output that has a name."""
        del shape
        if len(labels) != errors.shape[1] or len(labels) < 2:
            return {}
        roots = np.sqrt(errors.mean(axis=0))
        return {f"rmse_{name}": float(root) for name, root in zip(labels[:_MOST_NAMED], roots, strict=False)}


class Forecasting(Regression, tag="forecasting", frozen=True, kw_only=True):
    """Outputs are the next H values (N, H) or (N, H, C), targets the same; the error of each step ahead is shown."""

    def prepared(self, outputs: Arrays, split: Split) -> Arrays:
        """Return the outputs, and the last values of a series that goes in, (N, columns)."""
        if split.targets is None or len(split.input_names) != 1:
            return outputs
        last = []
        for _, inputs in batches(split, _ROWS):
            (series,) = inputs.values()  # (n, T) or (n, T, columns)
            if series.ndim not in (2, 3) or series.dtype.kind != "f":
                return outputs
            last.append(series[:, -1].reshape(len(series), -1))
        return {**outputs, _LAST: np.concatenate(last)}

    def _trivial(self, outputs: Arrays, wanted: np.ndarray, shape: tuple[int, ...]) -> tuple[float | None, str]:
        """Return the error of the mean, or of the last value repeated, whichever is smaller."""
        found = super()._trivial(outputs, wanted, shape)
        if found[0] is None or _LAST not in outputs or len(shape) < 2:
            return found
        last, ahead = outputs[_LAST].astype(np.float64), wanted.reshape(len(wanted), shape[1], -1)  # (N, F), (N, H, C)
        columns = ahead.shape[2]
        if columns not in (1, last.shape[1]):
            return found
        tried = [last] if columns == last.shape[1] else [last[:, [column]] for column in range(last.shape[1])]
        error = min(_root(((ahead - values[:, None, :]) ** 2).mean(axis=(1, 2))) for values in tried)
        return (error, "repeating the last value") if error < found[0] else found

    def _by_number(self, errors: np.ndarray, labels: Sequence[str], shape: tuple[int, ...]) -> dict[str, float]:
        """Return the error of each step ahead, from 1."""
        del labels
        steps = shape[0] if shape else 1
        roots = np.sqrt(errors.reshape(len(errors), steps, -1).mean(axis=(0, 2)))
        return (
            {f"rmse_step_{step + 1}": float(root) for step, root in enumerate(roots[:_MOST_NAMED])} if steps > 1 else {}
        )


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).astype(np.float64)


def _root(values: np.ndarray) -> float:
    return float(np.sqrt(values.mean()))
