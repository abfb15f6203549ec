"""Classification: one label a sample, judged by accuracy and by the recall of every class."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from msgspec import Meta

from edgeglm.errors import DataError, ModelError, RecipeError
from edgeglm.report.types import ClassResult, Metric, SplitResult
from edgeglm.tasks._base import ObjectiveName, TaskConfig, finite_output, judged_output
from edgeglm.tasks.changes import Changes, class_changes
from edgeglm.tasks.statistics import paired_drop, wilson_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeglm_agent.wire import TensorSpec

    from edgeglm.data.splits import Arrays, Data

_CALIBRATION_BINS = 15
_NAMED = 5  # labels that an error shows


class Classification(TaskConfig, tag="classification", frozen=True, kw_only=True):
    """Outputs are logits (N, K); targets are class numbers (N,), 0 to K - 1."""

    objective: ClassVar[ObjectiveName] = "classes"
    reads_one_output: ClassVar[bool] = True
    needs_targets: ClassVar[bool] = True

    output: str | None = None  # name of the output that holds the logits; None: the first
    top_k: Annotated[int, Meta(ge=2)] | None = None  # also report accuracy within the k best

    def read_targets(
        self, targets: np.ndarray | None, *, labels: Sequence[str], judged: bool, where: str
    ) -> np.ndarray | None:
        """Return class numbers as (N,) int64 where that is only another way to write them.

        How many classes there are is for the model to say: where targets go beyond the labels, those may be too few.

        Raises:
            DataError: They are no class numbers, or there are none and the split is judged.
        """
        del labels
        if targets is not None:
            if targets.ndim == 2 and targets.shape[1] == 1:
                targets = targets[:, 0]
            targets = targets.astype(np.int64) if targets.dtype.kind in "biu" else targets
        if targets is not None or judged:
            check_targets(targets, where=where)
        return targets

    def check_splits(
        self, targets: Mapping[str, np.ndarray], *, chief: str, labels: Sequence[str], where: Mapping[str, str]
    ) -> list[str]:
        """Refuse a single class where something is learnt or judged; mention classes that are not evaluated."""
        present = {name: set(np.unique(values).tolist()) for name, values in targets.items()}
        for name in ("train", chief):
            if len(present.get(name, ())) == 1:
                raise DataError(
                    f"all samples are of class {next(iter(present[name]))}",
                    hint="a classifier needs samples of two or more classes; look at how the splits are made",
                    where=where[name],
                    code="data-one-class",
                )
        missing = sorted(set(range(len(labels))).union(*present.values()) - present[chief])
        if not missing:
            return []
        names = ", ".join(labels[number] if number < len(labels) else str(number) for number in missing[:8])
        return [f"{where[chief]}: no sample of {names}: nothing is known about them"]

    def check(self, outputs: Sequence[TensorSpec], data: Data) -> None:
        """Refuse a model and data that do not belong together, before anything long is started.

        Raises:
            ModelError: The output named does not exist, or does not hold logits (K,) with K >= 2.
            DataError: There are more or fewer labels than classes, or a target names no class.
            RecipeError: ``top_k`` is more than there are classes.
        """
        spec = judged_output(outputs, self.output)
        if len(spec.shape) != 1 or spec.shape[0] < 2:
            raise ModelError(
                f"output `{spec.name}` of shape {list(spec.shape)} holds no logits: classification needs one value for "
                "each of two or more classes",
                hint=_other_output(outputs),
                where="task",
                code="output-not-logits",
            )
        classes = spec.shape[0]
        if data.labels and len(data.labels) != classes:
            raise DataError(
                f"there are {len(data.labels)} labels ({', '.join(data.labels[:_NAMED])}"
                f"{', ...' if len(data.labels) > _NAMED else ''}), and the model has {classes} classes",
                hint="one label for each output of the model, in the order of its outputs",
                where="labels",
                code="labels-mismatch",
            )
        if self.top_k is not None and self.top_k > classes:
            raise RecipeError(
                f"{self.top_k} is more than the {classes} classes of the model",
                hint=f"give 2 to {classes - 1}, or leave it out" if classes > 2 else "leave it out",
                where="task.top_k",
                code="recipe-out-of-range",
            )
        for name, split in data.splits.items():
            if split.targets is None and name not in data.eval_splits:
                continue  # calibration needs none, and a teacher's answers may be all there is to learn from
            try:
                check_targets(split.targets, where=f"data, split `{name}`", classes=classes)
            except DataError as error:
                error.located(partial(data.place, name))
                raise

    def logits(self, outputs: Arrays) -> np.ndarray:
        """Return the logits (N, K) among a model's outputs.

        Raises:
            ModelError: They hold NaN or Inf.
        """
        return finite_output(outputs, self.output)

    def correct(self, outputs: Arrays, targets: np.ndarray) -> np.ndarray:
        """Return (N,) bool: which samples the model puts into the right class."""
        return np.asarray(self.logits(outputs).argmax(axis=1) == targets)

    def evaluate(
        self, outputs: Arrays, targets: np.ndarray | None, labels: Sequence[str], baseline: Arrays | None = None
    ) -> SplitResult:
        """Return accuracy, recall by class and confusion, and against a baseline what was lost.

        Args:
            outputs: The model's outputs over a whole split; the logits among them are (N, K).
            targets: (N,) class numbers.
            labels: K names; empty: the class numbers are the names.
            baseline: The original model's outputs on the same samples, in the same order.

        Raises:
            DataError: The targets are no class numbers of this model.
            ModelError: The logits hold NaN or Inf.
        """
        logits = self.logits(outputs)
        n, classes = logits.shape
        check_targets(targets, where="data", classes=classes)
        assert targets is not None  # just checked
        right = self.correct(outputs, targets)
        before = None if baseline is None else self.correct(baseline, targets)
        confusion = np.bincount(targets * classes + logits.argmax(axis=1), minlength=classes**2)
        names = list(labels) or [str(number) for number in range(classes)]
        per_class = []
        for number, name in enumerate(names):
            own = targets == number
            per_class.append(_class_result(name, right[own], None if before is None else before[own]))
        seen = [result.recall for result in per_class if result.recall is not None]
        extra = {"macro_recall": float(np.mean(seen)), "calibration_error": calibration_error(logits, targets)}
        if self.top_k is not None:
            extra[f"top_{self.top_k}"] = float(_within_best(logits, targets, self.top_k).mean())
        hits = int(right.sum())
        return SplitResult(
            metric=Metric(
                name="accuracy",
                value=hits / n,
                n=n,
                ci95=wilson_interval(hits, n),
                higher_is_better=True,
                chance=max(1 / classes, int(np.bincount(targets).max()) / n),  # guessing, or always the same class
            ),
            metrics_extra=extra,
            per_class=per_class,
            confusion=[[int(count) for count in row] for row in confusion.reshape(classes, classes)],
            drop=None if before is None else paired_drop(before, right),
        )

    def changes(self, before: Arrays, after: Arrays, targets: np.ndarray | None, labels: Sequence[str]) -> Changes:
        """Return the samples that are put into another class: see ``class_changes``."""
        return class_changes(self.logits(before), self.logits(after), targets, labels)

    def predicted(self, outputs: Arrays, labels: Sequence[str]) -> dict[str, float]:
        """Return label -> share of the samples that are put into that class; without labels, by class number."""
        logits = self.logits(outputs)
        winners = np.bincount(logits.argmax(axis=-1), minlength=logits.shape[-1])
        names = labels or [str(number) for number in range(logits.shape[-1])]
        return {name: float(share) for name, share in zip(names, winners / winners.sum(), strict=True)}


def check_targets(targets: np.ndarray | None, *, where: str, classes: int | None = None) -> None:
    """Refuse targets that are no class numbers.

    Args:
        targets: What the data gave as targets.
        where: Which data and split, for the error.
        classes: How many classes there are; None: not known yet.

    Raises:
        DataError: None at all, not one whole number a sample, or outside 0 to ``classes - 1``.
    """
    if targets is None:
        raise DataError(
            "has no targets, and classification is judged by them",
            hint="return (inputs, targets) with one class number for each sample",
            where=where,
            code="data-no-targets",
        )
    if targets.ndim == 1 and targets.dtype.kind == "f" and not np.isfinite(targets).all():
        missing = ~np.isfinite(targets)
        first = int(np.argmax(missing))
        raise DataError(
            f"target {targets[first]} of sample {first} is no class ({int(missing.sum())} such samples)",
            hint="leave out samples without a class, and give class numbers from 0 as integers",
            where=where,
            code="data-targets",
            sample=first,
        )
    if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
        hint = "give class numbers from 0 as integers, not one-hot rows, scores or names"
        if targets.ndim == 1 and np.array_equal(targets, np.floor(targets)):
            hint = "they are whole numbers of a type for fractions: give `y.astype(int)`"
        raise DataError(
            f"targets of shape {list(targets.shape)} and type {targets.dtype} are not one class number a sample",
            hint=hint,
            where=where,
            code="data-targets",
        )
    wrong = (targets < 0) | (False if classes is None else targets >= classes)
    if wrong.any():
        first = int(np.argmax(wrong))
        most = "" if classes is None else f" to {classes - 1}"
        raise DataError(
            f"target {int(targets[first])} of sample {first} is no class: they run from 0{most} "
            f"({int(wrong.sum())} such samples)",
            hint="number the classes from 0 without gaps, as many as the model has outputs",
            where=where,
            code="data-targets",
            sample=first,
        )


def _other_output(outputs: Sequence[TensorSpec]) -> str:
    """Return the hint for an output that holds no logits: the outputs that may."""
    fitting = [f"`{spec.name}` {list(spec.shape)}" for spec in outputs if len(spec.shape) == 1 and spec.shape[0] >= 2]
    if fitting:
        return f"name another output by `task.output`: {', '.join(fitting[:6])}"
    return (
        "this is no classifier, as none of its outputs has one value for each class; mend its head if it is meant to be"
    )


def calibration_error(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the expected calibration error: how far confidence lies from accuracy, 0 to 1, lower is better.

    Args:
        logits: (N, K), before softmax.
        targets: (N,) class numbers.

    Source: Guo et al. 2017, arXiv:1706.04599, section 2, with 15 bins of equal width.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    odds = np.exp(shifted)
    confidence = 1.0 / odds.sum(axis=1)  # of the class with the largest logit, whose own exponent is 0
    right = logits.argmax(axis=1) == targets
    bins = np.minimum((confidence * _CALIBRATION_BINS).astype(int), _CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=_CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(targets))


def _class_result(label: str, right: np.ndarray, before: np.ndarray | None) -> ClassResult:
    if not len(right):
        return ClassResult(label=label, n=0, recall=None)
    drop = None if before is None else paired_drop(before, right)
    return ClassResult(
        label=label,
        n=len(right),
        recall=float(right.mean()),
        drop=None if drop is None else drop.value,
        ci95=None if drop is None else drop.ci95,
        worse=None if drop is None else drop.worse,
        better=None if drop is None else drop.better,
    )


def _within_best(logits: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    """Return (N,) bool: whether fewer than k classes score above the right one; a tie goes to the lower class."""
    own = logits[np.arange(len(targets)), targets][:, None]
    lower = np.arange(logits.shape[1])[None, :] < targets[:, None]
    return np.asarray(((logits > own) | ((logits == own) & lower)).sum(axis=1) < k)
