"""`edgeglm inspect`: what a model file holds, and whether a result is still what was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from edgeglm_agent.wire import Manifest, TensorSpec, WireError, decode_manifest

from edgeglm.errors import ModelError, UserError
from edgeglm.files import sha256_file
from edgeglm.golden import check_golden, read_golden

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = {".onnx": "onnx", ".tflite": "tflite"}


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What one model file holds."""

    path: str
    format: str
    size_bytes: int
    sha256: str
    params: int
    macs: int | None  # batch 1; None where a shape is not known
    dtypes: dict[str, int]  # weight bytes by type
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    golden: str = ""  # "passed": a file of a result that still gives its golden outputs


def format_of(path: Path) -> str:
    """Return onnx or tflite, by the file's name. Raises: UserError for anything else, or a missing file."""
    if path.suffix not in SUFFIXES:
        raise UserError(
            "is neither an ONNX nor a TFLite file",
            where=str(path),
            hint="name a file that ends in .onnx or .tflite, or an output folder",
            code="format-unknown",
        )
    if not path.is_file():
        raise UserError("no such file", where=str(path), hint="check the path", code="file-missing")
    return SUFFIXES[path.suffix]


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an output folder. Raises: UserError when there is none, or it is damaged."""
    path = folder / "manifest.json"
    try:
        return decode_manifest(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            "no manifest.json: this folder is no result, or one that was rejected",
            where=str(folder),
            hint="run `edgeglm compress` again, or name a model file",
            code="manifest-missing",
        ) from None
    except WireError as error:
        raise UserError(
            str(error), where=str(path), hint="run `edgeglm compress` again", code="manifest-invalid"
        ) from None


def inspect_path(path: Path) -> list[FileFacts]:
    """Return the facts of a model file, or of every artifact of an output folder.

    All files of a folder are checked against the manifest's sha256, and artifacts are run on their golden samples.

    Raises:
        UserError: No model file, or a corrupt one; a folder whose files are not those of its manifest, or whose
            artifacts do not give their golden outputs.
    """
    if not path.is_dir():
        return [_facts(path, format_of(path))]
    manifest = read_manifest(path)
    for artifact in manifest.artifacts:
        format_of(path / artifact.path)  # refuses a file that is not there
        _check_sha256(path / artifact.path, artifact.sha256)
    golden = {artifact.golden: read_golden(path / artifact.golden) for artifact in manifest.artifacts}
    for name, sha256 in manifest.files.items():
        _check_sha256(path / name, sha256)
    facts = []
    for artifact in manifest.artifacts:
        file = path / artifact.path
        check_golden(golden[artifact.golden], file, artifact.format, quantized=artifact.scheme != "none")
        facts.append(msgspec.structs.replace(_facts(file, artifact.format), golden="passed"))
    return facts


def _check_sha256(file: Path, sha256: str) -> None:
    if not file.is_file():
        raise ModelError(
            "is not there, and the manifest lists it",
            where=str(file),
            hint="copy the whole folder again, or run `edgeglm compress` again",
            code="file-missing",
        )
    if sha256_file(file) != sha256:
        raise ModelError(
            "is not the file that the manifest lists: its sha256 differs",
            where=str(file),
            hint="the file was changed or damaged after it was made; run `edgeglm compress` again",
            code="sha256-differs",
        )


def _facts(path: Path, file_format: str) -> FileFacts:
    from edgeglm.measure.census import count_file_macs, count_file_params, describe, weight_dtypes

    inputs, outputs = describe(path, file_format)
    return FileFacts(
        path=str(path),
        format=file_format,
        size_bytes=path.stat().st_size,
        sha256=sha256_file(path),
        params=count_file_params(path, file_format),
        macs=count_file_macs(path, file_format),
        dtypes=weight_dtypes(path, file_format),
        inputs=inputs,
        outputs=outputs,
    )


def render(facts: list[FileFacts]) -> str:
    """Return the facts as text for people."""
    blocks = []
    for fact in facts:
        total = sum(fact.dtypes.values()) or 1
        by_size = sorted(fact.dtypes.items(), key=lambda item: -item[1])
        dtypes = ", ".join(f"{name} {size / total:.0%}" for name, size in by_size)
        lines = [
            f"{fact.path}  ({fact.format}, {fact.size_bytes / 1e3:.1f} kB)",
            f"  sha256      {fact.sha256}",
            f"  parameters  {fact.params:,}",
            f"  MACs        {'not known' if fact.macs is None else f'{fact.macs:,}'} (batch 1)",
            f"  weights     {dtypes}",
            *(f"  input       {_tensor(spec)}" for spec in fact.inputs),
            *(f"  output      {_tensor(spec)}" for spec in fact.outputs),
        ]
        if fact.golden:
            lines.append(f"  golden      {fact.golden}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _tensor(spec: TensorSpec) -> str:
    shape = ", ".join(["N", *(str(size) for size in spec.shape)])
    return f"{spec.name}: {spec.dtype} ({shape}){f' {spec.layout}' if spec.layout else ''}"
