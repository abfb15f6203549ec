from __future__ import annotations

import numpy as np
import pytest
from edgeglm_agent.processing import Postprocess
from edgeglm_agent.wire import ProcessOp

from edgeglm.data.splits import ArraySplit
from edgeglm.tasks import TaskConfig
from edgeglm.tasks.alarms import LimitJudge
from edgeglm.tasks.anomaly import Anomaly
from edgeglm.tasks.box_changes import box_changes
from edgeglm.tasks.changes import Changes, class_changes, output_changes, value_changes
from edgeglm.tasks.embedding import Embedding
from edgeglm.tasks.segmentation import Segmentation

LABELS = ("cat", "dog", "fox")


def shown(changes: Changes) -> list[int]:
    return changes.largest().tolist()


def logits(*classes: tuple[int, float]) -> np.ndarray:
    """Return a row for each (class, margin)."""
    rows = np.zeros((len(classes), 3), np.float32)
    for row, (number, margin) in enumerate(classes):
        rows[row, number] = margin
    return rows


def test_right_answers_that_turned_wrong_come_first_and_the_surest_of_them_before_the_others() -> None:
    targets = np.array([0, 0, 0, 2, 1])
    before = logits((0, 3), (0, 3), (0, 3), (0, 3), (0, 3))
    after = logits((0, 3), (1, 1), (1, 4), (1, 9), (1, 5))  # kept; wrong; wrong and sure; wrong both; mended
    changes = class_changes(before, after, targets, LABELS)
    assert shown(changes) == [2, 1, 3, 4]
    first = changes.told(2)
    assert (first.expected, first.before, first.after) == ("cat", "cat", "dog")
    assert (first.right_before, first.right_after) == (True, False)
    assert first.sure_after == pytest.approx(np.exp(4) / (np.exp(4) + 2), rel=1e-6)
    assert changes.told(4).right_after is True


def test_probabilities_are_taken_as_they_are_and_targets_may_be_missing() -> None:
    before, after = np.array([[0.7, 0.2, 0.1]]), np.array([[0.2, 0.5, 0.3]])
    change = class_changes(before, after, None, ()).told(0)
    assert (change.expected, change.before, change.after) == ("", "0", "1")
    assert (change.sure_before, change.sure_after) == (0.7, 0.5)
    assert change.right_before is change.right_after is None
    assert shown(class_changes(before, before, None, ())) == []


def test_of_numbers_those_that_moved_furthest_beside_the_error_come_first() -> None:
    targets = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]])
    before = targets + 0.1
    after = before + np.array([[0.005], [0.5], [1.0], [-0.05]])
    changes = value_changes(before, after, targets)
    assert shown(changes) == [2, 1, 3]  # the first moved by less than a tenth of the error
    assert changes.what == "answers moved by more than a tenth of the RMSE"
    change = changes.told(2)
    assert (change.expected, change.before, change.after) == ("3, 3", "3.1, 3.1", "4.1, 4.1")
    assert change.note == "moved by 10 times the RMSE, away from what it should be"
    assert changes.told(3).note == "moved by 0.5 times the RMSE, towards what it should be"


def test_without_targets_numbers_are_held_against_what_they_vary_by() -> None:
    before = np.array([[0.0], [1.0], [2.0], [3.0]])
    after = before + np.array([[0.0], [0.1], [1.0], [np.nan]])
    for changes in (output_changes(before, after), value_changes(before, after, None)):
        assert shown(changes) == [3, 2]
        assert changes.told(2).note == "moved by 0.894 times what the answers vary by"
    many = np.zeros((1, 9))
    assert output_changes(many, many + 1).told(0).after == "1, 1, 1, 1, ..."


def test_a_task_that_knows_no_answers_shows_the_outputs_that_moved() -> None:
    before, after = {"y": np.eye(3)}, {"y": np.eye(3) + np.array([[0], [0], [1]])}
    assert shown(TaskConfig().changes(before, after, None, ())) == [2]
    assert shown(TaskConfig(output="elsewhere").changes(before, before, None, ())) == []


def test_of_embeddings_those_with_another_neighbour_are_named_with_both() -> None:
    angles = np.radians([0.0, 10.0, 25.0, 180.0, 185.0])

    def vectors(moved: np.ndarray) -> dict[str, np.ndarray]:
        return {"v": np.stack([np.cos(moved), np.sin(moved)], axis=1)}

    after = angles + np.radians([0, 9, 0, 0, 0])  # the second turns to the third
    changes = Embedding().changes(vectors(angles), vectors(after), None, ())
    assert shown(changes) == [1]
    change = changes.told(1)
    assert (change.row_before, change.row_after) == (0, 2)
    assert change.before == "nearest: sample 0, cosine 0.985"
    assert change.note == "cosine of its vector to the original's 0.9877"
    one = {"v": np.ones((1, 2))}
    assert shown(Embedding().changes(one, one, None, ())) == []


def test_maps_are_shown_by_the_share_of_pixels_that_changed() -> None:
    targets = np.zeros((3, 4, 4), np.int16)
    targets[:, 0] = -1
    before = {"class_map": np.maximum(targets, 0), "classes": np.full(3, 2)}
    after = {"class_map": before["class_map"].copy(), "classes": np.full(3, 2)}
    after["class_map"][1, 1] = 1
    after["class_map"][2, 1:] = 1
    changes = Segmentation().changes(before, after, targets, ())
    assert shown(changes) == [2, 1]
    change = changes.told(1)
    assert change.note == "25 % of the pixels changed (4 of 16)"
    assert (change.before, change.after) == ("100.0 % of pixels right", "66.7 % of pixels right")
    pictures = {change.picture_expected, change.picture_before, change.picture_after}
    assert len(pictures) == 3
    assert all(picture.startswith("data:image/png;base64,") for picture in pictures)


def test_boxes_that_are_gone_or_new_are_counted_and_named() -> None:
    def detections(*things: tuple[int, float, float]) -> np.ndarray:
        rows = np.full((4, 6), -1, np.float32)
        for place, (number, score, x) in enumerate(things):
            rows[place] = (number, score, x, 0, x + 10, 10)
        return rows

    before = np.stack([detections((1, 0.9, 0), (0, 0.5, 40), (1, 0.1, 80)), detections((0, 0.8, 0))])
    after = np.stack([detections((1, 0.9, 2), (2, 0.5, 40)), detections((0, 0.7, 1))])
    targets = np.full((2, 2, 5), -1.0)
    targets[0, 0] = (1, 0, 0, 10, 10)
    changes = box_changes(before, after, targets, LABELS, score=0.25)
    assert shown(changes) == [0]
    change = changes.told(0)
    assert (change.expected, change.before, change.after) == ("1 dog", "1 dog, 1 cat", "1 dog, 1 fox")
    assert change.note == "gone: cat 50 %; new: fox 50 %"
    assert [(box.what, box.label, box.box) for box in change.boxes] == [
        ("gone", "cat", (40, 0, 50, 10)),
        ("new", "fox", (40, 0, 50, 10)),
        ("same", "dog", (2, 0, 12, 10)),
    ]
    assert shown(box_changes(before, after, None, LABELS, score=0.05)) == [0]
    assert "dog 10 %" in box_changes(before, after, None, LABELS, score=0.05).told(0).note


def test_samples_that_crossed_the_limit_of_their_model_are_shown_false_ones_first() -> None:
    targets = np.array([0, 0, 0, 1, 1])
    before = {"s": np.array([0.0, 1.0, 2.0, 5.0, 2.5]), "anomaly_limit": np.full(5, 3.0)}
    after = {"s": np.array([0.0, 9.0, 2.0, 1.0, 5.0]), "anomaly_limit": np.full(5, 4.0)}
    changes = Anomaly().changes(before, after, targets, ())
    assert shown(changes) == [1, 3, 4]
    change = changes.told(1)
    assert (change.expected, change.before, change.after) == ("normal", "normal: 1, limit 3", "alarm: 9, limit 4")
    assert (change.right_before, change.right_after) == (True, False)
    assert changes.told(4).right_after is True
    low = Anomaly(anomalous="low").changes({"s": -before["s"]}, {"s": -after["s"]}, targets, ())
    assert (low.told(3).before, low.told(3).after) == ("alarm: -5, limit -2", "normal: -1, limit -9")  # by the normal


def test_the_recipes_own_limit_decides_and_its_false_alarms_are_counted() -> None:
    scores = np.linspace(0, 1, 200, dtype=np.float32)
    targets = (np.arange(200) >= 180).astype(np.int64)
    split = ArraySplit({"x": np.zeros((200, 1), np.float32)}, targets)
    postprocess = Postprocess([ProcessOp("threshold", {"limit": 0.8})])
    task = Anomaly(false_alarm_rate=0.05)
    judge = task.bind(entries=None, postprocess=postprocess)
    assert isinstance(judge, LimitJudge)
    before = judge.prepared({"score": scores}, split)
    alarms = judge.evaluate(before, targets, ()).alarms
    assert alarms is not None
    assert (alarms.limit, alarms.wanted, alarms.normal, alarms.detection_rate) == (0.8, 0.05, 180, 1.0)
    assert alarms.false_alarms == int((scores[:180] > 0.8).sum()) == 20
    assert alarms.ci95[0] > 0.05
    after = judge.prepared({"score": scores - np.float32(0.05)}, split)
    changes = judge.changes(before, after, targets, ())
    assert len(shown(changes)) == 10
    assert changes.told(165).after == "normal: 0.7791, limit 0.8"
    assert task.bind(entries=None, postprocess=Postprocess([])) is task
