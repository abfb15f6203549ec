from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from edgeglm_agent.wire import TensorSpec

from edgeglm.data.splits import ArraySplit
from edgeglm.errors import ExportError
from edgeglm.measure.census import describe
from edgeglm.measure.evaluate import predict_file, to_file_inputs
from tests.support.tiny_models import (
    INPUTS,
    tiny_images,
    tiny_logits,
    write_quantized_onnx,
    write_tiny_onnx,
    write_tiny_tflite,
)

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = tiny_images(150)


@pytest.mark.parametrize("batch", [None, 1, 7, 100])
@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_a_split_is_answered_in_order_whatever_the_batch(tmp_path: Path, kind: str, batch: int | None) -> None:
    path = tmp_path / f"tiny.{kind}"
    write_tiny_onnx(path) if kind == "onnx" else write_tiny_tflite(path)
    split = ArraySplit({"image": IMAGES}, None)
    outputs = predict_file(path, format=kind, split=split, inputs=INPUTS, batch=batch, threads=1)
    assert list(outputs) == ["logits"]
    np.testing.assert_allclose(outputs["logits"], tiny_logits(IMAGES), rtol=1e-5, atol=1e-5)


def test_a_source_with_its_channels_last_answers_rows_as_they_are(tmp_path: Path) -> None:
    path = write_tiny_onnx(tmp_path / "last.onnx")
    model = onnx.load(path)
    turned = onnx.helper.make_node("Transpose", ["image_last"], ["image"], name="turn", perm=[0, 3, 1, 2])
    model.graph.node.insert(0, turned)
    del model.graph.input[:]
    model.graph.input.append(
        onnx.helper.make_tensor_value_info("image_last", onnx.TensorProto.FLOAT, ["N", 8, 8, 3]),
    )
    onnx.save(model, path)
    inputs, _ = describe(path, "onnx")
    assert inputs == (TensorSpec("image_last", "float32", (8, 8, 3), "NHWC"),)
    split = ArraySplit({"image_last": IMAGES.transpose(0, 2, 3, 1)}, None)
    outputs = predict_file(path, format="onnx", split=split, inputs=inputs, batch=None, threads=1)
    np.testing.assert_allclose(outputs["logits"], tiny_logits(IMAGES), rtol=1e-5, atol=1e-5)


def test_a_dynamic_int8_file_is_judged_at_the_batch_asked_for(tmp_path: Path) -> None:
    path = write_quantized_onnx(tmp_path / "dynamic.onnx", scheme="dynamic-int8")
    images = IMAGES[:8].copy()
    images[0] *= 50  # at batch 8 its range is everybody's scale

    def at(batch: int) -> np.ndarray:
        split = ArraySplit({"image": images}, None)
        outputs = predict_file(path, format="onnx", split=split, inputs=INPUTS, batch=batch, threads=1)
        return np.abs(outputs["logits"] - tiny_logits(images))[1:].max()

    assert at(1) < at(8) / 2


def test_inputs_are_matched_by_name_not_by_order() -> None:
    specs = [TensorSpec("b", "int64", (2,), "NC"), TensorSpec("a", "float32", (4, 5, 3), "NHWC")]
    model = [TensorSpec("a", "float32", (3, 4, 5), "NCHW"), TensorSpec("b", "int64", (2,), "NC")]
    rows = {"a": np.random.default_rng(0).normal(size=(2, 3, 4, 5)), "b": np.ones((2, 2), np.int32)}
    given = to_file_inputs(rows, model, specs)
    assert given["a"].shape == (2, 4, 5, 3)
    assert given["a"].dtype == np.float32
    assert given["b"].dtype == np.int64
    np.testing.assert_array_equal(given["a"].transpose(0, 3, 1, 2), rows["a"].astype(np.float32))


@pytest.mark.parametrize("wrong", ["NCHW", "NHWC"])
@pytest.mark.parametrize("shape", [(64, 4, 5), (64, 9, 1), (4, 9, 64)])
def test_a_shape_that_misleads_about_its_layout_does_not_turn_the_rows(shape: tuple[int, ...], wrong: str) -> None:
    rows = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    model = [TensorSpec("a", "float32", shape, "NCHW")]
    same = to_file_inputs({"a": rows}, model, [TensorSpec("a", "float32", shape, wrong)])
    assert np.array_equal(same["a"], rows)
    last = to_file_inputs({"a": rows}, model, [TensorSpec("a", "float32", (*shape[1:], shape[0]), wrong)])
    assert np.array_equal(last["a"], rows.transpose(0, 2, 3, 1))


def test_rows_that_do_not_fit_the_model_are_not_turned_until_they_fit_the_file() -> None:
    rows = {"image": IMAGES[:2].transpose(0, 2, 3, 1)}  # a layout operation was forgotten
    assert to_file_inputs(rows, INPUTS, INPUTS)["image"].shape == (2, 8, 8, 3)


def test_a_single_input_needs_no_name() -> None:
    given = to_file_inputs({"x": IMAGES[:2]}, INPUTS, [TensorSpec("input_1", "float32", (3, 8, 8), "NCHW")])
    assert np.array_equal(given["input_1"], IMAGES[:2])


@pytest.mark.parametrize(
    ("rows", "specs", "says"),
    [
        (
            {"a": IMAGES, "b": IMAGES},
            [TensorSpec("a", "float32", (3, 8, 8), "NCHW"), TensorSpec("c", "float32", (3, 8, 8), "NCHW")],
            "the file takes a, c; the data gives a, b",
        ),
        ({"a": IMAGES, "b": IMAGES}, [TensorSpec("a", "float32", (3, 8, 8), "NCHW")], "takes a; the data gives a, b"),
        ({"image": IMAGES}, [TensorSpec("image", "float32", (192,), "NC")], "input image: .* 'NCHW' to 'NC'"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(rows: dict[str, np.ndarray], specs: list[TensorSpec], says: str) -> None:
    with pytest.raises(ExportError, match=says) as raised:
        to_file_inputs(rows, INPUTS, specs, where="model.onnx")
    assert raised.value.code == "input-mismatch"
    assert raised.value.problems[0].where == "model.onnx"
