"""Detection: boxes with classes, as the recipe's `postprocess` finds them, judged by mean average precision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from edgeglm_agent.processing import Detection, Postprocess
from edgeglm_agent.processing._base import Answers
from edgeglm_agent.processing.boxes import DecodeBoxes
from edgeglm_agent.wire import ProcessOp
from msgspec import Meta

from edgeglm.data.splits import batches
from edgeglm.errors import DataError, MissingExtraError, RecipeError
from edgeglm.report.types import ClassResult, Drop, Metric, SplitResult
from edgeglm.tasks._base import TaskConfig, finite_output, judged_output
from edgeglm.tasks.average_precision import Matches, match
from edgeglm.tasks.box_changes import box_changes
from edgeglm.tasks.statistics import bootstrap_weights, percentile_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm_agent.wire import TensorSpec

    from edgeglm.data.splits import Arrays, Data, Split
    from edgeglm.sources.entry import Entries
    from edgeglm.tasks._base import Judge
    from edgeglm.tasks.changes import Changes

_FOUND = "detections"  # (N, M, 6): class, score, x1, y1, x2, y2; class -1: nothing
_MOST_FOUND = 1000  # detections of one image that are looked at, the best
_ROWS = 64  # images at a time
_MOST_KNOWN = 4  # baselines that are kept: one for each evaluation split, as a rule
_FOR_PEOPLE = ("threshold", "labels")  # operations that a metric does without


class ObjectDetection(TaskConfig, tag="detection", frozen=True, kw_only=True):
    """`postprocess` finds the boxes; targets are (N, M, 5) [class, x1, y1, x2, y2], pixels of the model's input."""

    needs_targets: ClassVar[bool] = True

    output: str | None = (
        None  # name of an output that must be finite; `postprocess` says which it reads. None: the first
    )
    min_score: Annotated[float, Meta(ge=0, lt=1)] = 0.001  # `boxes` drops weaker ones while judging, whatever it says

    def read_targets(
        self, targets: np.ndarray | None, *, labels: Sequence[str], judged: bool, where: str
    ) -> np.ndarray | None:
        """Return targets as (N, M, 5) float32, -1 in every place of a row that holds nothing.

        Raises:
            DataError: They are something else, or there are none and the split is judged.
        """
        if targets is None:
            if judged:
                raise DataError(
                    "has no targets, and detection is judged by them",
                    hint="return (inputs, targets) with (N, M, 5): class, x1, y1, x2, y2 of each thing; rows of -1",
                    where=where,
                    code="data-no-targets",
                )
            return None
        if targets.ndim != 3 or targets.shape[2] != 5 or targets.dtype.kind not in "iuf":
            raise DataError(
                f"targets of shape {list(targets.shape)} and type {targets.dtype} are no boxes",
                hint="give (N, M, 5): class, x1, y1, x2, y2 of each thing in pixels of the model's input, and rows of "
                "-1 where an image holds fewer than M",
                where=where,
                code="data-targets",
            )
        targets = targets.astype(np.float32)
        real = targets[..., 0] >= 0
        numbers, boxes = targets[..., 0], targets[..., 1:]
        wrong = real & ~((numbers == np.floor(numbers)) & np.isfinite(boxes).all(axis=-1))
        wrong |= real & ~((boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1]))
        if labels:
            wrong |= real & (numbers >= len(labels))
        if wrong.any():
            image, place = (int(index[0]) for index in np.nonzero(wrong))
            raise DataError(
                f"target {targets[image, place].tolist()} of sample {image} is no box of a class"
                + (f" from 0 to {len(labels) - 1}" if labels else ""),
                hint="write class, x1, y1, x2, y2 with x2 > x1 and y2 > y1; classes are whole numbers from 0",
                where=where,
                code="data-targets",
                sample=image,
            )
        sides = (boxes[..., 2:] - boxes[..., :2])[real]  # (things, 2) width and height
        if len(sides) and sides.max() <= 1:
            raise DataError(
                f"no box is more than 1 pixel wide or high: the largest is {sides[:, 0].max():g} by "
                f"{sides[:, 1].max():g}",
                hint="targets are in pixels of the model's input: multiply shares of 0 to 1 by its width and height",
                where=where,
                code="data-targets",
            )
        if judged and not real.any():
            raise DataError(
                "no image holds anything", hint="evaluate on images of things", where=where, code="data-targets"
            )
        return np.where(real[..., np.newaxis], targets, np.float32(-1))

    def check(self, outputs: Sequence[TensorSpec], data: Data) -> None:
        """Refuse an output that does not exist. Raises: ModelError."""
        del data
        judged_output(outputs, self.output)

    def bind(self, *, entries: Entries, postprocess: Postprocess) -> Judge:
        """Return what finds detections and judges them.

        Raises:
            RecipeError: `postprocess` finds no boxes.
            MissingExtraError: pycocotools is not installed.
        """
        del entries
        if not any(op.op == "boxes" for op in postprocess.wire()):
            raise RecipeError(
                "finds no boxes, and `kind: detection` judges those",
                hint="add the operation `boxes` (and `nms`, where the network does not do that itself)",
                where="postprocess",
                code="recipe-conflict",
            )
        try:
            import pycocotools  # noqa: F401 - said before anything long, not after it
        except ImportError as error:
            raise MissingExtraError(
                "`kind: detection` needs pycocotools, not installed here",
                hint="pip install 'edgeglm[detection]'",
                where="task",
            ) from error
        return Detector(self, _for_judging(postprocess, self.min_score), _shown_score(postprocess))

    def classes_in(self, targets: np.ndarray) -> set[int]:
        """Return the numbers of the classes of which there is any thing."""
        return {int(number) for number in np.unique(targets[..., 0]) if number >= 0}


@dataclass(frozen=True)
class Detector:
    """The task with the recipe's operations, every limit on scores lowered."""

    task: ObjectDetection
    postprocess: Postprocess
    shown_score: float  # what people are shown scores more
    _known: list[_Counted] = field(
        default_factory=list
    )  # baselines that were counted: every file is compared with them

    def prepared(self, outputs: Arrays, split: Split) -> Arrays:
        """Return the detections of each image, best first: (N, M, 6) class, score, x1, y1, x2, y2; rows of -1 after.

        Raises:
            ModelError: The output named by the task holds NaN or Inf.
        """
        finite_output(outputs, self.task.output)
        found: list[list[Detection]] = []
        for rows, inputs in batches(split, _ROWS) if self.postprocess.needs_inputs else _rows(len(split)):
            part = {name: values[rows] for name, values in outputs.items()}
            for one in self.postprocess.batch(part, inputs=inputs):
                assert isinstance(one, list)  # `boxes` is among the operations
                found.append([thing for thing in one[:_MOST_FOUND] if isinstance(thing, Detection)])
        made = np.full((len(found), max(1, *map(len, found)), 6), -1, np.float32)
        for row, things in enumerate(found):
            for place, thing in enumerate(things):
                made[row, place] = (thing.index, thing.score, *thing.box)
        return {_FOUND: made}

    def outputs_read(self, outputs: Arrays) -> Arrays:
        """Return the columns that `boxes` reads, each by itself: scores are no match for pixels in size.

        Raises:
            ProcessingError: The outputs do not fit the operations.
        """
        answers = Answers({name: np.asarray(values) for name, values in outputs.items()})
        for op in self.postprocess.ops:
            if isinstance(op, DecodeBoxes):
                return op.read(answers)
            answers = op.apply(answers)
        raise AssertionError("`boxes` is among the operations: ``bind`` saw to it")

    def evaluate(
        self, outputs: Arrays, targets: np.ndarray | None, labels: Sequence[str], baseline: Arrays | None = None
    ) -> SplitResult:
        """Return mean average precision over overlaps of .50 to .95 and all classes, and that of each class.

        Intervals are bootstrapped over images, both models on the same draws. Of a class, ``n`` counts things.

        Raises:
            DataError: No image holds anything.
        """
        assert targets is not None  # read_targets saw to it
        if not (targets[..., 0] >= 0).any():
            raise DataError("no image holds anything", where="data", hint="judge images of things", code="data-targets")
        after = _Counted.of(outputs[_FOUND], targets)
        found, drawn = after.matches, after.drawn
        known = None if baseline is None else self._counted(baseline[_FOUND], targets)
        before = None if known is None else known.matches
        drawn_before = None if known is None else known.drawn
        drop = None
        if before is not None and drawn_before is not None:
            value = before.mean - found.mean
            lost = _over_classes(drawn_before) - _over_classes(drawn)
            interval = percentile_interval(lost) or (value, value)
            drop = Drop(value=value, ci95=interval, n=len(targets), worse=0, better=0, method="bootstrap")
        names = dict(enumerate(labels)) or {number: str(number) for number in found.classes}
        return SplitResult(
            metric=Metric(
                name="map",
                value=found.mean,
                n=len(targets),
                ci95=percentile_interval(_over_classes(drawn)) or (found.mean, found.mean),
                higher_is_better=True,
                chance=0.0,  # boxes at random overlap nothing; a wrong `boxes` does the same, and has nothing to lose
            ),
            metrics_extra={"map_50": found.mean_50},
            per_class=[
                _class_result(number, name, found, before, drawn, drawn_before) for number, name in names.items()
            ],
            drop=drop,
        )

    def changes(self, before: Arrays, after: Arrays, targets: np.ndarray | None, labels: Sequence[str]) -> Changes:
        """Return the boxes that each image gained or lost, of those that the recipe shows: see ``box_changes``."""
        return box_changes(before[_FOUND], after[_FOUND], targets, labels, score=self.shown_score)

    def _counted(self, baseline: np.ndarray, targets: np.ndarray) -> _Counted:
        for one in self._known:
            if one.rows is baseline and one.targets is targets:
                return one
        self._known.append(_Counted.of(baseline, targets))
        del self._known[:-_MOST_KNOWN]
        return self._known[-1]


@dataclass(frozen=True)
class _Counted:
    """Detections matched with what was meant, and average precision by class in each draw of a bootstrap, (B, K)."""

    rows: np.ndarray
    targets: np.ndarray
    matches: Matches
    drawn: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, targets: np.ndarray) -> _Counted:
        matches = match(_detections(rows), targets)
        return cls(rows, targets, matches, matches.resampled(bootstrap_weights(len(targets))))


def _class_result(
    number: int,
    name: str,
    found: Matches,
    before: Matches | None,
    drawn: np.ndarray,
    drawn_before: np.ndarray | None,
) -> ClassResult:
    if number not in found.classes:
        return ClassResult(label=name, n=0, metric="average_precision")
    place = list(found.classes).index(number)
    value = float(found.average_precision[:, place].mean())
    drop, interval = None, None
    if before is not None and drawn_before is not None:
        drop = float(before.average_precision[:, place].mean()) - value
        interval = percentile_interval(drawn_before[:, place] - drawn[:, place])
    things = int(found.classes[number].meant.sum())
    return ClassResult(label=name, n=things, metric="average_precision", value=value, drop=drop, ci95=interval)


def _shown_score(postprocess: Postprocess) -> float:
    """Return what a box must score more than for the recipe's operations to keep it."""
    limits = [0.0]
    for op in postprocess.wire():
        key = {"boxes": "min_score", "threshold": "limit"}.get(op.op)
        if key is not None and op.settings.get("beyond", "above") == "above":
            limits.append(float(str(op.settings[key])))
    return max(limits)


def _for_judging(postprocess: Postprocess, min_score: float) -> Postprocess:
    """Return the operations that find boxes, none of them too weak to count: a metric looks at the whole curve."""
    ops = []
    for op in postprocess.wire():
        settings = dict(op.settings)
        if op.op == "boxes":
            settings["min_score"] = min(min_score, float(str(settings["min_score"])))
        if op.op not in _FOR_PEOPLE:
            ops.append(ProcessOp(op.op, settings))
    return Postprocess(ops)


def _detections(rows: np.ndarray) -> list[list[Detection]]:
    """Return the detections of each image from rows (N, M, 6)."""
    return [
        [Detection((x1, y1, x2, y2), score, int(number)) for number, score, x1, y1, x2, y2 in one if number >= 0]
        for one in rows.tolist()
    ]


def _over_classes(drawn: np.ndarray) -> np.ndarray:
    """Return the mean over the classes that each draw holds, (B,) of (B, K); NaN where it holds none."""
    known = ~np.isnan(drawn)
    count = known.sum(axis=1)
    return np.where(count > 0, np.where(known, drawn, 0).sum(axis=1) / np.maximum(count, 1), np.nan)


def _rows(count: int) -> list[tuple[np.ndarray, None]]:
    return [(np.arange(start, min(start + _ROWS, count)), None) for start in range(0, count, _ROWS)]
