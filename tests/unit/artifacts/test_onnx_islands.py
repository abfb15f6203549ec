"""Static INT8 leaves alone what gains nothing from it; convolutions of dynamic INT8 have a scale a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeglm.artifacts import onnx as artifacts
from edgeglm.artifacts.onnx_islands import islands, read_inside
from edgeglm.boards import BOARDS
from edgeglm.recipe.types import Quantize

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
CHANNELS = 8


def node(kind: str, inputs: str, output: str, **settings: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], name=output, **settings)


def model(nodes: list[onnx.NodeProto], outputs: list[str], weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", CHANNELS, 16])
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", [x], values, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def kernel(scale: float = 1.0) -> np.ndarray:
    return (scale * RNG.normal(size=(CHANNELS, CHANNELS, 3)) / 5).astype(np.float32)


def both(folder: Path, rows: np.ndarray) -> list[np.ndarray]:
    """Return what the file and its quantized form put out."""
    sessions = [onnxruntime.InferenceSession(str(folder / name)) for name in ("m.onnx", "q.onnx")]
    return [session.run(["y"], {"x": rows})[0] for session in sessions]


CONV = {"kernel_shape": [3], "pads": [1, 1]}


def spectrum() -> onnx.ModelProto:
    """Return Conv -> squares -> their sum -> root -> Conv -> Add to a Conv -> Concat with a sigmoid."""
    return model(
        [
            node("Conv", "x w0", "c0", **CONV),
            node("Mul", "c0 c0", "square"),
            node("Exp", "c0", "float"),
            node("Add", "square float", "sum"),
            node("Conv", "sum w1", "c1", **CONV),
            node("Relu", "c1", "r1"),
            node("Conv", "r1 w2", "c2", **CONV),
            node("Add", "r1 c2", "residual"),
            node("Conv", "residual w3", "c3", **CONV),
            node("Sigmoid", "c3", "score"),
            node("Concat", "c3 score", "y", axis=1),
        ],
        ["y"],
        {f"w{i}": kernel() for i in range(4)},
    )


def test_what_stands_between_float_operators_or_after_the_last_layer_is_an_island() -> None:
    assert islands(spectrum(), set()) == {"square", "sum", "score", "y"}


def test_beside_a_layer_that_stays_float_the_sums_do_too() -> None:
    assert islands(spectrum(), {"c2"}) == {"square", "sum", "score", "y", "residual"}


def test_islands_keep_the_precision_that_they_had(tmp_path: Path) -> None:
    onnx.save(spectrum(), tmp_path / "m.onnx")
    rows = RNG.normal(size=(16, CHANNELS, 16)).astype(np.float32)
    artifacts.quantize(
        tmp_path / "m.onnx",
        tmp_path / "q.onnx",
        Quantize(scheme="static-int8"),
        iter([{"x": rows}]),
        board=BOARDS["x86-64"],
    )
    written = onnx.load(tmp_path / "q.onnx")
    by_name = {n.name: n for n in written.graph.node}
    makers = {name: n.op_type for n in written.graph.node for name in n.output}
    assert [makers.get(name) for name in by_name["sum"].input][1] == "Exp"
    assert all(makers.get(name) == "DequantizeLinear" for name in by_name["residual"].input)


def captured() -> onnx.ModelProto:
    """Return a Relu that one branch of an If reads, and a Conv after it."""
    value = helper.make_tensor_value_info
    keep = helper.make_graph(
        [helper.make_node("Identity", ["r"], ["kept"])], "then", [], [value("kept", TensorProto.FLOAT, None)]
    )
    twice = helper.make_graph(
        [helper.make_node("Add", ["r", "r"], ["twice"])], "else", [], [value("twice", TensorProto.FLOAT, None)]
    )
    return model(
        [
            node("Conv", "x w0", "c", **CONV),
            node("Relu", "c", "r"),
            node("ReduceMax", "x", "top", keepdims=0),
            node("Greater", "top never", "large"),
            node("If", "large", "y", then_branch=keep, else_branch=twice),
            node("Conv", "r w1", "z", **CONV),
        ],
        ["y", "z"],
        {"w0": kernel(), "w1": kernel(), "never": np.float32(1e9)},
    )


def test_a_relu_that_an_inner_graph_reads_still_clips(tmp_path: Path) -> None:
    assert read_inside(captured()) == {"r"}
    assert read_inside(spectrum()) == set()
    onnx.save(captured(), tmp_path / "m.onnx")
    rows = RNG.normal(size=(16, CHANNELS, 16)).astype(np.float32)
    for board in ("x86-64", "rpi5"):
        artifacts.quantize(
            tmp_path / "m.onnx",
            tmp_path / "q.onnx",
            Quantize(scheme="static-int8"),
            iter([{"x": rows}]),
            board=BOARDS[board],
        )
        before, after = (
            onnxruntime.InferenceSession(str(tmp_path / name)).run(["y"], {"x": rows})[0]
            for name in ("m.onnx", "q.onnx")
        )
        assert after.min() >= 0
        assert np.abs(after - before).max() < 0.1 * before.max()


@pytest.mark.parametrize("rank", [1, 2])
def test_a_channel_with_large_weights_does_not_blur_the_others(tmp_path: Path, rank: int) -> None:
    weights = kernel() if rank == 1 else (RNG.normal(size=(CHANNELS, CHANNELS, 3, 3)) / 9).astype(np.float32)
    weights[0] *= 200  # with one scale for all, every other channel would keep two or three levels
    settings = CONV if rank == 1 else {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    source = model([node("Conv", "x w", "y", **settings)], ["y"], {"w": weights})
    if rank == 2:
        source.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", CHANNELS, 6, 5]))
    onnx.save(source, tmp_path / "m.onnx")
    rows = RNG.normal(size=(4, CHANNELS, *((16,) if rank == 1 else (6, 5)))).astype(np.float32)
    artifacts.quantize(
        tmp_path / "m.onnx",
        tmp_path / "q.onnx",
        Quantize(scheme="dynamic-int8"),
        iter([{"x": rows}]),
        board=BOARDS["jetson-jp6"],
    )
    before, after = both(tmp_path, rows)
    error = np.abs(after - before)[:, 1:].max()
    assert error < 0.03 * np.abs(before[:, 1:]).max()
