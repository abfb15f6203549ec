"""A user's own file, before anything is made of it."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeglm.artifacts import flatbuffer
from edgeglm.artifacts.onnx_versions import Versions, read_versions
from edgeglm.artifacts.source import take_source
from edgeglm.boards import BOARDS
from edgeglm.errors import ExportError
from edgeglm.measure.worker import Runner
from edgeglm.model import ModelFile
from tests.support.tiny_models import tiny_images, tiny_logits, write_tiny_onnx, write_tiny_tflite

if TYPE_CHECKING:
    from pathlib import Path

BOARD = BOARDS["jetson-jp6"]


def of_versions(path: Path, *, opset: int, ir: int, domains: dict[str, int] | None = None) -> Path:
    """Write the tiny network in these versions."""
    model = onnx.load(str(write_tiny_onnx(path)))
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(name, n) for name, n in {"": opset, **(domains or {})}.items())
    model.ir_version = ir
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
def test_a_file_of_a_newer_opset_than_the_board_takes_is_refused(tmp_path: Path, board) -> None:
    source = of_versions(tmp_path / "new.onnx", opset=24, ir=10)
    with pytest.raises(ExportError, match=f"opset 24; {board.name} takes opset 20") as caught:
        take_source(ModelFile(source, "onnx", (), ()), tmp_path / "s.onnx", board=board)
    assert (caught.value.code, caught.value.problems[0].where) == ("opset-too-new", str(source))
    assert not (tmp_path / "s.onnx").exists()


def test_an_ir_version_that_is_too_new_is_lowered_where_the_opset_allows_it(tmp_path: Path) -> None:
    source = of_versions(tmp_path / "new.onnx", opset=20, ir=12)
    take_source(ModelFile(source, "onnx", (), ()), tmp_path / "s.onnx", board=BOARD)
    assert onnx.load(str(tmp_path / "s.onnx")).ir_version == BOARD.ir_version
    onnx.checker.check_model(str(tmp_path / "s.onnx"))
    images = tiny_images(2)
    with Runner(tmp_path / "s.onnx", format="onnx") as runner:
        np.testing.assert_allclose(runner.run({"image": images})["logits"], tiny_logits(images), rtol=1e-5, atol=1e-5)


def test_an_ir_version_that_the_opset_needs_is_refused_when_it_is_too_new(tmp_path: Path) -> None:
    source = of_versions(tmp_path / "new.onnx", opset=20, ir=10)
    with pytest.raises(ExportError, match="IR version 9; jetson-jp6 takes IR version 8") as caught:
        take_source(ModelFile(source, "onnx", (), ()), tmp_path / "s.onnx", board=replace(BOARD, ir_version=8))
    assert caught.value.code == "opset-too-new"


def test_the_versions_of_a_file_are_read_past_its_weights(tmp_path: Path) -> None:
    source = of_versions(tmp_path / "m.onnx", opset=17, ir=8, domains={"com.microsoft": 30, "ai.onnx": 18})
    assert read_versions(source) == Versions(ir=8, opset=18)
    (tmp_path / "empty.onnx").write_bytes(b"")
    assert read_versions(tmp_path / "empty.onnx") == Versions(0, 0, has_graph=False)


@pytest.mark.parametrize("content", [b"garbage", b"\x08", b"\xff" * 20, b"\x3a\x7fshort"])
def test_what_is_no_message_has_no_versions(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"wire type|cut short|64 bits"):
        read_versions(tmp_path / "bad.onnx")


def test_stripping_removes_what_no_runtime_reads_and_nothing_else(tmp_path: Path) -> None:
    source = write_tiny_onnx(tmp_path / "t.onnx")
    model = onnx.load(str(source))
    plain = source.stat().st_size
    model.doc_string = "d" * 500
    model.producer_name = "someone"
    entry = model.metadata_props.add()
    entry.key, entry.value = "notes", "n" * 500
    model.graph.node[0].doc_string = "d" * 500
    model.graph.value_info.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, ["N", 4, 8, 8]))
    onnx.save(model, str(source))
    assert source.stat().st_size > plain + 1500
    assert take_source(ModelFile(source, "onnx", (), ()), tmp_path / "s.onnx", board=BOARD) == (None, [])
    assert (tmp_path / "s.onnx").stat().st_size <= plain
    stripped = onnx.load(str(tmp_path / "s.onnx"))
    assert [node.name for node in stripped.graph.node] == ["conv", "relu", "pool", "flatten", "head"]
    images = tiny_images(2)
    with Runner(tmp_path / "s.onnx", format="onnx") as runner:
        np.testing.assert_allclose(runner.run({"image": images})["logits"], tiny_logits(images), rtol=1e-5, atol=1e-5)


def test_stripping_tflite_removes_metadata_and_keeps_names(tmp_path: Path) -> None:
    import flatbuffers  # type: ignore[import-untyped]
    from ai_edge_litert import schema_py_generated as schema

    source = write_tiny_tflite(tmp_path / "t.tflite")
    plain = source.read_bytes()
    assert take_source(ModelFile(source, "tflite", (), ()), tmp_path / "same.tflite", board=BOARD) == (1, [])
    assert (tmp_path / "same.tflite").read_bytes() == plain
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(plain, 0))
    note, notes = schema.MetadataT(), schema.BufferT()
    notes.data = np.full(2000, 7, np.uint8)
    model.buffers.append(notes)
    note.name, note.buffer = "notes", len(model.buffers) - 1
    model.metadata, model.description = [note], "d" * 200
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    source.write_bytes(bytes(builder.Output()))
    assert take_source(ModelFile(source, "tflite", (), ()), tmp_path / "s.tflite", board=BOARD) == (1, [])
    assert (tmp_path / "s.tflite").stat().st_size < len(plain) + 100
    images = tiny_images(2)
    with Runner(tmp_path / "s.tflite", format="tflite") as runner:
        outputs = runner.run({"image": images.transpose(0, 2, 3, 1)})
    np.testing.assert_allclose(outputs["logits"], tiny_logits(images), rtol=1e-5, atol=1e-5)
    again = schema.ModelT.InitFromObj(schema.Model.GetRootAs((tmp_path / "s.tflite").read_bytes(), 0))
    assert [tensor.name for tensor in again.subgraphs[0].tensors][1] == b"kernel"
    assert not again.metadata
    assert again.description is None


def test_a_description_goes_even_where_that_saves_nothing(tmp_path: Path) -> None:
    source = write_tiny_tflite(tmp_path / "t.tflite")
    model = flatbuffer.read(source)
    model.description = b"edgeglm image"  # that of a float file of edgeglm's: rows would be turned for it
    source.write_bytes(flatbuffer.to_bytes(model))
    take_source(ModelFile(source, "tflite", (), ()), tmp_path / "s.tflite", board=BOARD)
    assert b"edgeglm" not in (tmp_path / "s.tflite").read_bytes()


def test_equal_constants_are_stored_once_in_a_stripped_tflite_file(tmp_path: Path) -> None:
    source = write_tiny_tflite(tmp_path / "t.tflite")
    model = flatbuffer.read(source)
    (kernel,) = (tensor for tensor in model.subgraphs[0].tensors if tensor.name == b"kernel")
    twin, constant = copy(kernel), copy(model.buffers[kernel.buffer])
    model.buffers.append(constant)
    twin.name, twin.buffer = b"twin", len(model.buffers) - 1
    model.subgraphs[0].tensors.append(twin)
    source.write_bytes(flatbuffer.to_bytes(model))
    assert take_source(ModelFile(source, "tflite", (), ()), tmp_path / "s.tflite", board=BOARD) == (1, [])
    stripped = flatbuffer.read(tmp_path / "s.tflite")
    buffers = {tensor.name: tensor.buffer for tensor in stripped.subgraphs[0].tensors}
    assert buffers[b"twin"] == buffers[b"kernel"] != buffers[b"head"]
    assert (tmp_path / "s.tflite").stat().st_size < source.stat().st_size
