"""The rule that a board judges golden samples by is the one that the host judged the file by."""

from __future__ import annotations

import numpy as np
from edgeglm_agent.golden import difference
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeglm.measure.parity import compare

SHAPES = [(2,), (5,), (10,), (32,), (1,), (), (3, 4, 4), (16, 8)]


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 8),
    shape=st.sampled_from(SHAPES),
    noise=st.sampled_from([0.0, 1e-6, 1e-4, 3e-4, 0.03, 0.1, 0.3, 1.0, 10.0]),
    offset=st.sampled_from([0.0, 1.0, 100.0]),
    quantized=st.booleans(),
    constant=st.booleans(),
)
@settings(max_examples=600, deadline=None)
def test_board_and_host_say_the_same_of_up_to_eight_samples(
    seed: int, rows: int, shape: tuple[int, ...], noise: float, offset: float, quantized: bool, constant: bool
) -> None:
    rng = np.random.default_rng(seed)
    reference = (offset + (0 if constant else 1) * rng.normal(size=(rows, *shape))).astype(np.float32)
    got = (reference + noise * rng.normal(size=reference.shape)).astype(np.float32)
    host = compare({"y": reference}, {"y": got}, quantized=quantized).passed
    assert (difference({"y": reference}, {"y": got}, quantized=quantized) == "") == host
