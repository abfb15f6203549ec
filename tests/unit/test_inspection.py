from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from edgeglm.errors import UserError
from edgeglm.inspection import FileFacts, format_of, inspect_path, render
from tests.support.tiny_models import write_tiny_onnx

if TYPE_CHECKING:
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
