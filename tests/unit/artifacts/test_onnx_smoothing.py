"""Outlier channels go from a normalization into the weights behind it: float stays as it is, INT8 gets closer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeglm.artifacts import onnx as artifacts
from edgeglm.artifacts.onnx_compact import compact, to_bytes
from edgeglm.artifacts.onnx_smoothing import best_factors, smooth
from edgeglm.boards import BOARDS
from edgeglm.recipe.types import Quantize

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, COLUMNS = 32, 48
CASES = ["residual", "alone", "public", "gemm", "turned"]


def model(case: str = "residual", outlier: float = 40.0) -> onnx.ModelProto:
    """Return LayerNormalization -> product, the output read by a sum too (residual), by nobody, or put out itself."""
    random = np.random.default_rng(0)
    scale = np.ones(WIDTH, np.float32)
    scale[3] = outlier
    weights = {
        "scale": scale,
        "bias": random.normal(size=WIDTH).astype(np.float32),
        "w": (random.normal(size=(WIDTH, COLUMNS)) / 6).astype(np.float32),
        "back": (random.normal(size=(COLUMNS, WIDTH)) / 6).astype(np.float32),
    }
    if case == "turned":
        weights["w"] = weights["w"].T.copy()
    product = "Gemm" if case in {"gemm", "turned"} else "MatMul"
    nodes = [
        helper.make_node("LayerNormalization", ["x", "scale", "bias"], ["n"], name="norm", axis=-1),
        helper.make_node(product, ["n", "w"], ["p"], name="up", **({"transB": 1} if case == "turned" else {})),
        helper.make_node("Relu", ["p"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "back"], ["d"], name="down"),
        helper.make_node("Identity" if case == "alone" else "Add", ["d"] if case == "alone" else ["d", "n"], ["y"]),
    ]
    outputs = ["y", "n"] if case == "public" else ["y"]
    shape = ["rows", WIDTH]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def inputs(rows: int, seed: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32)}


def answers(file: onnx.ModelProto | Path, given: dict[str, np.ndarray]) -> list[np.ndarray]:
    source = to_bytes(file) if isinstance(file, onnx.ModelProto) else str(file)
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, given)
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_float_network_computes_the_same_bits(case: str) -> None:
    before, after = model(case), model(case)
    assert smooth(after, set(), [inputs(16, 1)]) == ["norm"]
    onnx.checker.check_model(after, full_check=True)
    for old, new in zip(answers(before, inputs(9, 2)), answers(after, inputs(9, 2)), strict=True):
        assert np.array_equal(old, new)
    muls = [node for node in after.graph.node if node.op_type == "Mul"]
    assert len(muls) == (0 if case == "alone" else 1)  # what nobody else reads costs nothing
    assert {tensor.name for tensor in after.graph.initializer}.isdisjoint({"scale", "w"})


@pytest.mark.parametrize("case", CASES)
def test_dynamic_int8_comes_closer_on_samples_it_was_not_fitted_on(tmp_path: Path, case: str) -> None:
    source = tmp_path / "m.onnx"
    onnx.save(model(case), source)
    errors = []
    exact = answers(source, inputs(64, 3))[0]
    for name, samples in (("without", []), ("with", [inputs(8, 1)])):
        path = tmp_path / f"{name}.onnx"
        artifacts.quantize(source, path, Quantize(scheme="dynamic-int8"), iter(samples), board=BOARDS["x86-64"])
        errors.append(float(np.square(answers(path, inputs(64, 3))[0] - exact).mean()))
    assert errors[1] < 0.7 * errors[0]


def test_a_network_without_outliers_stays_as_it_is() -> None:
    file = model(outlier=1.0)
    before = to_bytes(file)
    assert smooth(file, set(), [inputs(16, 1)]) == []
    assert to_bytes(file) == before


def test_what_is_left_in_float_or_read_from_elsewhere_is_not_touched() -> None:
    assert smooth(model(), {"up"}, [inputs(16, 1)]) == []
    assert smooth(model(), {"norm"}, [inputs(16, 1)]) == []
    assert smooth(model(), set(), []) == []
    moving = model()
    moving.graph.initializer.remove(next(t for t in moving.graph.initializer if t.name == "scale"))
    moving.graph.input.append(helper.make_tensor_value_info("scale", TensorProto.FLOAT, [WIDTH]))
    assert smooth(moving, set(), [inputs(16, 1) | {"scale": np.ones(WIDTH, np.float32)}]) == []


def test_constants_that_others_share_keep_their_values() -> None:
    file = model()
    file.graph.node.extend(
        [helper.make_node("Mul", ["y", "scale"], ["z"]), helper.make_node("MatMul", ["z", "w"], ["v"])]
    )
    file.graph.output.append(helper.make_tensor_value_info("v", TensorProto.FLOAT, ["rows", COLUMNS]))
    before = answers(file, inputs(4, 2))
    assert smooth(file, set(), [inputs(16, 1)]) == ["norm"]
    assert all(np.array_equal(*pair) for pair in zip(before, answers(file, inputs(4, 2)), strict=True))


def test_equal_samples_give_equal_bytes() -> None:
    files = [model(), model()]
    for file in files:
        smooth(file, set(), [inputs(16, 1)])
    assert to_bytes(compact(files[0])) == to_bytes(compact(files[1]))


def test_factors_are_powers_of_two_and_dead_channels_have_none() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(32, 8)).astype(np.float32)
    values[:, 2] *= 50
    values[:, 5] = 0
    factors = best_factors([values], random.normal(size=(8, 16)).astype(np.float32))
    assert factors is not None
    assert np.array_equal(np.log2(factors), np.rint(np.log2(factors)))
    assert factors[2] == factors.max() > 1
    assert factors[5] == 1


@pytest.mark.parametrize("values", [np.zeros((4, 8), np.float32), np.full((4, 8), np.nan, np.float32)])
def test_samples_that_say_nothing_change_nothing(values: np.ndarray) -> None:
    assert best_factors([values], np.ones((8, 3), np.float32)) is None


@pytest.mark.parametrize(
    ("scheme", "file_format", "reads"),
    [
        ("dynamic-int8", "onnx", True),  # so the samples are part of the file's key
        ("dynamic-int8", "tflite", False),
        ("static-int8", "tflite", True),
        ("weight-only-int8", "onnx", False),
    ],
)
def test_whether_samples_change_the_bytes(scheme: Any, file_format: str, reads: bool) -> None:
    assert Quantize(scheme=scheme).reads_samples(file_format) is reads
