from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest

from edgeglm.errors import UserError
from edgeglm.inspection import FileFacts, format_of, inspect_path, render
from edgeglm.log import SilentLog
from edgeglm.measuring import evaluate_files
from edgeglm.recipe import load_recipe
from tests.support.model_folders import artifact_of, edit_manifest, read_manifest, write_folder
from tests.support.tiny_models import write_tiny_onnx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def rejected(folder: Path) -> Path:
    """Return a folder as a missed budget leaves it."""
    (folder / "out" / "rejected").mkdir(parents=True)
    for name in ("model.onnx", "model.tflite"):
        (folder / "out" / "rejected" / name).touch()
    return folder / "out"


def test_a_folder_where_a_file_is_wanted_is_refused_with_the_files_in_it(tmp_path: Path) -> None:
    folder = rejected(tmp_path)
    with pytest.raises(UserError, match="is a folder") as caught:
        format_of(folder)
    hint = caught.value.problems[0].hint
    assert hint == f"name {folder / 'rejected' / 'model.onnx'} or {folder / 'rejected' / 'model.tflite'}"
    assert "output folder" not in hint


def test_a_rejected_result_is_refused_with_the_place_of_its_files(tmp_path: Path) -> None:
    folder = rejected(tmp_path)
    with pytest.raises(UserError, match="rejected: it missed its budget") as caught:
        inspect_path(folder)
    assert str(folder / "rejected" / "model.onnx") in caught.value.problems[0].hint


def test_a_fixed_batch_is_shown(tmp_path: Path) -> None:
    assert "image: float32 (4, 3, 8, 8)" in render(inspect_path(write_tiny_onnx(tmp_path / "four.onnx", batch=4)))
    assert "image: float32 (N, 3, 8, 8)" in render(inspect_path(write_tiny_onnx(tmp_path / "any.onnx")))


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A folder as `compress` leaves it, with a copy of its file outside."""
    (tmp_path / "out").mkdir()
    file = write_tiny_onnx(tmp_path / "out" / "model.onnx")
    shutil.copy(file, tmp_path / "outside.onnx")
    return write_folder(tmp_path / "out", [artifact_of(file, "onnx")])


def evaluated(folder: Path) -> None:
    """Judge a folder's files by a recipe whose model and data are never asked for."""
    (folder.parent / "model.py").write_text("def build(): ...")
    settings = {"source": "python", "entry": "./model.py:build"}
    parts = {"model": settings, "data": settings, "task": {"kind": "classification"}, "artifacts": "auto"}
    (folder.parent / "recipe.yaml").write_text(json.dumps({"version": 1, "name": "x", **parts}))
    evaluate_files(load_recipe(folder.parent / "recipe.yaml"), [], folder=folder, log=SilentLog())


LOOKS = pytest.mark.parametrize("look", [inspect_path, evaluated])


@LOOKS
@pytest.mark.parametrize("path", ["../outside.onnx", "sub/../../outside.onnx", "/absolute", "", ".."])
def test_a_manifest_that_leads_out_of_its_folder_is_refused_as_a_board_does(
    result: Path, look: Callable[[Path], object], path: str
) -> None:
    path = str(result.parent / "outside.onnx") if path == "/absolute" else path
    (artifact,) = read_manifest(result).artifacts
    edit_manifest(result, artifacts=(msgspec.structs.replace(artifact, path=path),))
    with pytest.raises(UserError, match="is no path within the folder") as caught:
        look(result)
    assert caught.value.code == "manifest-invalid"
    assert caught.value.problems[0].where == str(result / "manifest.json")


@LOOKS
def test_a_link_out_of_the_folder_is_refused(result: Path, look: Callable[[Path], object]) -> None:
    (result / "model.onnx").unlink()
    (result / "model.onnx").symlink_to(result.parent / "outside.onnx")
    with pytest.raises(UserError, match="leads out of the folder") as caught:
        look(result)
    assert caught.value.code == "manifest-invalid"


@LOOKS
def test_weights_beside_a_graph_are_no_link_out_of_the_folder(result: Path, look: Callable[[Path], object]) -> None:
    (result / "model.xml").write_text("<net/>")
    (result / "model.bin").symlink_to(result.parent / "outside.onnx")
    (artifact,) = read_manifest(result).artifacts
    edit_manifest(result, artifacts=(msgspec.structs.replace(artifact, path="model.xml", format="openvino"),))
    with pytest.raises(UserError, match=r"model\.bin: it leads out of the folder"):
        look(result)


def test_other_files_that_a_manifest_lists_lie_in_its_folder_too(result: Path) -> None:
    (artifact,) = read_manifest(result).artifacts
    edit_manifest(result, files={"../outside.onnx": "0" * 64})
    with pytest.raises(UserError, match="is no path within the folder"):
        inspect_path(result)
    edit_manifest(result, files={}, artifacts=(msgspec.structs.replace(artifact, golden="../golden.safetensors"),))
    with pytest.raises(UserError, match="is no path within the folder"):
        inspect_path(result)


def test_a_link_within_the_folder_is_followed_and_what_is_not_there_is_missing(result: Path) -> None:
    (result / "model.onnx").rename(result / "stored.onnx")
    with pytest.raises(UserError, match="no such file") as caught:
        inspect_path(result)
    assert caught.value.code == "file-missing"
    (result / "model.onnx").symlink_to("stored.onnx")
    assert inspect_path(result)[0].golden == "passed"


def test_a_manifest_nested_very_deep_is_refused(result: Path) -> None:
    (result / "manifest.json").write_text('{"artifacts": ' + "[" * 100_000)
    with pytest.raises(UserError) as caught:
        inspect_path(result)
    assert caught.value.code == "manifest-invalid"


@pytest.mark.parametrize(
    ("sizes", "shown"),
    [
        ({"int8": 1255, "float32": 1255, "int32": 490}, "int8 42%, float32 42%, int32 16%"),
        ({"float32": 100_000, "int8": 300_000, "uint8": 50}, "int8 75%, float32 25%, uint8 under 1%"),
        ({"float32": 7}, "float32 100%"),
        ({}, ""),
    ],
)
def test_shares_of_weights_add_up_to_100(sizes: dict[str, int], shown: str) -> None:
    facts = FileFacts(
        path="m", format="onnx", size_bytes=1, sha256="", params=1, macs=1, dtypes=sizes, inputs=(), outputs=()
    )
    lines = render([msgspec.structs.replace(facts, batch=1)]).splitlines()
    (line,) = [line for line in lines if line.strip().startswith("weights")]
    assert line.removeprefix("  weights").strip() == shown
