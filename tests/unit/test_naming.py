from __future__ import annotations

from pathlib import Path

import pytest

from edgeglm.errors import EdgeglmError, ExportError, StorageError
from edgeglm.model import ModelFile
from edgeglm.naming import users_names

OURS = Path("/var/cache/a b/edgeglm")
SOURCE = ModelFile(Path("nets/m.onnx"), "onnx", (), ())


def renamed(error: EdgeglmError) -> EdgeglmError:
    with pytest.raises(type(error)) as caught, users_names(OURS, SOURCE):
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        (f"{OURS}/artifact/40ca/model.onnx", "nets/m.onnx"),
        (f"artifacts[0] {OURS}/artifact/40ca/model.onnx", "artifacts[0] nets/m.onnx"),
        (f"artifacts[0] {OURS}/artifact/40ca/model.static-int8.onnx", "artifacts[0]"),
        (f"{OURS}/1.tflite", "1.tflite"),
        ("/elsewhere/model.onnx", "/elsewhere/model.onnx"),
        ("steps[0].prune", "steps[0].prune"),
    ],
)
def test_a_place_names_the_users_file_or_what_the_recipe_calls_ours(where: str, shown: str) -> None:
    assert renamed(ExportError("is quantized already", where=where)).problems[0].where == shown


def test_what_a_runtime_says_names_the_users_file_too() -> None:
    error = renamed(ExportError(f"Load model from {OURS}/artifact/40ca/model.onnx failed: bad node"))
    assert error.problems[0].message == "Load model from nets/m.onnx failed: bad node"


def test_a_disk_that_is_full_keeps_its_path() -> None:
    where = f"{OURS}/artifact/40ca/model.onnx"
    assert renamed(StorageError("no space", where=where)).problems[0].where == where
