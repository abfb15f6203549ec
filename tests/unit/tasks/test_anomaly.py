from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from edgeglm_agent.processing import Decision, Postprocess
from edgeglm_agent.wire import TensorSpec

from edgeglm.data.splits import ArraySplit, Data
from edgeglm.errors import DataError, ModelError, UserError
from edgeglm.tasks import Anomaly

MARKS = np.array([0] * 8 + [1] * 4)
SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.75, 0.9, 0.3, 1.0], np.float32)


def test_the_area_and_what_a_limit_finds_are_told() -> None:
    result = Anomaly(false_alarm_rate=0.125).evaluate({"score": SCORES[:, None]}, MARKS, ())
    # of 32 pairs the anomalies at .75, .9 and 1.0 win 7, 8 and 8, and the one at .3 wins 2 and ties once
    assert result.metric.value == pytest.approx(25.5 / 32)
    assert result.metric.ci95[0] < 25.5 / 32 < result.metric.ci95[1]
    assert result.metrics_extra == pytest.approx({"detection_rate": 0.75, "false_alarm_rate": 0.125, "threshold": 0.7})
    assert result.drop is None


def test_the_limit_decides_alike_on_the_board() -> None:
    result = Anomaly(false_alarm_rate=0.125).evaluate({"score": SCORES}, MARKS, ())
    postprocess = Postprocess.of([{"threshold": {"limit": result.metrics_extra["threshold"]}}])
    decided = [one.exceeded for one in postprocess.batch({"score": SCORES}) if isinstance(one, Decision)]
    assert decided == [False] * 7 + [True, True, True, False, True]


def test_the_limit_is_chosen_on_calibration_samples_and_judged_on_others() -> None:
    task = Anomaly(false_alarm_rate=0.1)
    calibration = np.concatenate([np.linspace(0, 0.5, 20), [9.0]])
    marks = np.array([0] * 20 + [1])  # the anomaly among them does not count
    chosen = task.calibrated({"score": calibration}, marks, len(SCORES))
    unlabelled = task.calibrated({"score": calibration[:20]}, None, len(SCORES))
    assert {name: values.tolist() for name, values in chosen.items()} == {
        name: values.tolist() for name, values in unlabelled.items()
    }
    extra = task.evaluate({"score": SCORES, **chosen}, MARKS, ()).metrics_extra
    limit = float(np.sort(calibration[:20])[17])  # two of twenty lie above it
    assert extra["threshold"] == pytest.approx(limit)
    assert extra["false_alarm_rate"] == 0.5  # what it comes to on samples that it was not chosen by
    assert task.evaluate({"score": SCORES}, MARKS, ()).metrics_extra["false_alarm_rate"] <= 0.125
    low = Anomaly(false_alarm_rate=0.1, anomalous="low")
    of_low = low.calibrated({"score": -calibration}, marks, len(SCORES))
    assert low.evaluate({"score": -SCORES, **of_low}, MARKS, ()).metrics_extra["threshold"] == pytest.approx(-limit)
    assert task.calibrated({"score": SCORES}, np.ones(len(SCORES), np.int64), 3) == {}  # nothing normal there


def test_low_scores_may_be_the_anomalous_ones() -> None:
    high = Anomaly(false_alarm_rate=0.125).evaluate({"score": SCORES}, MARKS, ())
    low = Anomaly(false_alarm_rate=0.125, anomalous="low").evaluate({"score": -SCORES}, MARKS, ())
    assert low.metric == high.metric
    assert low.metrics_extra["threshold"] == -high.metrics_extra["threshold"]


def test_a_worse_score_loses_and_its_interval_says_so() -> None:
    rng = np.random.default_rng(0)
    marks = (np.arange(400) < 100).astype(int)
    good = rng.normal(size=400) + 2 * marks
    result = Anomaly().evaluate({"s": good + rng.normal(scale=2, size=400)}, marks, (), {"s": good})
    assert result.drop is not None
    assert result.drop.ci95[0] > 0.05
    assert result.drop.worse > result.drop.better
    same = Anomaly().evaluate({"s": good * 3}, marks, (), {"s": good}).drop
    assert same is not None
    assert (same.value, same.worse, same.better) == (0.0, 0, 0)
    assert 0 < same.ci95[1] < 0.05


def test_an_autoencoder_is_judged_by_its_error_as_the_board_computes_it() -> None:
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(600, 3, 4)).astype(np.float32)  # more than are read at a time
    made = (inputs + rng.normal(scale=0.1, size=inputs.shape)).astype(np.float32)
    made[::7] += 0.5
    for score, error in (("squared-error", "squared"), ("absolute-error", "absolute")):
        task = Anomaly(score=score, output="back")
        judged = task.prepared({"code": np.zeros((600, 2)), "back": made}, ArraySplit({"x": inputs}, None))
        assert task.objective == "reconstruction"
        board = Postprocess.of([{"reconstruction-error": {"output": "back", "error": error}}])
        results = board.batch({"back": made}, inputs={"x": inputs})
        scores = np.array([one["anomaly_score"] for one in results])  # type: ignore[call-overload,index]
        assert np.array_equal(judged["anomaly_score"], scores)
        marks = (np.arange(600) % 7 == 0).astype(int)
        assert task.evaluate(judged, marks, ()).metric.value == 1.0


def test_delay_and_lead_time_are_medians_over_runs() -> None:
    # three runs of ten samples, anomalous from the fifth on; alarms at the sixth, at the ninth, and never
    runs = np.repeat([0, 1, 2], 10)
    marks = np.tile(np.arange(10) >= 4, 3).astype(int)
    scores = np.zeros(30)
    scores[[5, 6, 18]] = 1.0
    targets = np.stack([marks, runs], axis=1)
    extra = Anomaly().evaluate({"s": scores}, targets, ()).metrics_extra
    assert extra["runs_noticed"] == pytest.approx(2 / 3)
    assert (extra["detection_delay_samples"], extra["lead_time_samples"]) == (2.5, 1.0)
    extra = Anomaly(step_seconds=60).evaluate({"s": scores}, targets, ()).metrics_extra
    assert (extra["detection_delay_s"], extra["lead_time_s"]) == (150.0, 60.0)
    extra = Anomaly().evaluate({"s": np.zeros(30)}, targets, ()).metrics_extra
    assert "detection_delay_samples" not in extra
    assert (extra["runs_noticed"], extra["lead_time_samples"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (None, "has no targets"),
        (np.zeros((4, 3), int), "do not say what is anomalous"),
        (np.array(["ok", "bad"]), "do not say what is anomalous"),
        (np.array([0.0, 0.5]), "do not say what is anomalous"),
        (np.array([0, 1, 2]), "target 2 of sample 2 is neither 0"),
    ],
)
def test_targets_that_say_nothing_about_anomalies_are_refused(targets: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Anomaly().read_targets(targets, labels=(), judged=True, where="data")


def test_targets_are_read_in_any_way_they_may_be_written() -> None:
    read = Anomaly().read_targets
    for written in (np.array([True, False]), np.array([[1.0], [0.0]]), np.array([1, 0], np.uint8)):
        targets = read(written, labels=(), judged=True, where="")
        assert targets is not None
        assert (targets.tolist(), targets.dtype) == ([1, 0], np.int64)
    assert read(None, labels=(), judged=False, where="") is None


def test_a_split_of_one_kind_is_refused_and_anomalies_in_training_are_mentioned() -> None:
    where = {"train": "train", "eval": "eval"}
    both, none = np.array([0, 1]), np.array([0, 0])
    with pytest.raises(DataError, match="all samples are normal"):
        Anomaly().check_splits({"eval": none}, chief="eval", labels=(), where=where)
    assert Anomaly().check_splits({"train": both, "eval": both}, chief="eval", labels=(), where=where) == []
    encoder = Anomaly(score="squared-error")
    (said,) = encoder.check_splits({"train": both, "eval": both}, chief="eval", labels=(), where=where)
    assert "1 of 2 samples are anomalous" in said


@pytest.mark.parametrize(
    ("task", "shape", "says"),
    [
        (Anomaly(), (4,), "write `score: squared-error`"),
        (Anomaly(), (2,), "name another output"),
        (Anomaly(score="squared-error"), (1,), "does not give back input `x`"),
        (Anomaly(score="squared-error", input="y"), (4,), "no input `y`"),
    ],
)
def test_an_output_that_is_no_score_is_refused(task: Anomaly, shape: tuple[int, ...], says: str) -> None:
    data = Data({"eval": ArraySplit({"x": np.zeros((2, 4), np.float32)}, None)}, ("eval",))
    with pytest.raises(ModelError) as raised:
        task.check([TensorSpec("out", "float32", shape, "NC")], data)
    assert says in str(raised.value.problems[0])
    assert isinstance(raised.value, UserError)
    Anomaly().check([TensorSpec("out", "float32", (1,), "NC")], data)
    Anomaly(score="squared-error").check([TensorSpec("out", "float32", (4,), "NC")], data)


def test_a_part_of_the_samples_that_cannot_be_judged_is_said_to_be_so() -> None:
    with pytest.raises(DataError, match="all samples are anomalous"):
        Anomaly().evaluate({"s": SCORES}, np.ones(12, int), ())
