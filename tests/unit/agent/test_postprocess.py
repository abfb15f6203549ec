from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from edgeglm_agent.processing import Decision, Postprocess, Prediction, ProcessingError
from hypothesis import given
from hypothesis import strategies as st

LOGITS = {"logits": np.array([[1.0, 3.0, 2.0], [5.0, 0.0, 5.0]], np.float32)}


def test_softmax_top_k_and_labels_name_the_best_classes() -> None:
    postprocess = Postprocess.of(["softmax", {"top-k": {"k": 2}}, "labels"], ["ant", "bee", "cat"])
    result = postprocess.one({"logits": LOGITS["logits"][:1]})
    total = sum(math.exp(x) for x in (1, 2, 3))
    assert [(one.label, one.index) for one in result] == [("bee", 1), ("cat", 2)]
    assert [one.score for one in result] == pytest.approx([math.exp(3) / total, math.exp(2) / total])


def test_equal_scores_are_ordered_by_class() -> None:
    assert Postprocess.of([{"top-k": {"k": 3}}]).batch(LOGITS)[1] == [
        Prediction(0, 5.0),
        Prediction(2, 5.0),
        Prediction(1, 0.0),
    ]


@given(
    seed=st.integers(0, 2**32 - 1),
    classes=st.sampled_from([1, 2, 5, 64, 65, 300]),
    k=st.sampled_from([1, 2, 3, 64, 400]),
    levels=st.sampled_from([1, 2, 10, 10_000]),  # few: many scores are equal
    holes=st.sampled_from([0.0, 0.1, 0.95, 1.0]),
    kind=st.sampled_from(["float32", "int64", "float16"]),
)
def test_the_best_classes_are_those_of_sorting_them_all(
    seed: int, classes: int, k: int, levels: int, holes: float, kind: str
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (2, classes)).astype(kind)
    if scores.dtype.kind == "f":
        scores[rng.random(scores.shape) < holes] = rng.choice([np.nan, np.inf, -np.inf])
    order = np.argsort(-scores.astype(np.float32), axis=-1, kind="stable")[:, :k]
    found = Postprocess.of([{"top-k": {"k": k}}]).batch({"scores": scores})
    assert [[one.index for one in row] for row in found] == order.tolist()
    np.testing.assert_array_equal([[one.score for one in row] for row in found], np.take_along_axis(scores, order, 1))


@pytest.mark.parametrize(
    "ops", [["softmax", {"top-k": {"k": 3}}, "labels"], ["softmax", "argmax"], ["argmax", "labels"]]
)
@pytest.mark.parametrize("classes", [1, 3, 10, 32])
def test_few_classes_are_ranked_as_many_are(ops: list[Any], classes: int) -> None:
    labels = [f"class {index}" for index in range(40)]
    logits = np.random.default_rng(classes).normal(0, 4, (50, classes)).astype(np.float32)
    padded = np.concatenate([logits, np.full((50, 40 - classes), -1e30, np.float32)], axis=1)  # by the operations alone
    quick, slow = (Postprocess.of(ops, labels).batch({"y": scores}) for scores in (logits, padded))
    for one, other in zip(quick, slow, strict=True):
        assert [(p.index, p.label) for p in one] == [(p.index, p.label) for p in other][:classes]
        assert [p.score for p in one] == pytest.approx([p.score for p in other][:classes], rel=1e-5)


def test_few_classes_one_of_which_is_no_number_are_ranked_too() -> None:
    scores = np.array([[0.5, np.nan, 2.0]], np.float32)
    assert [one.index for one in Postprocess.of([{"top-k": {"k": 3}}]).one({"y": scores})] == [2, 0, 1]


def test_a_batch_gives_each_sample_what_it_gives_alone() -> None:
    postprocess = Postprocess.of(["softmax", "argmax"])
    alone = [postprocess.one({"logits": row[np.newaxis]}) for row in LOGITS["logits"]]
    assert postprocess.batch(LOGITS) == alone
    assert [len(one) for one in alone] == [1, 1]


def test_top_k_of_fewer_classes_names_all() -> None:
    assert len(Postprocess.of([{"top-k": {"k": 9}}]).batch(LOGITS)[0]) == 3


def test_softmax_of_large_logits_does_not_overflow() -> None:
    (result,) = Postprocess.of(["softmax"]).batch({"logits": np.array([[1e4, 0.0]], np.float32)})
    assert isinstance(result, dict)
    assert result["logits"].tolist() == [1.0, 0.0]


def test_outputs_that_are_not_ranked_come_back_without_the_batch_axis() -> None:
    result = Postprocess().one({"boxes": np.ones((1, 4, 2)), "scores": np.zeros((1, 4))})
    assert isinstance(result, dict)
    assert {name: values.shape for name, values in result.items()} == {"boxes": (4, 2), "scores": (4,)}


def test_an_operation_takes_the_output_it_names() -> None:
    outputs = {"other": np.zeros((1, 2)), "logits": np.array([[0.0, 9.0]])}
    assert Postprocess.of([{"argmax": {"output": "logits"}}]).one(outputs) == [Prediction(1, 9.0)]
    with pytest.raises(ProcessingError, match=r"postprocess\[0\].softmax: the model has no output `probs`"):
        Postprocess.of([{"softmax": {"output": "probs"}}]).one(outputs)


@pytest.mark.parametrize(
    ("ops", "labels", "key", "says"),
    [
        (
            ["softmax", "labels"],
            ["a"],
            "postprocess[1].labels",
            "comes after `argmax`, `top-k`, `boxes` or `threshold`",
        ),
        (["argmax", "labels"], [], "postprocess[1].labels", "there are no labels"),
        (["argmax", "softmax"], [], "postprocess[1].softmax", "comes before `argmax`"),
        (["nms"], [], "postprocess[0].nms", "comes after `boxes`, which find the boxes it works on"),
        (["argmax", "nms"], [], "postprocess[1].nms", "works on boxes, and `argmax` leaves none"),
        ([{"threshold": {"limit": 0.5}}, "nms"], [], "postprocess[1].nms", "`threshold` leaves none"),
        (["argmax-map", "labels"], ["a"], "postprocess[1].labels", "comes after"),
        ([{"dequantize": {"scale": 0}}], [], "postprocess[0].dequantize.scale", "> 0"),
        (["resize"], [], "postprocess[0]", "`resize` is an operation of `preprocess`"),
        ([{"top-k": {"k": 0}}], [], "postprocess[0].top-k.k", ">= 1"),
    ],
)
def test_operations_that_do_not_go_together_are_refused(ops: list[Any], labels: list[str], key: str, says: str) -> None:
    with pytest.raises(ProcessingError) as raised:
        Postprocess.of(ops, labels)
    assert raised.value.key == key
    assert says in raised.value.message


def test_a_class_without_a_label_is_refused_not_renamed() -> None:
    with pytest.raises(ProcessingError, match="class 1 has no label: there are 1"):
        Postprocess.of(["argmax", "labels"], ["only"]).batch(LOGITS)


def test_classes_are_ranked_in_rows_of_scores_alone() -> None:
    with pytest.raises(ProcessingError, match=r"an output \(N, K\), this one has shape \(1, 2, 2\)"):
        Postprocess.of(["argmax"]).one({"map": np.ones((1, 2, 2))})


def test_labels_may_be_written_with_the_operation() -> None:
    postprocess = Postprocess.of(["argmax", {"labels": {"names": ["x", "y", "z"]}}], ["a", "b", "c"])
    assert [one[0].label for one in postprocess.batch(LOGITS)] == ["y", "x"]  # type: ignore[index]
    assert Postprocess(postprocess.wire()).batch(LOGITS) == postprocess.batch(LOGITS)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_a_threshold_decides_over_one_score_a_sample(shape: tuple[int, ...]) -> None:
    scores = {"score": np.array([0.25, 0.5, 0.75], np.float32).reshape(shape)}
    assert Postprocess.of([{"threshold": {"limit": 0.5}}]).batch(scores) == [
        Decision(False, 0.25, 0.5),
        Decision(False, 0.5, 0.5),
        Decision(True, 0.75, 0.5),
    ]
    below = Postprocess.of([{"threshold": {"limit": 0.5, "beyond": "below"}}]).batch(scores)
    assert [one.exceeded for one in below] == [True, False, False]  # type: ignore[union-attr]


def test_a_threshold_keeps_the_classes_beyond_it_and_labels_names_them() -> None:
    postprocess = Postprocess.of([{"threshold": {"limit": 1.5}}, "labels"], ["ant", "bee", "cat"])
    assert postprocess.batch(LOGITS) == [
        [Prediction(1, 3.0, "bee"), Prediction(2, 2.0, "cat")],
        [Prediction(0, 5.0, "ant"), Prediction(2, 5.0, "cat")],
    ]
    unsure = Postprocess.of(["argmax", {"threshold": {"limit": 4}}]).batch(LOGITS)
    assert unsure == [[], [Prediction(0, 5.0)]]


def test_a_decision_has_no_class_to_name() -> None:
    postprocess = Postprocess.of([{"threshold": {"limit": 0}}, "labels"], ["a"])
    with pytest.raises(ProcessingError, match=r"postprocess\[1\].labels: .* no class to name"):
        postprocess.batch({"score": np.zeros(2)})


def test_integers_are_dequantized_by_scale_and_zero_point() -> None:
    quantized = {"out": np.array([[-128, 0, 127]], np.int8)}
    (one,) = Postprocess.of([{"dequantize": {"scale": 0.5, "zero_point": -128}}]).batch(quantized)
    assert one["out"].tolist() == [0.0, 64.0, 127.5]  # type: ignore[index]
    settings = {"scale": [1.0, 0.1, 2.0], "zero_point": [0, 0, 127]}
    (one,) = Postprocess.of([{"dequantize": settings}]).batch(quantized)
    assert one["out"].tolist() == [-128.0, 0.0, 0.0]  # type: ignore[index]
    with pytest.raises(ProcessingError, match="only integers are dequantized"):
        Postprocess.of([{"dequantize": {"scale": 1}}]).batch(LOGITS)
    with pytest.raises(ProcessingError, match="`scale` has 2 values, the output 3 channels"):
        Postprocess.of([{"dequantize": {"scale": [1.0, 2.0]}}]).batch(quantized)


@given(scale=st.floats(1e-6, 1e3), zero_point=st.integers(-128, 127), seed=st.integers(0, 99))
def test_what_was_quantized_comes_back_to_half_a_step(scale: float, zero_point: int, seed: int) -> None:
    low, high = scale * (-128 - zero_point), scale * (127 - zero_point)
    real = np.random.default_rng(seed).uniform(low, high, (1, 20))
    quantized = np.clip(np.rint(real / scale) + zero_point, -128, 127).astype(np.int8)
    (one,) = Postprocess.of([{"dequantize": {"scale": scale, "zero_point": zero_point}}]).batch({"y": quantized})
    assert np.abs(one["y"] - real).max() <= scale * 0.5001  # type: ignore[index,operator]


def test_an_autoencoders_error_becomes_the_first_output_and_can_be_decided_on() -> None:
    inputs = {"x": np.array([[0.0, 0.0], [1.0, 3.0]], np.float32)}
    outputs = {"code": np.zeros((2, 1)), "back": np.array([[0.0, 2.0], [0.0, 0.0]], np.float32)}
    ops: list[Any] = [{"reconstruction-error": {"output": "back"}}]
    postprocess = Postprocess.of(ops)
    assert postprocess.needs_inputs
    made = postprocess.batch(outputs, inputs=inputs)
    assert [list(one) for one in made] == [["anomaly_score", "code", "back"]] * 2  # type: ignore[arg-type]
    assert [one["anomaly_score"] for one in made] == [2.0, 5.0]  # type: ignore[index]
    decided = Postprocess.of([*ops, {"threshold": {"limit": 3}}]).batch(outputs, inputs=inputs)
    assert decided == [Decision(False, 2.0, 3.0), Decision(True, 5.0, 3.0)]
    absolute = Postprocess.of([{"reconstruction-error": {"output": "back", "error": "absolute", "name": "e"}}])
    assert [one["e"] for one in absolute.batch(outputs, inputs=inputs)] == [1.0, 2.0]  # type: ignore[index]


@pytest.mark.parametrize(
    ("shape", "layout", "axis"),
    [
        pytest.param((3, 8, 8), "NCHW", 0, id="image"),
        pytest.param((8, 8, 3), "NHWC", 2, id="image-channels-last"),
        pytest.param((50, 3), "", 1, id="series"),
        pytest.param((3,), "NC", 0, id="row-of-a-table"),
    ],
)
def test_a_reconstruction_error_is_told_by_channel(shape: tuple[int, ...], layout: str, axis: int) -> None:
    rng = np.random.default_rng(0)
    inputs = {"x": rng.normal(size=(1, *shape)).astype(np.float32)}
    apart = np.moveaxis(np.zeros((1, *shape), np.float32), axis + 1, -1)
    apart[..., 1] = 2.0
    outputs = {"back": inputs["x"] + np.moveaxis(apart, -1, axis + 1)}
    for error, expected in (("squared", 4.0), ("absolute", 2.0)):
        postprocess = Postprocess.of([{"reconstruction-error": {"error": error}}, {"threshold": {"limit": 0.1}}])
        told = postprocess.channel_errors(outputs, inputs, {"x": layout})
        assert told == pytest.approx([0.0, expected, 0.0], abs=1e-5)
        (score,) = Postprocess.of([{"reconstruction-error": {"error": error}}]).batch(outputs, inputs=inputs)
        assert np.mean(told) == pytest.approx(float(score["anomaly_score"]), rel=1e-5)  # type: ignore[index,arg-type]


def test_no_channels_are_told_where_there_are_none() -> None:
    inputs, outputs = {"x": np.zeros((1, 512), np.float32)}, {"y": np.ones((1, 512), np.float32)}
    series = Postprocess.of(["reconstruction-error", {"threshold": {"limit": 0.1}}])
    assert series.channel_errors(outputs, inputs, {"x": "NC"}) == (), "512 values are points in time"
    assert Postprocess.of([{"threshold": {"limit": 0.1}}]).channel_errors(outputs, inputs, {}) == ()
    scaled = Postprocess.of([{"dequantize": {"scale": 0.5, "zero_point": 0}}, "reconstruction-error"])
    halves = scaled.channel_errors({"y": np.full((1, 2), 4, np.int8)}, {"x": np.zeros((1, 2), np.float32)}, {"x": "NC"})
    assert halves == (4.0, 4.0), "what was done to the output before counts"


def test_a_reconstruction_error_says_what_it_lacks() -> None:
    postprocess = Postprocess.of(["reconstruction-error"])
    with pytest.raises(ProcessingError, match="needs the model's inputs"):
        postprocess.batch(LOGITS)
    with pytest.raises(ProcessingError, match=r"of shape \(2, 3\) does not give back input `x` of shape \(2, 4\)"):
        postprocess.batch(LOGITS, inputs={"x": np.zeros((2, 4))})
    with pytest.raises(ProcessingError, match="no input `y`; it has x"):
        Postprocess.of([{"reconstruction-error": {"input": "y"}}]).batch(LOGITS, inputs={"x": np.zeros((2, 3))})


@pytest.mark.parametrize("axis", [0, -1])
def test_every_pixel_gets_its_best_class(axis: int) -> None:
    scores = np.random.default_rng(0).integers(0, 3, (2, 5, 4, 3)).astype(np.float32)  # ties are frequent
    given_scores = scores if axis == 0 else np.moveaxis(scores, 1, -1)
    made = Postprocess.of([{"argmax-map": {"axis": axis}}]).batch({"logits": given_scores})
    for one, sample in zip(made, scores, strict=True):
        assert one["logits"].dtype == np.uint8  # type: ignore[index,union-attr]
        assert np.array_equal(one["logits"], sample.argmax(axis=0))  # type: ignore[index]
    with pytest.raises(ProcessingError, match="no classes along axis 0"):
        Postprocess.of(["argmax-map"]).batch({"logits": np.zeros((1, 4))})
    with pytest.raises(ProcessingError, match="more than a uint8 holds"):
        Postprocess.of(["argmax-map"]).batch({"logits": np.zeros((1, 300, 2, 2))})
