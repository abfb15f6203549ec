"""What a file answers on a whole split, in a child process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from edgeglm_agent.processing import ProcessingError, cut_to_bucket, to_layout

from edgeglm.data.splits import batches
from edgeglm.errors import ExportError
from edgeglm.measure.worker import Runner

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeglm_agent.wire import Buckets, TensorSpec

    from edgeglm.data.splits import Arrays, Split

_ROWS = 64  # at a time, where the caller does not mind
_OTHER = {"NCHW": "NHWC", "NHWC": "NCHW"}


def predict_file(
    path: Path,
    *,
    format: str,  # noqa: A002 - the manifest's word
    split: Split,
    inputs: Sequence[TensorSpec],
    batch: int | None,
    threads: int,
    buckets: Buckets | None = None,
) -> Arrays:
    """Run a file over a whole split.

    Args:
        path: The file.
        format: ``onnx`` or ``tflite``.
        split: Inputs by name, in the model's layout.
        inputs: The model's inputs: the layout that the split lies in.
        batch: Rows at a time. Answers of a dynamic-INT8 file depend on it (one activation scale a tensor), so judge
            at the size that will be served. None: whatever is convenient.
        threads: Threads of the runtime.
        buckets: Each batch is cut to the smallest of these that holds its longest row; None: none is cut.

    Returns:
        Outputs by name, float32, first axis as long as the split.

    Raises:
        ExportError: The file does not load, or takes other inputs than the model.
        WorkerError: The child died.
    """
    parts: dict[str, list[np.ndarray]] = {}
    with Runner(path, format=format, threads=threads) as runner:
        step = batch or _ROWS
        for _, rows in batches(split, max(step, _ROWS)):
            given = to_file_inputs(rows, inputs, runner.inputs, where=str(path))
            for start in range(0, len(next(iter(given.values()))), step):
                part = {name: values[start : start + step] for name, values in given.items()}
                outputs = runner.run(cut_to_bucket(part, buckets))
                for name, values in outputs.items():
                    parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def to_file_inputs(
    rows: Arrays, model_inputs: Sequence[TensorSpec], file_inputs: Sequence[TensorSpec], *, where: str = ""
) -> Arrays:
    """Return rows of a model as a file of it takes them: matched by name, in the file's layout and type.

    A model and a file with one input each are matched whatever the names: there is nothing to mix up. A file does not
    say its layout, an engine reads it from the shape: where the model's rows in that layout do not fit the shape but
    in the other one do, they go in the other one.

    Args:
        rows: By the model's input names, in the model's layout.
        model_inputs: The model's inputs.
        file_inputs: The file's inputs.
        where: The file, for errors.

    Raises:
        ExportError: Names, ranks or layouts do not fit (``input-mismatch``).
    """
    known = {spec.name: spec for spec in model_inputs}
    names = {spec.name: spec.name for spec in file_inputs}
    if len(file_inputs) == len(rows) == 1:
        names = {file_inputs[0].name: next(iter(rows))}
    missing = [name for name in names.values() if name not in rows]
    if missing or len(names) != len(rows):
        raise ExportError(
            f"the file takes {', '.join(names)}; the data gives {', '.join(rows)}",
            hint="name the model's inputs in the data as the file names them",
            where=where,
            code="input-mismatch",
        )
    given: Arrays = {}
    for spec in file_inputs:
        values = rows[names[spec.name]]
        try:
            moved = _moved(values, known.get(names[spec.name], spec), spec)
        except ProcessingError as error:
            raise ExportError(
                f"input {spec.name}: {error}",
                hint="see what the file takes: edgeglm inspect",
                where=where,
                code="input-mismatch",
            ) from error
        given[spec.name] = np.ascontiguousarray(moved, dtype=spec.dtype)
    return given


def _moved(values: np.ndarray, model: TensorSpec, file: TensorSpec) -> np.ndarray:
    """Return rows of a model's input as the file takes them. Raises: ProcessingError."""
    moved = to_layout(values, model.layout, file.layout)
    other = _OTHER.get(file.layout)
    # rows that are wrong for the model itself are not set right here: they would be wrong on the board
    if other and _fits(values, model) and not _fits(moved, file):
        turned = to_layout(values, model.layout, other)
        return turned if _fits(turned, file) else moved
    return moved


def _fits(values: np.ndarray, spec: TensorSpec) -> bool:
    return len(spec.shape) == values.ndim - 1 and all(
        want in (-1, got) for want, got in zip(spec.shape, values.shape[1:], strict=True)
    )
