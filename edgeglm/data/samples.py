"""A sample of the evaluation data, made small enough to be shown on a page: a picture, a text, a line or numbers."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeglm.report.types import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeglm_agent.wire import TensorSpec

    from edgeglm.recipe import ProcessStep

_PICTURE_SIDE = 96  # pixels
_PICTURE_BYTES = 6000
_POINTS, _CHANNELS = 96, 3  # of a series
_NUMBERS = 12  # so many features are written out
_CHARACTERS = 280
_NO_CLASS = (96, 96, 96)
_CLASSES = (  # colours of a map, the first for what is background as a rule; more classes begin again after it
    (222, 226, 230), (31, 119, 180), (255, 127, 14), (44, 160, 44), (148, 103, 189), (214, 39, 40), (23, 190, 207),
    (188, 189, 34), (227, 119, 194), (140, 86, 75), (0, 63, 92), (255, 196, 57), (0, 158, 115),
)  # fmt: skip


def show_sample(
    inputs: dict[str, np.ndarray], specs: Sequence[TensorSpec], preprocess: Sequence[ProcessStep], folder: Path
) -> Sample:
    """Return one sample as people can look at it.

    Args:
        inputs: One preprocessed sample by input name, without a batch axis.
        specs: The model's inputs.
        preprocess: What was done to it; what it can be taken back of is taken back.
        folder: What paths in ``preprocess`` are relative to.
    """
    tokenize = next((step.settings for step in preprocess if step.op == "tokenize"), None)
    if tokenize is not None:
        return Sample(kind="text", text=_text(inputs, tokenize, folder))
    spec = specs[0]
    values = inputs[spec.name]
    picture = _channels_last(values, spec.layout)
    if picture is not None:
        height, width = picture.shape[:2]
        return Sample(kind="image", image=_encoded(_as_bytes(picture, preprocess)), size=(width, height))
    if values.ndim == 1 and len(values) <= _NUMBERS:
        return Sample(kind="text", text=", ".join(f"{value:.4g}" for value in values))
    if values.ndim in (1, 2) and values.dtype.kind == "f":
        return Sample(kind="series", series=_lines(values))
    return Sample(kind="text", text=f"an array of shape {' x '.join(map(str, values.shape))}")


def map_picture(classes: np.ndarray) -> str:
    """Return a map of class numbers (H, W) as a picture, a colour a class; below 0 is none. Larger ones are thinned."""
    step = max(1, -(-max(classes.shape) // _PICTURE_SIDE))
    numbers = classes[::step, ::step].astype(np.int64)
    others = 1 + (numbers - 1) % (len(_CLASSES) - 1)
    places = np.where(numbers < 0, len(_CLASSES), np.where(numbers == 0, 0, others))
    return _encoded(np.array([*_CLASSES, _NO_CLASS], np.uint8)[places])


def _text(inputs: dict[str, np.ndarray], settings: dict[str, Any], folder: Path) -> str:
    """Return the text that the token numbers stand for, cut to what a page shows."""
    from edgeglm_agent.processing.tokenize import Tokenize

    text = msgspec.convert(settings, Tokenize).text(inputs, folder)
    return text if len(text) <= _CHARACTERS else text[:_CHARACTERS].rstrip() + "\u2026"


def _channels_last(values: np.ndarray, layout: str) -> np.ndarray | None:
    """Return (H, W, 1 | 3 | 4) of a picture, or None when it is none."""
    if values.ndim != 3:
        return None
    picture = np.moveaxis(values, 0, -1) if layout == "NCHW" else values
    return picture if picture.shape[-1] in (1, 3, 4) and min(picture.shape[:2]) > 3 else None


def _as_bytes(picture: np.ndarray, preprocess: Sequence[ProcessStep]) -> np.ndarray:
    """Return the picture as uint8, the normalisation taken back where it is known, else stretched to its own range."""
    values = picture.astype(np.float64)
    steps = [step.settings for step in preprocess if step.op == "normalise"]
    for settings in reversed(steps):
        mean, std = np.asarray(settings.get("mean", 0.0)), np.asarray(settings.get("std", 1.0))
        values = (values * std + mean) / _number(settings.get("scale", 1.0))
    if not steps and not (values.min() >= 0 and 1 < values.max() <= 255):
        low, high = float(values.min()), float(values.max())
        values = (values - low) / ((high - low) or 1.0) * 255
    elif values.max() <= 1.5:  # shares of one
        values = values * 255
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _number(scale: Any) -> float:
    over, _, under = str(scale).partition("/")
    return float(over) / float(under or 1)


def _encoded(picture: np.ndarray) -> str:
    """Return a PNG, or a JPEG where that would be large, in base64."""
    from PIL import Image

    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture[..., :3])
    image.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
    for file_format, settings in (("PNG", {"optimize": True}), ("JPEG", {"quality": 80}), ("JPEG", {"quality": 40})):
        target = io.BytesIO()
        image.save(target, file_format, **settings)
        if target.tell() <= _PICTURE_BYTES:
            break
    return f"data:image/{file_format.lower()};base64,{base64.b64encode(target.getvalue()).decode()}"


def _lines(values: np.ndarray) -> list[list[float]]:
    """Return some channels of a series, thinned out: the longer axis is taken for time."""
    series = values.reshape(len(values), -1)
    series = series if series.shape[0] >= series.shape[1] else series.T  # (T, C)
    chosen = np.unique(np.linspace(0, len(series) - 1, min(_POINTS, len(series))).round().astype(int))
    kept = np.nan_to_num(series[chosen, :_CHANNELS]).T
    return [[float(f"{value:.4g}") for value in channel] for channel in kept]
