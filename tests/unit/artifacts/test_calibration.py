"""Samples for static INT8 in the batches that a file takes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from edgeglm.artifacts.calibration import in_batches_of


@pytest.mark.parametrize("rows", [1, 3, 4, 10, 32])
@pytest.mark.parametrize("sizes", [[4, 4, 2], [10], [1, 1, 1, 7], [3, 7]])
def test_every_sample_is_there_once_in_its_place_and_the_last_fills_up(rows: int, sizes: list[int]) -> None:
    values = np.arange(10.0)
    starts = np.cumsum([0, *sizes])
    given = [{"a": values[i:j], "b": -values[i:j, None]} for i, j in pairwise(starts)]
    made = list(in_batches_of(rows, iter(given)))
    assert {len(batch["a"]) for batch in made} == {rows}
    assert len(made) == -(-10 // rows)
    assert [float(v) for batch in made for v in batch["a"]] == [*range(10), *[9.0] * (len(made) * rows - 10)]
    assert all((batch["b"][:, 0] == -batch["a"]).all() for batch in made)


def test_no_samples_make_no_batches() -> None:
    assert list(in_batches_of(4, iter([]))) == []


def test_a_batch_is_handed_on_before_the_next_one_is_read() -> None:
    read = []

    def batches():
        for index in range(3):
            read.append(index)
            yield {"a": np.zeros(4)}

    next(in_batches_of(2, batches()))
    assert read == [0]
