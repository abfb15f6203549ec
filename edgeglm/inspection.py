"""`edgeglm inspect`: what a model file holds, and whether a result is still what was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from edgeglm_agent.wire import Manifest, TensorSpec, WireError, decode_manifest
from edgeglm_agent.worker.folder import FolderError, MissingFileError, file_inside

from edgeglm.errors import ModelError, UserError
from edgeglm.files import sha256_file
from edgeglm.formats import SUFFIXES, companions, size_bytes
from edgeglm.output.golden import check_golden, read_golden

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FORMATS = {suffix: file_format for file_format, suffix in SUFFIXES.items()}  # by the end of the name


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
    batch: int | None = None  # the one batch size that it takes; None: any
    golden: str = ""  # "passed": a file of a result that still gives its golden outputs


def format_of(path: Path) -> str:
    """Return onnx, tflite or openvino, by the file's name. Raises: UserError for anything else, or a missing file."""
    if path.is_dir():
        raise UserError(
            "is a folder, and a model file is wanted here",
            where=str(path),
            hint=f"name {_named(found)}" if (found := _model_files(path)) else "name a file in it",
            code="format-unknown",
        )
    if path.suffix not in FORMATS:
        raise UserError(
            "is no ONNX, TFLite or OpenVINO file",
            where=str(path),
            hint="name a file that ends in .onnx, .tflite or .xml, or an output folder",
            code="format-unknown",
        )
    if not path.is_file():
        raise UserError("no such file", where=str(path), hint="check the path", code="file-missing")
    return FORMATS[path.suffix]


def _model_files(folder: Path) -> list[Path]:
    """Return the model files of an output folder, those that were rejected included."""
    places = (folder, folder / "rejected")
    return [file for place in places for file in sorted(place.glob("*")) if file.suffix in FORMATS]


def _named(files: Sequence[Path]) -> str:
    """Return `a, b or c`."""
    names = [str(file) for file in files]
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an output folder. Raises: UserError when there is none, or it is damaged."""
    path = folder / "manifest.json"
    try:
        return decode_manifest(path.read_bytes())
    except FileNotFoundError:
        rejected = _model_files(folder) if (folder / "rejected").is_dir() else []
        raise UserError(
            "a result that was rejected: it missed its budget, and has no manifest.json"
            if rejected
            else "no manifest.json: this folder is no result",
            where=str(folder),
            hint=f"to look at what was rejected, name the file: {_named(rejected)}"
            if rejected
            else "run `edgeglm compress` again, or name a model file",
            code="manifest-missing",
        ) from None
    except (WireError, RecursionError) as error:
        raise UserError(
            str(error), where=str(path), hint="run `edgeglm compress` again", code="manifest-invalid"
        ) from None


def artifact_files(folder: Path, manifest: Manifest) -> list[Path]:
    """Return the paths of a manifest's artifacts. Raises: ModelError: see ``_listed_file``."""
    files = [_listed_file(folder, artifact.path) for artifact in manifest.artifacts]
    for file, artifact in zip(files, manifest.artifacts, strict=True):
        for beside in companions(file, artifact.format):
            _listed_file(folder, beside.relative_to(folder).as_posix())
    return files


def _listed_file(folder: Path, name: str) -> Path:
    """Return the path of a file that a folder's manifest lists, which need not exist; as a board looks it up.

    Raises:
        ModelError: The path leads out of the folder, by itself or by a symbolic link, or to what is no file
            (``manifest-invalid``).
    """
    try:
        file_inside(folder, name)
    except MissingFileError:
        pass  # what reads it says so
    except FolderError as error:
        raise ModelError(
            str(error),
            where=str(folder / "manifest.json"),
            hint="a result holds its own files: copy the whole folder again, or run `edgeglm compress` again",
            code="manifest-invalid",
        ) from error
    return folder / name


def inspect_path(path: Path) -> list[FileFacts]:
    """Return the facts of a model file, or of every artifact of an output folder.

    All files of a folder must lie within it and have the manifest's sha256; artifacts are run on their golden samples.

    Raises:
        UserError: No model file, or a corrupt one; a folder whose files are not those of its manifest, or whose
            artifacts do not give their golden outputs.
    """
    if not path.is_dir():
        return [_facts(path, format_of(path))]
    manifest = read_manifest(path)
    files = artifact_files(path, manifest)
    for file, artifact in zip(files, manifest.artifacts, strict=True):
        format_of(file)  # refuses a file that is not there
        _check_sha256(file, artifact.sha256)
    golden = {artifact.golden: read_golden(_listed_file(path, artifact.golden)) for artifact in manifest.artifacts}
    for name, sha256 in manifest.files.items():
        _check_sha256(_listed_file(path, name), sha256)
    facts = []
    for file, artifact in zip(files, manifest.artifacts, strict=True):
        check_golden(
            golden[artifact.golden],
            file,
            artifact.format,
            quantized=artifact.scheme != "none",
            batch=manifest.serve_batch,
            buckets=artifact.buckets,
        )
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
    from edgeglm.measure.census import count_file_macs, count_file_params, describe_with_batch, weight_dtypes

    inputs, outputs, batch = describe_with_batch(path, file_format)
    return FileFacts(
        path=str(path),
        format=file_format,
        size_bytes=size_bytes(path, file_format),
        sha256=sha256_file(path),
        params=count_file_params(path, file_format),
        macs=count_file_macs(path, file_format),
        dtypes=weight_dtypes(path, file_format),
        inputs=inputs,
        outputs=outputs,
        batch=batch,
    )


def render(facts: list[FileFacts]) -> str:
    """Return the facts as text for people."""
    blocks = []
    for fact in facts:
        lines = [
            f"{fact.path}  ({fact.format}, {fact.size_bytes / 1e3:.1f} kB)",
            f"  sha256      {fact.sha256}",
            f"  parameters  {fact.params:,}",
            f"  MACs        {'not known' if fact.macs is None else f'{fact.macs:,}'} (batch 1)",
            f"  weights     {_shares(fact.dtypes)}",
            *(f"  input       {_tensor(spec, fact.batch)}" for spec in fact.inputs),
            *(f"  output      {_tensor(spec, fact.batch)}" for spec in fact.outputs),
        ]
        if fact.golden:
            lines.append(f"  golden      {fact.golden}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _shares(sizes: dict[str, int]) -> str:
    """Return `int8 75%, float32 25%`: percents that add up to 100, the largest remainders rounded up."""
    total = sum(sizes.values()) or 1
    percents = {name: 100 * size // total for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: -(100 * sizes[name] % total))
    for name in by_remainder[: 100 - sum(percents.values()) if sizes else 0]:
        percents[name] += 1
    by_size = sorted(sizes, key=lambda name: -sizes[name])
    return ", ".join(f"{name} {f'{percents[name]}%' if percents[name] else 'under 1%'}" for name in by_size)


def _tensor(spec: TensorSpec, batch: int | None) -> str:
    shape = ", ".join([str(batch or "N"), *(str(size) for size in spec.shape)])
    return f"{spec.name}: {spec.dtype} ({shape}){f' {spec.layout}' if spec.layout else ''}"
