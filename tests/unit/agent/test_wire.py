from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from edgeglm_agent.wire import (
    MANIFEST_SCHEMA,
    Manifest,
    ProcessOp,
    TensorSpec,
    WireError,
    decode_manifest,
    encode_manifest,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "manifest-1.json"


def test_a_manifest_of_schema_1_is_read_for_ever() -> None:
    manifest = decode_manifest(GOLDEN.read_bytes())
    assert (manifest.schema, manifest.name, manifest.target) == (1, "digits-cnn", "x86-64")
    tflite, onnx = manifest.artifacts
    assert (tflite.format, tflite.scheme, tflite.batch) == ("tflite", "static-int8", 1)
    assert tflite.inputs == (TensorSpec("image", "float32", (32, 32, 1), "NHWC"),)
    assert onnx.inputs == (TensorSpec("image", "float32", (1, 32, 32), "NCHW"),)
    assert manifest.inputs == onnx.inputs
    assert manifest.preprocess[-1] == ProcessOp("layout", {"from": "HW", "to": "CHW", "input": None})
    assert manifest.labels[:2] == ("zero", "one") or manifest.labels[:2] == ("0", "1")
    assert manifest.reference is not None
    histogram = manifest.reference.outputs["logits"].histogram
    assert len(histogram.edges) == len(histogram.counts) + 1
    assert sum(manifest.reference.predicted.values()) == pytest.approx(1)
    assert manifest.lineage.versions["torch"].startswith("2.13.0")


def test_writing_a_manifest_and_reading_it_changes_nothing() -> None:
    manifest = decode_manifest(GOLDEN.read_bytes())
    assert decode_manifest(encode_manifest(manifest)) == manifest
    assert encode_manifest(manifest).endswith(b"}\n")


def test_unknown_fields_pass() -> None:
    document = json.loads(GOLDEN.read_bytes())
    document["from_a_newer_writer"] = {"x": 1}
    document["artifacts"][0]["also_new"] = True
    assert decode_manifest(json.dumps(document).encode()) == decode_manifest(GOLDEN.read_bytes())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a manifest"),
        (b"[]", "not a manifest"),
        (b"{}", "schema"),
        (b'{"schema": 2}', "schema 2"),
        (b'{"schema": 1}', "not a manifest of schema 1"),
        (b"\xff\xfe", "not a manifest"),
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        decode_manifest(data)


def test_the_fields_of_the_manifest_are_those_of_the_contract() -> None:
    fields = {field.name for field in msgspec.structs.fields(Manifest)}
    assert MANIFEST_SCHEMA == 1
    assert fields >= {
        "schema",
        "name",
        "version",
        "artifacts",
        "preprocess",
        "postprocess",
        "labels",
        "reference",
        "lineage",
    }
