from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from onnx import helper

from edgeglm.artifacts.onnx_graph import PRODUCER
from edgeglm.errors import ExportError
from edgeglm.measure.execution import DELEGATE, delegate_warnings, execution_warnings, float_warnings
from edgeglm.measure.frames import Operator
from edgeglm.measure.onnx_execution import LayerNames
from edgeglm.measure.worker import Runner
from tests.support.tiny_models import write_int8_tflite, write_quantized_onnx, write_tiny_onnx, write_tiny_tflite

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("scheme", ["static-int8", "dynamic-int8"])
def test_a_quantized_network_runs_in_integers(tmp_path: Path, scheme: str) -> None:
    path = write_quantized_onnx(tmp_path / "q.onnx", scheme=scheme)
    with Runner(path, format="onnx") as runner:
        kinds = {node.kind for node in runner.operators()}
        assert kinds & {"QLinearConv", "ConvInteger"}
        assert execution_warnings(runner, scheme=scheme) == []


def test_a_float_layer_in_a_file_called_int8_is_named(tmp_path: Path) -> None:
    with Runner(write_tiny_onnx(tmp_path / "tiny.onnx"), format="onnx") as runner:
        (warning,) = execution_warnings(runner, scheme="static-int8")
        assert execution_warnings(runner, scheme="none") == []
    assert warning == "2 layers run in float in ONNX Runtime on this host: `conv`, `head`"


def test_many_float_layers_are_counted_not_listed() -> None:
    (warning,) = float_warnings([*(Operator("Conv", f"conv{i}") for i in range(8)), Operator("Relu", "r")])
    assert warning.endswith("`conv0`, `conv1`, `conv2`, `conv3`, `conv4` and 3 more")


def test_products_without_weights_are_counted_and_their_layers_named_once() -> None:
    nodes = [Operator("FusedMatMul", "attention", weightless=True), Operator("MatMul", "attention", weightless=True)]
    (warning,) = float_warnings(nodes)
    assert warning.startswith("2 products of activations (as attention has) run in float in ONNX Runtime on this host")
    assert warning.endswith(", within `attention`")
    layer, product = float_warnings([*nodes[:1], Operator("Gemm", "head")])
    assert layer.startswith("1 layer runs in float")
    assert product.startswith("1 product of activations (as attention has) runs in float")


@pytest.mark.parametrize(
    ("executed", "layer"),
    [
        pytest.param("a.b/MatMul", "a.b", id="as it was"),
        pytest.param("a.b/MatMul/MatMulScaleFusion/", "a.b", id="fused"),
        pytest.param("fused c/Conv_token_3", "c", id="fused with what follows, and numbered"),
        pytest.param("7_nchwc", "c", id="named after the value it makes"),
        pytest.param("8_nchwc", "c", id="named after the value that the activation fused with it makes"),
        pytest.param("9", "9", id="not in the file"),
    ],
)
def test_a_layer_is_named_as_the_user_knows_it_however_the_runtime_calls_it(executed: str, layer: str) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "y"], ["6"], name="a.b/MatMul"),
        helper.make_node("MatMul", ["6", "y"], ["5"], name="a/MatMul"),
        helper.make_node("Conv", ["5", "w"], ["7"], name="c/Conv"),
        helper.make_node("Relu", ["7"], ["8"], name="/Relu"),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", [], []), producer_name=PRODUCER)
    assert LayerNames(model).of(executed) == layer
    model.producer_name = "others"
    assert LayerNames(model).of("a.b/MatMul/MatMulScaleFusion/") == "a.b/MatMul"


@pytest.mark.parametrize("kind", ["float", "int8"])
def test_xnnpack_takes_over_a_whole_network(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "t.tflite"
    write_tiny_tflite(path) if kind == "float" else write_int8_tflite(path)
    with Runner(path, format="tflite") as runner:
        assert [node.kind for node in runner.operators()] == [DELEGATE]
        assert execution_warnings(runner, scheme="none") == []


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([("CONV_2D", "c"), ("MEAN", "m")], "XNNPACK takes over nothing on this host: LiteRT's slower kernels run"),
        (
            [("MEAN", "m"), (DELEGATE, ""), (DELEGATE, "")],
            "in 2 pieces on this host; between them LiteRT's kernels run MEAN",
        ),
        ([("FULLY_CONNECTED", "f"), (DELEGATE, "")], "XNNPACK leaves FULLY_CONNECTED to LiteRT's slower kernels"),
    ],
)
def test_a_silent_fallback_is_heard(nodes: list[tuple[str, str]], says: str) -> None:
    (warning,) = delegate_warnings([Operator(*node) for node in nodes])
    assert says in warning


def test_a_small_operator_beside_the_delegate_is_not_worth_a_warning() -> None:
    assert delegate_warnings([Operator("SOFTMAX", "s"), Operator(DELEGATE)]) == []


def test_a_file_that_is_damaged_meanwhile_is_an_export_error(tmp_path: Path) -> None:
    path = write_tiny_onnx(tmp_path / "tiny.onnx")
    with Runner(path, format="onnx") as runner:
        path.write_bytes(b"bad")
        with pytest.raises(ExportError):
            execution_warnings(runner, scheme="static-int8")
