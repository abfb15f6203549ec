"""Every trap of TFLite conversion and quantization that was met once stays closed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from edgeglm.artifacts import flatbuffer
from edgeglm.artifacts import tflite as artifacts
from edgeglm.boards import BOARDS
from edgeglm.errors import ExportError, MissingExtraError
from edgeglm.measure.worker import Runner
from edgeglm.model import Model
from edgeglm.recipe.types import Quantize
from tests.support import export_nets as nets

BOARD = BOARDS["rpi5"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tflite")


def export(model: Model, path: Path) -> Path:
    artifacts.export_float(model, nets.rows(model, 2), path, board=BOARD)
    return path


@pytest.fixture(scope="session")
def cnn(folder: Path) -> Path:
    return export(nets.cnn(), folder / "cnn.tflite")


@pytest.fixture(scope="session")
def words(folder: Path) -> Path:
    return export(nets.words(), folder / "words.tflite")


def quantize(source: Path, model: Model, scheme: str, *, ignore: tuple[str, ...] = (), name: str = "") -> Path:
    path = source.with_name(f"{source.stem}.{scheme}{name}.tflite")
    batches = iter([nets.rows(model, 16, seed) for seed in (1, 2)])
    artifacts.quantize(source, path, Quantize(scheme=scheme, ignore=list(ignore)), batches, board=BOARD)
    return path


def channels_last(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(np.moveaxis(values, 1, -1)) for name, values in inputs.items()}


def run(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    with Runner(path, format="tflite") as runner:
        return runner.run(inputs)


@pytest.mark.parametrize("scheme", ["fp16", "dynamic-int8", "static-int8"])
def test_inputs_and_outputs_are_float32_with_channels_last_and_batch_1(cnn: Path, scheme: str) -> None:
    path = cnn.with_name(f"interface.{scheme}.tflite")
    batches = [nets.rows(nets.cnn(), 8)]
    built = artifacts.quantize(cnn, path, Quantize(scheme=scheme), batches, board=BOARD)
    (image,), (logits,) = built.inputs, built.outputs
    assert (image.name, image.dtype, image.shape, image.layout) == ("image", "float32", (8, 8, 1), "NHWC")
    assert (logits.name, logits.dtype, logits.shape) == ("logits", "float32", (10,))
    assert built.batch == 1
    assert built.activation_type == ("int8" if scheme == "static-int8" else "")


def test_a_cnn_computes_what_the_network_does(cnn: Path) -> None:
    model = nets.cnn()
    inputs = nets.rows(model, 5)
    got = run(cnn, channels_last(inputs))["logits"]
    np.testing.assert_allclose(got, nets.torch_outputs(model, inputs)["logits"], atol=1e-5)


@pytest.mark.parametrize("make", [nets.lstm, nets.vit], ids=["lstm", "vit"])
def test_recurrent_and_attention_networks_convert_and_quantize(folder: Path, make) -> None:
    model = make()
    source = export(model, folder / f"{make.__name__}.tflite")
    inputs = nets.rows(model, 3)
    expected = nets.torch_outputs(model, inputs)["logits"]
    given = channels_last(inputs) if make is nets.vit else inputs
    for scheme in ("none", "fp16", "dynamic-int8"):
        got = run(quantize(source, model, scheme), given)["logits"]
        cosine = (got * expected).sum() / np.linalg.norm(got) / np.linalg.norm(expected)
        assert cosine > (0.98 if scheme == "dynamic-int8" else 0.9999)


def test_inputs_and_outputs_are_matched_by_name_whatever_their_order(folder: Path) -> None:
    model = nets.named()
    path = export(model, folder / "named.tflite")
    inputs = nets.rows(model, 1)
    expected = nets.torch_outputs(model, inputs)
    for given in (inputs, dict(reversed(inputs.items()))):
        got = run(path, given)
        assert set(got) == {"relu", "linear"}
        for name, values in expected.items():
            np.testing.assert_allclose(got[name], values, atol=1e-5)
    small = quantize(path, model, "static-int8")
    assert set(run(small, inputs)) == {"relu", "linear"}


def test_64_bit_tokens_become_32_bit_and_the_report_says_so(folder: Path) -> None:
    model = nets.words()
    built = artifacts.export_float(model, nets.rows(model, 2), folder / "tokens.tflite", board=BOARD)
    assert built.inputs[0].dtype == "int32"
    assert built.warnings == ["input ids is int32 in the file (int64 in the network)"]
    inputs = nets.rows(model, 1)
    got = run(folder / "tokens.tflite", {"ids": inputs["ids"].astype(np.int32)})["logits"]
    np.testing.assert_allclose(got, nets.torch_outputs(model, inputs)["logits"], atol=1e-6)


def test_a_static_file_has_its_embedding_table_in_int8(words: Path) -> None:
    graph = flatbuffer.read(quantize(words, nets.words(), "static-int8"))
    assert {entry.type for entry in flatbuffer.weights(graph)} == {"INT8"}


def test_calibration_by_min_and_max_clips_no_logit_that_comes_late(folder: Path) -> None:
    model = nets.make(nn.Linear(8, 4), {"logits": 4}, x=((8,), "float32"))
    source = export(model, folder / "late.tflite")
    quiet = np.full((31, 8), 0.01, np.float32)
    loud = nets.rows(model, 1)["x"] * 20
    path = folder / "late8.tflite"
    batches = iter([{"x": quiet}, {"x": loud}])  # a moving average would forget how large the last sample is
    artifacts.quantize(source, path, Quantize(scheme="static-int8"), batches, board=BOARD)
    expected = nets.torch_outputs(model, {"x": loud})["logits"]
    np.testing.assert_allclose(run(path, {"x": loud})["logits"], expected, atol=0.03 * float(np.abs(expected).max()))


def test_fp16_halves_the_weights(cnn: Path) -> None:
    graph = flatbuffer.read(quantize(cnn, nets.cnn(), "fp16"))
    assert {entry.type for entry in flatbuffer.weights(graph)} == {"FLOAT16"}
    assert quantize(cnn, nets.cnn(), "fp16").stat().st_size < 0.7 * cnn.stat().st_size


def test_dynamic_int8_of_a_depthwise_network_warns_of_its_speed(cnn: Path) -> None:
    path = cnn.with_name("slow.tflite")
    built = artifacts.quantize(cnn, path, Quantize(scheme="dynamic-int8"), iter([]), board=BOARD)
    assert any("slower" in warning for warning in built.warnings)


@pytest.mark.parametrize("pattern", ["head", "re:.*head", "encoder.0", "re:encoder.*conv1"])
@pytest.mark.parametrize("scheme", ["fp16", "dynamic-int8", "static-int8"])
def test_layers_named_in_ignore_stay_float_and_no_others(cnn: Path, scheme: str, pattern: str) -> None:
    graph = flatbuffer.read(quantize(cnn, nets.cnn(), scheme, ignore=(pattern,), name="kept"))
    left = sum(entry.size_bytes for entry in flatbuffer.weights(graph) if entry.type == "FLOAT32")
    convolution, linear = 16 * 16 * 9 * 4, 16 * 10 * 4
    expected = {"head": linear, "re:.*head": linear, "encoder.0": 2 * convolution, "re:encoder.*conv1": convolution}
    assert left == expected[pattern]  # `decoder.0` has the same class and last name as `encoder.0`


def test_a_file_that_the_runtime_refuses_is_a_fault_of_the_conversion_that_names_the_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nets.several("twice")
    source = export(model, tmp_path / "model.tflite")
    # as if the outputs were left to the quantizer, which then writes a product of INT8 and float32
    monkeypatch.setattr("edgeglm.artifacts.tflite_outputs.take_off_inner", lambda _: None)
    monkeypatch.setattr("edgeglm.artifacts.tflite_outputs.put_back", lambda *_: None)
    with pytest.raises(ExportError) as caught:
        quantize(source, model, "static-int8")
    text = str(caught.value)
    assert caught.value.code == "artifact-refused"
    assert "static-int8" in text
    assert "(MUL)" in text
    assert "`ignore`" in text
    assert "onnx artifact" in text
    assert "damaged" not in text


@pytest.mark.parametrize("content", [b"no", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 64], ids=["not one", "cut"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.tflite").write_bytes(content)
    with pytest.raises(ExportError) as caught:
        artifacts.quantize(
            tmp_path / "bad.tflite", tmp_path / "q.tflite", Quantize(scheme="fp16"), iter([]), board=BOARD
        )
    assert caught.value.code == "file-unloadable"


@pytest.mark.parametrize("scheme", ["fp16", "dynamic-int8", "static-int8"])
def test_a_file_from_before_signatures_is_quantized_by_its_tensors_names(
    cnn: Path, tmp_path: Path, scheme: str
) -> None:
    graph = flatbuffer.read(cnn)
    graph.signatureDefs, graph.description = None, None
    for code in graph.operatorCodes:
        code.builtinCode = 0  # old files have the narrow field alone
    (taken,) = graph.subgraphs[0].inputs
    (given,) = graph.subgraphs[0].outputs
    graph.subgraphs[0].tensors[taken].name, graph.subgraphs[0].tensors[given].name = b"pixels", b"scores"
    (tmp_path / "old.tflite").write_bytes(flatbuffer.to_bytes(graph))
    model = nets.cnn()
    inputs = nets.rows(model, 4)
    batches = [{"pixels": channels_last(inputs)["image"]}]
    path = tmp_path / "new.tflite"
    artifacts.quantize(tmp_path / "old.tflite", path, Quantize(scheme=scheme), batches, board=BOARD)
    got = run(path, batches[0])["scores"]
    expected = nets.torch_outputs(model, inputs)["logits"]
    assert (got * expected).sum() / np.linalg.norm(got) / np.linalg.norm(expected) > 0.99


def test_an_operator_that_tflite_lacks_is_named_with_its_layer_within_seconds(tmp_path: Path) -> None:
    model = nets.make(nets.WithOdd(), {"logits": 8}, x=((8,), "float32"))
    started = time.monotonic()
    with pytest.raises(ExportError, match=r"no operator for aten\.i0") as caught:
        export(model, tmp_path / "odd.tflite")
    assert time.monotonic() - started < 60  # guards against a hang; it takes about one second
    assert caught.value.code == "tflite-operator"
    assert caught.value.problems[0].where == "block.1"
    assert "export_nets.py:" in caught.value.problems[0].hint
    assert not list(tmp_path.iterdir())


def test_an_operator_within_an_image_network_is_named_too(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nets.Odd(), nn.Flatten(), nn.Linear(72, 4))
    model = nets.make(net, {"logits": 4}, image=((1, 8, 8), "float32"))
    with pytest.raises(ExportError) as caught:
        export(model, tmp_path / "odd.tflite")
    assert (caught.value.code, caught.value.problems[0].where) == ("tflite-operator", "1")


def test_the_file_has_one_signature_and_short_names(cnn: Path) -> None:
    for path in (cnn, quantize(cnn, nets.cnn(), "static-int8")):
        graph = flatbuffer.read(path)
        assert len(graph.signatureDefs) == len(graph.subgraphs) == 1
        assert max(len(tensor.name or b"") for tensor in graph.subgraphs[0].tensors) < 40
    small = flatbuffer.read(quantize(cnn, nets.cnn(), "static-int8"))
    assert sum(len(tensor.name or b"") for tensor in small.subgraphs[0].tensors) < 10
    assert small.description is None


def test_a_missing_package_is_named_with_the_command_that_installs_it(cnn: Path, monkeypatch) -> None:
    monkeypatch.setattr(
        "edgeglm.artifacts.capability.find_spec", lambda name: None if "quantizer" in name else object()
    )
    with pytest.raises(MissingExtraError, match="ai-edge-quantizer") as caught:
        quantize(cnn, nets.cnn(), "fp16")
    assert caught.value.code == "missing-extra"
    assert "pip install 'edgeglm[tflite]'" in caught.value.problems[0].hint
