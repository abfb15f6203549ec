"""Average precision of detections, as COCO defines it: pycocotools matches and counts, resamples reuse its matches."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeglm_agent.processing import Detection

_RECALLS = 101  # points at which precision is read: 0, .01, ... 1
MOST_DETECTIONS = 100  # of an image and class that count, the best


@dataclass(frozen=True)
class _ClassMatches:
    """The detections of one class over all images, best first."""

    image: np.ndarray  # (D,) row of the image
    right: np.ndarray  # (T, D) bool, by threshold of overlap
    meant: np.ndarray  # (N,) how many things of this class each image holds


@dataclass(frozen=True)
class Matches:
    """Which detections are right, at every threshold of overlap."""

    thresholds: np.ndarray  # (T,) .50, .55, ... .95
    classes: dict[int, _ClassMatches]  # only those that the targets hold
    images: int
    average_precision: np.ndarray  # (T, K) by threshold and class of ``classes``, as pycocotools computed it

    @property
    def mean(self) -> float:
        """Mean over thresholds and classes: mAP@[.50:.95]; 0 where the targets hold nothing."""
        return float(self.average_precision.mean()) if self.average_precision.size else 0.0

    @property
    def mean_50(self) -> float:
        """Mean over classes at an overlap of .50: mAP@.50."""
        return float(self.average_precision[0].mean()) if self.average_precision.size else 0.0

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """Return the average precision of each class, mean over thresholds, in samples of the images.

        Args:
            weights: (B, N) how often each image is drawn.

        Returns:
            (B, K), NaN where a sample holds nothing of a class.
        """
        values = np.full((len(weights), len(self.classes)), np.nan)
        for place, found in enumerate(self.classes.values()):
            meant = weights @ found.meant
            present = meant > 0
            if present.any():
                values[present, place] = _mean_precision(found, weights[present], meant[present])
        return values


def match(detections: Sequence[Sequence[Detection]], targets: np.ndarray) -> Matches:
    """Match the detections of each image with the things in it.

    Args:
        detections: Of each image, in pixels of the model's input.
        targets: (N, M, 5): class, x1, y1, x2, y2 in the same pixels; rows with a class below 0 hold nothing.

    Source: Lin et al. 2014 (Microsoft COCO), arXiv:1405.0312; the code that the COCO challenges use, pycocotools.
    """
    from pycocotools.cocoeval import COCOeval

    n = len(targets)
    if not (targets[..., 0] >= 0).any():
        return Matches(np.zeros(0), {}, n, np.zeros((0, 0)))
    numbers = np.unique(targets[..., 0][targets[..., 0] >= 0]).astype(int).tolist()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        meant = _coco(list(_things(targets)), n, numbers)
        found = _coco(list(_found(detections, set(numbers))), n, numbers)
        judge = COCOeval(meant, found, "bbox")
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.params.maxDets = [MOST_DETECTIONS]
        judge.params.imgIds = list(range(n))
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, :, 0, 0]  # (T, R, K)
    thresholds = np.asarray(judge.params.iouThrs)
    per_image = {(int(one["category_id"]), int(one["image_id"])): one for one in judge.evalImgs if one is not None}
    classes = {number: _class_matches(per_image, number, n, len(thresholds)) for number in numbers}
    return Matches(thresholds, classes, n, np.asarray(precision.mean(axis=1)))


def _class_matches(per_image: dict[tuple[int, int], Any], number: int, images: int, thresholds: int) -> _ClassMatches:
    meant = np.zeros(images, np.int64)
    scores, rows, right = [], [], []
    for row in range(images):
        one = per_image.get((number, row))
        if one is None:
            continue
        meant[row] = len(one["gtIds"])
        scores.append(np.asarray(one["dtScores"], np.float64))
        rows.append(np.full(len(one["dtScores"]), row))
        right.append(np.asarray(one["dtMatches"]).reshape(thresholds, -1) > 0)
    if not scores:
        return _ClassMatches(np.zeros(0, int), np.zeros((thresholds, 0), bool), meant)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return _ClassMatches(np.concatenate(rows)[order], np.concatenate(right, axis=1)[:, order], meant)


def _mean_precision(found: _ClassMatches, weights: np.ndarray, meant: np.ndarray) -> np.ndarray:
    """Return the mean over thresholds of average precision, (B,); precision is read at 101 recalls, as COCO does."""
    drawn = weights[:, found.image]  # (B, D) how often each detection is drawn
    draws = len(drawn)
    total = np.maximum(np.cumsum(drawn, axis=1), 1)
    wanted = _hits_wanted(meant)  # (B, R)
    rows = np.arange(draws)[:, None]
    sums = np.zeros(draws)
    for right in found.right:
        (columns,) = np.nonzero(right)  # precision is largest, and recall rises, where a detection is right
        places = len(columns)
        if not places:
            continue
        hits = np.cumsum(drawn[:, columns], axis=1)
        # one search for all draws: each draw's counts lie above those of the draw before it
        above = (int(max(hits.max(), wanted.max())) + 1) * rows
        # from here on the best: what precision a recall at least this large is worth
        precision = np.zeros((draws, places + 1))  # the last place: a recall that is never reached
        precision[:, :-1] = np.maximum.accumulate((hits / total[:, columns])[:, ::-1], axis=1)[:, ::-1]
        first = np.searchsorted((hits + above).ravel(), (wanted + above).ravel()).reshape(wanted.shape)
        sums += precision[rows, np.minimum(first - rows * places, places)].sum(axis=1)
    return sums / (_RECALLS * len(found.right))


def _hits_wanted(meant: np.ndarray) -> np.ndarray:
    """Return how many things must be found for a recall of 0, .01, ... 1, (B, R), by COCO's comparison of doubles."""
    recalls = np.linspace(0, 1, _RECALLS)
    wanted = np.ceil(recalls * meant[:, None]).astype(np.int64)
    wanted -= (wanted > 0) & ((wanted - 1) / meant[:, None] >= recalls)
    return np.asarray(wanted + (wanted / meant[:, None] < recalls))


def _coco(annotations: list[dict[str, Any]], images: int, numbers: list[int]) -> Any:
    from pycocotools.coco import COCO

    made = COCO()
    made.dataset = {
        "images": [{"id": row} for row in range(images)],
        "annotations": [{**one, "id": place + 1} for place, one in enumerate(annotations)],
        "categories": [{"id": number} for number in numbers],
    }
    made.createIndex()
    return made


def _things(targets: np.ndarray) -> Iterator[dict[str, Any]]:
    for row, things in enumerate(targets.tolist()):
        for number, x1, y1, x2, y2 in things:
            if number >= 0:
                yield _annotation(row, int(number), (x1, y1, x2, y2)) | {"iscrowd": 0}


def _found(detections: Sequence[Sequence[Detection]], known: set[int]) -> Iterator[dict[str, Any]]:
    for row, ones in enumerate(detections):
        for one in ones:
            if one.index in known:  # COCO judges classes that the targets hold
                yield _annotation(row, one.index, one.box) | {"score": one.score}


def _annotation(row: int, number: int, box: tuple[float, float, float, float]) -> dict[str, Any]:
    width, height = box[2] - box[0], box[3] - box[1]
    return {
        "image_id": row,
        "category_id": number,
        "bbox": [box[0], box[1], width, height],
        "area": width * height,
    }
