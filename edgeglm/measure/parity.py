"""Whether one set of outputs says what another says, and how far they lie apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from edgeglm_agent.golden import (
    DIRECTION,
    FLOAT_TOLERANCE,
    FOLLOWS,
    NUMBER_ERROR,
    QUANTIZED_COSINE,
    QUANTIZED_ERROR,
    correlation,
    cosines,
    error_share,
)

from edgeglm.errors import ExportError
from edgeglm.report.types import Parity
from edgeglm.tasks.statistics import mean_interval, wilson_interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeglm.data.splits import Arrays
    from edgeglm.tasks._base import ObjectiveName

QUANTIZED_AGREEMENT = 0.99
MOST_SAMPLES, LEAST_SAMPLES = 256, 16
_MOST_VALUES = 2**23  # of an output, over all samples that are compared

_Kind = Literal["classes", "pixels", "values", "embedding", "reconstruction", "outputs"]


def drawn_rows(outputs: Arrays, *, seed: int) -> np.ndarray:
    """Return which samples to compare, in order: at most 256, fewer of large outputs, drawn evenly from all.

    The first ones would not do: in sorted data they are of one class.
    """
    n = min(len(values) for values in outputs.values())
    size = max(int(np.prod(values.shape[1:])) for values in outputs.values())
    count = min(n, MOST_SAMPLES, max(LEAST_SAMPLES, _MOST_VALUES // max(1, size)))
    return np.sort(np.random.default_rng(seed).permutation(n)[:count])


def compare(
    reference: Arrays, got: Arrays, *, quantized: bool, kinds: Mapping[str, ObjectiveName] | None = None
) -> Parity:
    """Compare outputs of the same samples.

    Float passes when the largest difference is at most 1e-4 of the largest reference value. Quantized passes by one
    of these, for every output:

    - by value: the squared error is at most 10 % of what numbers vary by over the samples (their variance), 2 % where
      the output is no number to be predicted. Up to 16 numbers are each held against their own variance, so that none
      hides behind a larger one. A number has no direction: the cosine of single ones is 1 or -1.
    - by direction, of 8 values or more that are not to be predicted: the mean cosine is at least .99. Embeddings pass
      by nothing else.
    - by decision, of classes: the share of samples (of pixels) with the same largest value is not beyond doubt below
      .99: the upper end of its 95 % interval is not. So one or two samples of 64 refuse nothing, and three do.

    Directions and decisions prove nothing where a constant would have them, too: there the outputs must also go up
    and down with the reference's, by a correlation of .5.

    Args:
        reference: Outputs by name, first axis samples.
        got: The outputs to judge, same names and shapes.
        quantized: Whether the second were computed in a lower precision.
        kinds: What an output is, by name, in the words of ``ObjectiveName``. One that is not named passes by whichever
            of the three its shape allows; "outputs" is one that is known to hold no classes.

    Returns:
        The figures of the worst output. A NaN or infinity on either side never passes: what it makes meaningless is
        None, agreement 0. Agreement is 0 too where there are no decisions to agree on (``answers`` is then "").

    Raises:
        ExportError: Names or shapes differ (``outputs-differ``), or there is nothing to compare.
    """
    _check(reference, got)
    compared = [
        _compare(values, got[name], quantized=quantized, kind=(kinds or {}).get(name))
        for name, values in reference.items()
    ]
    finite = all(one.max_abs is not None for one in compared)
    decided = [one for one in compared if one.answers or one.max_abs is None]
    references = [one.max_ref for one in compared if one.max_ref is not None]
    return Parity(
        samples=min(one.samples for one in compared),
        max_abs=max(one.max_abs or 0.0 for one in compared) if finite else None,
        max_ref=max(references) if len(references) == len(compared) else None,
        cosine=min((one.cosine for one in compared if one.cosine is not None), default=None) if finite else None,
        error_share=max(one.error_share or 0.0 for one in compared) if finite else None,
        argmax_agreement=min((one.argmax_agreement for one in decided), default=0.0),
        answers=next((one.answers for one in decided), ""),
        passed=all(one.passed for one in compared),
    )


def _check(reference: Arrays, got: Arrays) -> None:
    shapes = {name: values.shape for name, values in reference.items()}
    other = {name: values.shape for name, values in got.items()}
    if shapes != other or not shapes or any(0 in shape for shape in shapes.values()):
        raise ExportError(
            f"outputs cannot be compared: {_text(shapes)} against {_text(other)}",
            hint="the file must have the outputs of the network it was made from",
            code="outputs-differ",
        )


def _compare(reference: np.ndarray, got: np.ndarray, *, quantized: bool, kind: _Kind | None) -> Parity:
    rows = len(reference)
    a = reference.reshape(rows, -1).astype(np.float64)
    b = got.reshape(rows, -1).astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        largest = float(np.max(np.abs(a))) if np.isfinite(a).all() else None
        return Parity(samples=rows, max_abs=None, max_ref=largest, cosine=None, argmax_agreement=0.0, passed=False)
    max_abs, max_ref = float(np.max(np.abs(a - b))), float(np.max(np.abs(a)))
    agreement, at_most, answers = _agreement(reference, got, kind)
    if kind in ("classes", "pixels"):  # what all logits have in common changes no probability
        a, b = _centred(a, reference.shape), _centred(b, reference.shape)
    cosine = float(np.mean(cosines(a, b))) if a.shape[1] >= DIRECTION else None
    share = error_share(a, b)
    directed = cosine is not None and kind not in ("values", "reconstruction")
    limit = QUANTIZED_ERROR if directed or kind in ("classes", "pixels") else NUMBER_ERROR
    by_value = share <= limit and not (directed and kind == "embedding")
    by_direction = directed and (cosine or 0.0) >= QUANTIZED_COSINE
    by_decision = at_most >= QUANTIZED_AGREEMENT
    alike = by_value or ((by_direction or by_decision) and correlation(a, b) >= FOLLOWS)
    return Parity(
        samples=rows,
        max_abs=max_abs,
        max_ref=max_ref,
        cosine=cosine,
        error_share=share,
        argmax_agreement=agreement,
        answers=answers,
        passed=alike if quantized else max_abs <= FLOAT_TOLERANCE * max_ref,
    )


def _agreement(reference: np.ndarray, got: np.ndarray, kind: _Kind | None) -> tuple[float, float, str]:
    """Return the share of equal decisions, the upper end of its 95 % interval, and of what: samples, pixels, or ""."""
    if kind in (None, "classes") and reference.ndim == 2 and reference.shape[1] >= 2:
        same = reference.argmax(axis=1) == got.argmax(axis=1)
        return float(same.mean()), wilson_interval(int(same.sum()), len(same))[1], "samples"
    if kind == "pixels" and reference.ndim == 4:
        shares = (reference.argmax(axis=1) == got.argmax(axis=1)).mean(axis=(1, 2))  # neighbouring pixels are alike
        return float(shares.mean()), mean_interval(shares)[1], "pixels"
    return 0.0, 0.0, ""


def _centred(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return logits (N, D) of outputs of this shape, (N, K, ...), without the mean of their K classes."""
    if len(shape) < 2 or shape[1] < 2:
        return values
    logits = values.reshape(len(values), shape[1], -1)
    return np.asarray((logits - logits.mean(axis=1, keepdims=True)).reshape(values.shape))


def _text(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"
