"""From the network's layout to that of its TFLite file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeglm.data.splits import Arrays


def move_channels(inputs: Arrays, channels_last: list[str]) -> Arrays:
    """Return NCHW inputs as NHWC where the file takes that; types stay."""
    return {
        name: np.ascontiguousarray(np.moveaxis(values, 1, -1)) if name in channels_last else values
        for name, values in inputs.items()
    }


def fitted(inputs: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Return inputs in the file's layout as one of its signatures takes them: longer sequences are cut.

    Args:
        inputs: By name, rows first, as many as there are.
        shapes: Of the signature, by input name, the batch axis included; sequences are (rows, length).
    """
    return {
        name: np.ascontiguousarray(values[:, : shapes[name][1]])
        if values.ndim == 2 and name in shapes and len(shapes[name]) == 2
        else values
        for name, values in inputs.items()
    }


def to_file_layout(inputs: Arrays, channels_last: list[str]) -> Arrays:
    """Return the inputs as the file takes them: NHWC where it does, and int32 for int64, which TFLite narrows."""
    moved = move_channels(inputs, channels_last)
    return {name: values.astype(np.int32) if values.dtype == np.int64 else values for name, values in moved.items()}
