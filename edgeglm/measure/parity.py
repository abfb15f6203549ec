"""How far one set of outputs lies from another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeglm.errors import ExportError
from edgeglm.report.types import Parity

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm.data.splits import Arrays

FLOAT_TOLERANCE = 1e-4  # of max|reference|
QUANTIZED_COSINE = 0.99
QUANTIZED_AGREEMENT = 0.99


def compare(reference: Arrays, got: Arrays, *, quantized: bool) -> Parity:
    """Compare outputs of the same samples.

    Args:
        reference: Outputs by name, first axis samples.
        got: The outputs to judge, same names and shapes.
        quantized: Whether the second were computed in a lower precision. Float passes when the largest difference
            is at most 1e-4 of the largest reference value; quantized when the mean cosine of the samples, or the
            share of samples with the same argmax, is at least 0.99.

    Returns:
        The figures of the worst output. A NaN or infinity on either side never passes: what it makes meaningless is
        None, agreement 0. Agreement is 0 too where there is no argmax to speak of: an output that is not (N, K)
        with K of 2 or more.

    Raises:
        ExportError: Names or shapes differ (``outputs-differ``), or there is nothing to compare.
    """
    _check(reference, got)
    compared = [_compare(reference[name], got[name], quantized=quantized) for name in reference]
    return Parity(
        samples=min(one.samples for one in compared),
        max_abs=_worst(max, [one.max_abs for one in compared]),
        max_ref=_worst(max, [one.max_ref for one in compared]),
        cosine=_worst(min, [one.cosine for one in compared]),
        argmax_agreement=min(one.argmax_agreement for one in compared),
        passed=all(one.passed for one in compared),
    )


def _worst(worst: Callable[[list[float]], float], values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return worst(known) if len(known) == len(values) else None


def _check(reference: Arrays, got: Arrays) -> None:
    shapes = {name: values.shape for name, values in reference.items()}
    other = {name: values.shape for name, values in got.items()}
    if shapes != other or not shapes or any(0 in shape for shape in shapes.values()):
        raise ExportError(
            f"outputs cannot be compared: {_text(shapes)} against {_text(other)}",
            hint="the file must have the outputs of the network it was made from",
            code="outputs-differ",
        )


def _compare(reference: np.ndarray, got: np.ndarray, *, quantized: bool) -> Parity:
    rows = len(reference)
    a = reference.reshape(rows, -1).astype(np.float64)
    b = got.reshape(rows, -1).astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        largest = float(np.max(np.abs(a))) if np.isfinite(a).all() else None
        return Parity(samples=rows, max_abs=None, max_ref=largest, cosine=None, argmax_agreement=0.0, passed=False)
    max_abs, max_ref = float(np.max(np.abs(a - b))), float(np.max(np.abs(a)))
    cosine, agreement = float(np.mean(_cosines(a, b))), 0.0
    if reference.ndim == 2 and reference.shape[1] >= 2:
        agreement = float(np.mean(a.argmax(axis=1) == b.argmax(axis=1)))
    close = max_abs <= FLOAT_TOLERANCE * max_ref
    alike = cosine >= QUANTIZED_COSINE or agreement >= QUANTIZED_AGREEMENT
    return Parity(
        samples=rows,
        max_abs=max_abs,
        max_ref=max_ref,
        cosine=cosine,
        argmax_agreement=agreement,
        passed=alike if quantized else close,
    )


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of rows; of two zero rows 1, of one zero row 0."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    equal = (a == b).all(axis=1)
    dots = np.einsum("ij,ij->i", a, b)
    return np.asarray(np.where(norms > 0, dots / np.where(norms > 0, norms, 1.0), equal.astype(np.float64)))


def _text(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"
