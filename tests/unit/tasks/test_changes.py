from __future__ import annotations

import numpy as np
import pytest

from edgeglm.tasks import Classification, TaskConfig
from edgeglm.tasks.changes import class_changes, value_changes
from edgeglm.tasks.regression import Regression

LABELS = ("cat", "dog", "fox")


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
    assert [change.row for change in changes] == [2, 1, 3, 4]
    first = changes[0]
    assert (first.expected, first.before, first.after) == ("cat", "cat", "dog")
    assert (first.right_before, first.right_after) == (True, False)
    assert first.sure_after == pytest.approx(np.exp(4) / (np.exp(4) + 2), rel=1e-6)
    assert changes[-1].right_after is True


def test_probabilities_are_taken_as_they_are_and_targets_may_be_missing() -> None:
    before, after = np.array([[0.7, 0.2, 0.1]]), np.array([[0.2, 0.5, 0.3]])
    (change,) = class_changes(before, after, None, ())
    assert (change.expected, change.before, change.after) == ("", "0", "1")
    assert (change.sure_before, change.sure_after) == (0.7, 0.5)
    assert change.right_before is change.right_after is None
    assert class_changes(before, before, None, ()) == []


def test_of_numbers_those_whose_error_grew_most_come_first() -> None:
    targets = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    before = targets + 0.1
    after = targets + np.array([[0.0], [0.5], [1.0]])
    changes = value_changes(before, after, targets)
    assert [change.row for change in changes] == [2, 1]
    assert (changes[0].expected, changes[0].before, changes[0].after) == ("3, 3", "3.1, 3.1", "4, 4")
    assert [change.row for change in value_changes(before, after, None)] == [2, 1, 0]
    many = np.zeros((1, 9))
    assert value_changes(many, many + 1, None)[0].after == "1, 1, 1, 1, ..."


def test_tasks_say_what_changed_or_that_they_have_no_answers_to_show() -> None:
    before, after = {"y": logits((0, 3))}, {"y": logits((1, 3))}
    assert [change.after for change in Classification().changes(before, after, None, LABELS) or []] == ["dog"]
    assert [change.row for change in Regression().changes(before, after, None, ()) or []] == [0]
    assert TaskConfig().changes(before, after, None, ()) is None
