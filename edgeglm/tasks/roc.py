"""How well one score tells anomalies from normal samples: area under the ROC curve, and its interval.

A score is higher for what is more anomalous. Ties count half, as in the Mann-Whitney statistic.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeglm.report.types import Drop
from edgeglm.tasks.statistics import drop_interval, wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

_Z = 1.959963984540054  # the normal distribution's 97.5 % point


def auc(scores: np.ndarray, anomalous: np.ndarray) -> float:
    """Return the area under the ROC curve: the share of pairs in which the anomaly scores higher, 0 to 1.

    Args:
        scores: (N,), finite.
        anomalous: (N,) bool; at least one of each.
    """
    return _placements([scores], anomalous)[0][0]


def auc_interval(scores: np.ndarray, anomalous: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the area under the ROC curve.

    Where DeLong's variance is 0, as where all pairs are in order, it would claim certainty; then the interval is that
    of as many independent pairs as there are samples of the smaller kind.

    Source: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44:837-845, by the algorithm of Sun and Xu 2014, IEEE
    Signal Processing Letters 21:1389-1393.
    """
    (value,), covariance, _ = _placements([scores], anomalous)
    if not covariance[0, 0] > 0:
        pairs = _independent_pairs(anomalous)
        return wilson_interval(round(value * pairs), pairs)
    half = _Z * math.sqrt(covariance[0, 0])
    return max(0.0, value - half), min(1.0, value + half)


def auc_drop(before: np.ndarray, after: np.ndarray, anomalous: np.ndarray) -> Drop:
    """Return what one score's area loses against another's on the same samples, with its 95 % interval.

    A sample counts as worse where fewer of the other kind lie on its right side.

    Where DeLong's variance is 0, as where both scores order all pairs alike, it would claim certainty; then the
    interval is that of as many independent pairs as there are samples of the smaller kind (and ``n`` says how many).

    Args:
        before: (N,) scores of the first model.
        after: (N,) scores of the second.
        anomalous: (N,) bool; at least one of each.

    Source: DeLong et al. 1988, equation 5; see ``auc_interval``.
    """
    (first, second), covariance, placed = _placements([before, after], anomalous)
    moved = placed[0] - placed[1]
    worse, better = int((moved > 1e-12).sum()), int((moved < -1e-12).sum())
    drop = first - second
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if not variance > 1e-18:  # what is left of equal terms that were subtracted
        pairs = _independent_pairs(anomalous)
        interval = drop_interval(max(drop, 0.0) * pairs, max(-drop, 0.0) * pairs, pairs)
        if not worse and not better:  # then it is a matter of counts: more pairs would tell in the way that counts do
            return Drop(value=0.0, ci95=interval, n=pairs, worse=0, better=0)
    else:
        half = _Z * math.sqrt(variance)
        interval = max(-1.0, drop - half), min(1.0, drop + half)
    return Drop(value=drop, ci95=interval, n=len(before), worse=worse, better=better, method="delong")


def threshold_at(normal: np.ndarray, false_alarm_rate: float) -> float:
    """Return the least limit that at most this share of normal scores lies above.

    Args:
        normal: (N,) scores of normal samples; N at least 1. With fewer than 1 / rate the limit is the largest of them.
        false_alarm_rate: 0 to 1.
    """
    allowed = min(math.floor(false_alarm_rate * len(normal) + 1e-9), len(normal) - 1)
    return float(np.sort(normal)[len(normal) - 1 - allowed])


def _independent_pairs(anomalous: np.ndarray) -> int:
    return int(min(anomalous.sum(), (~anomalous).sum()))


def _placements(scores: Sequence[np.ndarray], anomalous: np.ndarray) -> tuple[list[float], np.ndarray, np.ndarray]:
    """Return the area of each score, and their covariance (S, S); NaN where there is one sample of a kind.

    The third part says of each score and sample, (S, N), which share of the other kind lies on the right side of it.
    """
    count, others = int(anomalous.sum()), int((~anomalous).sum())
    if not count or not others:
        raise ValueError(f"{count} anomalies and {others} normal samples: the area needs both")
    areas, above, below = [], [], []
    for values in scores:
        ordered = np.concatenate([values[anomalous], values[~anomalous]])
        among_all = _midranks(ordered)
        # of each anomaly the share of normal samples below it, of each normal sample the share of anomalies above it
        above.append((among_all[:count] - _midranks(ordered[:count])) / others)
        below.append(1 - (among_all[count:] - _midranks(ordered[count:])) / count)
        areas.append(float(above[-1].mean()))
    placed = np.concatenate([np.stack(above), np.stack(below)], axis=1)
    if min(count, others) < 2:
        return areas, np.full((len(scores), len(scores)), np.nan), placed
    covariance = np.cov(np.stack(above)) / count + np.cov(np.stack(below)) / others
    return areas, np.atleast_2d(covariance), placed


def _midranks(values: np.ndarray) -> np.ndarray:
    """Return each value's rank from 1, ties sharing their mean."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    return np.asarray((last - (sizes - 1) / 2)[group])
