"""Making an ONNX graph small without changing what it computes."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeglm.artifacts.onnx_compact import compact
from edgeglm.artifacts.onnx_graph import ensure_node_names, float_weights, layers_of, pool_means, weight_types


def graph_of(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], shape: list[int | str]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "a long name",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
        doc_string="made by hand",
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10, producer_name="me")


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})[0]


def products() -> onnx.ModelProto:
    weight = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "first weight"], ["an inner value"], name="one"),
        helper.make_node("MatMul", ["an inner value", "second weight"], ["0"], doc_string="two"),
        helper.make_node("Add", ["0", "unused twin"], ["y"]),
    ]
    twin = np.ones((1, 4), np.float32)
    return graph_of(
        nodes, {"first weight": weight, "second weight": weight, "unused twin": twin, "dead": twin * 3}, ["n", 4]
    )


def test_a_compact_graph_computes_the_same_from_fewer_bytes() -> None:
    model = products()
    x = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    before, size = run(model, x), model.ByteSize()
    small = compact(model)
    np.testing.assert_array_equal(run(small, x), before)
    assert small.ByteSize() < 0.6 * size
    assert len(small.graph.initializer) == 2  # equal weights are one, and what nobody reads is gone


def test_nodes_out_of_order_are_put_in_order() -> None:
    model = products()
    x = np.ones((1, 4), np.float32)
    before = run(model, x)
    nodes = list(model.graph.node)
    shuffled = [onnx.NodeProto.FromString(node.SerializeToString()) for node in (nodes[2], nodes[0], nodes[1])]
    del model.graph.node[:]
    model.graph.node.extend(shuffled)
    np.testing.assert_array_equal(run(compact(model), x), before)


def test_inner_graphs_keep_the_names_that_they_see() -> None:
    branches = []
    for sign in (1.0, -1.0):
        value = helper.make_tensor_value_info("b", TensorProto.FLOAT, None)
        body = [helper.make_node("Mul", ["h", f"scale{sign}"], ["b"])]
        constant = [numpy_helper.from_array(np.float32(sign), f"scale{sign}")]
        branches.append(helper.make_graph(body, "branch", [], [value], constant))
    nodes = [
        helper.make_node("Relu", ["x"], ["h"]),
        helper.make_node("If", ["yes"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    model = graph_of(nodes, {"yes": np.array(True)}, ["n", 4])
    x = np.array([[1, -2, 3, -4]], np.float32)
    before = run(model, x)
    np.testing.assert_array_equal(run(compact(model), x), before)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_mean_over_height_and_width_becomes_a_pooling_that_integers_have(keepdims: int) -> None:
    nodes = [helper.make_node("ReduceMean", ["x", "axes"], ["y"], name="/ReduceMean", keepdims=keepdims)]
    model = graph_of(nodes, {"axes": np.array([-1, -2], np.int64)}, ["n", 3, 5, 5])
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 5)).astype(np.float32)
    before = run(model, x)
    pool_means(model, {"x": 4})
    assert model.graph.node[0].op_type == "GlobalAveragePool"
    np.testing.assert_allclose(run(model, x), before, atol=1e-6)


def test_other_means_stay_as_they_are() -> None:
    for axes, rank in (([1], 4), ([2, 3], 5), ([1, 2], 4)):
        nodes = [helper.make_node("ReduceMean", ["x", "axes"], ["y"], name="/ReduceMean")]
        model = graph_of(nodes, {"axes": np.array(axes, np.int64)}, ["n", 3, 5, 5])
        pool_means(model, {"x": rank})
        assert model.graph.node[0].op_type == "ReduceMean"


def test_every_node_gets_a_name_of_its_own() -> None:
    model = products()
    model.graph.node[1].name = "one"
    ensure_node_names(model)
    names = [node.name for node in model.graph.node]
    assert names[0] == "one"
    assert len(set(names)) == 3
    assert all(names)


def test_layers_of_a_users_file_are_its_nodes_and_tensors() -> None:
    model = products()
    ensure_node_names(model)
    assert layers_of(model)["one"] == ["one", "an inner value", "first weight"]
    model.producer_name = "edgeglm"
    model.graph.node[0].name = "block.0/MatMul_2"
    assert layers_of(model)["block.0/MatMul_2"] == ["block.0"]


def test_weights_are_counted_by_type() -> None:
    model = products()
    assert weight_types(model) == {"float32": 2 * 64 + 2 * 16}
    assert float_weights(model) == ["one", "0"]
