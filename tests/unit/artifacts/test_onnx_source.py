"""A user's ONNX file with a sampling rate for an input, and its state with the batch in the middle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeglm.artifacts.onnx_source import prepared, read_prepared
from edgeglm.artifacts.source import describe_source, take_source
from edgeglm.boards import BOARDS
from edgeglm.errors import ModelError
from edgeglm.model import ModelFile
from tests.support.tiny_models import write_tiny_onnx

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
BATCH, LAYERS, HIDDEN = 3, 2, 4


def recurrent() -> onnx.ModelProto:
    """Return a network of (rows, 4) and state (2, rows, 4), scaled by an If on the rate."""

    def branch(name: str, factor: float) -> onnx.GraphProto:
        scale = helper.make_node("Constant", [], [f"{name}.factor"], value=numpy_helper.from_array(np.float32(factor)))
        product = helper.make_node("Mul", ["summed", f"{name}.factor"], [f"{name}.out"])
        out = helper.make_tensor_value_info(f"{name}.out", TensorProto.FLOAT, None)
        return helper.make_graph([scale, product], name, [], [out])

    nodes = [
        helper.make_node("ReduceSum", ["state", "first"], ["sum"], keepdims=0),
        helper.make_node("MatMul", ["input", "weight"], ["product"]),
        helper.make_node("Add", ["product", "sum"], ["summed"]),
        helper.make_node("Equal", ["rate", "wide"], ["is_wide"]),
        helper.make_node(
            "If", ["is_wide"], ["output"], then_branch=branch("then", 2.0), else_branch=branch("else", 5.0)
        ),
        helper.make_node("Mul", ["state", "half"], ["new_state"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [
            value("input", TensorProto.FLOAT, ["batch", HIDDEN]),
            value("state", TensorProto.FLOAT, [LAYERS, "batch", HIDDEN]),
            value("rate", TensorProto.INT64, []),
        ],
        [
            value("output", TensorProto.FLOAT, ["batch", HIDDEN]),
            value("new_state", TensorProto.FLOAT, [LAYERS, "batch", HIDDEN]),
        ],
        [
            numpy_helper.from_array(RNG.normal(size=(HIDDEN, HIDDEN)).astype(np.float32), "weight"),
            numpy_helper.from_array(np.array([0]), "first"),
            numpy_helper.from_array(np.array(16000), "wide"),
            numpy_helper.from_array(np.float32(0.5), "half"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def run(model: onnx.ModelProto, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))


def test_the_batch_comes_first_and_the_answers_stay() -> None:
    model = recurrent()
    rows = RNG.normal(size=(BATCH, HIDDEN)).astype(np.float32)
    state = RNG.normal(size=(LAYERS, BATCH, HIDDEN)).astype(np.float32)
    for rate, value in ((16000, 16000), (8000, np.int32(8000))):
        wanted = run(model, input=rows, state=state, rate=np.array(rate))
        made = prepared(model, {"rate": value}, where="m.onnx")
        onnx.checker.check_model(made, full_check=True)
        got = run(made, input=rows, state=state.transpose(1, 0, 2))
        assert np.allclose(got["output"], wanted["output"], atol=1e-6)
        assert np.array_equal(got["new_state"], wanted["new_state"].transpose(1, 0, 2))
        assert not any(node.op_type == "If" for node in made.graph.node)
    assert [value.name for value in model.graph.input] == ["input", "state", "rate"]  # left as it was


def test_what_is_as_expected_is_used_as_it_is(tmp_path: Path) -> None:
    assert read_prepared(write_tiny_onnx(tmp_path / "m.onnx"), {}) is None


def test_a_source_is_described_as_it_will_be_written(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(recurrent(), path)
    constants = {"rate": 16000}
    inputs, outputs = describe_source(path, "onnx", constants)
    assert [(spec.name, spec.shape) for spec in inputs] == [("input", (HIDDEN,)), ("state", (LAYERS, HIDDEN))]
    assert outputs[1].shape == (LAYERS, HIDDEN)
    batch, _ = take_source(
        ModelFile(path, "onnx", inputs, outputs, constants), tmp_path / "s.onnx", board=BOARDS["rpi5"]
    )
    assert batch is None
    state = RNG.normal(size=(BATCH, LAYERS, HIDDEN)).astype(np.float32)
    got = run(onnx.load(tmp_path / "s.onnx"), input=np.zeros((BATCH, HIDDEN), np.float32), state=state)
    assert np.array_equal(got["new_state"], state / 2)


@pytest.mark.parametrize(
    ("constants", "said"),
    [
        ({"rates": 1}, "`rates` is no input of the file; it takes input, state, rate"),
        ({"rate": [1, 2]}, r"takes int64 of shape \[\], and \[1, 2\] is not that"),
        ({"rate": "fast"}, "and 'fast' is not that"),
    ],
)
def test_a_constant_that_does_not_fit_is_refused(constants: dict[str, object], said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        prepared(recurrent(), constants, where="m.onnx")
    assert caught.value.problems[0].where == "m.onnx, model.constants"
