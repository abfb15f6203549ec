"""Segmentation: a class for every pixel, judged by how well the areas cover each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeglm.data.samples import map_picture
from edgeglm.errors import DataError, ModelError
from edgeglm.report.types import Change, ClassResult, Drop, Metric, SplitResult
from edgeglm.tasks._base import ObjectiveName, TaskConfig, finite_output, judged_output
from edgeglm.tasks.changes import Changes
from edgeglm.tasks.overlap import class_iou, confusion, mean_iou, pixel_counts
from edgeglm.tasks.statistics import bootstrap_weights, percentile_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeglm_agent.wire import TensorSpec

    from edgeglm.data.splits import Arrays, Data, Split

_IGNORED = -1  # in targets, once they are read
_MOST_CLASSES = 2**15
_MAP = "class_map"


class Segmentation(TaskConfig, tag="segmentation", frozen=True, kw_only=True):
    """Outputs are logits (N, K, H, W); targets are class numbers (N, H, W), 0 to K - 1."""

    objective: ClassVar[ObjectiveName] = "pixels"
    reads_one_output: ClassVar[bool] = True
    needs_targets: ClassVar[bool] = True

    output: str | None = None  # name of the output that holds the logits; None: the first
    ignore_index: int | None = 255  # a target that stands for no class: such pixels count nowhere

    def read_targets(
        self, targets: np.ndarray | None, *, labels: Sequence[str], judged: bool, where: str
    ) -> np.ndarray | None:
        """Return class numbers (N, H, W) int16, -1 for pixels that count nowhere.

        Raises:
            DataError: They are no maps of classes, or there are none and the split is judged.
        """
        del labels
        if targets is None:
            if judged:
                raise DataError(
                    "has no targets, and segmentation is judged by them",
                    hint="return (inputs, targets) with the map of classes of each image, (height, width)",
                    where=where,
                    code="data-no-targets",
                )
            return None
        if targets.ndim == 4 and 1 in (targets.shape[1], targets.shape[3]):
            targets = targets.reshape(
                len(targets), *(targets.shape[2:] if targets.shape[1] == 1 else targets.shape[1:3])
            )
        if targets.ndim != 3 or targets.dtype.kind not in "biu":
            raise DataError(
                f"targets of shape {list(targets.shape)} and type {targets.dtype} are not one class number a pixel",
                hint="give class numbers from 0 as integers, (N, height, width); not one-hot maps or colours",
                where=where,
                code="data-targets",
            )
        counted = np.ones(targets.shape, bool) if self.ignore_index is None else targets != self.ignore_index
        wrong = counted & ((targets < 0) | (targets >= _MOST_CLASSES))
        if wrong.any():
            first = int(np.argmax(wrong.reshape(len(wrong), -1).any(axis=1)))
            raise DataError(
                f"target {int(targets[first][wrong[first]][0])} in sample {first} is no class: they run from 0",
                hint="number the classes from 0, and say by `task.ignore_index` which number stands for none",
                where=where,
                code="data-targets",
                sample=first,
            )
        if judged and not counted.any():
            raise DataError(
                f"every pixel is {self.ignore_index}, which counts nowhere",
                hint="look at `task.ignore_index` and at how the maps are read",
                where=where,
                code="data-targets",
            )
        return np.where(counted, targets.astype(np.int16), np.int16(_IGNORED))

    def check_splits(
        self, targets: Mapping[str, np.ndarray], *, chief: str, labels: Sequence[str], where: Mapping[str, str]
    ) -> list[str]:
        """Mention classes that are not evaluated."""
        present = {name: self.classes_in(values) for name, values in targets.items()}
        missing = sorted(set(range(len(labels))).union(*present.values()) - present.get(chief, set()))
        if not missing or chief not in present:
            return []
        names = ", ".join(labels[number] if number < len(labels) else str(number) for number in missing[:8])
        return [f"{where[chief]}: no pixel of {names}: nothing is known about them"]

    def check(self, outputs: Sequence[TensorSpec], data: Data) -> None:
        """Refuse a model and data that do not belong together.

        Raises:
            ModelError: The output holds no logits (K, H, W).
            DataError: Maps of another size, a target that is no class, or more or fewer labels than classes.
        """
        spec = judged_output(outputs, self.output)
        if len(spec.shape) != 3 or spec.shape[0] < 2:
            raise ModelError(
                f"output `{spec.name}` of shape {list(spec.shape)} holds no maps of logits: segmentation needs "
                "(classes, height, width) for each sample, with two or more classes",
                hint="name another output by `task.output`, or put the classes first in the network's forward()",
                where="task",
                code="output-not-logits",
            )
        classes, *size = spec.shape
        if data.labels and len(data.labels) != classes:
            raise DataError(
                f"there are {len(data.labels)} labels, and the model has {classes} classes",
                hint="one label for each class of the model, in the order of its output",
                where="labels",
                code="labels-mismatch",
            )
        for name, split in data.splits.items():
            if split.targets is None:
                continue
            place = f"data, split `{name}`"
            if -1 not in size and split.targets.shape[1:] != tuple(size):
                raise DataError(
                    f"maps of {list(split.targets.shape[1:])} pixels do not fit output `{spec.name}` of {size}",
                    hint="give targets in the size that the model puts out, resized by nearest neighbour",
                    where=place,
                    code="data-targets",
                )
            if (most := int(split.targets.max())) >= classes:
                raise DataError(
                    f"target {most} is no class: the model has 0 to {classes - 1}",
                    hint="number the classes as the model does, and say by `task.ignore_index` which number is none",
                    where=place,
                    code="data-targets",
                )

    def prepared(self, outputs: Arrays, split: Split) -> Arrays:
        """Return the map of classes (N, H, W) int16, and the number of classes beside each.

        Raises:
            ModelError: The logits hold NaN or Inf.
        """
        del split
        logits = finite_output(outputs, self.output)
        return {_MAP: logits.argmax(axis=1).astype(np.int16), "classes": np.full(len(logits), logits.shape[1])}

    def classes_in(self, targets: np.ndarray) -> set[int]:
        """Return the numbers of the classes that any pixel is of."""
        return {int(number) for number in np.unique(targets)} - {_IGNORED}

    def evaluate(
        self, outputs: Arrays, targets: np.ndarray | None, labels: Sequence[str], baseline: Arrays | None = None
    ) -> SplitResult:
        """Return the mean intersection over union of the classes that the targets hold, and that of each class.

        Sums run over the pixels of all images. Intervals are bootstrapped over images, both models on the same draws.
        Of a class, ``n`` counts the images that hold it.

        Raises:
            DataError: No pixel counts.
        """
        assert targets is not None  # read_targets saw to it
        if not (targets != _IGNORED).any():
            raise DataError("no pixel counts", where="data", hint="judge images with classes", code="data-targets")
        classes = int(outputs["classes"][0])
        found = _Counts(outputs[_MAP], targets, classes)
        before = None if baseline is None else _Counts(baseline[_MAP], targets, classes)
        draws = bootstrap_weights(len(targets)).astype(np.float64)
        drawn = found.drawn(draws)
        lost, lost_by_class = None, None
        if before is not None:
            drawn_before = before.drawn(draws)
            lost, lost_by_class = (
                mean_iou(*drawn_before) - mean_iou(*drawn),
                class_iou(*drawn_before) - class_iou(*drawn),
            )
        value, by_class = float(mean_iou(*found.total)), class_iou(*found.total)
        names = list(labels) or [str(number) for number in range(classes)]
        per_class = []
        for number, name in enumerate(names):
            images = int((found.meant[:, number] > 0).sum())
            if not images:
                per_class.append(ClassResult(label=name, n=0, metric="iou"))
                continue
            drop, interval = None, None
            if before is not None and lost_by_class is not None:
                drop = float(class_iou(*before.total)[number] - by_class[number])
                interval = percentile_interval(lost_by_class[:, number])
            per_class.append(
                ClassResult(label=name, n=images, metric="iou", value=float(by_class[number]), drop=drop, ci95=interval)
            )
        pixels = int(found.meant.sum())
        return SplitResult(
            metric=Metric(
                name="mean_iou",
                value=value,
                n=len(targets),
                ci95=percentile_interval(mean_iou(*drawn)) or (value, value),
                higher_is_better=True,
                chance=_constant(found.meant.sum(axis=0)),
            ),
            metrics_extra={"pixel_accuracy": float(found.right.sum() / pixels)},
            per_class=per_class,
            confusion=confusion(outputs[_MAP], targets, classes=classes, ignore=_IGNORED).tolist(),
            drop=None if before is None or lost is None else _drop(before, found, lost),
        )

    def changes(self, before: Arrays, after: Arrays, targets: np.ndarray | None, labels: Sequence[str]) -> Changes:
        """Return the share of each map's pixels that changed their class."""
        del labels
        old, new = before[_MAP], after[_MAP]
        moved = np.array([np.count_nonzero(a != b) for a, b in zip(old, new, strict=True)])
        pixels = old[0].size

        def told_of(found: np.ndarray, row: int) -> str:
            if targets is None or not (counted := targets[row] != _IGNORED).any():
                return ""
            return f"{100 * float((found[row] == targets[row])[counted].mean()):.1f} % of pixels right"

        def tell(row: int) -> Change:
            return Change(
                row=row,
                before=told_of(old, row),
                after=told_of(new, row),
                note=f"{100 * moved[row] / pixels:.3g} % of the pixels changed ({moved[row]:,} of {pixels:,})",
                picture_expected="" if targets is None else map_picture(targets[row]),
                picture_before=map_picture(old[row]),
                picture_after=map_picture(new[row]),
            )

        return Changes(moved / pixels, tell, "maps changed")

    def predicted(self, outputs: Arrays, labels: Sequence[str]) -> dict[str, float]:
        """Return label -> share of all pixels that are put into that class; without labels, by class number."""
        logits = finite_output(outputs, self.output)
        counts = np.bincount(logits.argmax(axis=1).ravel(), minlength=logits.shape[1])
        names = labels or [str(number) for number in range(logits.shape[1])]
        return {name: float(share) for name, share in zip(names, counts / counts.sum(), strict=True)}


class _Counts:
    """Pixels of each class in each image, (N, K): right, predicted, meant."""

    def __init__(self, predicted: np.ndarray, targets: np.ndarray, classes: int) -> None:
        self.right, self.said, self.meant = pixel_counts(predicted, targets, classes=classes, ignore=_IGNORED)

    @property
    def total(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Over all images, (K,) each."""
        return self.right.sum(axis=0), self.said.sum(axis=0), self.meant.sum(axis=0)

    def drawn(self, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Over the images of each draw (B, N), (B, K) each."""
        return draws @ self.right, draws @ self.said, draws @ self.meant


def _constant(pixels: np.ndarray) -> float:
    """Return the mean overlap of a map that says the commonest class everywhere; ``pixels``: of each class (K,)."""
    return float(pixels.max() / pixels.sum() / np.count_nonzero(pixels))


def _drop(before: _Counts, after: _Counts, lost: np.ndarray) -> Drop:
    """Return the loss; an image counts as worse where fewer of its pixels are right."""
    value = float(mean_iou(*before.total) - mean_iou(*after.total))
    gained = after.right.sum(axis=1) - before.right.sum(axis=1)
    return Drop(
        value=value,
        ci95=percentile_interval(lost) or (value, value),
        n=len(gained),
        worse=int((gained < 0).sum()),
        better=int((gained > 0).sum()),
        method="bootstrap",
    )
