"""Schemes that packages add: whatever they write is loaded and run before it counts, and what they raise is theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.artifacts.built import Built
from edgeglm.artifacts.calibration import peek
from edgeglm.artifacts.capability import require
from edgeglm.artifacts.checking import check_runs, named
from edgeglm.errors import EdgeglmError, ExportError
from edgeglm.files import replacing
from edgeglm.plugins import failure, tag

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edgeglm.boards import Board
    from edgeglm.data.splits import Arrays
    from edgeglm.schemes import SchemeConfig


def quantize(
    source: Path, path: Path, file_format: str, scheme: SchemeConfig, calibration: Iterable[Arrays], *, board: Board
) -> Built:
    """Write a file as a package's scheme does, and see that it loads and runs.

    Args:
        source: FP32, of ``file_format``.
        path: Where the file goes; renamed into place once it has been loaded and run.
        file_format: onnx | tflite.
        scheme: The package's struct.
        calibration: Batches of preprocessed samples by input name.
        board: Told to the scheme.

    Raises:
        ExportError: ``scheme-failed``: the package raised, or wrote nothing; ``artifact-refused``,
            ``quantized-not-finite``.
        MissingExtraError: A package for this format is not installed.
        StorageError: The disk is full.
    """
    require(file_format)
    name = tag(scheme)
    first, batches = peek(calibration)
    row = None if file_format == "tflite" else first  # whose file may want another layout: noise tells as much
    with replacing(path, synced=False) as temporary, named(path, temporary):
        try:
            warnings = list(scheme.quantize(source, temporary, batches, board) or [])
            if not temporary.is_file() or not temporary.stat().st_size:
                raise FileNotFoundError("it wrote no file")
        except EdgeglmError:
            raise
        except Exception as error:  # someone else's package: whatever it raises is about that package
            raise ExportError(
                f"the scheme `{name}` failed: {failure(error, type(scheme))}",
                where=type(scheme).__module__,
                hint="mend the package that adds this scheme, or choose another scheme",
                code="scheme-failed",
            ) from error
        checked = check_runs(temporary, file_format, row, scheme=name)
    found = [*map(str, warnings), *checked.warnings]
    return Built(path, file_format, name, checked.inputs, checked.outputs, checked.batch, warnings=found)
