"""A piece of an input, small enough to be sent: an encoded image, or numbers as npy."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from edgeglm_agent.needs import PILLOW
from edgeglm_agent.results._base import SinkError

_LONGEST_SIDE = 640  # pixels
_MARGIN = 0.1  # of a box's size, on every side
_TRIES = 6
_LEAST_SIDE = 16  # pixels: smaller pictures show nothing


def crop_of(sample: Any, detections: Any, *, most_bytes: int, form: Literal["jpeg", "png"] = "jpeg") -> bytes:
    """Return a piece of a sample as bytes.

    Args:
        sample: As it came in: an array, a text, or either by input name (then the first image, else the first array).
        detections: The answer, best detection first: the piece is the image around that one; without any, nothing is
            returned. None: the whole sample.
        most_bytes: An image is scaled down until it fits; numbers that do not fit are left out.
        form: How an image is encoded.

    Returns:
        JPEG, PNG or npy, each known by its first bytes; empty where there is nothing to show.

    Raises:
        SinkError: It is an image, and Pillow is not installed.
    """
    values = _pictured(sample)
    if values is None:
        return b""
    if not _is_image(values):
        return _npy(values, most_bytes) if detections is None else b""
    if detections is not None:
        box = detections[0].get("box") if isinstance(detections, list) and detections else None
        if box is None:
            return b""
        values = _around(values, box)
    return _encoded(values, most_bytes, form) if values.size else b""


def _pictured(sample: Any) -> np.ndarray | None:
    if isinstance(sample, Mapping):
        arrays = [values for values in sample.values() if isinstance(values, np.ndarray)]
        return next((values for values in arrays if _is_image(values)), arrays[0] if arrays else None)
    return sample if isinstance(sample, np.ndarray) else None


def _is_image(values: np.ndarray) -> bool:
    if values.dtype != np.uint8:
        return False
    return values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (1, 3))


def _around(image: np.ndarray, box: list[float]) -> np.ndarray:
    """Return what lies within a box, x1 y1 x2 y2 in pixels, and a margin."""
    left, top, right, bottom = box
    aside, above = (right - left) * _MARGIN, (bottom - top) * _MARGIN
    rows = slice(max(0, int(top - above)), max(0, int(np.ceil(bottom + above))))
    columns = slice(max(0, int(left - aside)), max(0, int(np.ceil(right + aside))))
    return image[rows, columns]


def _encoded(values: np.ndarray, most_bytes: int, form: str) -> bytes:
    try:
        from PIL import Image
    except ImportError as error:
        raise SinkError(f"crops of images need Pillow: {PILLOW.hint}") from error
    image = Image.fromarray(np.ascontiguousarray(values[:, :, 0] if values.shape[2:] == (1,) else values))
    side = min(_LONGEST_SIDE, max(image.size))
    for _ in range(_TRIES):
        image.thumbnail((side, side))  # leaves a smaller one as it is
        file = io.BytesIO()
        if form == "jpeg":
            image.save(file, "JPEG", quality=85)
        else:
            image.save(file, "PNG")
        size = file.tell()
        if size <= most_bytes:
            return file.getvalue()
        side = int(max(image.size) * min(0.9, (most_bytes / size) ** 0.5))
        if side < _LEAST_SIDE:
            break
    return b""


def _npy(values: np.ndarray, most_bytes: int) -> bytes:
    if values.dtype == np.float64:
        values = values.astype(np.float32)
    if values.dtype.kind not in "biuf" or values.nbytes > most_bytes:
        return b""
    file = io.BytesIO()
    np.save(file, values, allow_pickle=False)
    return file.getvalue() if file.tell() <= most_bytes else b""
