"""Every trap of ONNX export and quantization that was met once stays closed."""

from __future__ import annotations

import resource
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgeglm.artifacts import onnx as artifacts
from edgeglm.artifacts import onnx_quantize
from edgeglm.artifacts.checking import check_runs
from edgeglm.artifacts.onnx_dynamic import DYNAMIC_OPERATORS
from edgeglm.boards import BOARDS
from edgeglm.errors import ExportError, StorageError
from edgeglm.measure.worker import Runner
from edgeglm.model import Model
from edgeglm.recipe.types import Quantize
from tests.support import export_nets as nets

X86, PI, JETSON = BOARDS["x86-64"], BOARDS["rpi5"], BOARDS["jetson-jp6"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnx")


def export(model: Model, path: Path, *, sample_rows: int = 2) -> Path:
    artifacts.export_float(model, nets.rows(model, sample_rows), path, board=X86)
    return path


@pytest.fixture(scope="session")
def cnn(folder: Path) -> Path:
    return export(nets.cnn(), folder / "cnn.onnx")


@pytest.fixture(scope="session")
def lstm(folder: Path) -> Path:
    return export(nets.lstm(), folder / "lstm.onnx", sample_rows=1)


@pytest.fixture(scope="session")
def vit(folder: Path) -> Path:
    return export(nets.vit(), folder / "vit.onnx")


@pytest.fixture(scope="session")
def words(folder: Path) -> Path:
    return export(nets.words(), folder / "words.onnx")


def quantized(
    source: Path, model: Model, scheme: str, *, board=X86, ignore=(), name=""
) -> tuple[onnx.ModelProto, Path]:
    path = source.with_name(f"{source.stem}.{scheme}.{board.name}{name}.onnx")
    batches = iter([nets.rows(model, 16, seed) for seed in (1, 2)])
    artifacts.quantize(source, path, Quantize(scheme=scheme, ignore=list(ignore)), batches, board=board)
    return onnx.load(path), path


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def executed(path: Path, tmp_path: Path, *, arm: bool) -> Counter[str]:
    """Return the operators left after the runtime's own fusions, by ARM's rule for INT8 when asked."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    if arm:
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    onnxruntime.InferenceSession(str(path), options)
    return Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)


def test_an_output_named_like_a_value_of_the_graph_gives_a_file_that_runs(folder: Path) -> None:
    model = nets.named()
    path = export(model, folder / "named.onnx")
    inputs = nets.rows(model, 3)
    with Runner(path, format="onnx") as runner:
        outputs = runner.run(inputs)
    expected = nets.torch_outputs(model, inputs)
    assert set(outputs) == {"relu", "linear"}
    for name, values in expected.items():
        np.testing.assert_allclose(outputs[name], values, atol=1e-5)


def test_an_lstm_traced_with_one_row_still_takes_any_batch(lstm: Path) -> None:
    model = nets.lstm()
    with Runner(lstm, format="onnx") as runner:
        for count in (1, 5):
            inputs = nets.rows(model, count)
            np.testing.assert_allclose(
                runner.run(inputs)["logits"], nets.torch_outputs(model, inputs)["logits"], atol=1e-5
            )


def test_a_network_that_keeps_the_batch_it_was_traced_with_is_refused(folder: Path) -> None:
    class Bakes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x) * 2 if x.shape[0] > 1 else self.head(x)

    with pytest.raises(ExportError, match="at batch 1 the file differs") as caught:
        export(nets.make(Bakes(), {"logits": 3}, x=((8,), "float32")), folder / "baked.onnx")
    assert caught.value.code == "export-differs"
    assert not (folder / "baked.onnx").exists()


def test_weights_are_in_the_file_and_nowhere_else(cnn: Path) -> None:
    assert [path.name for path in cnn.parent.iterdir() if path.name.startswith("cnn.onnx")] == ["cnn.onnx"]
    assert all(not tensor.external_data for tensor in onnx.load(cnn, load_external_data=False).graph.initializer)


def test_metadata_is_stripped_from_float_and_quantized_files_alike(cnn: Path, tmp_path: Path) -> None:
    small, _ = quantized(cnn, nets.cnn(), "static-int8", name="strip")
    for proto in (onnx.load(cnn), small):
        assert not proto.metadata_props
        assert not proto.graph.value_info
        assert not proto.doc_string
        for item in [*proto.graph.node, *proto.graph.initializer, *proto.graph.input, *proto.graph.output]:
            assert not item.doc_string
            assert not item.metadata_props
    model = nets.cnn()
    image = torch.from_numpy(nets.rows(model, 2)["image"])
    torch.onnx.export(
        model.module, (image,), tmp_path / "raw.onnx", dynamo=True, opset_version=20, external_data=False, verbose=False
    )
    assert cnn.stat().st_size < 0.9 * (tmp_path / "raw.onnx").stat().st_size


@pytest.mark.parametrize("board", [X86, PI, JETSON], ids=lambda board: board.name)
def test_the_file_is_of_an_opset_and_an_ir_version_that_the_board_loads(cnn: Path, board) -> None:
    small, _ = quantized(cnn, nets.cnn(), "static-int8", board=board)
    for proto in (onnx.load(cnn), small):
        assert proto.ir_version <= board.ir_version
        assert all(entry.version <= board.opset for entry in proto.opset_import if entry.domain in {"", "ai.onnx"})


def test_dynamic_weights_are_signed_and_have_one_scale_a_channel(vit: Path) -> None:
    small, _ = quantized(vit, nets.vit(), "dynamic-int8")
    values = constants(small)
    products = [node for node in small.graph.node if node.op_type == "MatMulInteger"]
    assert products
    assert {values[node.input[1]].dtype for node in products} == {np.dtype(np.int8)}
    assert any(array.dtype == np.float32 and array.shape == (64,) for array in values.values())  # linear1's scales


def test_dynamic_int8_reaches_an_lstm_of_the_exporter(lstm: Path) -> None:
    small, path = quantized(lstm, nets.lstm(), "dynamic-int8")
    assert "DynamicQuantizeLSTM" in {node.op_type for node in small.graph.node}
    assert path.stat().st_size < 0.45 * lstm.stat().st_size


def test_static_int8_reaches_an_lstm_too(lstm: Path) -> None:
    small, _ = quantized(lstm, nets.lstm(), "static-int8")
    assert "DynamicQuantizeLSTM" in {node.op_type for node in small.graph.node}


def test_dynamic_int8_of_a_cnn_raises_no_shape_error_and_warns_of_its_speed(cnn: Path) -> None:
    path = cnn.with_name("cnn.dynamic.onnx")
    built = artifacts.quantize(cnn, path, Quantize(scheme="dynamic-int8"), iter([]), board=X86)
    assert any("slower" in warning for warning in built.warnings)


def test_what_runs_in_float_goes_by_the_names_of_the_network(cnn: Path, vit: Path) -> None:
    path = vit.with_name("named.onnx")
    built = artifacts.quantize(vit, path, Quantize(scheme="dynamic-int8"), iter([]), board=X86)
    assert (
        "2 products of activations (as attention has) run in float in ONNX Runtime on this host, within "
        "`layer.self_attn`" in built.warnings
    )
    ignore = ["head", "encoder.0"]  # ONNX Runtime fuses these convolutions with a Relu, and blocks them
    batches = [nets.rows(nets.cnn(), 16)]
    built = artifacts.quantize(cnn, path, Quantize(scheme="static-int8", ignore=ignore), batches, board=X86)
    assert built.warnings == [
        "3 layers run in float in ONNX Runtime on this host: `encoder.0.conv1`, `encoder.0.conv2`, `head`"
    ]


@pytest.mark.parametrize("scheme", ["fp16", "dynamic-int8", "static-int8"])
def test_a_transformer_with_a_dynamic_batch_is_quantized_by_every_scheme(vit: Path, scheme: str) -> None:
    model = nets.vit()
    _, path = quantized(vit, model, scheme)
    inputs = nets.rows(model, 4)
    with Runner(path, format="onnx") as runner:  # a float16 Gelu would crash the runtime
        got = runner.run(inputs)["logits"]
    expected = nets.torch_outputs(model, inputs)["logits"]
    cosine = float((got * expected).sum() / np.linalg.norm(got) / np.linalg.norm(expected))
    assert cosine > (0.9999 if scheme == "fp16" else 0.97)


def test_an_embedding_table_is_quantized_too(words: Path) -> None:
    for scheme in ("dynamic-int8", "static-int8"):
        small, path = quantized(words, nets.words(), scheme)
        values = constants(small)
        table = next(node for node in small.graph.node if node.op_type == "Gather")
        feeders = {name: node for node in small.graph.node for name in node.output}
        source = feeders[table.input[0]].input[0] if table.input[0] in feeders else table.input[0]
        assert values[source].dtype.itemsize == 1
        assert path.stat().st_size < 0.4 * words.stat().st_size


def test_an_opset_of_which_the_quantizer_writes_invalid_attention_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.ones((4, 4), np.float32), "w")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10), tmp_path / "new.onnx"
    )
    with pytest.raises(ExportError, match="opset 23") as caught:
        artifacts.quantize(
            tmp_path / "new.onnx", tmp_path / "q.onnx", Quantize(scheme="dynamic-int8"), iter([]), board=PI
        )
    assert caught.value.code == "opset-too-new"
    assert "Attention" not in DYNAMIC_OPERATORS


@pytest.mark.parametrize(
    ("board", "dtype"), [(X86, np.uint8), (PI, np.int8), (JETSON, np.int8)], ids=["x86-64", "rpi5", "jetson-jp6"]
)
def test_activations_are_unsigned_on_x86_and_signed_without_zero_points_on_arm(cnn: Path, board, dtype: type) -> None:
    small, _ = quantized(cnn, nets.cnn(), "static-int8", board=board)
    values = constants(small)
    zero_points = [values[node.input[2]] for node in small.graph.node if node.op_type == "QuantizeLinear"]
    assert len(zero_points) >= 5
    assert {zero.dtype for zero in zero_points} == {np.dtype(dtype)}
    if dtype is np.int8:
        assert not any(zero.any() for zero in zero_points)
    weights = [
        values[node.input[0]]
        for node in small.graph.node
        if node.op_type == "DequantizeLinear"
        if node.input[0] in values
    ]
    assert {array.dtype for array in weights if array.ndim > 1} == {np.dtype(np.int8)}


def test_without_vnni_weights_have_seven_bits(cnn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_quantize, "has_fast_int8", lambda *_: False)
    path = cnn.with_name("cnn.seven.onnx")
    batches = [nets.rows(nets.cnn(), 16)]
    built = artifacts.quantize(cnn, path, Quantize(scheme="static-int8"), batches, board=X86)
    weights = [array for array in constants(onnx.load(path)).values() if array.dtype == np.int8 and array.ndim > 1]
    assert max(int(np.abs(array.astype(int)).max()) for array in weights) <= 64
    assert any("VNNI" in warning for warning in built.warnings)
    small, _ = quantized(cnn, nets.cnn(), "static-int8", board=PI)
    full = [array for array in constants(small).values() if array.dtype == np.int8 and array.ndim > 1]
    assert max(int(np.abs(array.astype(int)).max()) for array in full) == 127


@pytest.mark.parametrize(("board", "arm"), [(X86, False), (PI, True)], ids=["x86-64", "rpi5"])
def test_every_layer_of_a_static_cnn_runs_on_integers(cnn: Path, board, arm: bool, tmp_path: Path) -> None:
    _, path = quantized(cnn, nets.cnn(), "static-int8", board=board)
    found = executed(path, tmp_path, arm=arm)
    assert found["QLinearConv"] == 7
    assert found["QLinearAdd"] == 2
    assert found["QLinearGlobalAveragePool"] == 1
    assert not found["Conv"]
    assert found["QuantizeLinear"] == 1  # of the input alone
    assert found["DequantizeLinear"] <= 1


def test_a_relu_on_signed_integers_computes_what_the_float_relu_does(cnn: Path) -> None:
    model = nets.cnn()
    inputs = nets.rows(model, 8)
    expected = nets.torch_outputs(model, inputs)["logits"]
    for board in (PI, JETSON):
        _, path = quantized(cnn, model, "static-int8", board=board)
        with Runner(path, format="onnx") as runner:
            got = runner.run(inputs)["logits"]
        assert (got * expected).sum() / np.linalg.norm(got) / np.linalg.norm(expected) > 0.99


def test_a_file_that_the_runtime_refuses_is_a_fault_of_the_conversion_that_names_the_layer(tmp_path: Path) -> None:
    node = helper.make_node("Mul", ["x", "whole"], ["y"], name="encoder.0/3")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy"]
    whole = numpy_helper.from_array(np.ones(4, np.int8), "whole")
    graph = helper.make_graph([node], "main", values[:1], values[1:], [whole])
    opsets = [helper.make_opsetid("", 20)]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    with pytest.raises(ExportError) as caught:
        check_runs(path, "onnx", None, scheme="static-int8")
    problem = caught.value.problems[0]
    assert (problem.code, problem.where) == ("artifact-refused", "encoder.0")
    assert "(Mul)" in problem.message
    assert "tflite artifact" in problem.hint


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x0a\x12\xffgarbage")
    with pytest.raises(ExportError) as caught:
        artifacts.quantize(tmp_path / "bad.onnx", tmp_path / "q.onnx", Quantize(scheme="fp16"), iter([]), board=X86)
    assert caught.value.code == "file-unloadable"


def test_fp16_halves_the_file_and_keeps_float32_inputs_and_outputs(vit: Path) -> None:
    small, path = quantized(vit, nets.vit(), "fp16")
    interface = [*small.graph.input, *small.graph.output]
    assert {value.type.tensor_type.elem_type for value in interface} == {TensorProto.FLOAT}
    assert path.stat().st_size < 0.6 * vit.stat().st_size


def test_fp16_refuses_weights_and_activations_beyond_its_range(tmp_path: Path) -> None:
    for scale, reason in ((1e6, "a weight is 1e"), (6e4, "a value reaches 3.4")):
        model = nets.make(nn.Linear(64, 8), {"logits": 8}, x=((64,), "float32"))
        with torch.no_grad():
            model.module.weight.fill_(scale)
        source = export(model, tmp_path / "large.onnx")
        nines = [{"x": np.full((2, 64), 9, np.float32)}]
        with pytest.raises(ExportError, match=reason) as caught:
            artifacts.quantize(source, tmp_path / "h.onnx", Quantize(scheme="fp16"), nines, board=X86)
        assert caught.value.code == "fp16-overflow"


@pytest.mark.parametrize("scheme", ["fp16", "dynamic-int8", "static-int8"])
@pytest.mark.parametrize("pattern", ["head", "re:he.d", "encoder.0", "re:.*conv1"])
def test_layers_named_in_ignore_stay_float(cnn: Path, scheme: str, pattern: str) -> None:
    _, path = quantized(cnn, nets.cnn(), scheme, ignore=[pattern], name="kept")
    values = constants(onnx.load(path))
    expected = [(10, 16)] if "he" in pattern else [(16, 16, 3, 3)] * 2
    left = [array.shape for array in values.values() if array.dtype == np.float32 and array.ndim > 1]
    left = [(10, 16) if shape == (16, 10) else shape for shape in left]  # dynamic turns a Gemm into a MatMul first
    assert [shape for shape in left if shape[-2:] != (1, 1)] == expected  # biases and scales of Conv have such axes


def test_patterns_match_node_and_tensor_names_of_a_users_own_file(tmp_path: Path) -> None:
    weights = [
        numpy_helper.from_array(np.random.default_rng(i).normal(size=(8, 8)).astype(np.float32), f"w{i}")
        for i in (0, 1)
    ]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w0"], ["h"], name="first"), helper.make_node("MatMul", ["h", "w1"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])],
        weights,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "own.onnx"
    )
    for pattern in ("first", "w1"):
        path = tmp_path / f"{pattern}.onnx"
        artifacts.quantize(
            tmp_path / "own.onnx", path, Quantize(scheme="dynamic-int8", ignore=[pattern]), iter([]), board=X86
        )
        kinds = [array.dtype for array in constants(onnx.load(path)).values() if array.ndim > 1]
        assert sorted(str(kind) for kind in kinds) == ["float32", "int8"]


@pytest.mark.parametrize("scheme", ["fp16", "dynamic-int8", "static-int8", "weight-only-int8"])
def test_a_users_file_of_an_old_opset_is_quantized(cnn: Path, tmp_path: Path, scheme: str) -> None:
    random = np.random.default_rng(0)
    weights = {"w": random.normal(size=(8, 3, 3, 3)), "v": random.normal(size=(8, 4))}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"], name="relu"),
            helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
            helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
            helper.make_node("MatMul", ["f", "v"], ["y"], name="product"),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    old = tmp_path / "old.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6), old)
    x = random.normal(size=(4, 3, 8, 8)).astype(np.float32)
    for board in (X86, PI):
        artifacts.quantize(old, tmp_path / "q.onnx", Quantize(scheme=scheme), [{"x": x}], board=board)
        with Runner(old, format="onnx") as before, Runner(tmp_path / "q.onnx", format="onnx") as after:
            expected, got = before.run({"x": x})["y"], after.run({"x": x})["y"]
        assert (got * expected).sum() / np.linalg.norm(got) / np.linalg.norm(expected) > 0.99


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 1.0), (1.0, 0.5), (2.0, 3.0)])
def test_the_factors_of_a_product_and_its_bias_count_once(alpha: float, beta: float, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weights = {"w": random.normal(size=(16, 16)), "b": random.normal(size=16), "v": random.normal(size=(16, 5))}
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="first", alpha=alpha, beta=beta),
            helper.make_node("Relu", ["h"], ["r"], name="relu"),
            helper.make_node("Gemm", ["r", "v"], ["y"], name="second", alpha=alpha, beta=beta),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    source = tmp_path / "f.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    x = random.normal(size=(16, 16)).astype(np.float32)  # too few to correct biases by
    for board in (X86, PI):
        artifacts.quantize(source, tmp_path / "q.onnx", Quantize(scheme="static-int8"), [{"x": x}], board=board)
        with Runner(source, format="onnx") as before, Runner(tmp_path / "q.onnx", format="onnx") as after:
            expected, got = before.run({"x": x})["y"], after.run({"x": x})["y"]
        assert np.mean((got - expected) ** 2) < 2e-3 * np.var(expected)


def test_calibration_samples_of_another_shape_are_refused(cnn: Path) -> None:
    wrong = {"image": np.zeros((4, 3, 8, 8), np.float32)}
    for scheme in ("fp16", "static-int8"):
        with pytest.raises(ExportError) as caught:
            artifacts.quantize(cnn, cnn.with_name("w.onnx"), Quantize(scheme=scheme), iter([wrong]), board=X86)
        assert caught.value.code == "quantize-failed"


def test_an_operator_that_onnx_lacks_is_named_with_its_layer(tmp_path: Path) -> None:
    model = nets.make(nets.WithOdd(), {"logits": 8}, x=((8,), "float32"))
    with pytest.raises(ExportError, match="bessel_i0") as caught:
        export(model, tmp_path / "odd.onnx")
    assert caught.value.code == "onnx-operator"
    assert caught.value.problems[0].where == "block.1"
    assert "export_nets.py:" in caught.value.problems[0].hint


def test_a_full_disk_leaves_no_file(cnn: Path) -> None:
    path = cnn.with_name("full.onnx")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
        with pytest.raises(StorageError) as caught:
            artifacts.quantize(cnn, path, Quantize(scheme="fp16"), iter([nets.rows(nets.cnn(), 2)]), board=X86)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.code == "disk-full"
    assert not [entry for entry in path.parent.iterdir() if "full" in entry.name]
