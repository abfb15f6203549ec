from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from edgeglm_agent.processing import Postprocess

from edgeglm.data.splits import ArraySplit
from edgeglm.errors import DataError, RecipeError
from edgeglm.tasks import Judge, ObjectDetection

OPS: list[Any] = [{"boxes": {"format": "xyxy"}}, {"nms": {"iou": 0.5}}, {"threshold": {"limit": 0.5}}, "labels"]
LABELS = ("cat", "dog")


def judge(**settings: Any) -> Judge:
    return ObjectDetection(**settings).bind(entries=None, postprocess=Postprocess.of(OPS, LABELS))  # type: ignore[arg-type]


def scenes(seed: int, *, shift: float, images: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs (N, 6, 4 + 2) that find three things in each image, this far beside, and the things."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (images, 3, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 20, (images, 3, 2))], axis=-1)
    classes = rng.integers(0, 2, (images, 3))
    found = boxes + rng.normal(scale=shift, size=boxes.shape)
    scores = np.eye(2)[classes] * rng.uniform(0.1, 0.9, (images, 3, 1))  # many below what the board shows
    rows = np.concatenate([np.concatenate([found, scores], axis=-1), np.zeros((images, 3, 6))], axis=1)
    return rows.astype(np.float32), np.concatenate([classes[..., None], boxes], axis=-1).astype(np.float32)


def split_of(rows: np.ndarray) -> ArraySplit:
    return ArraySplit({"x": np.zeros((len(rows), 1))}, None)


def test_what_is_found_exactly_is_worth_one_whatever_the_board_would_show() -> None:
    rows, targets = scenes(0, shift=0.0)
    result = (task := judge()).evaluate(task.prepared({"o": rows}, split_of(rows)), targets, LABELS)
    assert result.metric.name == "map"
    assert result.metric.value == pytest.approx(1.0, abs=0.03)  # some things overlap by more than half
    assert result.metrics_extra["map_50"] == pytest.approx(1.0, abs=0.03)
    assert [(one.label, one.metric) for one in result.per_class] == [
        ("cat", "average_precision"),
        ("dog", "average_precision"),
    ]
    assert sum(one.n for one in result.per_class) == 90
    strict = judge(min_score=0.5)  # `boxes` asks for .25: that is less
    few = strict.evaluate(strict.prepared({"o": rows}, split_of(rows)), targets, LABELS)
    assert few.metric.value < 0.9


def test_boxes_that_lie_beside_lose_and_the_interval_says_so() -> None:
    rows, targets = scenes(0, shift=0.3)
    worse, _ = scenes(0, shift=2.0)
    task = judge()
    before, after = (task.prepared({"o": one}, split_of(one)) for one in (rows, worse))
    result = task.evaluate(after, targets, LABELS, before)
    assert result.drop is not None
    assert result.drop.method == "bootstrap"
    assert 0.1 < result.drop.ci95[0] < result.drop.value < result.drop.ci95[1]
    assert result.metric.ci95[0] < result.metric.value < result.metric.ci95[1]
    for one in result.per_class:
        assert one.drop is not None
        assert one.ci95 is not None
        assert one.ci95[0] < one.drop < one.ci95[1]
    same = task.evaluate(before, targets, LABELS, before).drop
    assert same is not None
    assert (same.value, same.ci95) == (0.0, (0.0, 0.0))


@pytest.mark.parametrize(
    ("boxes", "outputs", "parts"),
    [
        ({}, {"o": (9, 6), "more": (3,)}, {"box": (9, 4), "scores": (9, 2)}),
        (
            {"columns": ["box", "objectness", "scores"], "axis": 0, "output": "o"},
            {"more": (3,), "o": (7, 3, 3)},
            {"box": (9, 4), "objectness": (9, 1), "scores": (9, 2)},
        ),
        (
            {"columns": ["box"], "output": "b", "scores": "s", "classes": "c"},
            {"s": (9,), "b": (9, 4), "c": (9,), "more": (3,)},
            {"box": (9, 4), "scores": (9,), "classes": (9,)},
        ),
    ],
)
def test_a_scan_of_sensitivity_goes_by_the_columns_that_boxes_are_made_from(
    boxes: dict[str, Any], outputs: dict[str, tuple[int, ...]], parts: dict[str, tuple[int, ...]]
) -> None:
    ops: list[Any] = [{"softmax": {"output": "more"}}, {"boxes": {"format": "xyxy", **boxes}}, "nms"]
    ops = ops if "more" in outputs else ops[1:]
    task = ObjectDetection().bind(entries=None, postprocess=Postprocess.of(ops))  # type: ignore[arg-type]
    made = {name: np.zeros((5, *shape), np.float32) for name, shape in outputs.items()}
    read = task.outputs_read(made)
    assert {name: values.shape[1:] for name, values in read.items()} == parts
    assert {len(values) for values in read.values()} == {5}


def test_classes_without_a_thing_have_no_figure() -> None:
    rows, targets = scenes(0, shift=0.0)
    task = judge()
    judged = task.prepared({"o": rows}, split_of(rows))
    result = task.evaluate(judged, targets, ("cat", "dog", "fox"))
    assert [(one.n > 0, one.value is None) for one in result.per_class] == [(True, False), (True, False), (False, True)]
    unnamed = task.evaluate(judged, targets, ())
    assert [one.label for one in unnamed.per_class] == ["0", "1"]
    targets[..., 0] += 5
    assert [one.label for one in task.evaluate(judged, targets, ()).per_class] == ["5", "6"]
    targets[..., 0] -= 5
    assert ObjectDetection().classes_in(targets) == {0, 1}


def test_images_without_a_detection_are_judged_too() -> None:
    rows, targets = scenes(0, shift=0.0, images=4)
    rows[1:] = 0
    task = judge()
    result = task.evaluate(task.prepared({"o": rows}, split_of(rows)), targets, LABELS)
    assert 0 < result.metric.value < 0.5


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (None, "has no targets"),
        (np.zeros((4, 5)), "are no boxes"),
        (np.array([[[0, 5, 5, 4, 9]]]), "is no box of a class"),
        (np.array([[[0, 0.1, 0.2, 0.9, 0.4]], [[1, 0, 0, 1, 1]]]), "no box is more than 1 pixel wide or high"),
        (np.array([[[0.5, 0, 0, 4, 9]]]), "is no box of a class"),
        (np.array([[[2, 0, 0, 4, 9]]]), "is no box of a class from 0 to 1"),
        (np.full((2, 3, 5), -1), "no image holds anything"),
    ],
)
def test_targets_that_are_no_boxes_are_refused(targets: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        ObjectDetection().read_targets(targets, labels=LABELS, judged=True, where="data")


def test_a_recipe_that_finds_no_boxes_is_refused() -> None:
    with pytest.raises(RecipeError, match="finds no boxes"):
        ObjectDetection().bind(entries=None, postprocess=Postprocess.of(["softmax"]))  # type: ignore[arg-type]


def test_a_part_of_the_images_that_cannot_be_judged_is_said_to_be_so() -> None:
    rows, targets = scenes(0, shift=0.0, images=3)
    task = judge()
    with pytest.raises(DataError, match="no image holds anything"):
        task.evaluate(task.prepared({"o": rows}, split_of(rows)), np.full_like(targets, -1), LABELS)


def test_a_detector_that_finds_nothing_right_has_nothing_to_lose() -> None:
    rows, targets = scenes(0, shift=1.0)
    elsewhere = rows.copy()
    elsewhere[..., :4] += 500
    judged = [
        judge().evaluate(judge().prepared({"y": each}, split_of(each)), targets, LABELS).metric
        for each in (rows, elsewhere)
    ]
    assert [metric.no_better_than_chance for metric in judged] == [False, True]
