"""What OpenVINO and nncf get wrong by themselves, or say nothing of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeglm.artifacts import onnx, openvino
from edgeglm.boards import BOARDS
from edgeglm.errors import ExportError
from edgeglm.formats import companions, digest, size_bytes
from edgeglm.measure.census import count_file_macs, count_file_params, weight_dtypes
from edgeglm.measure.layers import layer_bytes
from edgeglm.measure.parity import compare
from edgeglm.measure.worker import Runner
from edgeglm.recipe.types import LayerRule, Quantize
from tests.support import export_nets as nets
from tests.support.tiny_models import INPUTS, tiny_images, tiny_logits, write_tiny_onnx

if TYPE_CHECKING:
    from edgeglm.artifacts.built import Built
    from edgeglm.model import Model

BOARD = BOARDS["x86-64"]
NETS = {
    "uneven": nets.uneven,
    "cnn": nets.cnn,
    "vit": nets.vit,
    "lstm": nets.lstm,
    "words": nets.words,
    "named": nets.named,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openvino")


def float_file(folder: Path, name: str) -> tuple[Model, Path]:
    """Return a network and its FP32 file, made once."""
    model, path = NETS[name](), folder / f"{name}.xml"
    if not path.is_file():
        source = folder / f"{name}.onnx"
        onnx.export_float(model, nets.rows(model, 2), source, board=BOARD)
        openvino.convert_float(source, path, nets.rows(model, 3))
    return model, path


def quantized(folder: Path, name: str, scheme: str, **settings: object) -> tuple[Model, Built]:
    model, source = float_file(folder, name)
    path = folder / f"{name}.{scheme}.xml"
    samples = [nets.rows(model, 16, seed) for seed in (1, 2)]
    return model, openvino.quantize(source, path, Quantize(scheme=scheme, **settings), samples, board=BOARD)


@pytest.mark.parametrize("name", ["cnn", "uneven"])
def test_the_bytes_of_what_rounds_an_activation_are_those_of_the_layer_that_reads_it(folder: Path, name: str) -> None:
    """nncf's own operators have no names: by their numbers they would look like layers."""
    model, built = quantized(folder, name, "static-int8")
    layers = {row.layer for row in layer_bytes(built.path, "openvino")}
    assert layers
    assert {layer for layer in layers if layer.isdigit()} <= {layer for layer, _ in model.module.named_modules()}


@pytest.mark.parametrize("name", NETS)
def test_a_float_file_computes_the_network_and_has_its_names(folder: Path, name: str) -> None:
    model, path = float_file(folder, name)
    inputs = nets.rows(model, 3, seed=5)
    with Runner(path, format="openvino") as runner:
        outputs = runner.run(inputs)
        assert {spec.name: (spec.dtype, spec.shape, spec.layout) for spec in runner.inputs} == {
            spec.name: (spec.dtype, spec.shape, spec.layout) for spec in model.inputs
        }
        assert runner.batch == 1
    assert compare(nets.torch_outputs(model, inputs), outputs, quantized=False).passed
    if name in ("cnn", "vit", "words"):  # of an LSTM OpenVINO adds up the two biases
        assert abs(count_file_params(path, "openvino") - count_file_params(path.with_suffix(".onnx"), "onnx")) <= 1
    assert count_file_macs(path, "openvino") == count_file_macs(path.with_suffix(".onnx"), "onnx")


@pytest.mark.parametrize("name", ["cnn", "vit"])
def test_static_int8_is_computed_in_int8(folder: Path, name: str) -> None:
    model, built = quantized(folder, name, "static-int8")
    assert built.warnings == []
    with Runner(built.path, format="openvino") as runner:
        kernels = {node.layer: node.kind for node in runner.operators()}
        assert len(kernels) >= 5
        assert all(kernel.lower().endswith("i8") for kernel in kernels.values()), kernels
        inputs = nets.rows(model, 16, seed=7)
        cosine = compare(nets.torch_outputs(model, inputs), runner.run(inputs), quantized=True).cosine
    assert cosine > 0.97  # of noise through untrained networks
    sizes = weight_dtypes(built.path, "openvino")
    assert sizes["int8"] > 2 * sizes["float32"]


def test_ranges_of_vectors_reach_as_far_as_the_values_do(tmp_path: Path) -> None:
    """By nncf's own choice, the mean of each sample's extremes, a vector's range is far narrower than the values."""
    model, rows = nets.mlp(), {"values": np.random.default_rng(0).normal(scale=2.5, size=(256, 4)).astype(np.float32)}
    onnx.export_float(model, rows, tmp_path / "m.onnx", board=BOARD)
    openvino.convert_float(tmp_path / "m.onnx", tmp_path / "m.xml", rows)
    errors = {}
    for ranges in (None, "mean"):
        settings = Quantize(scheme="static-int8", ranges=ranges)
        built = openvino.quantize(tmp_path / "m.xml", tmp_path / f"{ranges}.xml", settings, [rows], board=BOARD)
        with Runner(built.path, format="openvino") as runner:
            errors[ranges] = compare(nets.torch_outputs(model, rows), runner.run(rows), quantized=True).error_share
    assert errors[None] < 0.002
    assert errors["mean"] > 0.5


def test_int8_that_is_not_int8_is_named(folder: Path) -> None:
    _, built = quantized(folder, "lstm", "static-int8")
    assert built.warnings == ["1 layer runs in float in OpenVINO on this host: `lstm`"]


@pytest.mark.parametrize("name", ["cnn", "words"])
def test_fp16_halves_the_weights_and_keeps_float32_outside(folder: Path, name: str) -> None:
    model, built = quantized(folder, name, "fp16")
    _, source = float_file(folder, name)
    (own,), (whole,) = companions(built.path, "openvino"), companions(source, "openvino")
    assert own.stat().st_size < 0.51 * whole.stat().st_size
    with Runner(built.path, format="openvino") as runner:
        inputs = nets.rows(model, 4, seed=7)
        outputs = runner.run(inputs)
    assert {value.dtype for value in outputs.values()} == {np.dtype(np.float32)}
    assert compare(nets.torch_outputs(model, inputs), outputs, quantized=True).passed


@pytest.mark.parametrize(
    ("scheme", "kind", "bits"), [("weight-only-int8", "uint8", 8), ("weight-only-int4", "uint4", 4)]
)
def test_weights_alone_are_small_tables_included(folder: Path, scheme: str, kind: str, bits: int) -> None:
    model, built = quantized(folder, "words", scheme)
    assert built.warnings == []
    assert weight_dtypes(built.path, "openvino")[kind] >= (200 * 32 + 32 * 32 + 5 * 32) * bits // 8
    with Runner(built.path, format="openvino") as runner:
        inputs = nets.rows(model, 32, seed=7)
        together = runner.run(inputs)
        alone = runner.run({name: values[3:4] for name, values in inputs.items()})
    assert np.array_equal(together["logits"][3:4], alone["logits"])
    assert compare(nets.torch_outputs(model, inputs), together, quantized=True).error_share < (
        0.01 if bits == 8 else 0.1
    )


def test_four_bits_are_for_products_and_what_has_eight_instead_is_named(folder: Path) -> None:
    _, built = quantized(folder, "vit", "weight-only-int4")
    assert [warning.endswith("no 4-bit form of the layer: patch/Conv") for warning in built.warnings] == [True]
    with pytest.raises(ExportError, match="gave no weight 4 bits") as raised:
        quantized(folder, "cnn", "weight-only-int4")
    assert raised.value.code == "quantized-nothing"
    _, built = quantized(folder, "lstm", "weight-only-int8")
    assert built.warnings == ["weights still float32 after weight-only-int8: lstm/LSTMSequence"]


def test_rows_that_no_block_divides_get_smaller_blocks_or_eight_bits(folder: Path) -> None:
    model, built = quantized(folder, "uneven", "weight-only-int4", block_size=128)
    sizes = weight_dtypes(built.path, "openvino")
    assert sizes["uint4"] >= (96 * 64 + 128 * 96 + 4 * 128) // 2  # rows of 64 and 96 in blocks of 64 and 32
    assert sizes["uint8"] >= 64 * 20  # rows of 20 have no such block
    assert sizes["float32"] < 64 * 20
    (warning,) = built.warnings
    assert "8 bits, not 4" in warning
    with Runner(built.path, format="openvino") as runner:
        inputs = nets.rows(model, 32, seed=7)
        assert compare(nets.torch_outputs(model, inputs), runner.run(inputs), quantized=True).error_share < 0.15


def test_layers_have_schemes_of_their_own(folder: Path) -> None:
    rules = [LayerRule(match="table", scheme="weight-only-int4"), LayerRule(match="head", scheme="none")]
    model, built = quantized(folder, "words", "static-int8", layers=rules)
    sizes = weight_dtypes(built.path, "openvino")
    assert sizes["int8"] == 32 * 32
    assert sizes["uint4"] >= 200 * 32 // 2
    assert sizes["float32"] >= 4 * 5 * 32
    with Runner(built.path, format="openvino") as runner:
        inputs = nets.rows(model, 32, seed=7)
        assert compare(nets.torch_outputs(model, inputs), runner.run(inputs), quantized=True).error_share < 0.06
    with pytest.raises(ExportError, match="quantized nothing that `lstm` matches"):
        quantized(folder, "lstm", "static-int8", layers=[LayerRule(match="lstm", scheme="weight-only-int8")])


@pytest.mark.parametrize("scheme", ["fp16", "static-int8"])
def test_a_layer_under_ignore_stays_float_and_one_that_is_not_there_is_an_error(folder: Path, scheme: str) -> None:
    _, built = quantized(folder, "cnn", scheme, ignore=["encoder", "re:.*head"])
    left = 4 * (2 * (16 * 16 * 9 + 16) + 16 * 10 + 10)
    assert weight_dtypes(built.path, "openvino")["float32"] >= left
    with pytest.raises(ExportError) as raised:
        quantized(folder, "cnn", scheme, ignore=["enkoder"])
    assert raised.value.code == "pattern-matches-nothing"


def test_a_scheme_that_leaves_every_weight_in_float_is_an_error(folder: Path) -> None:
    with pytest.raises(ExportError) as raised:
        quantized(folder, "cnn", "static-int8", ignore=["re:.+"])
    assert raised.value.code == "quantized-nothing"


def test_calibration_data_that_is_not_finite_is_an_error(folder: Path) -> None:
    model, source = float_file(folder, "cnn")
    rows = nets.rows(model, 4)
    rows["image"][2, 0, 0, 0] = np.nan
    with pytest.raises(ExportError) as raised:
        openvino.quantize(source, folder / "nan.xml", Quantize(scheme="static-int8"), [rows], board=BOARD)
    assert raised.value.code == "calibration-not-finite"
    assert not list(folder.glob("nan.*"))
    assert not list(folder.glob(".nan.*"))


def test_equal_networks_give_equal_bytes_though_openvino_counts_what_it_makes(folder: Path) -> None:
    _, source = float_file(folder, "vit")
    _, built = quantized(folder, "vit", "static-int8")
    code = (
        "import sys; from pathlib import Path; from edgeglm.artifacts import openvino;"
        "from edgeglm.boards import BOARDS; from edgeglm.recipe.types import Quantize;"
        "from tests.support import export_nets as nets; model = nets.vit(); folder = Path(sys.argv[1]);"
        "openvino.convert_float(folder / 'vit.onnx', folder / 'again.xml', nets.rows(model, 3));"
        "samples = [nets.rows(model, 16, seed) for seed in (1, 2)];"
        "openvino.quantize(folder / 'again.xml', folder / 'again.int8.xml', Quantize(scheme='static-int8'), samples,"
        "board=BOARDS['x86-64'])"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, cwd=root)
    assert digest(folder / "again.xml", "openvino") == digest(source, "openvino")
    assert digest(folder / "again.int8.xml", "openvino") == digest(built.path, "openvino")


def test_a_users_own_file_keeps_its_batch_and_its_nodes_names(tmp_path: Path) -> None:
    source = write_tiny_onnx(tmp_path / "own.onnx", batch=4)
    images = tiny_images(4)
    built = openvino.convert_float(source, tmp_path / "own.xml", {"image": images}, batch=1)
    assert (built.batch, built.inputs) == (4, INPUTS)
    samples = [{"image": tiny_images(6, seed=seed)} for seed in (1, 2)]
    settings = Quantize(scheme="static-int8", ignore=["conv"])
    small = openvino.quantize(built.path, tmp_path / "small.xml", settings, samples, board=BOARD)
    with Runner(small.path, format="openvino") as runner:
        assert [node.layer for node in runner.operators()] == ["head"]
        outputs = runner.run({"image": images})
    assert compare({"logits": tiny_logits(images)}, outputs, quantized=True).passed


def test_a_network_that_will_be_served_in_batches_is_made_for_them(folder: Path) -> None:
    model, path = float_file(folder, "cnn")
    built = openvino.convert_float(path.with_suffix(".onnx"), folder / "eight.xml", nets.rows(model, 3), batch=8)
    assert built.batch == 8


def test_the_file_says_nothing_of_where_it_was_made(folder: Path) -> None:
    _, path = float_file(folder, "cnn")
    text = path.read_text()
    assert "rt_info" not in text
    assert "2026" not in text
    assert "\n\t" not in text
    assert size_bytes(path, "openvino") == len(text) + path.with_suffix(".bin").stat().st_size


def test_an_operator_that_openvino_lacks_is_named(tmp_path: Path) -> None:
    import onnx as library
    from onnx import TensorProto, helper

    node = helper.make_node("Unheard", ["x"], ["y"], domain="own")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", "y")]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    library.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(tmp_path / "odd.onnx"))
    with pytest.raises(ExportError, match="Unheard") as raised:
        openvino.convert_float(tmp_path / "odd.onnx", tmp_path / "odd.xml", {"x": np.zeros((1, 4), np.float32)})
    assert raised.value.code == "openvino-operator"
