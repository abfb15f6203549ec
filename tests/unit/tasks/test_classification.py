"""What classification measures and refuses."""

from __future__ import annotations

import numpy as np
import pytest
from edgeglm_agent.wire import TensorSpec
from sklearn.metrics import confusion_matrix, recall_score, top_k_accuracy_score

from edgeglm.data.splits import ArraySplit, Data
from edgeglm.errors import DataError, ModelError, RecipeError
from edgeglm.tasks import Classification
from edgeglm.tasks.classification import calibration_error, check_targets
from edgeglm.tasks.statistics import paired_drop, wilson_interval

RNG = np.random.default_rng(0)
TARGETS = RNG.integers(0, 4, 400)
LOGITS = (RNG.normal(size=(400, 4)) + 2 * np.eye(4)[TARGETS]).astype(np.float32)
WORSE = (LOGITS + RNG.normal(size=(400, 4))).astype(np.float32)
LABELS = ("north", "east", "south", "west")
TASK = Classification()


def test_accuracy_recall_and_confusion_are_those_of_scikit_learn() -> None:
    result = Classification(top_k=2).evaluate({"logits": LOGITS}, TARGETS, LABELS)
    predicted = LOGITS.argmax(axis=1)
    assert result.metric.name == "accuracy"
    assert result.metric.value == pytest.approx((predicted == TARGETS).mean())
    assert result.metric.ci95 == wilson_interval(int((predicted == TARGETS).sum()), 400)
    assert result.metric.higher_is_better
    assert result.confusion == confusion_matrix(TARGETS, predicted).tolist()
    recalls = recall_score(TARGETS, predicted, average=None)
    assert [row.recall for row in result.per_class] == pytest.approx(list(recalls))
    assert [row.label for row in result.per_class] == list(LABELS)
    assert [row.n for row in result.per_class] == np.bincount(TARGETS).tolist()
    assert result.metrics_extra["macro_recall"] == pytest.approx(recalls.mean())
    assert result.metrics_extra["top_2"] == pytest.approx(top_k_accuracy_score(TARGETS, LOGITS, k=2))
    assert result.drop is None
    assert {row.drop for row in result.per_class} == {None}


def test_a_drop_is_paired_with_the_baseline_by_sample_and_by_class() -> None:
    result = TASK.evaluate({"logits": WORSE}, TARGETS, LABELS, {"logits": LOGITS})
    before, after = LOGITS.argmax(axis=1) == TARGETS, WORSE.argmax(axis=1) == TARGETS
    assert result.drop == paired_drop(before, after)
    assert result.drop.value > 0
    for number, row in enumerate(result.per_class):
        own = number == TARGETS
        expected = paired_drop(before[own], after[own])
        assert (row.drop, row.ci95) == (expected.value, expected.ci95)
        assert (row.worse, row.better) == (expected.worse, expected.better)


def test_a_class_without_samples_has_no_recall_to_lose() -> None:
    rows = TARGETS != 2
    result = TASK.evaluate({"y": WORSE[rows]}, TARGETS[rows], LABELS, {"y": LOGITS[rows]})
    assert (result.per_class[2].n, result.per_class[2].drop) == (0, None)
    seen = [row.recall for row in result.per_class if row.n]
    assert result.metrics_extra["macro_recall"] == pytest.approx(np.mean(seen))


def test_classes_without_labels_go_by_number() -> None:
    result = TASK.evaluate({"logits": LOGITS}, TARGETS, ())
    assert [row.label for row in result.per_class] == ["0", "1", "2", "3"]


def test_the_output_that_is_named_is_the_one_judged() -> None:
    outputs = {"features": np.zeros((400, 9), np.float32), "logits": LOGITS}
    result = Classification(output="logits").evaluate(outputs, TARGETS, LABELS)
    assert result.metric.value == pytest.approx((LOGITS.argmax(axis=1) == TARGETS).mean())


def test_outputs_with_nan_are_refused_with_the_first_sample() -> None:
    broken = LOGITS.copy()
    broken[7, 1] = np.nan
    with pytest.raises(ModelError, match="1 of 400 samples, first sample 7") as caught:
        TASK.evaluate({"logits": broken}, TARGETS, LABELS)
    assert caught.value.code == "output-not-finite"


def test_the_calibration_error_is_zero_where_confidence_is_accuracy() -> None:
    logits = np.log(np.array([[0.8, 0.2]] * 10, dtype=np.float64))
    targets = np.array([0] * 8 + [1] * 2)
    assert calibration_error(logits, targets) == pytest.approx(0.0, abs=1e-12)
    assert calibration_error(logits, np.zeros(10, dtype=int)) == pytest.approx(0.2)
    assert calibration_error(logits, np.ones(10, dtype=int)) == pytest.approx(0.8)


def test_certainty_that_overflows_an_exponent_has_a_calibration_error() -> None:
    assert calibration_error(np.array([[1e4, -1e4]]), np.array([0])) == 0.0


@pytest.mark.parametrize(
    ("targets", "message", "code"),
    [
        (None, "has no targets", "data-no-targets"),
        (np.eye(4), r"shape \[4, 4\]", "data-targets"),
        (np.array([0.0, 1.0]), "float64", "data-targets"),
        (np.array([0.0, np.nan, 1, np.nan]), r"target nan of sample 1 is no class \(2 such samples\)", "data-targets"),
        (np.array([0.0, 1.0, np.inf]), "target inf of sample 2", "data-targets"),
        (np.array([0, 1, 4]), "target 4 of sample 2 is no class: they run from 0 to 3", "data-targets"),
        (np.array([0, -1, 1]), "target -1 of sample 1", "data-targets"),
    ],
)
def test_targets_that_are_no_classes_are_refused(targets: np.ndarray | None, message: str, code: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        check_targets(targets, where="data, split `eval`", classes=4)
    assert caught.value.code == code
    assert "eval" in caught.value.problems[0].where


def make_data(labels: tuple[str, ...] = LABELS, targets: np.ndarray = TARGETS) -> Data:
    split = ArraySplit({"input": np.zeros((len(targets), 2), np.float32)}, targets)
    return Data({"train": split, "calibration": split, "eval": split}, ("eval",), labels)


def spec(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, "float32", shape, "")


def test_a_model_and_data_that_belong_together_pass() -> None:
    TASK.check([spec("logits", 4)], make_data())
    TASK.check([spec("logits", 5)], make_data(labels=()))
    Classification(output="b").check([spec("a", 3, 3), spec("b", 4)], make_data())


def test_splits_that_are_not_evaluated_need_no_targets() -> None:
    inputs = {"input": np.zeros((4, 2), np.float32)}
    bare, judged = ArraySplit(inputs, None), ArraySplit(inputs, np.arange(4))
    TASK.check([spec("logits", 4)], Data({"train": bare, "calibration": bare, "eval": judged}, ("eval",)))
    with pytest.raises(DataError, match="no targets"):
        TASK.check([spec("logits", 4)], Data({"train": judged, "calibration": bare, "eval": bare}, ("eval",)))


@pytest.mark.parametrize(
    ("task", "outputs", "error", "code"),
    [
        (TASK, [spec("logits", 5)], DataError, "labels-mismatch"),
        (Classification(top_k=5), [spec("logits", 4)], RecipeError, "recipe-out-of-range"),
        (TASK, [spec("logits", 4, 7)], ModelError, "output-not-logits"),
        (TASK, [spec("logits", 1)], ModelError, "output-not-logits"),
        (Classification(output="head"), [spec("logits", 4)], ModelError, "output-missing"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused(
    task: Classification, outputs: list[TensorSpec], error: type[Exception], code: str
) -> None:
    with pytest.raises(error) as caught:
        task.check(outputs, make_data())
    assert caught.value.code == code  # type: ignore[attr-defined]


def test_where_the_model_has_more_outputs_than_there_are_labels_the_labels_are_at_fault() -> None:
    with pytest.raises(DataError, match=r"3 labels \(a, b, c\), and the model has 4 classes") as caught:
        TASK.check([spec("logits", 4)], make_data(labels=("a", "b", "c")))
    assert caught.value.problems[0].where == "labels"


def test_a_target_beyond_the_models_classes_is_refused_before_anything_runs() -> None:
    with pytest.raises(DataError, match="from 0 to 2"):
        TASK.check([spec("logits", 3)], make_data(labels=()))
