from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgeglm_agent.engines import EngineError
from edgeglm_agent.processing import Decision, Detection, Prediction, ProcessingError
from edgeglm_agent.wire import Buckets, ProcessOp, TensorSpec
from onnx import TensorProto, helper

from tests.support.model_folders import (
    edit_manifest,
    load,
    read_manifest,
    refused,
    sha256,
    write_folder,
    write_onnx_folder,
    write_two,
)
from tests.support.tiny_models import tiny_images, tiny_logits

FLOAT = TensorProto.FLOAT


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two(tmp_path_factory.mktemp("made") / "model")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "model"))


def value(name: str, *shape: int | str, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


class TestServing:
    @pytest.mark.parametrize("artifact", ["model.tflite", "model.onnx"])
    def test_a_sample_in_the_models_layout_is_answered_by_any_artifact(self, folder: Path, artifact: str) -> None:
        model = load(folder, artifacts=[artifact])
        (image,) = tiny_images(1)
        outputs, inputs = model.infer(image)
        np.testing.assert_allclose(outputs["logits"], tiny_logits(image[np.newaxis]), rtol=1e-5, atol=1e-5)
        assert np.array_equal(inputs["image"], image[np.newaxis])
        best, second = model.judge(outputs, inputs, image)
        assert isinstance(best, Prediction)
        assert best.label == "abcde"[int(outputs["logits"].argmax())]
        assert best.score > second.score

    @pytest.mark.parametrize("artifact", ["model.tflite", "model.onnx"])
    def test_several_samples_are_answered_together(self, folder: Path, artifact: str) -> None:
        model, images = load(folder, artifacts=[artifact]), tiny_images(3)
        outputs, inputs = model.infer_batch(list(images))
        np.testing.assert_allclose(outputs["logits"], tiny_logits(images), rtol=1e-5, atol=1e-5)
        results = model.judge_all(outputs, inputs, list(images))
        assert [result[0].label for result in results] == ["abcde"[row.argmax()] for row in tiny_logits(images)]

    def test_a_file_that_takes_channels_last_has_them_turned_whatever_it_calls_its_input(self, tmp_path: Path) -> None:
        golden = {"picture": tiny_images(2).transpose(0, 2, 3, 1)}
        folder = write_onnx_folder(
            tmp_path / "model",
            [helper.make_node("ReduceMean", ["picture", "axes"], ["mean"], keepdims=0), axes("axes", 1, 2)],
            [value("picture", "N", 8, 8, 3)],
            [value("mean", "N", 3)],
            golden,
            takes=(TensorSpec("image", "float32", (3, 8, 8), "NCHW"),),
        )
        (image,) = tiny_images(1)
        outputs, inputs = load(folder).infer(image)
        np.testing.assert_allclose(outputs["mean"][0], image.mean((1, 2)), rtol=1e-4, atol=1e-6)
        assert inputs["image"].shape == (1, 3, 8, 8)

    def test_large_images_are_turned_to_the_same_values(self, tmp_path: Path) -> None:
        folder = write_onnx_folder(
            tmp_path / "model",
            [helper.make_node("Identity", ["image"], ["same"])],
            [value("image", "N", 40, 60, 3)],
            [value("same", "N", 40, 60, 3)],
            {"image": np.ones((1, 40, 60, 3), np.float32)},
            takes=(TensorSpec("image", "float32", (3, 40, 60), "NCHW"),),
        )
        images = np.random.default_rng(0).normal(size=(2, 3, 40, 60)).astype(np.float32)
        assert np.array_equal(load(folder).infer_batch(list(images))[0]["same"], images.transpose(0, 2, 3, 1))

    def test_integers_go_in_as_the_file_wants_them(self, tmp_path: Path) -> None:
        folder = write_onnx_folder(
            tmp_path / "model",
            [helper.make_node("Cast", ["ids"], ["y"], to=FLOAT)],
            [value("ids", "N", 4, kind=TensorProto.INT32)],
            [value("y", "N", 4)],
            {"ids": np.arange(8, dtype=np.int32).reshape(2, 4)},
            takes=(TensorSpec("ids", "int64", (4,), "NC"),),
        )
        outputs, _ = load(folder).infer(np.array([5, 6, 7, 8], np.int64))
        assert outputs["y"].tolist() == [[5, 6, 7, 8]]

    def test_padded_sequences_are_cut_to_the_shortest_bucket(self, tmp_path: Path) -> None:
        folder = write_onnx_folder(
            tmp_path / "model",
            [helper.make_node("Shape", ["ids"], ["s"]), helper.make_node("Mul", ["ids", "mask"], ["kept"])],
            [value("ids", "N", "L", kind=TensorProto.INT64), value("mask", "N", "L", kind=TensorProto.INT64)],
            [value("kept", "N", "L", kind=TensorProto.INT64)],
            {"ids": np.ones((2, 16), np.int64), "mask": np.ones((2, 16), np.int64)},
            buckets=Buckets((4, 8, 16), "mask", ("ids", "mask")),
        )
        model = load(folder)
        for tokens, length in ((1, 4), (4, 4), (5, 8), (9, 16), (16, 16), (0, 4)):
            mask = (np.arange(16) < tokens).astype(np.int64)
            outputs, inputs = model.infer({"ids": np.ones(16, np.int64), "mask": mask})
            assert outputs["kept"].shape == (1, length)
            assert inputs["ids"].shape == (1, 16)
        short, long = ((np.arange(16) < tokens).astype(np.int64) for tokens in (2, 7))
        outputs, _ = model.infer_batch([{"ids": np.ones(16, np.int64), "mask": mask} for mask in (short, long)])
        assert outputs["kept"].sum(1).tolist() == [2, 7]

    @pytest.mark.parametrize("batch", [1, 2, 3, 5, 8])
    def test_a_scheme_whose_answers_change_with_the_batch_is_run_as_it_was_judged(
        self, tmp_path: Path, batch: int
    ) -> None:
        # dynamic INT8 in short: all rows of a batch share the scale of the largest one
        folder = write_onnx_folder(
            tmp_path / "model",
            [helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0), helper.make_node("Div", ["x", "top"], ["y"])],
            [value("x", "N", 2)],
            [value("y", "N", 2)],
            {"x": np.ones((batch, 2), np.float32)},
            scheme="dynamic-int8",
            serve_batch=batch,
        )
        model = load(folder)
        assert model.batch_changes_answers
        rows = np.arange(1, 11, dtype=np.float32).reshape(5, 2)
        expected = np.concatenate([part / part.max() for part in np.split(rows, range(batch, 5, batch))])
        np.testing.assert_allclose(model.infer_batch(list(rows))[0]["y"], expected, rtol=1e-6)
        np.testing.assert_allclose(model.infer(rows[0])[0]["y"], [[0.5, 1.0]], rtol=1e-6)

    def test_boxes_lie_in_the_image_that_came_in(self, tmp_path: Path) -> None:
        box = np.array([[[8.0, 4.0, 24.0, 20.0, 0.9, 0.1]]], np.float32)  # x1 y1 x2 y2 and two scores, of 32 x 32
        folder = write_onnx_folder(
            tmp_path / "model",
            [
                helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
                helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
                constant("zero", np.float32(0)),
                constant("boxes", box),
                helper.make_node("Add", ["nothing", "boxes"], ["found"]),
            ],
            [value("image", "N", 3, 32, 32)],
            [value("found", "N", 1, 6)],
            {"image": tiny_images(1).repeat(4, axis=2).repeat(4, axis=3)},
            preprocess=(
                ProcessOp("resize", {"height": 32, "width": 32}),
                ProcessOp("normalise", {"scale": "1/255"}),
                ProcessOp("layout", {"to": "CHW"}),
            ),
            postprocess=(ProcessOp("boxes", {"format": "xyxy"}),),
        )
        model = load(folder)
        photo = np.zeros((64, 96, 3), np.uint8)
        outputs, inputs = model.infer(photo)
        (found,) = model.judge(outputs, inputs, photo)
        assert isinstance(found, Detection)
        assert found.box == pytest.approx((24, 8, 72, 40))
        (again,), _ = model.judge_all(*model.infer_batch([photo, photo]), [photo, photo][:1]), None
        assert again == [found]

    def test_an_anomaly_score_is_made_of_inputs_and_outputs(self, tmp_path: Path) -> None:
        folder = write_onnx_folder(
            tmp_path / "model",
            [
                helper.make_node("Identity", ["x"], ["same"]),
                constant("one", np.float32(1)),
                helper.make_node("Add", ["same", "one"], ["y"]),
            ],
            [value("x", "N", 4)],
            [value("y", "N", 4)],
            {"x": np.ones((2, 4), np.float32)},
            postprocess=(ProcessOp("reconstruction-error"), ProcessOp("threshold", {"limit": 0.5})),
        )
        model = load(folder)
        sample = np.zeros(4, np.float32)
        assert model.judge(*model.infer(sample), sample) == Decision(True, 1.0, 0.5)
        outputs, inputs = model.infer_batch([np.zeros(4, np.float32), np.array([0, 2, 0, 0], np.float32)])
        assert model.channel_errors(outputs, inputs, 1) == tuple(
            float((outputs["y"][1, place] - inputs["x"][1, place]) ** 2) for place in range(4)
        )

    def test_samples_of_different_shapes_are_no_batch(self, tmp_path: Path) -> None:
        folder = series_folder(tmp_path / "model")
        model = load(folder)
        assert model.infer(np.ones((3, 2), np.float32))[0]["y"].tolist() == [[3, 3]]
        with pytest.raises(ProcessingError, match="samples of different shapes cannot be one batch"):
            model.infer_batch([np.ones((3, 2), np.float32), np.ones((4, 2), np.float32)])

    @pytest.mark.parametrize(
        "sample",
        [
            np.ones((4, 8, 8), np.float32),
            np.ones((3, 8), np.float32),
            np.float32(1),
            {"picture": np.ones((3, 8, 8), np.float32)},
            {"image": np.ones((3, 8, 8), np.float32), "more": np.ones(3, np.float32)},
            {},
        ],
    )
    @pytest.mark.parametrize("artifact", ["model.tflite", "model.onnx"])
    def test_a_sample_that_does_not_fit_is_told_apart_from_a_failure(
        self, folder: Path, sample: Any, artifact: str
    ) -> None:
        model = load(folder, artifacts=[artifact])
        for _ in range(2):
            with pytest.raises(EngineError) as raised:
                model.infer(sample)
            assert raised.value.fault == "bad-input"
        assert model.infer(tiny_images(1)[0])[0]["logits"].shape == (1, 5)


class TestFinite:
    @pytest.fixture
    def inverse(self, tmp_path: Path) -> Path:
        return write_onnx_folder(
            tmp_path / "model",
            [helper.make_node("Div", ["x", "x"], ["one"]), helper.make_node("Mul", ["x", "one"], ["y"])],
            [value("x", "N", "K")],
            [value("y", "N", "K")],
            {"x": np.ones((2, 4), np.float32)},
        )

    @pytest.mark.parametrize("bad", [0.0, np.inf, np.nan])
    @pytest.mark.parametrize("size", [1, 4, 100_000])
    def test_nan_and_infinity_are_noticed(self, inverse: Path, bad: float, size: int) -> None:
        model = load(inverse)
        sample = np.ones(size, np.float32)
        sample[-1] = bad
        with pytest.raises(EngineError, match="output `y` is not finite") as raised:
            model.infer(sample)
        assert raised.value.fault == "non-finite"
        assert np.array_equal(model.infer(np.ones(size, np.float32))[0]["y"], np.ones((1, size), np.float32))

    def test_one_that_gives_no_number_to_odd_samples_is_sound(self, inverse: Path) -> None:
        model, begun = load(inverse), []
        for _ in range(2):
            with pytest.raises(EngineError):
                model.infer(np.zeros(4, np.float32))
            assert model.unsound(lambda: begun.append(1)) == ""
        assert len(begun) == 4  # two golden samples, one at a time
        answers = model.engine.run
        model.engine.run = lambda inputs: {name: values * 2 for name, values in answers(inputs).items()}  # type: ignore[method-assign]
        assert "max difference 1" in model.unsound(lambda: None)
        (inverse / "golden" / "model.onnx.safetensors").unlink()
        assert "it is not there" in model.unsound(lambda: None)

    @pytest.mark.parametrize("size", [4, 100_000])
    def test_numbers_whose_sum_or_square_is_too_large_for_float32_are_numbers(self, inverse: Path, size: int) -> None:
        sample = np.full(size, 3e38, np.float32)
        assert load(inverse).infer(sample)[0]["y"][0, 0] == np.float32(3e38)


class TestText:
    @pytest.fixture
    def text_folder(self, tmp_path: Path) -> Path:
        folder = write_onnx_folder(
            tmp_path / "model",
            [helper.make_node("Mul", ["input_ids", "attention_mask"], ["kept"])],
            [value(name, "N", 8, kind=TensorProto.INT64) for name in ("input_ids", "attention_mask")],
            [value("kept", "N", 8, kind=TensorProto.INT64)],
            {"input_ids": np.ones((1, 8), np.int64), "attention_mask": np.ones((1, 8), np.int64)},
        )
        (folder / "preprocess").mkdir()
        (folder / "preprocess" / "tokenizer.json").write_bytes(word_tokenizer())
        tokenize = ProcessOp("tokenize", {"tokenizer": "preprocess/tokenizer.json", "length": 8})
        manifest = read_manifest(folder)
        return write_folder(folder, list(manifest.artifacts), inputs=manifest.inputs, preprocess=(tokenize,))

    def test_texts_are_answered(self, text_folder: Path) -> None:
        model = load(text_folder)
        assert model.takes_texts
        outputs, inputs = model.infer("the pump hums")
        assert outputs["kept"].tolist() == [[2, 3, 4, 0, 0, 0, 0, 0]]
        assert inputs["attention_mask"].sum() == 3
        outputs, _ = model.infer_batch(["pump", "the pump"])
        assert outputs["kept"].sum(1).tolist() == [3, 5]

    def test_a_tokenizer_that_is_not_the_manifests_is_refused(self, text_folder: Path) -> None:
        path = text_folder / "preprocess" / "tokenizer.json"
        whole = path.read_bytes()
        path.write_bytes(whole + b" ")
        assert refused(text_folder) == (
            "preprocess/tokenizer.json: it is not the file that the manifest lists: its sha256 differs",
        )
        path.write_bytes(b"{}")
        files = read_manifest(text_folder).files
        edit_manifest(text_folder, files=files | {"preprocess/tokenizer.json": sha256(path)})
        assert "preprocess/tokenizer.json" in refused(text_folder)[0]

    def test_a_board_without_the_tokenizers_library_refuses_the_model(
        self, text_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "tokenizers", None)
        assert "tokenize needs tokenizers: pip install 'edgeglm-agent[text]'" in refused(text_folder)[0]


def axes(name: str, *numbers: int) -> Any:
    return constant(name, np.array(numbers, np.int64))


def constant(name: str, values: np.ndarray | np.generic) -> Any:
    return helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(np.asarray(values), name))


def series_folder(folder: Path) -> Path:
    """Write a model of series of any length: their sum over time."""
    return write_onnx_folder(
        folder,
        [axes("axes", 1), helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)],
        [value("x", "N", "T", 2)],
        [value("y", "N", 2)],
        {"x": np.ones((2, 5, 2), np.float32)},
    )


def word_tokenizer() -> bytes:
    """Return the file of a tokenizer that knows three words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {"[PAD]": 0, "[UNK]": 1, "the": 2, "pump": 3, "hums": 4}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer.to_str().encode()
