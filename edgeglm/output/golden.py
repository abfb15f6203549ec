"""Golden samples of a result: inputs, and the outputs that its files must still give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from edgeglm_agent import golden
from edgeglm_agent.processing import cut_to_bucket

from edgeglm.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm_agent.golden import Golden
    from edgeglm_agent.wire import Buckets

    from edgeglm.data.splits import Arrays


def read_golden(path: Path) -> Golden:
    """Return golden samples, as a board reads them.

    Raises:
        ModelError: There is no such file, or it holds none.
    """
    again = "copy the whole folder again, or run `edgeglm compress` again"
    if not path.is_file():
        raise ModelError("no such golden samples", where=str(path), hint=again, code="golden-missing")
    try:
        return golden.read_golden(path.read_bytes())
    except golden.GoldenError as error:
        raise ModelError(
            f"holds no golden samples: {error}", where=str(path), hint=again, code="golden-corrupt"
        ) from error


def golden_outputs(
    inputs: Arrays, file: Path, file_format: str, *, batch: int = 1, buckets: Buckets | None = None
) -> Arrays:
    """Return what a file answers to golden inputs, in its own layout, on one thread, as on a board.

    Args:
        inputs: By name, first axis samples.
        file: The model file.
        file_format: onnx | tflite | ...
        batch: Rows a run, as they are served: answers of a dynamic-INT8 file depend on it. The last run may have fewer.
        buckets: Lengths that each run's sequences are cut to; None: they stay.
    """
    from edgeglm.measure.worker import Runner

    rows: dict[str, list[np.ndarray]] = {}
    with Runner(file, format=file_format, threads=1) as runner:
        for row in range(0, len(next(iter(inputs.values()))), batch):
            part = {key: values[row : row + batch] for key, values in inputs.items()}
            for name, value in runner.run(cut_to_bucket(part, buckets)).items():
                rows.setdefault(name, []).append(value)
    return {name: np.concatenate(values) for name, values in rows.items()}


def check_golden(
    samples: Golden,
    file: Path,
    file_format: str,
    *,
    quantized: bool,
    batch: int = 1,
    buckets: Buckets | None = None,
) -> None:
    """Run a model file on its golden samples, ``batch`` rows at a time, cut to its buckets; judge it as a board does.

    Raises:
        ModelError: It does not give their outputs on this host.
    """
    outputs = golden_outputs(samples.inputs, file, file_format, batch=batch, buckets=buckets)
    missed = golden.difference(samples.outputs, outputs, quantized=quantized)
    if missed:
        raise ModelError(
            f"does not give its golden outputs on this host: {missed}",
            where=str(file),
            hint="the runtime here computes something else than where the file was made: compare the versions in "
            "manifest.json with those of `edgeglm doctor`",
            code="golden-failed",
        )
