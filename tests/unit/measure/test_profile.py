"""Where the bytes and the milliseconds of a file are."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeglm.boards import BOARDS
from edgeglm.errors import ExportError
from edgeglm.formats import SUFFIXES
from edgeglm.measure.census import weight_dtypes
from edgeglm.measure.layers import SHOWN, layer_bytes
from edgeglm.measure.profile import operator_times
from edgeglm.measure.worker import Runner
from edgeglm.recipe import Quantize
from tests.support import export_nets
from tests.support.tiny_models import (
    INPUTS,
    tiny_images,
    write_int8_tflite,
    write_quantized_onnx,
    write_tiny_onnx,
    write_tiny_openvino,
    write_tiny_tflite,
)

if TYPE_CHECKING:
    from pathlib import Path

WRITERS: dict[str, Any] = {
    "onnx": write_tiny_onnx,
    "onnx static-int8": lambda path: write_quantized_onnx(path, scheme="static-int8"),
    "onnx dynamic-int8": lambda path: write_quantized_onnx(path, scheme="dynamic-int8"),
    "tflite": write_tiny_tflite,
    "tflite static-int8": write_int8_tflite,
    "openvino": write_tiny_openvino,
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_bytes_of_all_layers_are_the_bytes_of_the_file(tmp_path: Path, name: str) -> None:
    kind = name.split()[0]
    path = WRITERS[name](tmp_path / f"model{SUFFIXES[kind]}")
    rows = layer_bytes(path, kind)
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row.dtypes)
    assert dict(total) == weight_dtypes(path, kind)
    sizes = [sum(row.dtypes.values()) for row in rows]
    assert sizes == sorted(sizes, reverse=True)


def test_weights_count_for_the_layer_that_uses_them_under_the_name_that_recipes_write(tmp_path: Path) -> None:
    from edgeglm.artifacts import onnx as artifacts

    model, board = export_nets.cnn(), BOARDS["rpi5"]
    sample = export_nets.rows(model, 8)
    artifacts.export_float(model, sample, tmp_path / "float.onnx", board=board)
    chosen = Quantize(scheme="static-int8")
    artifacts.quantize(tmp_path / "float.onnx", tmp_path / "int8.onnx", chosen, iter([sample]), board=board)
    weighted = {name for name, layer in model.module.named_modules() if getattr(layer, "weight", None) is not None}
    for name, kind in (("float", "float32"), ("int8", "int8")):
        rows = layer_bytes(tmp_path / f"{name}.onnx", "onnx")
        large = [row.layer for row in rows if row.dtypes.get(kind, 0) >= 64]
        assert large
        assert set(large) <= weighted


def test_many_layers_are_cut_short_with_what_is_left_in_one_row(tmp_path: Path) -> None:
    from onnx import helper

    from tests.unit.measure.test_census import f32, write_graph

    count = SHOWN + 5
    nodes = [helper.make_node("Add", [f"v{i}", f"w{i}"], [f"v{i + 1}"], name=f"add{i}") for i in range(count)]
    path = write_graph(tmp_path / "long.onnx", nodes, {"v0": ["N", 4]}, {f"w{i}": f32(4) for i in range(count)})
    rows = layer_bytes(path, "onnx")
    assert len(rows) == SHOWN + 1
    assert (rows[-1].layer, rows[-1].layers, rows[-1].dtypes) == ("", 5, {"float32": 5 * 16})


@pytest.mark.parametrize(("kind", "write"), [("onnx", write_tiny_onnx), ("openvino", write_tiny_openvino)])
def test_the_runtime_tells_how_long_each_type_of_operator_took(tmp_path: Path, kind: str, write: Any) -> None:
    path = write(tmp_path / ("model.xml" if kind == "openvino" else "model.onnx"))
    times = operator_times(path, kind, {INPUTS[0].name: tiny_images(1)}, model_inputs=INPUTS)
    assert any("conv" in row.operator.lower() for row in times)
    assert all(row.count >= 1 for row in times)
    assert 0 < sum(row.ms for row in times) < 1000
    assert [row.ms for row in times] == sorted((row.ms for row in times), reverse=True)


def test_a_runtime_without_a_profiler_tells_nothing(tmp_path: Path) -> None:
    path = write_tiny_tflite(tmp_path / "model.tflite")
    sample = {INPUTS[0].name: tiny_images(1)}
    assert operator_times(path, "tflite", sample, model_inputs=INPUTS) == []
    with Runner(path, format="tflite") as runner, pytest.raises(ExportError, match="tells no times"):
        runner.profile({spec.name: np.zeros((1, *spec.shape), np.float32) for spec in runner.inputs}, runs=1)
