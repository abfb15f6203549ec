"""Padded sequences cut to the shortest length that an artifact was made for: short inputs cost less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeglm_agent.wire import Buckets


def bucket_of(mask: np.ndarray, buckets: Buckets) -> np.ndarray:
    """Return the smallest length that holds each row, (N,) int64.

    Args:
        mask: (N, length); not zero where a token is. What lies behind a row's last token is padding.
        buckets: The lengths; a row that is longer than all of them gets the last one.
    """
    length = mask.shape[1]
    behind = np.argmax(np.asarray(mask)[:, ::-1] != 0, axis=1)  # 0 for a row without a token
    ends = np.where((np.asarray(mask) != 0).any(axis=1), length - behind, 0)
    chosen = np.minimum(np.searchsorted(buckets.lengths, ends), len(buckets.lengths) - 1)
    return np.asarray(buckets.lengths, np.int64)[chosen]


def cut_to_bucket(inputs: Mapping[str, np.ndarray], buckets: Buckets | None) -> dict[str, np.ndarray]:
    """Return padded inputs cut to the smallest bucket that holds the longest row.

    Args:
        inputs: By name, with a batch axis; those that are cut are (N, length).
        buckets: Of the artifact; None: nothing is cut.
    """
    if buckets is None:
        return dict(inputs)
    return cut(inputs, int(bucket_of(inputs[buckets.mask], buckets).max(initial=buckets.lengths[0])), buckets)


def cut(inputs: Mapping[str, np.ndarray], length: int, buckets: Buckets) -> dict[str, np.ndarray]:
    """Return the inputs with their sequences cut to a length, contiguous."""
    return {
        name: np.ascontiguousarray(values[:, :length]) if name in buckets.inputs else values
        for name, values in inputs.items()
    }
