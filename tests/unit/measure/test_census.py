from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeglm.errors import ModelError
from edgeglm.measure.census import (
    count_file_macs,
    count_file_params,
    describe,
    weight_dtypes,
)
from tests.support.tiny_models import (
    INPUTS,
    MACS,
    OUTPUTS,
    PARAMS,
    write_int8_tflite,
    write_quantized_onnx,
    write_tiny_onnx,
    write_tiny_openvino,
    write_tiny_tflite,
)

if TYPE_CHECKING:
    from pathlib import Path


def write_graph(path: Path, nodes: list[Any], inputs: dict[str, list[Any]], constants: dict[str, np.ndarray]) -> Path:
    """Write an ONNX file of these nodes; the last node's first output is the file's."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path


def f32(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def test_a_float_file_is_counted_alike_in_every_format(tmp_path: Path) -> None:
    onnx_file, tflite_file = write_tiny_onnx(tmp_path / "t.onnx"), write_tiny_tflite(tmp_path / "t.tflite")
    assert weight_dtypes(onnx_file, "onnx") == {"float32": 4 * PARAMS}
    assert weight_dtypes(tflite_file, "tflite") == {"float32": 4 * PARAMS, "int32": 8}  # two axes of the mean
    openvino_file = write_tiny_openvino(tmp_path / "t.xml", batch=3)
    assert weight_dtypes(openvino_file, "openvino") == {"float32": 4 * PARAMS, "int64": 32}  # axes and a shape
    for path, kind in ((onnx_file, "onnx"), (tflite_file, "tflite"), (openvino_file, "openvino")):
        assert count_file_params(path, kind) == PARAMS
        assert count_file_macs(path, kind) == MACS


@pytest.mark.parametrize("scheme", ["static-int8", "dynamic-int8"])
def test_a_quantized_file_has_the_same_network_in_other_types(tmp_path: Path, scheme: str) -> None:
    path = write_quantized_onnx(tmp_path / "q.onnx", scheme=scheme)
    assert count_file_params(path, "onnx") == PARAMS
    assert count_file_macs(path, "onnx") == MACS
    dtypes = weight_dtypes(path, "onnx")
    assert dtypes["int8"] >= 4 * 27 + 20
    assert dtypes["float32"] < sum(dtypes.values()) / 2


def test_int8_weights_of_tflite_are_counted_by_type(tmp_path: Path) -> None:
    path = write_int8_tflite(tmp_path / "int8.tflite")
    assert weight_dtypes(path, "tflite") == {"int8": 16, "int32": 16}
    assert count_file_params(path, "tflite") == 20  # the bias too: it is INT32 with a scale
    assert count_file_macs(path, "tflite") == 16


def test_a_fixed_batch_counts_for_one_row(tmp_path: Path) -> None:
    assert count_file_macs(write_tiny_onnx(tmp_path / "b.onnx", batch=6), "onnx") == MACS


def test_a_constant_that_two_nodes_share_counts_once(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])]
    path = write_graph(tmp_path / "shared.onnx", nodes, {"x": ["N", 4]}, {"w": f32(4, 4)})
    assert weight_dtypes(path, "onnx") == {"float32": 64}
    assert count_file_params(path, "onnx") == 16
    assert count_file_macs(path, "onnx") == 32


def test_constants_inside_nodes_count_too(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(f32(4, 3)))
    path = write_graph(
        tmp_path / "c.onnx", [constant, helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 4]}, {}
    )
    assert weight_dtypes(path, "onnx") == {"float32": 48}
    assert count_file_macs(path, "onnx") == 12


@pytest.mark.parametrize(
    ("node", "inputs", "constants", "macs"),
    [
        pytest.param(
            helper.make_node("Conv", ["x", "w"], ["y"], group=4, pads=[1, 1, 1, 1]),
            {"x": ["N", 4, 6, 5]},
            {"w": f32(4, 1, 3, 3)},
            4 * 6 * 5 * 9,
            id="depthwise",
        ),
        pytest.param(
            helper.make_node("Conv", ["x", "w"], ["y"], strides=[2]),
            {"x": ["N", 2, 9]},
            {"w": f32(3, 2, 3)},
            3 * 4 * 2 * 3,
            id="one dimension with stride",
        ),
        pytest.param(
            helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2]),
            {"x": ["N", 4, 5, 5]},
            {"w": f32(4, 3, 2, 2)},
            4 * 25 * 3 * 4,
            id="transposed",
        ),
        pytest.param(
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            {"x": ["N", 7, 4]},
            {"w": f32(4, 3)},
            7 * 4 * 3,
            id="matrix product of three axes",
        ),
    ],
)
def test_operators_are_counted_by_their_definition(
    tmp_path: Path, node: Any, inputs: dict[str, list[Any]], constants: dict[str, np.ndarray], macs: int
) -> None:
    path = write_graph(tmp_path / "op.onnx", [node], inputs, constants)
    assert count_file_macs(path, "onnx") == macs


def test_weights_of_4_bits_take_half_a_byte_and_those_filled_up_count_once(tmp_path: Path) -> None:
    settings = {"domain": "com.microsoft", "block_size": 16}
    nodes = [
        helper.make_node("GatherBlockQuantized", ["t", "i", "ts"], ["x"], bits=4, quantize_axis=1, **settings),
        helper.make_node("MatMulNBits", ["x", "w", "ws"], ["y"], bits=4, K=24, N=5, **settings),
        helper.make_node("MatMulNBits", ["y", "v", "vs"], ["z"], bits=8, K=5, N=3, **settings),
    ]
    constants = {
        "t": np.ones((100, 12), np.uint8),
        "ts": f32(100, 2),
        "i": np.zeros((1, 7), np.int64),
        "w": np.ones((5, 2, 8), np.uint8),
        "ws": f32(10),
        "v": np.ones((3, 1, 16), np.uint8),
        "vs": f32(3),
    }
    path = write_graph(tmp_path / "n.onnx", nodes, {}, constants)
    assert weight_dtypes(path, "onnx") == {"uint4": 1200 + 80, "float32": 4 * 213, "int64": 56, "uint8": 48}
    assert count_file_params(path, "onnx") == 2400 + 120 + 15
    assert count_file_macs(path, "onnx") == 7 * (24 * 5 + 5 * 3)


def test_a_recurrent_layer_counts_for_every_step(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "w", "r"], ["y"], hidden_size=5),
    ]
    constants = {"w": f32(1, 20, 3), "r": f32(1, 20, 5)}
    path = write_graph(tmp_path / "lstm.onnx", nodes, {"x": ["N", 8, 3]}, constants)
    assert count_file_macs(path, "onnx") == 8 * 20 * (3 + 5)


def test_macs_are_not_guessed_where_a_shape_is_free(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    path = write_graph(tmp_path / "free.onnx", [node], {"x": ["N", 2, "H", "W"]}, {"w": f32(3, 2, 3, 3)})
    assert count_file_macs(path, "onnx") is None
    assert count_file_params(path, "onnx") == 54


def test_inputs_and_outputs_are_described_as_the_runtime_sees_them(tmp_path: Path) -> None:
    assert describe(write_tiny_onnx(tmp_path / "t.onnx"), "onnx") == (INPUTS, OUTPUTS)
    (image,), outputs = describe(write_tiny_tflite(tmp_path / "t.tflite"), "tflite")
    assert (image.name, image.shape, image.layout) == ("image", (8, 8, 3), "NHWC")
    assert outputs == OUTPUTS


@pytest.mark.parametrize(
    ("shape", "producer", "layout"),
    [
        pytest.param(["N", 3, 8, 8], "", "NCHW", id="channels first"),
        pytest.param(["N", 8, 8, 3], "tf2onnx", "NHWC", id="converted from TensorFlow"),
        pytest.param(["N", "H", "W", 3], "", "NHWC", id="any size"),
        pytest.param(["N", 64, 8, 8], "", "NCHW", id="deep features"),
        pytest.param(["N", 1, 40, 1], "", "NCHW", id="both ends look like channels"),
        pytest.param(["N", 64, 40, 1], "edgeglm", "NCHW", id="made from torch by edgeglm"),
    ],
)
def test_the_layout_of_an_onnx_file_is_read_from_its_shape(
    tmp_path: Path, shape: list[Any], producer: str, layout: str
) -> None:
    path = write_graph(tmp_path / "l.onnx", [helper.make_node("Relu", ["x"], ["y"])], {"x": shape}, {})
    model = onnx.load(path)
    model.producer_name = producer
    onnx.save(model, path)
    (image,), (features,) = describe(path, "onnx")
    assert image.layout == layout
    assert features.layout == "NCHW"


def test_what_openvino_adds_to_quantize_is_no_weight_and_a_free_shape_no_count(tmp_path: Path) -> None:
    from edgeglm_agent.engines.openvino import silenced_openvino

    ov = silenced_openvino()
    from openvino import opset13 as ops

    x = ops.parameter(ov.PartialShape([1, -1, 8]), np.float32, name="x")
    bounds = [ops.constant(np.float32(value)) for value in (0, 1, 0, 1)]
    small = ops.convert(ops.constant(np.ones((4, 8), np.int8)), np.float32)
    weights = ops.multiply(small, ops.constant(np.ones((4, 1), np.float32)))
    y = ops.matmul(ops.fake_quantize(x, *bounds, 256), weights, False, True)
    ov.save_model(ov.Model([ops.result(y)], [x], "g"), tmp_path / "q.xml", compress_to_fp16=False)
    assert count_file_params(tmp_path / "q.xml", "openvino") == 32
    assert count_file_macs(tmp_path / "q.xml", "openvino") is None
    assert weight_dtypes(tmp_path / "q.xml", "openvino")["int8"] == 32


def test_a_missing_bin_is_named(tmp_path: Path) -> None:
    path = write_tiny_openvino(tmp_path / "t.xml")
    assert describe(path, "openvino") == (INPUTS, OUTPUTS)
    path.with_suffix(".bin").unlink()
    with pytest.raises(ModelError, match=r"its weights lie in `t\.bin`"):
        describe(path, "openvino")


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty", "missing"])
@pytest.mark.parametrize("question", [weight_dtypes, count_file_params, count_file_macs, describe])
def test_a_damaged_file_is_a_model_error(tmp_path: Path, kind: str, damage: str, question: Any) -> None:
    path = tmp_path / f"damaged.{kind}"
    whole = (write_tiny_onnx(path) if kind == "onnx" else write_tiny_tflite(path)).read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"garbage": b"garbage" * 50, "truncated": whole[: len(whole) // 2], "empty": b""}[damage])
    with pytest.raises(ModelError) as raised:
        question(path, kind)
    assert raised.value.code == ("model-file-missing" if damage == "missing" else "file-unloadable")
    assert raised.value.problems[0].where == str(path)


def test_weights_that_lie_in_another_file_are_named_when_that_file_is_not_there(tmp_path: Path) -> None:
    model = onnx.load(str(write_tiny_onnx(tmp_path / "t.onnx")))
    onnx.save(model, str(tmp_path / "m.onnx"), save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    assert describe(tmp_path / "m.onnx", "onnx") == describe(tmp_path / "t.onnx", "onnx")
    (tmp_path / "m.onnx.data").unlink()
    with pytest.raises(ModelError, match=r"its weights lie in `m\.onnx\.data`") as raised:
        describe(tmp_path / "m.onnx", "onnx")
    assert raised.value.code == "model-file-missing"
