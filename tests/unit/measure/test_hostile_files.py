"""Model files that somebody made to do harm: one clear error, soon, and nothing read that lies elsewhere."""

from __future__ import annotations

import random
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgeglm.errors import ModelError
from edgeglm.inspection import inspect_path
from edgeglm.measure.census import count_file_macs, count_file_params, weight_dtypes
from edgeglm.measure.external_data import model_file_sha256
from tests.support.tiny_models import write_tiny_onnx, write_tiny_tflite

QUESTIONS = (weight_dtypes, count_file_params, count_file_macs)
GRAPH = (
    '<net name="n"><layers>'
    '<layer id="0" type="{kind}" name="c"><data element_type="f32" shape="{shape}" offset="0" size="{size}"/>'
    '<input><port id="0"/></input><output><port id="1"><dim>1</dim></port></output></layer>'
    '<layer id="1" type="Multiply" name="m"><input><port id="0"/><port id="1"/></input></layer>'
    '</layers><edges><edge from-layer="{source}" from-port="1" to-layer="0" to-port="0"/>'
    '<edge from-layer="0" from-port="1" to-layer="1" to-port="0"/></edges></net>'
)
LAUGHS = "".join(f'<!ENTITY a{level} "{f"&a{level - 1};" * 10}">' for level in range(1, 10))


def refused(path: Path, kind: str, question: Any = weight_dtypes) -> str:
    with pytest.raises(ModelError) as caught:
        question(path, kind)
    assert caught.value.code == "file-unloadable"
    assert caught.value.problems[0].hint
    return str(caught.value)


@pytest.mark.parametrize(
    "declared",
    [
        pytest.param(f'<!DOCTYPE net [<!ENTITY a0 "ha">{LAUGHS}]>', id="a billion laughs"),
        pytest.param('<!DOCTYPE net [<!ENTITY a9 SYSTEM "file:///etc/passwd">]>', id="another file"),
        pytest.param('<!DOCTYPE net SYSTEM "http://127.0.0.1/net.dtd">', id="another host"),
    ],
)
def test_a_graph_that_declares_entities_is_refused_before_they_are_read(tmp_path: Path, declared: str) -> None:
    path = tmp_path / "m.xml"
    name = "&a9;" if "a9" in declared else "n"
    graph = GRAPH.format(kind="Const", shape="1", size="4", source="0").replace('name="n"', f'name="{name}"')
    for encoding in ("utf-8", "utf-16"):
        path.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{declared}{graph}'.encode(encoding))
        assert "declares a document type" in refused(path, "openvino")


@pytest.mark.parametrize(
    ("changes", "question"),
    [
        pytest.param({"kind": "Convert", "source": "0"}, count_file_params, id="a layer that reads itself"),
        pytest.param({"kind": "Convert", "source": "7"}, count_file_params, id="a layer that is not there"),
        pytest.param({"size": "much"}, weight_dtypes, id="a size that is no number"),
        pytest.param({"shape": "a"}, count_file_params, id="a shape that is no number"),
    ],
)
def test_a_graph_that_contradicts_itself_is_refused(tmp_path: Path, changes: dict[str, str], question: Any) -> None:
    path = tmp_path / "m.xml"
    settings = {"kind": "Const", "shape": "1", "size": "4", "source": "0", **changes}
    path.write_text(GRAPH.format(**settings))
    refused(path, "openvino", question)


def test_a_graph_nested_very_deep_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.xml"
    graph = GRAPH.format(kind="Const", shape="2", size="8", source="0")
    path.write_text(graph.replace("</net>", "<a>" * 200_000 + "</a>" * 200_000 + "</net>"))
    assert weight_dtypes(path, "openvino") == {"float32": 8}


def nested(field: int, inner: bytes) -> bytes:
    """Return a message as one field of another, as protobuf writes it."""
    length, size = b"", len(inner)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([field << 3 | 2]) + length + bytes([size]) + inner


def test_an_onnx_graph_nested_very_deep_is_refused(tmp_path: Path) -> None:
    path, graph = tmp_path / "m.onnx", b""
    for _ in range(2000):  # GraphProto.node > NodeProto.attribute > AttributeProto.g
        graph = nested(1, nested(5, nested(6, graph)))
    path.write_bytes(b"\x08\x08" + nested(7, graph))
    for question in QUESTIONS:
        refused(path, "onnx", question)
    with pytest.raises(ModelError):
        inspect_path(path)


@pytest.mark.parametrize("location", ["/dev/zero", "../weights.bin", "sub/../../weights.bin", "."])
def test_weights_outside_of_the_models_folder_are_not_read(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(4000))
    model = onnx.load(str(write_tiny_onnx(folder / "m.onnx")))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError) as caught:
        model_file_sha256(folder / "m.onnx", "onnx")
    assert caught.value.code == "model-file-missing"


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_bytes_changed_anywhere_give_an_answer_or_one_error(tmp_path: Path, kind: str) -> None:
    path, draw = tmp_path / f"m.{kind}", random.Random(7)
    whole = (write_tiny_onnx(path) if kind == "onnx" else write_tiny_tflite(path)).read_bytes()
    for round_ in range(150):
        changed = bytearray(whole)
        for _ in range(draw.choice((1, 2, 8))):
            changed[draw.randrange(len(changed))] = draw.choice((0, 127, 128, 255, draw.randrange(256)))
        if round_ % 3 == 0:  # lengths and offsets of a flatbuffer are 4 bytes each
            place = draw.randrange(0, len(changed) - 4) // 4 * 4
            changed[place : place + 4] = struct.pack("<I", draw.choice((8, len(changed) - 4, 2**31 - 1, 2**32 - 1)))
        if kind == "tflite":
            changed[4:8] = b"TFL3"
        path.write_bytes(changed)
        for question in QUESTIONS:
            with suppress(ModelError):  # and nothing else
                question(path, kind)
