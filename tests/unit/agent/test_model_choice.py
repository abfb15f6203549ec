from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeglm_agent.engines import GROUP
from edgeglm_agent.wire import Buckets, ProcessOp, Runtime, TensorSpec
from msgspec.structs import replace

from tests.support.model_folders import (
    artifact_of,
    edit_manifest,
    load,
    read_manifest,
    refused,
    safetensors,
    sha256,
    write_folder,
    write_two,
)
from tests.support.tiny_models import tiny_images, tiny_logits, write_tiny_openvino

LOGITS = tiny_logits(tiny_images(2))


def spec(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, "float32", shape, {3: "NHWC", 1: "NC"}[len(shape)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two(tmp_path_factory.mktemp("made") / "model")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "model"))


class TestChoice:
    def test_the_first_artifact_that_passes_is_taken_and_what_was_passed_over_is_told(self, folder: Path) -> None:
        model = load(folder)
        assert (model.artifact.path, model.provider, model.passed_over) == ("model.tflite", "cpu", ())
        assert model.runtime.startswith("litert 2.")
        (folder / "model.tflite").write_bytes(b"damaged")
        model = load(folder)
        assert model.artifact.path == "model.onnx"
        assert model.passed_over == (
            "model.tflite (tflite, none): it is not the file that the manifest lists: its sha256 differs",
        )
        assert model.describe() == {
            "model": "tiny 0123456789ab",
            "made_for": "x86-64",
            "artifact": "model.onnx",
            "format": "onnx",
            "scheme": "none",
            "runtime": model.runtime,
            "provider": "cpu",
            "load_ms": round(model.load_ms, 1),
            "passed_over": model.passed_over[0],
        }

    def test_a_slot_may_name_the_artifacts_and_their_order(self, folder: Path) -> None:
        assert load(folder, artifacts=["model.onnx", "model.tflite"]).artifact.path == "model.onnx"
        assert refused(folder, artifacts=["model.xml"]) == (
            "the manifest lists no artifact 'model.xml'; it lists model.tflite, model.onnx",
        )

    def test_openvino_is_served_with_the_weights_that_lie_beside_it(self, tmp_path: Path) -> None:
        (tmp_path / "model").mkdir()
        file = write_tiny_openvino(tmp_path / "model" / "model.xml")
        file.with_suffix(".onnx").unlink()
        folder = write_folder(file.parent, [artifact_of(file, "openvino")])
        assert load(folder).runtime.startswith("openvino 20")
        file.with_suffix(".bin").write_bytes(b"other")
        assert refused(folder) == (
            "model.xml (openvino, none): model.bin: it is not the file that the manifest lists: its sha256 differs",
        )
        edit_manifest(folder, files={k: v for k, v in read_manifest(folder).files.items() if k != "model.bin"})
        assert refused(folder) == ("model.xml (openvino, none): model.bin: the manifest does not list it",)

    def test_a_model_that_none_can_serve_is_refused_with_a_line_for_each(self, folder: Path) -> None:
        (folder / "model.tflite").unlink()
        (folder / "model.onnx").write_bytes(b"")
        assert refused(folder) == (
            "model.tflite (tflite, none): it is not there, and the manifest lists it",
            "model.onnx (onnx, none): it is not the file that the manifest lists: its sha256 differs",
        )

    def test_a_missing_runtime_is_passed_over(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
        model = load(folder)
        assert model.artifact.path == "model.onnx"
        assert "model.tflite (tflite, none): ai-edge-litert cannot be imported" in model.passed_over[0]

    def test_a_runtime_that_is_too_old_is_passed_over_before_it_sees_the_file(self, folder: Path) -> None:
        tflite, other = read_manifest(folder).artifacts
        edit_manifest(folder, artifacts=(replace(tflite, runtime=Runtime("litert", "99.1")), other))
        assert (
            load(folder)
            .passed_over[0]
            .startswith("model.tflite (tflite, none): it needs litert 99.1 or newer, here is 2.")
        )

    @pytest.mark.parametrize(("least", "passes"), [("1.9.2", True), ("1.1000", False), ("1.23.2+cpu", True)])
    def test_versions_are_compared_as_numbers(self, folder: Path, least: str, passes: bool) -> None:
        other = read_manifest(folder).artifacts[1]
        edit_manifest(folder, artifacts=(replace(other, runtime=Runtime("onnxruntime", least)),))
        if passes:
            assert load(folder).artifact.path == "model.onnx"
        else:
            assert f"it needs onnxruntime {least} or newer" in refused(folder)[0]

    def test_a_format_that_nothing_here_reads_is_passed_over(self, folder: Path) -> None:
        tflite, other = read_manifest(folder).artifacts
        edit_manifest(folder, artifacts=(replace(tflite, format="gguf"), other))
        assert "no runtime is known for format `gguf`" in load(folder).passed_over[0]

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ("raise RuntimeError('no licence')", "the package's engine failed: RuntimeError: no licence"),
            (
                "return object()",
                "the package's engine failed: AttributeError: 'object' object has no attribute 'runtime'",
            ),
            ("import nowhere", "the package's engine failed: ModuleNotFoundError: No module named 'nowhere'"),
        ],
    )
    def test_an_engine_of_a_package_that_fails_in_its_own_way_is_passed_over(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, body: str, says: str
    ) -> None:
        site = folder.parent / "site"
        about = site / "their_engine-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: their-engine\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[{GROUP}]\ngguf = their_engine:opened\n")
        (site / "their_engine.py").write_text(f"def opened(path, *, threads):\n    {body}\n")
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, "their_engine", raising=False)
        tflite, other = read_manifest(folder).artifacts
        edit_manifest(folder, artifacts=(replace(tflite, format="gguf"), other))
        assert load(folder).passed_over == (f"model.tflite (gguf, none): {says}",)

    def test_a_whole_file_that_its_runtime_refuses_is_passed_over(self, folder: Path) -> None:
        (folder / "model.tflite").write_bytes(b"no model" * 100)
        tflite, other = read_manifest(folder).artifacts
        edit_manifest(folder, artifacts=(replace(tflite, sha256=sha256(folder / "model.tflite")), other))
        assert "does not load it" in load(folder).passed_over[0]

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (
                {"inputs": (spec("image", 9, 8, 3),)},
                "its inputs are `image` float32 8x8x3, and by the manifest `image` float32 9x8x3",
            ),
            ({"inputs": (spec("picture", 8, 8, 3),)}, "its inputs are `image` float32 8x8x3"),
            ({"outputs": (spec("logits", 6),)}, "are `logits` float32 5, and by the manifest `logits` float32 6"),
            ({"outputs": ()}, "and by the manifest none"),
            ({"inputs": (replace(spec("image", 8, 8, 3), dtype="int8"),)}, "and by the manifest `image` int8 8x8x3"),
            ({"buckets": Buckets((4, 8), "mask", ("ids", "mask"))}, "are of `ids`, `mask`, and it takes `image`"),
            ({"buckets": Buckets((), "image", ("image",))}, "its buckets are of `image`"),
        ],
    )
    def test_a_file_that_is_not_what_the_manifest_says_is_passed_over(
        self, folder: Path, change: dict[str, Any], says: str
    ) -> None:
        tflite, other = read_manifest(folder).artifacts
        edit_manifest(folder, artifacts=(replace(tflite, **change), other))
        model = load(folder)
        assert model.artifact.path == "model.onnx"
        assert says in model.passed_over[0]

    @pytest.mark.parametrize(
        ("inputs", "says"),
        [
            ((), "it takes `image`, and the manifest's model nothing"),
            ((TensorSpec("a", "float32", (3, 8, 8), "NCHW"), TensorSpec("b", "float32", (1,), "NC")), "`a`, `b`"),
            ((TensorSpec("image", "float32", (192,), "NC"),), "`image` has 3 axes, and the model's input 1"),
            ((TensorSpec("image", "float32", (3, 8, 8), "NCDL"),), "cannot go from layout 'NCDL' to"),
        ],
    )
    def test_a_model_whose_inputs_cannot_become_the_artifacts_is_refused(
        self, folder: Path, inputs: tuple[TensorSpec, ...], says: str
    ) -> None:
        edit_manifest(folder, inputs=inputs)
        assert all(says in line for line in refused(folder))


class TestGolden:
    @pytest.mark.parametrize(
        ("scheme", "apart", "passes"),
        [("none", 1e-5, True), ("none", 1e-2, False), ("static-int8", 1e-2, True), ("static-int8", 10.0, False)],
    )
    def test_an_artifact_must_answer_as_on_the_host(
        self, folder: Path, scheme: str, apart: float, passes: bool
    ) -> None:
        images = tiny_images(4)
        noise = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
        write_golden(
            folder, {"input.image": images, "output.logits": tiny_logits(images) + apart * noise}, scheme=scheme
        )
        if passes:
            assert load(folder).artifact.path == "model.onnx"
        else:
            assert "does not give its golden outputs in onnxruntime 1." in refused(folder)[0]

    @pytest.mark.parametrize(
        ("tensors", "says"),
        [
            ({"input.image": tiny_images(2)}, "an input or an output is missing"),
            ({"input.image": tiny_images(2), "output.logits": LOGITS[:1]}, "of different lengths"),
            ({"input.image": tiny_images(2), "output.other": LOGITS}, "are `logits` 2x5, they should be `other` 2x5"),
            ({"input.other": tiny_images(2), "output.logits": LOGITS}, "the model takes `image`"),
            ({"input.image": tiny_images(2) * np.nan, "output.logits": LOGITS}, "not finite (NaN or infinity)"),
        ],
    )
    def test_golden_samples_that_prove_nothing_refuse_the_artifact(
        self, folder: Path, tensors: dict[str, np.ndarray], says: str
    ) -> None:
        write_golden(folder, tensors)
        assert says in refused(folder)[0]

    def test_golden_samples_must_be_those_of_the_manifest(self, folder: Path) -> None:
        path = folder / "golden" / "model.tflite.safetensors"
        path.write_bytes(path.read_bytes() + b"\0")
        assert (
            "golden/model.tflite.safetensors: it is not the file that the manifest lists" in load(folder).passed_over[0]
        )
        path.unlink()
        assert "golden/model.tflite.safetensors: it is not there" in load(folder).passed_over[0]


class TestFolder:
    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (None, "it is no result of `edgeglm compress`"),
            (b"", "not a manifest"),
            (b"{", "not a manifest"),
            (b"[" * 100_000, "not a manifest"),
            (b'{"schema": 2}', "manifest of schema 2; this version reads 1"),
            (b'{"schema": 1}', "not a manifest of schema 1"),
            (b'{"schema": "1"}', "not a manifest"),
            (b'"' + b"x" * 16_000_001, "is larger than"),
        ],
    )
    def test_a_folder_without_a_manifest_that_can_be_read_is_refused(
        self, folder: Path, content: bytes | None, says: str
    ) -> None:
        if content is None:
            (folder / "manifest.json").unlink()
        else:
            (folder / "manifest.json").write_bytes(content)
        (line,) = refused(folder)
        assert says in line
        assert "manifest.json" in line

    def test_what_is_no_folder_is_refused(self, folder: Path, tmp_path: Path) -> None:
        assert "has no manifest.json" in refused(tmp_path / "nowhere")[0]
        assert "cannot be read: Not a directory" in refused(folder / "manifest.json")[0]
        (folder / "manifest.json").unlink()
        (folder / "manifest.json").mkdir()
        assert "cannot be read: Is a directory" in refused(folder)[0]

    def test_a_manifest_without_artifacts_is_refused(self, folder: Path) -> None:
        edit_manifest(folder, artifacts=())
        assert refused(folder) == ("the manifest lists no artifact",)

    @pytest.mark.parametrize(
        "path", ["../outside.onnx", "sub/../../outside.onnx", "/etc/hostname", "", ".", "..", "a\0b", "sub", "pipe"]
    )
    def test_a_path_that_is_no_file_within_the_folder_is_refused(self, folder: Path, path: str) -> None:
        shutil.copy(folder / "model.onnx", folder.parent / "outside.onnx")
        (folder / "sub").mkdir()
        os.mkfifo(folder / "pipe")
        other = read_manifest(folder).artifacts[1]
        edit_manifest(folder, artifacts=(replace(other, path=path),))
        (line,) = refused(folder)
        assert "no path within the folder" in line or "it is no file" in line
        golden = replace(other, golden=path)
        edit_manifest(folder, artifacts=(golden,), files={path: "0" * 64})
        (line,) = refused(folder)
        assert "no path within the folder" in line or "it is no file" in line

    def test_a_link_out_of_the_folder_is_refused_and_one_within_it_is_not(self, folder: Path) -> None:
        outside = folder.parent / "outside.onnx"
        (folder / "model.onnx").rename(outside)
        (folder / "model.onnx").symlink_to(outside)
        assert refused(folder, artifacts=["model.onnx"]) == ("model.onnx (onnx, none): it leads out of the folder",)
        (folder / "model.onnx").unlink()
        (folder / "model.onnx").symlink_to("model.onnx")
        assert "model.onnx (onnx, none): " in refused(folder, artifacts=["model.onnx"])[0]
        (folder / "model.onnx").unlink()
        outside.rename(folder / "stored.onnx")
        (folder / "model.onnx").symlink_to("stored.onnx")
        assert load(folder, artifacts=["model.onnx"]).artifact.path == "model.onnx"

    def test_a_folder_may_itself_be_a_link(self, folder: Path) -> None:
        current = folder.parent / "current"
        current.symlink_to(folder.name)
        assert load(current).artifact.path == "model.tflite"

    @pytest.mark.parametrize(
        ("steps", "says"),
        [
            ({"preprocess": (ProcessOp("sharpen"),)}, "preprocess[0]: unknown operation `sharpen`"),
            ({"postprocess": (ProcessOp("top-k", {"k": 0}),)}, "postprocess[0].top-k"),
            ({"postprocess": (ProcessOp("labels"),)}, "postprocess[0].labels"),
            (
                {"preprocess": (ProcessOp("tokenize", {"tokenizer": "a.json"}),)},
                "a.json: the manifest does not list it",
            ),
            ({"preprocess": (ProcessOp("tokenize", {"length": 8}),)}, "the manifest does not list it"),
        ],
    )
    def test_operations_that_this_agent_cannot_do_refuse_the_model(
        self, folder: Path, steps: dict[str, Any], says: str
    ) -> None:
        edit_manifest(folder, **steps)
        (line,) = refused(folder)
        assert says in line


def write_golden(folder: Path, tensors: dict[str, np.ndarray], *, scheme: str = "none") -> None:
    """Leave a folder its ONNX file alone, with other golden samples."""
    manifest = read_manifest(folder)
    artifact = replace(manifest.artifacts[1], scheme=scheme)
    path = folder / artifact.golden
    path.write_bytes(safetensors(tensors))
    edit_manifest(folder, artifacts=(artifact,), files=manifest.files | {artifact.golden: sha256(path)})
