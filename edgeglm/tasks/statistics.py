"""What samples can prove: intervals for a share or a mean, and for the change between two models on the same samples.

All intervals are two-sided at 95 %. The budget is judged by them, so that luck neither passes nor fails a model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeglm.report.types import Drop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Z = 1.959963984540054  # the normal distribution's 97.5 % point
MOST_SAMPLES = 10_000_000  # needing more than this is "cannot be decided"
RESAMPLES = 1000  # of a bootstrap: the ends of its interval move by a few percent of its width


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, given how many of ``n`` independent samples are right.

    Args:
        correct: 0 to ``n``.
        n: At least 1.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22:209-212; checked against Newcombe 1998, Stat. Med. 17:857-872, table I.
    """
    if not 0 <= correct <= n or n < 1:
        raise ValueError(f"{correct} of {n} is no share")
    share, spread = correct / n, _Z**2 / n
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    low = 0.0 if correct == 0 else max(0.0, middle - half)  # exact at the ends, where rounding would leave 1e-17
    return low, 1.0 if correct == n else min(1.0, middle + half)


def paired_drop(before: np.ndarray, after: np.ndarray) -> Drop:
    """Return how much was lost between two models judged on the same samples.

    Args:
        before: (N,) bool, whether the first model is right about each sample; N at least 1.
        after: (N,) bool, the same of the second.

    Returns:
        The drop as a fraction, positive when the second model is worse, with the 95 % score interval of the
        difference of paired proportions.

    Raises:
        ValueError: The arrays differ in length, or are empty.

    Source: Tango 1998, Stat. Med. 17:891-908.
    """
    if before.shape != after.shape or before.ndim != 1 or not len(before):
        raise ValueError(f"paired answers of shapes {before.shape} and {after.shape}")
    n = len(before)
    worse = int((before & ~after).sum())
    better = int((~before & after).sum())
    return Drop(value=(worse - better) / n, ci95=drop_interval(worse, better, n), n=n, worse=worse, better=better)


def drop_interval(worse: float, better: float, n: float) -> tuple[float, float]:
    """Return the 95 % interval of ``(worse - better) / n`` from the discordant counts of ``n`` pairs.

    Counts may be fractions: that answers what a larger sample at the same rates would show.

    Source: Tango 1998; the limits are found by bisection, the restricted likelihood in closed form (his equation 20).
    """
    if worse < 0 or better < 0 or n <= 0 or worse + better > n * (1 + 1e-9):  # fractions of counts round
        raise ValueError(f"{worse} worse and {better} better of {n} pairs")
    return -_upper_limit(better, worse, n), _upper_limit(worse, better, n)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the mean of (N,) independent values by Student's t; of one value, the value itself.

    Source: Student 1908, Biometrika 6:1-25.
    """
    n, mean = len(values), float(np.mean(values, dtype=np.float64))
    if n < 2:
        return mean, mean
    half = student_quantile(n - 1) * float(np.std(values, ddof=1, dtype=np.float64)) / math.sqrt(n)
    return mean - half, mean + half


def paired_mean_drop(before: np.ndarray, after: np.ndarray, *, higher_is_better: bool) -> Drop:
    """Return what the mean of a score lost between two models judged on the same samples.

    Args:
        before: (N,) score of each sample by the first model; N at least 1.
        after: (N,) the same of the second.
        higher_is_better: Whether a lower score is a loss, or a higher one.

    Returns:
        The drop in the score's unit, positive when the second model is worse, with the t interval of the mean of the
        differences.

    Raises:
        ValueError: The arrays differ in length, or are empty.
    """
    if before.shape != after.shape or before.ndim != 1 or not len(before):
        raise ValueError(f"paired scores of shapes {before.shape} and {after.shape}")
    lost = before.astype(np.float64) - after if higher_is_better else after.astype(np.float64) - before
    return Drop(
        value=float(lost.mean()),
        ci95=mean_interval(lost),
        n=len(lost),
        worse=int((lost > 0).sum()),
        better=int((lost < 0).sum()),
        method="means",
    )


def bootstrap_interval(statistic: Callable[[np.ndarray], float], n: int, *, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile interval of a statistic of ``n`` samples.

    Args:
        statistic: Takes (n,) sample numbers, drawn with replacement, and returns the figure; NaN where such a draw
            has none (then it is left out).
        n: How many samples there are.
        seed: Decides the draws.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    found = np.array([statistic(rows) for rows in bootstrap_rows(n, seed=seed)], dtype=np.float64)
    interval = percentile_interval(found)
    if interval is None:
        value = statistic(np.arange(n))
        return value, value
    return interval


def bootstrap_rows(n: int, resamples: int = RESAMPLES, *, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield ``n`` sample numbers (n,) drawn with replacement, so many times; a seed gives the same ones every time."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield rng.integers(0, n, n)


def bootstrap_weights(n: int, *, seed: int = 0) -> np.ndarray:
    """Return how often each of ``n`` samples is in each of the draws of ``bootstrap_interval``, (RESAMPLES, n).

    A metric that is made of sums over samples is that of all draws at once by a product with it.
    """
    return np.stack([np.bincount(rows, minlength=n) for rows in bootstrap_rows(n, seed=seed)])


def percentile_interval(values: np.ndarray) -> tuple[float, float] | None:
    """Return the middle 95 % of what a bootstrap found, (B,); NaN are left out; None: there is nothing else."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def bootstrap_drop(
    before: Callable[[np.ndarray], float],
    after: Callable[[np.ndarray], float],
    n: int,
    *,
    higher_is_better: bool,
    worse: int = 0,
    better: int = 0,
) -> Drop:
    """Return what a metric that is no mean of samples lost, both models judged on the same draws of samples.

    Args:
        before: The first model's metric over these (M,) sample numbers.
        after: The second's.
        n: How many samples there are.
        higher_is_better: Direction of the metric.
        worse: Samples whose own score got worse, where samples have one.
        better: Samples whose own score got better.
    """
    sign = 1.0 if higher_is_better else -1.0

    def lost(rows: np.ndarray) -> float:
        return sign * (before(rows) - after(rows))

    return Drop(
        value=lost(np.arange(n)), ci95=bootstrap_interval(lost, n), n=n, worse=worse, better=better, method="bootstrap"
    )


def student_quantile(freedom: int) -> float:
    """Return the 97.5 % point of Student's t with this many degrees of freedom, at least 1, to 0.3 %.

    Source: Abramowitz and Stegun 1964, equation 26.7.5; the first three by hand, where the series is too short.
    """
    exact = {1: 12.7062, 2: 4.30265, 3: 3.18245}
    if freedom in exact:
        return exact[freedom]
    z = _Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / freedom ** (power + 1) for power, term in enumerate(terms))


def samples_needed(drop: Drop, limit: float) -> int | None:
    """Return how many samples would decide whether the drop stays within a limit, at the rates seen so far.

    An estimate to plan with, not a promise: the rates are themselves measured.

    Args:
        drop: What was measured.
        limit: The largest drop allowed, 0 to 1.

    Returns:
        The least n whose interval would lie on one side of ``limit``; None when the drop seen is so close to the
        limit that even ``MOST_SAMPLES`` would not tell.
    """
    if drop.method != "counts":  # the width of an interval of a mean falls with the square root of n
        half, distance = (drop.ci95[1] - drop.ci95[0]) / 2, abs(limit - drop.value)
        needed = math.inf if distance == 0 else math.ceil(drop.n * (half / distance) ** 2)
        return int(needed) if needed <= MOST_SAMPLES else None
    worse, better = drop.worse / drop.n, drop.better / drop.n

    def decides(n: int) -> bool:
        low, high = drop_interval(worse * n, better * n, n)
        return high <= limit or low > limit

    if not decides(MOST_SAMPLES):
        return None
    return _least(decides, MOST_SAMPLES)


def _least(holds: Callable[[int], bool], high: int) -> int:
    """Return the least positive n for which a condition holds that, once true, stays true up to ``high``."""
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _upper_limit(worse: float, better: float, n: float) -> float:
    """Return the largest difference that a score test does not reject: the root above the estimate."""
    inside, outside = (worse - better) / n, 1.0
    if _rejects(worse, better, n, outside) < 0:
        return outside
    for _ in range(60):  # halves an interval of at most 2: beyond double precision
        middle = (inside + outside) / 2
        if _rejects(worse, better, n, middle) <= 0:
            inside = middle
        else:
            outside = middle
    return (inside + outside) / 2


def _rejects(worse: float, better: float, n: float, difference: float) -> float:
    """Return a value above 0 where the score test rejects this difference: numerator^2 - z^2 variance."""
    a = 2 * n
    b = -worse - better + (2 * n - worse + better) * difference
    c = -better * difference * (1 - difference)
    rate = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)  # of "better" pairs, given this difference
    variance = n * (2 * rate + difference * (1 - difference))
    return (worse - better - n * difference) ** 2 - _Z**2 * variance
