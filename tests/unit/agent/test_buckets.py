from __future__ import annotations

import numpy as np
import pytest
from edgeglm_agent.processing import bucket_of, cut_to_bucket
from edgeglm_agent.wire import Buckets

BUCKETS = Buckets((2, 4, 8), "mask", ("ids", "mask"))


def inputs(*lengths: int) -> dict[str, np.ndarray]:
    mask = (np.arange(8) < np.array(lengths)[:, None]).astype(np.int64)
    return {"ids": np.arange(8 * len(lengths)).reshape(-1, 8), "mask": mask, "other": np.ones((len(lengths), 8))}


@pytest.mark.parametrize(
    ("lengths", "expected"), [((1,), 2), ((2,), 2), ((3,), 4), ((8,), 8), ((1, 5), 8), ((0,), 2), ((2, 3, 1), 4)]
)
def test_inputs_are_cut_to_the_smallest_bucket_that_holds_the_longest_row(
    lengths: tuple[int, ...], expected: int
) -> None:
    given = inputs(*lengths)
    got = cut_to_bucket(given, BUCKETS)
    assert got["ids"].shape == got["mask"].shape == (len(lengths), expected)
    assert np.array_equal(got["ids"], given["ids"][:, :expected])
    assert got["ids"].flags.c_contiguous
    assert got["other"] is given["other"]


def test_without_buckets_nothing_is_cut() -> None:
    given = inputs(1)
    assert cut_to_bucket(given, None) == given


def test_padding_on_the_left_is_kept() -> None:
    mask = np.array([[0, 0, 0, 0, 0, 0, 1, 1], [0, 1, 0, 0, 0, 0, 0, 0]])
    assert bucket_of(mask, BUCKETS).tolist() == [8, 2]
