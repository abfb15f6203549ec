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
    counts, edges = np.histogram(values.astype(np.float64), bins=HISTOGRAM_BINS, range=(found.low, found.high))
    assert found.histogram.counts == tuple(counts)
    np.testing.assert_allclose(found.histogram.edges, edges)


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
