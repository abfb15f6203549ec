from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from edgeglm_agent.wire import TensorSpec
from sklearn.metrics import jaccard_score

from edgeglm.data.splits import ArraySplit, Data
from edgeglm.errors import DataError, ModelError
from edgeglm.report.types import SplitResult
from edgeglm.tasks import Segmentation


def scenes(seed: int, *, wrong: float, images: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (N, 3, 6, 6) with this share of wrong pixels, and targets as the task reads them."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, (images, 6, 6))
    said = np.where(rng.random(targets.shape) < wrong, (targets + 1) % 3, targets)
    logits = 5 * np.eye(3)[said].transpose(0, 3, 1, 2) + rng.normal(size=(images, 3, 6, 6))
    targets[:, 0] = 255
    read = Segmentation().read_targets(targets, labels=(), judged=True, where="")
    assert read is not None
    return logits.astype(np.float32), read


def judged(logits: np.ndarray, targets: np.ndarray, before: np.ndarray | None = None, **settings: Any) -> SplitResult:
    task = Segmentation(**settings)
    split = ArraySplit({"x": np.zeros((len(logits), 1))}, targets)
    one, other = (None if a is None else task.prepared({"y": a}, split) for a in (logits, before))
    assert one is not None
    return task.evaluate(one, targets, ("sky", "road", "car"), other)


def test_overlap_is_that_of_scikit_learn_over_all_pixels_that_count() -> None:
    logits, targets = scenes(0, wrong=0.2)
    result = judged(logits, targets)
    seen = targets >= 0
    expected = jaccard_score(targets[seen], logits.argmax(axis=1)[seen], average=None)
    assert result.metric.name == "mean_iou"
    assert result.metric.value == pytest.approx(expected.mean())
    assert [one.value for one in result.per_class] == pytest.approx(expected)
    assert [(one.label, one.metric, one.n) for one in result.per_class] == [
        ("sky", "iou", 40),
        ("road", "iou", 40),
        ("car", "iou", 40),
    ]
    assert result.metric.ci95[0] < result.metric.value < result.metric.ci95[1]
    right = (targets == logits.argmax(axis=1))[seen].mean()
    assert result.metrics_extra["pixel_accuracy"] == pytest.approx(right)
    assert sum(map(sum, result.confusion)) == seen.sum()


def test_what_was_lost_is_bootstrapped_over_images_and_told_by_class() -> None:
    good, targets = scenes(0, wrong=0.02)
    bad, _ = scenes(0, wrong=0.02)
    bad[:, 2] -= 4.0  # the car is seen less
    result = judged(bad, targets, good)
    assert result.drop is not None
    assert result.drop.method == "bootstrap"
    assert 0 < result.drop.ci95[0] < result.drop.value < result.drop.ci95[1]
    assert result.drop.worse > 30
    car = result.per_class[2]
    assert car.drop is not None
    assert car.ci95 is not None
    assert car.ci95[0] < car.drop < car.ci95[1]
    assert car.drop == max(one.drop or 0.0 for one in result.per_class)
    unchanged = judged(good, targets, good).drop
    assert unchanged is not None
    assert (unchanged.value, unchanged.ci95, unchanged.worse) == (0.0, (0.0, 0.0), 0)


def test_the_intervals_are_those_of_drawing_images_one_by_one() -> None:
    from edgeglm.tasks.statistics import RESAMPLES, bootstrap_interval

    logits, targets = scenes(3, wrong=0.3, images=12)
    calls = []

    def value(rows: np.ndarray) -> float:
        calls.append(1)
        seen = targets[rows] >= 0
        return float(jaccard_score(targets[rows][seen], logits.argmax(axis=1)[rows][seen], average="macro"))

    assert judged(logits, targets).metric.ci95 == pytest.approx(bootstrap_interval(value, 12))
    assert len(calls) == RESAMPLES


def test_a_class_without_a_pixel_is_left_out() -> None:
    logits, targets = scenes(0, wrong=0.2)
    targets = np.where(targets == 2, 1, targets)
    result = judged(logits, targets)
    assert (result.per_class[2].n, result.per_class[2].value) == (0, None)
    assert result.metric.value == pytest.approx(np.mean([one.value or 0 for one in result.per_class[:2]]))


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (None, "has no targets"),
        (np.zeros((2, 3, 4, 4), int), "not one class number a pixel"),
        (np.zeros((2, 4, 4)), "type float64"),
        (np.full((2, 4, 4), 255), "every pixel is 255"),
        (np.full((2, 4, 4), -7), "target -7 in sample 0 is no class"),
    ],
)
def test_targets_that_are_no_maps_are_refused(targets: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Segmentation().read_targets(targets, labels=(), judged=True, where="data")


def test_maps_may_have_an_axis_of_one_channel_and_any_type_of_integer() -> None:
    written = np.array([[[1, 255], [0, 2]]], np.uint8)
    for maps in (written, written[:, None], written[..., None], written.astype(np.int64)):
        read = Segmentation().read_targets(maps, labels=(), judged=True, where="")
        assert read is not None
        assert (read.tolist(), read.dtype) == ([[[1, -1], [0, 2]]], np.int16)
    read = Segmentation(ignore_index=None).read_targets(written, labels=(), judged=True, where="")
    assert read is not None
    assert read.max() == 255


@pytest.mark.parametrize(
    ("shape", "size", "most", "labels", "kind", "says"),
    [
        ((3, 4, 4), (4, 4), 2, (), None, ""),
        ((3,), (4, 4), 2, (), ModelError, "holds no maps of logits"),
        ((3, 4, 4), (8, 8), 2, (), DataError, "do not fit output"),
        ((3, 4, 4), (4, 4), 3, (), DataError, "target 3 is no class"),
        ((3, 4, 4), (4, 4), 2, ("a", "b"), DataError, "2 labels, and the model has 3"),
    ],
)
def test_a_model_and_maps_that_do_not_belong_together_are_refused(
    shape: tuple[int, ...], size: tuple[int, ...], most: int, labels: tuple[str, ...], kind: Any, says: str
) -> None:
    split = ArraySplit({"x": np.zeros((2, 1, 4, 4), np.float32)}, np.full((2, *size), most, np.int16))
    data = Data({"eval": split}, ("eval",), labels)
    specs = [TensorSpec("out", "float32", shape, "NCHW")]
    if kind is None:
        Segmentation().check(specs, data)
        return
    with pytest.raises(kind, match=says):
        Segmentation().check(specs, data)


def test_classes_that_no_pixel_is_of_are_mentioned() -> None:
    targets = {"train": np.array([[[0, 2]]]), "eval": np.array([[[0, -1]]])}
    where = {"train": "train", "eval": "eval"}
    (said,) = Segmentation().check_splits(targets, chief="eval", labels=("a", "b", "c"), where=where)
    assert "no pixel of b, c" in said


def test_a_part_of_the_images_that_cannot_be_judged_is_said_to_be_so() -> None:
    logits, targets = scenes(0, wrong=0.2, images=3)
    with pytest.raises(DataError, match="no pixel counts"):
        judged(logits, np.full_like(targets, -1))


def test_a_map_that_always_says_the_same_class_is_no_better_than_chance() -> None:
    logits, targets = scenes(0, wrong=0.2)
    targets[targets == 2] = 0
    always = np.zeros_like(logits)
    always[:, 0] = 1
    blind = judged(always, targets).metric
    assert blind.value == pytest.approx(blind.chance)
    assert blind.no_better_than_chance
    assert not judged(logits, targets).metric.no_better_than_chance
