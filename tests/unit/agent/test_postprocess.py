from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from edgeglm_agent.processing import Postprocess, Prediction, ProcessingError

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
        (["softmax", "labels"], ["a"], "postprocess[1].labels", "comes after `top-k` or `argmax`"),
        (["argmax", "labels"], [], "postprocess[1].labels", "there are no labels"),
        (["argmax", "softmax"], [], "postprocess[1].softmax", "comes before `top-k` and `argmax`"),
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
