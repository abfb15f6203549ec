"""Golden samples: inputs, and the outputs that a file must still give; judged by one rule on host and board."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

FLOAT_TOLERANCE = 1e-4  # of max|reference|
NUMBER_ERROR = 0.1  # squared, of the variance over samples: of numbers that are the answer
QUANTIZED_ERROR = 0.02  # the same of all else: what a cosine of .99 leaves
QUANTIZED_COSINE = 0.99
FOLLOWS = 0.5  # correlation with the reference below which alike directions and decisions prove nothing
DIRECTION = 8  # numbers from which on the angle between two rows says something
_OWN_SCALE = 16  # numbers up to which each is held against its own variance
_RESOLUTION = 0.01  # variation, in shares of its size, below which a number counts as a constant
_OTHERS = 0.1  # of the other numbers' size: what one that is always 0 is held against
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BOOL": "|b1",
    **{f"{sign}{8 * size}": f"<{sign.lower()}{size}" for sign in "IU" for size in (1, 2, 4, 8)},
}
_HEADER_BYTES = 1_000_000


class GoldenError(ValueError):
    """Bytes that hold no golden samples."""


class Golden(msgspec.Struct, frozen=True):
    """Samples and what they must give, by name, first axis samples."""

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]

    @property
    def samples(self) -> int:
        """How many."""
        return len(next(iter(self.inputs.values())))


def read_golden(data: bytes) -> Golden:
    """Return the golden samples that a safetensors file holds: ``input.<name>`` and ``output.<name>``.

    Raises:
        GoldenError: It is damaged, or an input or output is missing, or they are of different lengths.
    """
    golden = Golden({}, {})
    for key, values in _tensors(data).items():
        kind, _, name = key.partition(".")
        if kind in ("input", "output"):
            (golden.inputs if kind == "input" else golden.outputs)[name] = values
    lengths = {len(v) if v.ndim else 0 for part in (golden.inputs, golden.outputs) for v in part.values()}
    if not golden.inputs or not golden.outputs or len(lengths) != 1 or 0 in lengths:
        raise GoldenError("an input or an output is missing, or they are of different lengths")
    return golden


def _tensors(data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of a safetensors file: eight bytes of length, a header in JSON, then the numbers.

    Source: https://github.com/huggingface/safetensors, section Format.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 10 <= end <= min(len(data), _HEADER_BYTES):
        raise GoldenError("its header is damaged")
    arrays: dict[str, np.ndarray] = {}
    try:
        for name, entry in json.loads(data[8:end]).items():
            if name == "__metadata__":
                continue
            first, last = entry["data_offsets"]
            if not 0 <= first <= last <= len(data) - end:
                raise ValueError("offsets beyond its end")
            flat = np.frombuffer(data[end + first : end + last], _DTYPES[entry["dtype"]])
            arrays[name] = flat.reshape([int(length) for length in entry["shape"]])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise GoldenError(f"its header is damaged: {error}") from error
    return arrays


def difference(reference: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray], *, quantized: bool) -> str:
    """Return how outputs miss their golden ones; empty where they do not.

    Float passes when the largest difference is at most 1e-4 of the largest reference value. Quantized passes by one
    of these, for every output:

    - by value: the squared error is at most 2 % of what numbers vary by over the samples (their variance), 10 % of
      outputs of less than 8 numbers. Up to 16 numbers are each held against their own variance.
    - by direction, of 8 numbers or more: the mean cosine is at least .99.
    - by decision, of outputs (N, K) with several K: the largest value of every sample is the same one.

    Directions and decisions prove nothing where a constant would have them, too: there the outputs must also go up
    and down with the reference's, by a correlation of .5.

    Args:
        reference: Outputs by name, first axis samples.
        got: The outputs to judge.
        quantized: Whether the file computes in a lower precision than float32.
    """
    shapes, other = _shapes(reference), _shapes(got)
    if shapes != other:
        return f"its outputs are {other}, they should be {shapes}"
    for name, values in reference.items():
        said = _difference(values, got[name], quantized=quantized)
        if said:
            return f"output `{name}`: {said}"
    return ""


def _difference(reference: np.ndarray, got: np.ndarray, *, quantized: bool) -> str:
    if not reference.size:
        return "it is empty"
    rows = len(reference)
    a = reference.reshape(rows, -1).astype(np.float64)
    b = got.reshape(rows, -1).astype(np.float64)
    if not np.isfinite(a).all():
        return "its golden values are not finite"
    if not np.isfinite(b).all():
        return "what it gives is not finite (NaN or infinity)"
    if not quantized:
        apart, largest = float(np.max(np.abs(a - b))), float(np.max(np.abs(a)))
        allowed = FLOAT_TOLERANCE * largest
        return "" if apart <= allowed else f"max difference {apart:.3g}, at most {allowed:.3g} may be"
    cosine = float(np.mean(cosines(a, b))) if a.shape[1] >= DIRECTION else None
    share = error_share(a, b)
    if share <= (NUMBER_ERROR if cosine is None else QUANTIZED_ERROR):
        return ""
    same = int((reference.argmax(axis=1) == got.argmax(axis=1)).sum()) if _has_classes(reference) else None
    follows = correlation(a, b)
    if (same == rows or (cosine or 0.0) >= QUANTIZED_COSINE) and follows >= FOLLOWS:
        return ""
    decisions = "" if same is None else f", {same} of {rows} decisions"
    direction = "" if cosine is None else f", cosine {cosine:.3f}"
    return f"squared error {100 * share:.3g} % of their variance{direction}{decisions}, correlation {follows:.2f}"


def _has_classes(values: np.ndarray) -> bool:
    return values.ndim == 2 and values.shape[1] >= 2


def error_share(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean squared error as a share of the reference's variance over samples, at most 1e6.

    Of a few numbers it is that of the worst one. A number that hardly varies is held against 1 % of its own size
    instead: an 8-bit one tells hardly finer. Of one sample there is no variance: it is held against its size.

    Args:
        a: (N, D) float64, the reference.
        b: (N, D) float64.
    """
    error, square = ((a - b) ** 2).mean(axis=0), (a**2).mean(axis=0)  # (D,)
    spread = square if len(a) == 1 else np.maximum(a.var(axis=0), _RESOLUTION**2 * square)
    spread = np.where(square > 0, spread, _OTHERS**2 * square.mean())  # one that is always 0 has no size of its own
    if a.shape[1] > _OWN_SCALE:
        error, spread = error.mean(keepdims=True), spread.mean(keepdims=True)
    with np.errstate(over="ignore"):  # of references that are all 0
        shares = np.where(error > 0, error / np.maximum(spread, np.finfo(np.float64).tiny), 0.0)
    return float(min(shares.max(), 1e6))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return how far the second goes up and down with the first over the samples, -1 to 1.

    Where one of them does not vary that is 0, and of one sample 1: there is nothing to ask.

    Args:
        a: (N, D) float64, the reference.
        b: (N, D) float64.
    """
    if len(a) == 1:
        return 1.0
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    product = float((a**2).sum()) * float((b**2).sum())
    return float((a * b).sum()) / math.sqrt(product) if product else 0.0


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of rows (N, D); of two zero rows 1, of one zero row 0."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    equal = (a == b).all(axis=1)
    dots = np.einsum("ij,ij->i", a, b)
    return np.asarray(np.where(norms > 0, dots / np.where(norms > 0, norms, 1.0), equal.astype(np.float64)))


def _shapes(arrays: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"`{name}` {'x'.join(map(str, arrays[name].shape))}" for name in sorted(arrays)) or "nothing"
