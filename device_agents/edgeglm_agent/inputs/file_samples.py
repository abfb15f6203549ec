"""The samples that a file of a watched folder holds, by its name's ending."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from edgeglm_agent.inputs import decode

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
ARRAYS = frozenset({".npy", ".npz", ".csv"})
TEXTS = frozenset({".txt"})


def ending(name: str) -> str:
    """Return the ending of a file's name, in lower case."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a name


def decoded(name: str, data: bytes, *, mode: Any, delimiter: str, input_names: Any, most_mb: float) -> Any:
    """Return what a file holds: a text, an array, or arrays by name. Raises: DamagedError."""
    suffix = ending(name)
    if suffix == ".txt":
        return decode.text(data)
    if suffix == ".csv":
        return decode.table(decode.text(data), delimiter)
    if suffix == ".npy":
        return decode.npy(data)
    if suffix == ".npz":
        return decode.sample_of(decode.npz(data, most_bytes=int(most_mb * 4e6)), input_names)
    return decode.picture(data, mode)


def divided(sample: Any) -> list[Any]:
    """Return the samples that a file holds. Raises: DamagedError."""
    if isinstance(sample, str):
        lines = [line for line in sample.splitlines() if line.strip()]
        if not lines:
            raise decode.DamagedError("it holds no text")
        return lines
    if isinstance(sample, dict):
        counts = {len(values) if values.ndim else 0 for values in sample.values()}
        if len(counts) != 1 or 0 in counts:
            raise decode.DamagedError("its arrays have different numbers of samples, or none")
        return [{name: values[row] for name, values in sample.items()} for row in range(counts.pop())]
    if sample.dtype == np.uint8 and sample.ndim == 3:
        return [sample]  # an image
    if not sample.ndim or not len(sample):
        raise decode.DamagedError("it holds no sample")
    return list(sample)
