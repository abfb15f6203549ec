from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeglm.output.manifest import HISTOGRAM_BINS, distributions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeglm.data.splits import Arrays


def test_a_distribution_read_in_pieces_is_that_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(100.0, 0.5, (64, 3, 5)).astype(np.float32)

    def pieces() -> Iterator[Arrays]:
        yield from ({"x": values[start : start + 7]} for start in range(0, 64, 7))

    found = distributions(pieces)["x"]
    assert found.n == values.size
    assert (found.low, found.high) == (float(values.min()), float(values.max()))
    assert found.mean == pytest.approx(values.mean(dtype=np.float64), rel=1e-12)
    assert found.std == pytest.approx(values.std(dtype=np.float64), rel=1e-9)
    histogram = found.histogram
    assert (histogram.edges[0], histogram.edges[-1]) == (found.low, found.high)
    assert histogram.counts == tuple(np.histogram(values.astype(np.float64), bins=np.array(histogram.edges))[0])
    assert 24 <= len(histogram.counts) <= HISTOGRAM_BINS
    assert max(histogram.counts) < 1.5 * values.size / HISTOGRAM_BINS


def test_rare_peaks_and_frequent_values_do_not_hide_the_rest() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([np.zeros(5000), rng.normal(0, 1, 5000), [-80.0, 100.0]]).astype(np.float32)
    histogram = distributions(lambda: iter([{"x": values}]))["x"].histogram
    assert sum(histogram.counts) == len(values)
    within = [edge for edge in histogram.edges if -3 < edge < 3]
    assert len(within) > 12
    zero = np.searchsorted(histogram.edges, 0.0, side="right") - 1
    assert histogram.counts[zero] == pytest.approx(5000, rel=0.1)
    assert len(histogram.counts) <= 2 * HISTOGRAM_BINS + 1


def test_only_one_piece_is_in_memory_at_a_time() -> None:
    alive = peak = 0

    class Piece(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= self.base is None

    def pieces() -> Iterator[Arrays]:
        nonlocal alive, peak
        for index in range(6):
            piece = np.ndarray.__new__(Piece, (2, 4), np.float32)
            piece[:] = index
            alive += 1
            peak = max(peak, alive)
            yield {"x": piece}
            del piece

    assert distributions(pieces)["x"].n == 48
    assert peak <= 2  # the one that is read, and the one before, until its name is bound anew


def test_a_constant_tensor_has_a_histogram_too() -> None:
    found = distributions(lambda: iter([{"x": np.full((4, 2), 3.0, np.float32)}]))["x"]
    assert (found.low, found.high, found.std) == (3.0, 3.0, 0.0)
    assert sum(found.histogram.counts) == found.n == 8
