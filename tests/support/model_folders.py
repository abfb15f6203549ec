"""Folders with a manifest, as `edgeglm compress` leaves them, made here of tiny files without the SDK."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from edgeglm_agent.engines import load_engine
from edgeglm_agent.processing import cut_to_bucket
from edgeglm_agent.settings.types import InputConfig, Slot
from edgeglm_agent.wire import (
    Artifact,
    Lineage,
    Manifest,
    ProcessOp,
    Runtime,
    TensorSpec,
    decode_manifest,
    encode_manifest,
)
from edgeglm_agent.worker.model import Model, ModelRefusedError, load_model

from tests.support.tiny_models import INPUTS, tiny_images, write_tiny_onnx, write_tiny_tflite

if TYPE_CHECKING:
    from pathlib import Path

LEAST = {
    "onnx": Runtime("onnxruntime", "1.23.2"),
    "tflite": Runtime("litert", "2.1.0"),
    "openvino": Runtime("openvino", "2025.0.0"),
}


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def safetensors(arrays: dict[str, np.ndarray]) -> bytes:
    """Return arrays in the format of safetensors, written here by hand."""
    names = {"float32": "F32", "float64": "F64", "int32": "I32", "int64": "I64", "int8": "I8", "uint8": "U8"}
    header: dict[str, Any] = {}
    body = b""
    for name, values in arrays.items():
        data = np.ascontiguousarray(values).tobytes()
        header[name] = {
            "dtype": names[values.dtype.name],
            "shape": list(values.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def artifact_of(
    file: Path,
    format: str,  # noqa: A002 - the manifest's word
    *,
    scheme: str = "none",
    golden_inputs: dict[str, np.ndarray] | None = None,
    **more: Any,
) -> Artifact:
    """Return a file as a manifest lists it, its golden samples written beside it by running it."""
    engine = load_engine(file, format=format)
    if golden_inputs is None:
        images = tiny_images(4)
        golden_inputs = {"image": images.transpose(0, 2, 3, 1) if format == "tflite" else images}
    outputs = engine.run(cut_to_bucket(golden_inputs, more.get("buckets")))
    golden = file.parent / "golden" / f"{file.name}.safetensors"
    golden.parent.mkdir(exist_ok=True)
    golden.write_bytes(
        safetensors(
            {f"input.{k}": v for k, v in golden_inputs.items()} | {f"output.{k}": v for k, v in outputs.items()}
        )
    )
    return Artifact(
        path=file.name,
        sha256=sha256(file),
        size_bytes=file.stat().st_size,
        format=format,
        scheme=scheme,
        runtime=LEAST.get(format, Runtime(format, "0")),
        inputs=engine.inputs,
        outputs=engine.outputs,
        golden=f"golden/{golden.name}",
        batch=engine.batch,
        **more,
    )


def write_folder(
    folder: Path,
    artifacts: list[Artifact],
    *,
    inputs: tuple[TensorSpec, ...] = INPUTS,
    preprocess: tuple[ProcessOp, ...] = (),
    postprocess: tuple[ProcessOp, ...] = (),
    labels: tuple[str, ...] = (),
    **more: Any,
) -> Path:
    """Write the manifest of a folder that its files lie in already; all other files are listed with their digests."""
    own = {artifact.path for artifact in artifacts} | {"manifest.json"}
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    manifest = Manifest(
        schema=1,
        name="tiny",
        version="0123456789ab",
        target="x86-64",
        artifacts=tuple(artifacts),
        files={name: sha256(folder / name) for name in names if name not in own},
        inputs=inputs,
        preprocess=preprocess,
        postprocess=postprocess,
        labels=labels,
        reference=None,
        lineage=Lineage("0" * 64, "0" * 64, "0" * 64, "0" * 64, {}),
        **more,
    )
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    return folder


def read_manifest(folder: Path) -> Manifest:
    """Return a folder's manifest."""
    return decode_manifest((folder / "manifest.json").read_bytes())


def edit_manifest(folder: Path, **changes: Any) -> None:
    """Replace fields of a folder's manifest."""
    (folder / "manifest.json").write_bytes(encode_manifest(msgspec.structs.replace(read_manifest(folder), **changes)))


def load(folder: Path, **settings: Any) -> Model:
    """Load a folder's model as a slot with these settings does; state is kept beside the folder."""
    slot = Slot(model=str(folder), input=InputConfig(), **settings)
    return load_model(folder, slot=slot, state_dir=folder.parent / "state")


def write_two(folder: Path) -> Path:
    """Write a folder with a TFLite and an ONNX file of one network, which names the best two of five classes."""
    folder.mkdir()
    artifacts = [
        artifact_of(write_tiny_tflite(folder / "model.tflite"), "tflite"),
        artifact_of(write_tiny_onnx(folder / "model.onnx"), "onnx"),
    ]
    best = (ProcessOp("softmax"), ProcessOp("top-k", {"k": 2}), ProcessOp("labels"))
    return write_folder(folder, artifacts, postprocess=best, labels=("a", "b", "c", "d", "e"))


def write_best(folder: Path, *, labels: tuple[str, ...] = ()) -> Path:
    """Write a folder with a tiny ONNX file that ranks five classes, and names the best; labels are optional."""
    folder.mkdir()
    best = (ProcessOp("softmax"), ProcessOp("top-k", {"k": 1}), *([ProcessOp("labels")] if labels else []))
    return write_folder(
        folder, [artifact_of(write_tiny_onnx(folder / "model.onnx"), "onnx")], postprocess=best, labels=labels
    )


def write_onnx_folder(
    folder: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], golden: dict[str, np.ndarray], **more: Any
) -> Path:
    """Write a folder with one ONNX file of these nodes; ``takes`` are the model's inputs where they are not its."""
    import onnx
    from onnx import helper

    folder.mkdir()
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(folder / "model.onnx")
    )
    own = {name: more.pop(name) for name in ("scheme", "buckets") if name in more}
    artifact = artifact_of(folder / "model.onnx", "onnx", golden_inputs=golden, **own)
    return write_folder(folder, [artifact], inputs=more.pop("takes", artifact.inputs), **more)


def refused(folder: Path, **settings: Any) -> tuple[str, ...]:
    """Return why a folder's model is refused."""
    with pytest.raises(ModelRefusedError) as raised:
        load(folder, **settings)
    assert str(raised.value) == "\n".join(raised.value.lines)
    return raised.value.lines
