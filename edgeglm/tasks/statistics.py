"""What a count of right answers can prove: intervals for one share, and for the change between two on the same samples.

All intervals are two-sided at 95 %. The budget is judged by them, so that luck neither passes nor fails a model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeglm.report.types import Drop

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

_Z = 1.959963984540054  # the normal distribution's 97.5 % point
MOST_SAMPLES = 10_000_000  # needing more than this is "cannot be decided"


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
