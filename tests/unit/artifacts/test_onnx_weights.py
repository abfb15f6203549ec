"""Blocks of 8-bit and 4-bit weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeglm.artifacts import onnx as onnx_artifacts
from edgeglm.artifacts.onnx_weights import block_scales, fitting_block, pack
from edgeglm.boards import BOARDS
from edgeglm.recipe.types import Quantize


def unpacked(packed: np.ndarray, scales: np.ndarray, bits: int, length: int) -> np.ndarray:
    if bits == 4:
        packed = np.stack([packed & 15, packed >> 4], -1).reshape(*packed.shape[:-1], -1)
    values = (packed.astype(np.float32) - 2 ** (bits - 1)) * scales[..., None]
    return values.reshape(len(packed), -1)[:, :length]


@pytest.mark.parametrize(("bits", "error"), [(8, 0.006), (4, 0.1)])
def test_packed_weights_stand_for_the_float_ones(bits: int, error: float) -> None:
    weights = np.random.default_rng(0).normal(size=(7, 100)).astype(np.float32)
    packed, scales = pack(weights, bits, 32)
    assert (packed.shape, packed.dtype, scales.shape) == ((7, 4, 32 * bits // 8), np.uint8, (7, 4))
    back = unpacked(packed, scales, bits, 100)
    assert np.sqrt(np.mean((back - weights) ** 2)) < error
    assert np.abs(back - weights).max() > 0


def test_the_largest_weight_is_met_exactly_whatever_its_sign() -> None:
    for value in (3.0, -3.0):
        weights = np.array([[value, 0.1, -0.1, 0.0]], np.float32)
        packed, scales = pack(weights, 8, 4)
        assert unpacked(packed, scales, 8, 4)[0, 0] == pytest.approx(value)


def test_a_block_of_zeros_stays_zero() -> None:
    packed, scales = pack(np.zeros((2, 32), np.float32), 4, 32)
    assert np.isfinite(scales).all()
    assert not unpacked(packed, scales, 4, 32).any()


def test_a_searched_scale_is_better_than_that_of_the_largest_weight() -> None:
    blocks = np.random.default_rng(1).normal(size=(500, 32)).astype(np.float32)

    def error(scales: np.ndarray) -> float:
        return float(np.square(np.clip(np.rint(blocks / scales), -8, 7) * scales - blocks).sum())

    plain = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1) / -8
    assert error(block_scales(blocks, 4)) < 0.95 * error(plain)


@pytest.mark.parametrize(
    ("length", "bits", "block", "expected"),
    [(384, 4, 32, 32), (384, 8, 128, 128), (32, 8, 64, 32), (10, 4, 32, 16), (96, 4, 64, 32), (1, 8, 128, 16)],
)
def test_a_block_is_halved_where_rows_would_be_filled_up(length: int, bits: int, block: int, expected: int) -> None:
    assert fitting_block(length, bits, block) == expected


PRODUCTS = [
    helper.make_node("Gemm", ["x", "w"], ["h"], name="there", transB=1),
    helper.make_node("Relu", ["h"], ["r"], name="relu"),
    helper.make_node("MatMul", ["r", "w"], ["y"], name="back"),
]
CONVOLUTIONS = [
    helper.make_node("Conv", ["x", "w"], ["h"], name="there"),
    helper.make_node("Relu", ["h"], ["r"], name="relu"),
    helper.make_node("ConvTranspose", ["r", "w"], ["y"], name="back"),
]


@pytest.mark.parametrize(
    ("nodes", "weights", "sample"),
    [
        pytest.param(PRODUCTS, (32, 32), (32,), id="products"),
        pytest.param(CONVOLUTIONS, (6, 6, 3, 3), (6, 8, 8), id="convolutions"),
    ],
)
def test_weights_that_an_autoencoder_uses_both_ways_have_scales_for_each(
    tmp_path: Path, nodes: list[onnx.NodeProto], weights: tuple[int, ...], sample: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=weights) * np.exp2(rng.integers(-3, 4, size=(weights[0], *[1] * (len(weights) - 1))))
    graph = helper.make_graph(
        nodes,
        "tied",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *sample])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *sample])],
        [numpy_helper.from_array(values.astype(np.float32), "w")],
    )
    source, path = tmp_path / "tied.onnx", tmp_path / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    onnx_artifacts.quantize(source, path, Quantize(scheme="weight-only-int8"), iter([]), board=BOARDS["x86-64"])
    given = {"x": rng.normal(size=(4, *sample)).astype(np.float32)}
    wanted, got = (onnxruntime.InferenceSession(file).run(None, given)[0] for file in (source, path))
    assert np.square(got - wanted).mean() < 1e-3 * wanted.var()
