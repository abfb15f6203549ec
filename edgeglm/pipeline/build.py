"""The files of one recipe's networks, each from the cache when it was made before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeglm.artifacts.built import ONE_ROW, Built, Calls
from edgeglm.cache import Cache, Entry, make_key
from edgeglm.errors import ExportError
from edgeglm.files import sha256_file
from edgeglm.formats import companions, digest, file_name, size_bytes
from edgeglm.host import cpu_features, has_fast_int8
from edgeglm.model import Model, ModelFile
from edgeglm.recipe import Quantize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from edgeglm.boards import Board
    from edgeglm.data.splits import Arrays, Split
    from edgeglm.pipeline.project import Project
    from edgeglm.recipe import ArtifactConfig
    from edgeglm.schemes import SchemeConfig

CALIBRATION_BATCH = 32


@dataclass(frozen=True)
class File:
    """A model file that was written, loaded and run, with the files that belong to it."""

    built: Built
    sha256: str  # of the file itself
    digest: str  # of all its files
    folder: Path

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return size_bytes(self.built.path, self.built.format)

    @property
    def companions(self) -> tuple[Path, ...]:
        """The files that travel with it."""
        return companions(self.built.path, self.built.format)


@dataclass(frozen=True)
class CalibrationBatches:
    """Samples in batches, in the model's layout; each pass reads them anew."""

    split: Split
    chosen: np.ndarray  # (N,) int64

    def __iter__(self) -> Iterator[Arrays]:
        for start in range(0, len(self.chosen), CALIBRATION_BATCH):
            yield self.split.rows(self.chosen[start : start + CALIBRATION_BATCH])


def calibration_batches(split: Split, limit: int, *, seed: int = 0) -> CalibrationBatches:
    """Return at most ``limit`` samples in batches, drawn by ``seed``: a split may be sorted."""
    return CalibrationBatches(split, np.random.default_rng(seed).permutation(len(split))[:limit])


class Builder:
    """Writes the files of one network: the float file of each format once, then each scheme from it."""

    def __init__(self, project: Project, cache: Cache) -> None:
        self.project = project
        self.cache = cache

    def float_file(self, model: Model, key: str, file_format: str, calls: Calls = ONE_ROW) -> File:
        """Return the network as a stripped FP32 file that can be called so. Raises: ExportError."""
        if file_format == "openvino":
            return self._converted(self.float_file(model, key, "onnx"))
        entry_key = make_key(
            model=key,
            base=self.project.key,
            format=file_format,
            scheme="none",
            board=_board_key(self.project.board),
            **({"calls": msgspec.to_builtins(calls)} if calls != ONE_ROW else {}),
        )
        sample, board = self.project.sample, self.project.board
        return self._made(
            entry_key,
            file_name(file_format),
            lambda path: export_float(model, sample, path, file_format, board=board, calls=calls),
        )

    def baseline(self) -> File:
        """Return the original as everything is measured against it: FP32 ONNX, or the source file itself.

        Raises:
            ExportError: ONNX lacks an operator of the network; the layer is named.
        """
        original = self.project.original
        try:
            if isinstance(original, ModelFile):
                return self.source_file(original)
            return self.float_file(original, self.project.key, "onnx")
        except ExportError as error:
            raise error.at("baseline") from error

    def artifact(self, model: Model | ModelFile, key: str, config: ArtifactConfig, *, where: str) -> File:
        """Return one artifact of a recipe. Raises: ExportError, with ``where`` as its place when it has none."""
        calls = self.calls(model, config) if isinstance(model, Model) else ONE_ROW
        source = self.source(model, key, config.format, calls)
        if config.scheme == "none":
            return source
        return self._quantized(source, config, where=where)

    def calls(self, model: Model, config: ArtifactConfig) -> Calls:
        """Return how an artifact shall be callable. Raises: ExportError (``buckets-unusable``)."""
        batches = tuple(sorted(set(config.signatures.batch)))
        if not config.buckets:
            return Calls(batches)
        from edgeglm.artifacts.sequences import make_buckets

        tokenizing = (step.settings for step in self.project.recipe.preprocess if step.op == "tokenize")
        mask = next(tokenizing, {}).get("attention_mask") or "attention_mask"
        return Calls(batches, make_buckets(model, config.buckets, mask=mask))

    def source(self, model: Model | ModelFile, key: str, file_format: str, calls: Calls = ONE_ROW) -> File:
        """Return the float file that the artifacts of one format are made from. Raises: ExportError."""
        if isinstance(model, Model):
            return self.float_file(model, key, file_format, calls)
        source = self.source_file(model)
        return self._converted(source) if file_format == "openvino" else source

    def source_file(self, model: ModelFile) -> File:
        """Return a source that is a file already, stripped, as the float file of its format.

        Raises:
            ExportError: The board does not take its opset; whatever is made of it would not run there.
        """
        from edgeglm.artifacts.source import take_source

        project = self.project
        entry_key = make_key(
            source=project.weights_sha256,
            format=model.format,
            **({"constants": model.constants} if model.constants else {}),
            board=_board_key(project.board),
            versions=project.versions,
        )

        def take(path: Path) -> Built:
            batch, warnings = take_source(model, path, board=project.board)
            return Built(path, model.format, "none", model.inputs, model.outputs, batch, "", warnings)

        return self._made(entry_key, file_name(model.format), take)

    def _converted(self, source: File) -> File:
        """Return an FP32 ONNX file as OpenVINO IR. Raises: ExportError."""
        project, batch = self.project, self.project.recipe.serve.batch
        entry_key = make_key(source=source.digest, format="openvino", batch=batch, versions=project.versions)
        return self._made(
            entry_key, file_name("openvino"), lambda path: convert_file(source.built, path, project, batch=batch)
        )

    def _quantized(self, source: File, config: ArtifactConfig, *, where: str) -> File:
        project, file_format, quantization = self.project, config.format, config.quantization
        calibrated = not isinstance(quantization, Quantize) or quantization.reads_samples(file_format)
        entry_key = make_key(
            source=source.digest,
            quantization=msgspec.to_builtins(quantization),
            data=project.data.sha256 if calibrated else "",
            **({"seed": project.recipe.seed} if calibrated else {}),
            board=_board_key(project.board),
            fast_int8=has_fast_int8(cpu_features(), "x86_64"),  # without it, weights keep a bit in reserve
            versions=project.versions,
        )

        def quantize(path: Path) -> Built:
            calibration = project.data.calibration
            limit = quantization.calibration_samples
            samples = calibration_batches(calibration, limit, seed=project.recipe.seed)
            built = quantize_file(source.built.path, path, file_format, quantization, samples, board=project.board)
            if digest(path, file_format) == source.digest:
                raise ExportError(
                    f"{config.scheme} changed nothing: the file is the float file",
                    where=where,
                    hint="remove entries from `ignore`, or ask for another scheme",
                    code="quantized-nothing",
                )
            return replace(built, buckets=source.built.buckets)

        return self._made(entry_key, file_name(file_format, config.scheme), quantize)

    def _made(self, key: str, name: str, make: Callable[[Path], Built]) -> File:
        """Return the file of this key, made by ``make`` at the path it is given unless the cache holds it whole."""
        with self.cache.entry("artifact", key) as entry:
            return _stored(entry) or _finish(entry, make(entry.folder / name))


def export_float(
    model: Model, sample: Arrays, path: Path, file_format: str, *, board: Board, calls: Calls = ONE_ROW
) -> Built:
    """Write the network as an FP32 file of this format. Raises: ExportError, MissingExtraError."""
    if file_format == "onnx":
        from edgeglm.artifacts import onnx as artifacts
    else:
        from edgeglm.artifacts import tflite as artifacts  # type: ignore[no-redef]
    return artifacts.export_float(model, sample, path, board=board, calls=calls)


def convert_file(source: Built, path: Path, project: Project, *, batch: int) -> Built:
    """Write an FP32 ONNX file as OpenVINO IR for so many rows at a time. Raises: ExportError, MissingExtraError."""
    from edgeglm.artifacts import openvino
    from edgeglm.measure.evaluate import to_file_inputs

    inputs = to_file_inputs(project.sample, project.original.inputs, source.inputs)
    return openvino.convert_float(source.path, path, inputs, batch=batch)


def quantize_file(
    source: Path,
    path: Path,
    file_format: str,
    quantization: SchemeConfig,
    calibration: Iterable[Arrays],
    *,
    board: Board,
) -> Built:
    """Write a quantized file from an FP32 one of the same format. Raises: ExportError, MissingExtraError."""
    if not isinstance(quantization, Quantize):
        from edgeglm.artifacts import plugin_scheme

        return plugin_scheme.quantize(source, path, file_format, quantization, iter(calibration), board=board)
    if file_format == "onnx":
        from edgeglm.artifacts import onnx as artifacts
    elif file_format == "openvino":
        from edgeglm.artifacts import openvino as artifacts  # type: ignore[no-redef]
    else:
        from edgeglm.artifacts import tflite as artifacts  # type: ignore[no-redef]
    return artifacts.quantize(source, path, quantization, calibration, board=board)


def _board_key(board: Board) -> dict[str, Any]:
    """Return what of a board decides the bytes of a file."""
    return {
        "arch": board.arch,
        "opset": board.opset,
        "ir_version": board.ir_version,
        "activation_type": board.activation_type,
        "integer_relu": board.integer_relu,
    }


def _finish(entry: Entry, built: Built) -> File:
    described = msgspec.to_builtins(replace(built, path=Path(built.path.name)), enc_hook=str)
    sha256, whole = sha256_file(built.path), digest(built.path, built.format)
    others = [path.name for path in companions(built.path, built.format)]
    entry.finish(built.path.name, *others, built=described, sha256=sha256)
    return File(built, sha256, whole, entry.folder)


def _stored(entry: Entry) -> File | None:
    """Return the file that an entry holds; None when it is incomplete, or not what was written."""
    result = entry.result
    try:
        built = msgspec.convert((result or {})["built"], Built, dec_hook=lambda kind, value: kind(value))
    except (KeyError, msgspec.ValidationError):
        return None
    path = entry.folder / built.path
    sha256 = str((result or {}).get("sha256"))
    if not path.is_file() or sha256_file(path) != sha256:
        return None
    return File(replace(built, path=path), sha256, digest(path, built.format), entry.folder)
