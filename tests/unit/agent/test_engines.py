from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from edgeglm_agent.engines import EngineError, load_engine
from edgeglm_agent.engines._base import input_layout

from tests.support.tiny_models import (
    INPUTS,
    OUTPUTS,
    tiny_images,
    tiny_logits,
    write_int8_tflite,
    write_tiny_onnx,
    write_tiny_openvino,
    write_tiny_tflite,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_onnx(tmp_path_factory.mktemp("onnx") / "tiny.onnx")


@pytest.fixture(scope="module")
def tflite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_tflite(tmp_path_factory.mktemp("tflite") / "tiny.tflite")


@pytest.fixture(scope="module")
def openvino_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_openvino(tmp_path_factory.mktemp("openvino") / "tiny.xml")


@pytest.fixture
def any_file(request: pytest.FixtureRequest, kind: str) -> Path:
    """A whole file of the format ``kind``."""
    path: Path = request.getfixturevalue(f"{kind}_file")
    return path


def test_onnx_computes_the_network(onnx_file: Path) -> None:
    engine = load_engine(onnx_file, format="onnx")
    assert engine.inputs == INPUTS
    assert engine.outputs == OUTPUTS
    assert engine.batch is None
    assert engine.runtime.startswith("onnxruntime 1.")
    images = tiny_images(3)
    np.testing.assert_allclose(engine.run({"image": images})["logits"], tiny_logits(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("signature", [True, False], ids=["signature", "older than signatures"])
def test_tflite_computes_the_network(tmp_path: Path, signature: bool) -> None:
    engine = load_engine(write_tiny_tflite(tmp_path / "tiny.tflite", signature=signature), format="tflite")
    (spec,) = engine.inputs
    assert (spec.name, spec.dtype, spec.shape, spec.layout) == ("image", "float32", (8, 8, 3), "NHWC")
    assert engine.outputs == OUTPUTS
    assert engine.batch == 1
    assert engine.runtime.startswith("litert 2.")
    images = tiny_images(2)
    outputs = engine.run({"image": images.transpose(0, 2, 3, 1)})
    np.testing.assert_allclose(outputs["logits"], tiny_logits(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 4, None], ids=["batch 1", "batch 4", "any batch"])
def test_openvino_computes_the_network(tmp_path: Path, batch: int | None) -> None:
    engine = load_engine(write_tiny_openvino(tmp_path / "tiny.xml", batch=batch), format="openvino")
    assert engine.inputs == INPUTS
    assert engine.outputs == OUTPUTS
    assert engine.batch == (batch or 1)  # a free axis is fixed: that runs fastest
    assert engine.runtime.startswith("openvino 20")
    images = tiny_images(5)
    logits = engine.run({"image": images})["logits"]
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, tiny_logits(images), rtol=1e-5, atol=1e-5)


def test_openvino_takes_any_length_where_an_axis_is_free(tmp_path: Path) -> None:
    from edgeglm_agent.engines.openvino import silenced_openvino

    ov = silenced_openvino()
    from openvino import opset13 as ops

    x = ops.parameter(ov.PartialShape([-1, -1, 3]), np.float32, name="x")
    x.output(0).set_names({"x"})
    y = ops.result(ops.reduce_sum(x, ops.constant([1], np.int64)))
    y.output(0).set_names({"y"})
    ov.save_model(ov.Model([y], [x], "g"), tmp_path / "free.xml", compress_to_fp16=False)
    engine = load_engine(tmp_path / "free.xml", format="openvino")
    assert [spec.shape for spec in engine.inputs] == [(-1, 3)]
    for length in (4, 7):
        values = np.arange(2 * length * 3, dtype=np.float32).reshape(2, length, 3)
        np.testing.assert_allclose(engine.run({"x": values})["y"], values.sum(1), rtol=1e-6)


def test_openvino_computes_float_in_float32_on_threads_that_neither_spin_nor_hold_a_core(openvino_file: Path) -> None:
    code = (
        "import os, time, numpy; from edgeglm_agent.engines import load_engine;"
        f"e = load_engine({str(openvino_file)!r}, format='openvino', threads=2); c = e._compiled;"
        "[e.run({'image': numpy.zeros((1, 3, 8, 8), 'float32')}) for _ in range(20)];"
        "start = time.process_time(); time.sleep(0.5); idle = time.process_time() - start;"
        "tasks = [os.sched_getaffinity(int(task)) for task in os.listdir('/proc/self/task')];"
        "print(c.get_property('INFERENCE_PRECISION_HINT').get_type_name(), c.get_property('INFERENCE_NUM_THREADS'),"
        "c.get_property('NUM_STREAMS'), idle < 0.1, all(task == os.sched_getaffinity(0) for task in tasks))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["f32", str(min(2, os.cpu_count() or 1)), "1", "True", "True"], done.stderr


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((3, 224, 224), "NCHW"),
        ((224, 224, 3), "NHWC"),
        ((-1, -1, 4), "NHWC"),
        ((64, 7, 7), ""),
        ((1, 40, 1), ""),
        ((10,), "NC"),
        ((), ""),
    ],
)
@pytest.mark.parametrize("convention", ["NCHW", "NHWC"])
def test_an_inputs_layout_is_the_runtimes_where_its_shape_does_not_tell(
    shape: tuple[int, ...], layout: str, convention: str
) -> None:
    assert input_layout(shape, convention) == (layout or (convention if len(shape) == 3 else ""))


@pytest.mark.parametrize("rows", [1, 4, 5, 9])
def test_a_file_of_a_fixed_batch_takes_any_number_of_rows(tmp_path: Path, rows: int) -> None:
    engine = load_engine(write_tiny_onnx(tmp_path / "fixed.onnx", batch=4), format="onnx")
    assert engine.batch == 4
    images = tiny_images(rows)
    logits = engine.run({"image": images})["logits"]
    assert logits.shape == (rows, 5)
    np.testing.assert_allclose(logits, tiny_logits(images), rtol=1e-5, atol=1e-5)


def test_many_rows_in_tflite_are_the_rows_one_by_one(tflite_file: Path) -> None:
    engine, images = load_engine(tflite_file, format="tflite"), tiny_images(5).transpose(0, 2, 3, 1)
    one_by_one = [engine.run({"image": image[np.newaxis]})["logits"] for image in images]
    assert np.array_equal(engine.run({"image": images})["logits"], np.concatenate(one_by_one))


@pytest.mark.parametrize("kind", ["tflite", "openvino"])
def test_outputs_are_not_overwritten_by_the_next_run(any_file: Path, kind: str) -> None:
    engine, images = load_engine(any_file, format=kind), tiny_images(2)
    images = images.transpose(0, 2, 3, 1) if kind == "tflite" else images
    first = engine.run({"image": images[:1]})["logits"]
    kept = first.copy()
    engine.run({"image": images[1:]})
    assert np.array_equal(first, kept)


def test_int8_inputs_and_outputs_are_real_numbers_outside(tmp_path: Path) -> None:
    engine = load_engine(write_int8_tflite(tmp_path / "int8.tflite"), format="tflite")
    assert engine.inputs[0].dtype == engine.outputs[0].dtype == "float32"
    # 0.7 is rounded to a step of 0.5; 100 is clipped to the input's 62, and that to the output's 32.25
    outputs = engine.run({"x": np.array([[1.0, 0.7, -3.0, 100.0]])})
    assert outputs["y"].tolist() == [[1.0, 0.5, -3.0, 32.25]]
    assert engine.run({"x": np.array([[5, 4, 3, 2]], np.int8)})["y"].tolist() == [[1.0, 0.5, 0.0, -0.5]]


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"picture": tiny_images(1)}, "the model takes `image`, it was given `picture`"),
        ({}, "it was given nothing"),
        ({"image": tiny_images(1)[0]}, r"takes N x 3 x 8 x 8, it was given \(3, 8, 8\)"),
        ({"image": tiny_images(1)[:, :, :5]}, r"was given \(1, 3, 5, 8\)"),
        ({"image": tiny_images(1)[:0]}, r"was given \(0, 3, 8, 8\)"),
    ],
)
def test_inputs_that_do_not_fit_are_named(onnx_file: Path, inputs: dict[str, np.ndarray], says: str) -> None:
    with pytest.raises(EngineError, match=says) as raised:
        load_engine(onnx_file, format="onnx").run(inputs)
    assert raised.value.fault == "bad-input"


@pytest.mark.parametrize("kind", ["onnx", "tflite", "openvino"])
@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty", "missing"])
def test_a_damaged_file_is_refused_in_one_plain_line(any_file: Path, tmp_path: Path, kind: str, damage: str) -> None:
    whole = any_file.read_bytes()
    path = tmp_path / f"damaged{any_file.suffix}"
    if kind == "openvino":
        path.with_suffix(".bin").write_bytes(any_file.with_suffix(".bin").read_bytes())
    if damage != "missing":
        path.write_bytes({"garbage": b"garbage" * 100, "truncated": whole[: len(whole) // 2], "empty": b""}[damage])
    with pytest.raises(EngineError) as raised:
        load_engine(path, format=kind)
    assert raised.value.fault == "bad-file"
    assert "\n" not in str(raised.value)
    assert "[ONNXRuntimeError]" not in str(raised.value)


@pytest.mark.parametrize(
    ("weights", "says"),
    [(None, "must lie beside it"), (b"", "Incorrect weights in bin file"), (b"\0" * 64, "Incorrect weights")],
    ids=["missing", "empty", "truncated"],
)
def test_openvino_weights_that_are_not_whole_are_refused(
    openvino_file: Path, tmp_path: Path, weights: bytes | None, says: str
) -> None:
    path = tmp_path / "tiny.xml"
    path.write_bytes(openvino_file.read_bytes())
    if weights is not None:
        path.with_suffix(".bin").write_bytes(weights)
    with pytest.raises(EngineError, match=says) as raised:
        load_engine(path, format="openvino")
    assert raised.value.fault == "bad-file"


def test_an_unknown_format_and_no_threads_are_refused(onnx_file: Path) -> None:
    with pytest.raises(EngineError, match="no runtime is known for format `pt`; there are onnx, tflite, openvino"):
        load_engine(onnx_file, format="pt")
    with pytest.raises(ValueError, match="threads must be at least 1"):
        load_engine(onnx_file, format="onnx", threads=0)


@pytest.mark.parametrize("kind", ["onnx", "tflite", "openvino"])
def test_a_missing_runtime_is_said_so(onnx_file: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    for name in ("onnxruntime", "ai_edge_litert.interpreter", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match="cannot be imported") as raised:
        load_engine(onnx_file, format=kind)
    assert raised.value.fault == "no-runtime"


@pytest.mark.parametrize("kind", ["onnx", "tflite", "openvino"])
def test_a_runtime_writes_nothing_to_the_terminal(any_file: Path, kind: str) -> None:
    shape = (1, 8, 8, 3) if kind == "tflite" else (1, 3, 8, 8)
    code = (
        "import numpy; from edgeglm_agent.engines import load_engine;"
        f"e = load_engine({str(any_file)!r}, format={kind!r});"
        f"e.run({{'image': numpy.zeros({shape}, 'float32')}});"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("kind", ["onnx", "tflite", "openvino"])
def test_an_engine_opens_no_socket_and_no_store_to_upload_from(any_file: Path, tmp_path: Path, kind: str) -> None:
    # left alone, ONNX Runtime keeps a database of what it is going to upload, and OpenVINO an identity at home
    code = (
        "import os, pathlib, sys; from edgeglm_agent.engines import load_engine;"
        f"e = load_engine({str(any_file)!r}, format={kind!r});"
        "links = [os.readlink(f) for f in pathlib.Path('/proc/self/fd').iterdir() if f.is_symlink()];"
        "print([link for link in links if link.startswith('socket:') or '.db' in link])"
    )
    environment = {name: value for name, value in os.environ.items() if name not in {"ORT_DISABLE_TELEMETRY", "CI"}}
    environment["HOME"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.strip() == "[]", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_openvinos_telemetry_is_silenced_also_where_it_was_imported_before() -> None:
    code = (
        "import openvino_telemetry.utils.sender as s; from edgeglm_agent.offline import block_openvino_telemetry as b;"
        "b(); print(s.TelemetrySender.send(None, None, None))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "None", done.stderr
