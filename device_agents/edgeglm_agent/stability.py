"""How far one distribution lies from another, and how far chance alone would take it. Pure, of numpy alone.

A distribution is given by its shares in groups of values. Values within one sample hang together, and so do samples
that follow each other, so the noise of a share is taken from how it varies between blocks of consecutive samples, and
not from counts of values.

Sources:
    Population stability index: Lewis, An Introduction to Credit Scoring, 1994; Siddiqi, Credit Risk Scorecards, 2006
    (below 0.1 no change, above 0.25 a significant one).
    Its distribution without drift: Yurdakul and Naranjo, Statistical properties of the population stability index,
    Journal of Risk Model Validation 14(4), 2020: (1/n + 1/m) times chi-square with one degree less than groups.
    The same for samples that hang together: Rao and Scott, The analysis of categorical data from complex sample
    surveys, JASA 76(374), 1981 (second-order correction).
    Variance by blocks: Law and Carson, A sequential procedure for determining the length of a steady-state simulation,
    Operations Research 27(5), 1979 (batch means).
    Jensen-Shannon: Lin 1991, IEEE Trans. Inf. Theory 37(1); its root is a distance: Endres and Schindelin 2003, 49(7).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm_agent.wire.manifest import Histogram

_MARGIN = 64
_KNOWN_RANGE = 500  # values; of fewer, the lowest and the highest say little of what may come
Z_999 = 3.0902  # of the normal distribution: one in a thousand lies above
_MOST_BLOCKS = 64
_MOST_ALIKE = 0.9
LEAST_BLOCKS = 16  # fewer say too little of the noise


class Groups(NamedTuple):
    """Values put together so that each group has about the same share of the reference."""

    inner: np.ndarray  # (G - 1,) rising, float64: group g holds [inner[g - 1], inner[g]); the outer ones are open
    shares: np.ndarray  # (G,) of the reference, sum 1


def groups_of(histogram: Histogram, most: int) -> Groups:
    """Return at most so many groups of neighbouring bins, and one more on either side for what was never there.

    Of a reference of few values the outermost groups are open instead: what lies beyond its range belongs to them.
    A value that fills several shares by itself is one group. What lies beyond the reference's range by less than a
    sixty-fourth of it belongs to the outermost bin: another artifact of the same model may put out a little more.
    """
    counts = np.array(histogram.counts, np.float64)
    counts[0] += histogram.below
    counts[-1] += histogram.above
    edges = np.array(histogram.edges, np.float64)
    margin = (edges[-1] - edges[0]) / _MARGIN
    filled = np.flatnonzero(counts)
    if len(filled) <= 1:  # one value alone: every other is news
        at = int(filled[0]) if len(filled) else 0
        return Groups(np.array([edges[at] - margin, edges[at + 1]]), np.array([0.0, 1.0, 0.0]))
    so_far = np.cumsum(counts) / counts.sum()
    cuts: list[int] = []
    due = 1.0 / most
    for index, share in enumerate(so_far[:-1].tolist()):
        if share >= due - 1e-12 and share < 1.0:
            cuts.append(index)
            due = (math.floor(share * most + 1e-9) + 1) / most
    if not cuts:  # nearly all lies in the last bin
        cuts.append(int(filled[-1]) - 1)
    if len(cuts) > 1 and 1.0 - so_far[cuts[-1]] < 0.5 / most:
        cuts.pop()
    if counts.sum() < _KNOWN_RANGE:
        return Groups(edges[[cut + 1 for cut in cuts]], np.diff(np.concatenate([[0.0], so_far[cuts], [1.0]])))
    inner = np.concatenate([[edges[0] - margin], edges[[cut + 1 for cut in cuts]], [edges[-1] + margin]])
    shares = np.diff(np.concatenate([[0.0, 0.0], so_far[cuts], [1.0, 1.0]]))
    return Groups(inner, shares)


def index_groups(shares: Sequence[float], most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the group of every class, (K,), and the groups' shares: classes of neighbouring numbers.

    Not the most frequent first: with few samples those look more frequent than they are.
    """
    given = np.array(shares, np.float64)
    lookup = np.zeros(len(given), np.int64)
    group, held, left = 0, 0.0, float(given.sum())
    for index, share in enumerate(given.tolist()):
        lookup[index] = group
        held += share
        left -= share
        if held >= 1.0 / most - 1e-9 and left > (0.5 / most if group else 1e-9):
            group, held = group + 1, 0.0
    totals = np.bincount(lookup, weights=given, minlength=group + 1)
    return lookup, totals / totals.sum()


class Blocks:
    """Counts by group of ever more samples, in at most 64 blocks of consecutive ones: constant memory.

    When all are full, neighbours are put together and each block holds twice as many from then on.
    """

    def __init__(self, groups: int) -> None:
        self._counts = np.zeros((_MOST_BLOCKS, groups))
        self._squares = np.zeros(groups)
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self._counts[:] = 0
        self._squares[:] = 0
        self._row, self._length, self._in_row = 0, 1, 0
        self._added = 0
        self.samples = 0

    def add(self, counts: np.ndarray, samples: int = 1) -> None:
        """Count additions (N, G), in the order they came; all are of so many samples."""
        self._squares += (counts * counts).sum(axis=0)
        self._added += len(counts)
        self.samples += len(counts) * samples
        first = 0
        while first < len(counts):
            if self._row == _MOST_BLOCKS:
                half = _MOST_BLOCKS // 2
                self._counts[:half] = self._counts[0::2] + self._counts[1::2]
                self._counts[half:] = 0
                self._row, self._length = half, self._length * 2
            last = first + self._length - self._in_row
            self._counts[self._row] += counts[first:last].sum(axis=0)
            self._in_row += min(last, len(counts)) - first
            first = last
            if self._in_row == self._length:
                self._row, self._in_row = self._row + 1, 0

    def shares(self) -> np.ndarray | None:
        """Return the shares (blocks, G) of every whole block; None: too few yet."""
        whole = self._counts[: self._row]
        return (
            whole / whole.sum(axis=1, keepdims=True) if self._row >= LEAST_BLOCKS and whole.any(axis=1).all() else None
        )

    def variance(self) -> np.ndarray:
        """Return the variance (G,) of a group's share between single additions."""
        values = self._counts.sum() / self._added
        mean = self._counts.sum(axis=0) / self._added
        return np.asarray(np.maximum(self._squares / self._added - mean**2, 0.0) / values**2)


class Comparison(NamedTuple):
    """What was found, and what chance makes of two samples of one population."""

    psi: float  # less what chance alone makes in the mean
    js: float  # Jensen-Shannon distance in bits, 0 to 1, likewise
    chance: float  # psi that one in a thousand comparisons reaches without drift
    of_reference: float  # the part of it that comes from how few samples the reference has


def compare(
    blocks: Blocks, reference: np.ndarray, reference_samples: int, *, per_addition: int = 1
) -> Comparison | None:
    """Return how far the samples in the blocks lie from the reference; None: too few to tell their noise.

    Args:
        blocks: What was seen.
        reference: Shares (G,) of the reference in the same groups.
        reference_samples: Samples behind them, taken to be independent of each other.
        per_addition: Samples in each addition to the blocks.
    """
    shares = blocks.shares()
    if shares is None:
        return None
    seen = shares.mean(axis=0)
    both = np.maximum((seen + reference) / 2, 1e-9)
    apart = (shares - seen) / np.sqrt(both)
    live = apart.T @ apart / (len(shares) - 1) / len(shares)  # covariance of ``seen``, in units of chi-square
    live *= _hanging_together(apart)
    spread = float(np.trace(live))
    # the reference's samples are independent: their noise is that of one sample, in the shape of what was seen
    single = float((blocks.variance() * per_addition / both).sum())
    behind = live * (single / spread / reference_samples) if spread > 0.0 else live * 0.0
    expected = spread + float(np.trace(behind))
    p, q = _smoothed(seen, blocks.samples), _smoothed(reference, reference_samples)
    index = float(((p - q) * np.log(p / q)).sum())
    divergence = _divergence(seen, reference) - expected / (8.0 * math.log(2.0))
    return Comparison(
        psi=max(0.0, index - expected),
        js=math.sqrt(min(1.0, max(0.0, divergence))),
        chance=_quantile(live + behind),
        of_reference=_quantile(behind),
    )


def chi_square_quantile(degrees: float, z: float = Z_999) -> float:
    """Return the quantile of a chi-square distribution. Source: Wilson and Hilferty 1931, PNAS 17(12)."""
    part = 2.0 / (9.0 * degrees)
    return degrees * max(0.0, 1.0 - part + z * math.sqrt(part)) ** 3


def _hanging_together(apart: np.ndarray) -> float:
    """Return by how much the variance of a mean grows where neighbouring blocks are alike, too.

    As for a process of first order: (1 + r) / (1 - r). Source: Bayley and Hammersley 1946.
    """
    whole = float((apart * apart).sum())
    alike = float((apart[1:] * apart[:-1]).sum()) / whole if whole > 0.0 else 0.0
    alike = min(max(alike, 0.0), _MOST_ALIKE)
    return (1.0 + alike) / (1.0 - alike)


def _quantile(covariance: np.ndarray) -> float:
    """Return what one in a thousand sums of squares with this covariance exceeds. Source: Satterthwaite 1946."""
    first, second = float(np.trace(covariance)), float((covariance * covariance).sum())
    return second / first * chi_square_quantile(first * first / second) if second > 0.0 else 0.0


def _smoothed(shares: np.ndarray, samples: int) -> np.ndarray:
    """Return shares none of which is 0: half a sample more in each group (Jeffreys)."""
    return np.asarray((shares * samples + 0.5) / (samples + 0.5 * len(shares)))


def _divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Return the Jensen-Shannon divergence, in bits."""
    middle = (p + q) / 2
    return 0.5 * sum(float((one[one > 0] * np.log2(one[one > 0] / middle[one > 0])).sum()) for one in (p, q))
