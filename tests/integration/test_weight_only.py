"""Weights of 8 and 4 bits, and layers with a scheme of their own, in files of both formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from torch import nn

from edgeglm.artifacts import flatbuffer, tflite
from edgeglm.artifacts import onnx as onnx_artifacts
from edgeglm.artifacts.tflite_layout import to_file_layout
from edgeglm.boards import BOARDS
from edgeglm.errors import ExportError
from edgeglm.measure.census import weight_dtypes
from edgeglm.measure.worker import Runner
from edgeglm.recipe.types import LayerRule, Quantize
from tests.support import export_nets as nets

if TYPE_CHECKING:
    from edgeglm.artifacts.built import Built
    from edgeglm.model import Model

BOARD = BOARDS["rpi5"]
FORMATS = {"onnx": onnx_artifacts, "tflite": tflite}
NETS = {"cnn": nets.cnn, "lstm": nets.lstm, "vit": nets.vit, "words": nets.words}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weight-only")


def float_file(folder: Path, name: str, kind: str) -> Path:
    path = folder / f"{name}.{kind}"
    if not path.is_file():
        FORMATS[kind].export_float(NETS[name](), nets.rows(NETS[name](), 2), path, board=BOARD)
    return path


def quantized(folder: Path, name: str, kind: str, settings: Quantize) -> Built:
    source = float_file(folder, name, kind)
    batches = iter([nets.rows(NETS[name](), 16, seed) for seed in (1, 2)])
    return FORMATS[kind].quantize(source, folder / f"small.{name}.{kind}", settings, batches, board=BOARD)


def cosine(built: Built, model: Model) -> float:
    inputs = nets.rows(model, 8, seed=5)
    expected = nets.torch_outputs(model, inputs)[model.outputs[0].name]
    if built.format == "tflite":
        inputs = to_file_layout(inputs, [key for key, values in inputs.items() if values.ndim == 4])
    with Runner(built.path, format=built.format) as runner:
        got = runner.run(inputs)[model.outputs[0].name]
    return float((got * expected).sum() / np.linalg.norm(got) / np.linalg.norm(expected))


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
@pytest.mark.parametrize("name", list(NETS))
@pytest.mark.parametrize(("scheme", "least"), [("weight-only-int8", 0.999), ("weight-only-int4", 0.97)])
def test_every_network_keeps_its_answers(folder: Path, name: str, kind: str, scheme: str, least: float) -> None:
    source = float_file(folder, name, kind)
    built = quantized(folder, name, kind, Quantize(scheme=scheme))
    assert cosine(built, NETS[name]()) > least
    assert built.path.stat().st_size < source.stat().st_size
    assert built.activation_type == ""
    sizes, before = weight_dtypes(built.path, kind), weight_dtypes(source, kind)
    assert sizes["float32"] < 0.5 * before["float32"]
    assert any(size for dtype, size in sizes.items() if dtype.endswith("int4")) == (scheme == "weight-only-int4")


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_a_cnn_has_4_bits_in_its_products_and_8_in_its_convolutions_and_is_told_so(folder: Path, kind: str) -> None:
    built = quantized(folder, "cnn", kind, Quantize(scheme="weight-only-int4"))
    (warning,) = (text for text in built.warnings if "8 bits, not 4" in text)
    assert "encoder.0.conv1" in warning or "stem" in warning
    with pytest.raises(ExportError, match="gave no weight 4 bits") as caught:
        quantized(folder, "cnn", kind, Quantize(scheme="weight-only-int4", ignore=["head"]))
    assert caught.value.code == "quantized-nothing"


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_layers_get_the_scheme_of_the_entry_that_matches_them(folder: Path, kind: str) -> None:
    settings = Quantize(
        scheme="dynamic-int8",
        layers=[
            LayerRule(match="re:tab.*", scheme="weight-only-int4", block_size=32),
            LayerRule(match="head", scheme="none"),
        ],
    )
    built = quantized(folder, "words", kind, settings)
    assert built.scheme == "dynamic-int8"
    assert cosine(built, nets.words()) > 0.97
    sizes = weight_dtypes(built.path, kind)
    assert next(size for dtype, size in sizes.items() if dtype.endswith("int4")) == 200 * 32 // 2
    assert sizes["int8"] >= 32 * 32
    assert sizes["float32"] >= 4 * 5 * 32
    assert not any("head" in warning for warning in built.warnings if "weights still float32" in warning)


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_a_static_layer_of_a_dynamic_file_is_calibrated(folder: Path, kind: str) -> None:
    settings = Quantize(scheme="dynamic-int8", layers=[LayerRule(match="hidden", scheme="static-int8")])
    assert cosine(quantized(folder, "words", kind, settings), nets.words()) > 0.99
    path = folder / f"no-data.{kind}"
    with pytest.raises(ExportError) as caught:
        FORMATS[kind].quantize(float_file(folder, "words", kind), path, settings, iter([]), board=BOARD)
    assert caught.value.code == "calibration-empty"


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_an_entry_whose_scheme_none_of_its_layers_can_have_is_refused(folder: Path, kind: str) -> None:
    settings = Quantize(scheme="static-int8", layers=[LayerRule(match="stem", scheme="weight-only-int4")])
    with pytest.raises(ExportError, match="quantized nothing that `stem` matches") as caught:
        quantized(folder, "cnn", kind, settings)
    assert caught.value.code == "quantized-nothing"


def test_onnx_products_do_not_depend_on_what_shares_the_batch(folder: Path) -> None:
    built = quantized(folder, "words", "onnx", Quantize(scheme="weight-only-int8"))
    rows = nets.rows(nets.words(), 4)
    with Runner(built.path, format="onnx") as runner:
        together = runner.run(rows)["logits"]
        alone = np.concatenate([runner.run({"ids": rows["ids"][i : i + 1]})["logits"] for i in range(4)])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_gemm_of_either_orientation_keeps_its_bias(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    constants = {"w": random.normal(size=(8, 40)), "b": random.normal(size=8), "v": random.normal(size=(8, 6))}
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=1), helper.make_node("Gemm", ["h", "v"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 40])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 6])],
        [onnx.numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "g.onnx")
    x = random.normal(size=(5, 40)).astype(np.float32)
    settings = Quantize(scheme="weight-only-int8")
    onnx_artifacts.quantize(tmp_path / "g.onnx", tmp_path / "q.onnx", settings, iter([]), board=BOARD)
    with Runner(tmp_path / "q.onnx", format="onnx") as runner:
        got = runner.run({"x": x})["y"]
    expected = (x @ constants["w"].T + constants["b"]) @ constants["v"]
    np.testing.assert_allclose(got, expected, atol=0.02 * np.abs(expected).max())


def test_long_tflite_rows_that_no_block_divides_keep_8_bits(tmp_path: Path) -> None:
    model = nets.make(
        nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 150), nn.ReLU(), nn.Linear(150, 4)),
        {"logits": 4},
        x=((20,), "float32"),
    )
    tflite.export_float(model, nets.rows(model, 2), tmp_path / "f.tflite", board=BOARD)
    settings = Quantize(scheme="weight-only-int4", block_size=128)
    built = tflite.quantize(tmp_path / "f.tflite", tmp_path / "q.tflite", settings, iter([]), board=BOARD)
    found = {entry.shape: entry.type for entry in flatbuffer.weights(flatbuffer.read(built.path))}
    assert found == {(64, 20): "INT4", (150, 64): "INT4", (4, 150): "INT8"}
    assert any("8 bits, not 4" in warning for warning in built.warnings)
