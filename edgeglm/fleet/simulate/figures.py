"""What a window says of a model: sketches and counts, packed once and used by every board that serves it."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

from edgeglm_agent.wire.sketch import Sketch, pack_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.fleet.simulate.profile import ModelShare

VARIANTS = 8  # of one model's figures, so that no two neighbours say the same
_SPREAD = 0.01  # by which variants differ
_BINS = 10
_CONFIDENCE_SPREAD = 0.08
_UNSURE = 0.15  # what drift takes from the confidence
_OVERHEAD = 1.15  # from input to result, beside the model alone
_MOST_POINTS = 1000
_Z95 = NormalDist().inv_cdf(0.95)


class Figures(NamedTuple):
    """Of one window."""

    inferences: int
    latency_ms: bytes
    total_ms: bytes
    confidence: bytes
    classes: dict[int, int]


@cache
def figures(model: ModelShare, n: int, slowness: float, *, drifted: bool) -> tuple[Figures, ...]:
    """Return what windows of so many inferences say, in ``VARIANTS`` variants.

    Args:
        model: What is served.
        n: Inferences of a window.
        slowness: Latencies are the model's times this.
        drifted: The inputs are others than the model was proved on: it is less sure, and answers otherwise.
    """
    latency = model.latency_ms
    weights = [1 / (1 + number) for number in range(model.classes)]
    counts = apportioned(n, weights[::-1] if drifted else weights)
    sure = max(0.0, model.confidence - _UNSURE) if drifted else model.confidence
    confidence = pack_numbers(apportioned(n, _bins(sure))) if model.classes else b""
    factors = [slowness * (1 + _SPREAD * (variant - (VARIANTS - 1) / 2)) for variant in range(VARIANTS)]
    return tuple(
        Figures(
            n,
            lognormal(latency.p50 * factor, latency.p95 * factor, n).pack(),
            lognormal(latency.p50 * factor * _OVERHEAD, latency.p95 * factor * _OVERHEAD, n).pack(),
            confidence,
            {number: count for number, count in enumerate(counts) if count},
        )
        for factor in factors
    )


def lognormal(p50: float, p95: float, n: int) -> Sketch:
    """Return a sketch of so many values that have these two percentiles."""
    sigma = math.log(p95 / p50) / _Z95
    points = min(n, _MOST_POINTS)
    sketch, normal = Sketch(), NormalDist()
    for at in range(points):
        value = p50 * math.exp(sigma * normal.inv_cdf((at + 0.5) / points))
        sketch.add(value)
    if n > points:
        indices = sorted(sketch.counts)
        weights = [float(sketch.counts[index]) for index in indices]
        sketch.counts = {index: count for index, count in zip(indices, apportioned(n, weights), strict=True) if count}
    return sketch


def apportioned(n: int, weights: Sequence[float]) -> list[int]:
    """Return whole numbers that come to n, in the proportion of the weights."""
    total, so_far, given, counts = sum(weights), 0.0, 0, []
    for weight in weights:
        so_far += weight
        upto = round(n * so_far / total)
        counts.append(upto - given)
        given = upto
    return counts


def _bins(mean: float) -> list[float]:
    normal = NormalDist(mean, _CONFIDENCE_SPREAD)
    return [normal.cdf((at + 1) / _BINS) - normal.cdf(at / _BINS) + 1e-9 for at in range(_BINS)]
