"""Resizing of images, by Pillow: its arithmetic on uint8 is in integers, so every machine gives the same bits."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from msgspec import Meta

from edgeglm_agent.needs import PILLOW, Need
from edgeglm_agent.processing._base import Placement, PreOperation, ProcessingError

_FILTERS = {"nearest": "NEAREST", "bilinear": "BILINEAR", "bicubic": "BICUBIC", "area": "BOX"}  # Pillow's names
_Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the source


class Resize(PreOperation, frozen=True, kw_only=True):
    """Resize an image (height, width) or (height, width, channels), uint8 or float; anti-aliased when it shrinks."""

    needs: ClassVar[tuple[Need, ...]] = (PILLOW,)

    height: Annotated[int, Meta(ge=1, le=16384)]  # pixels
    width: Annotated[int, Meta(ge=1, le=16384)]  # pixels
    method: Literal["bilinear", "nearest", "bicubic", "area"] = "bilinear"  # how pixels are averaged
    keep_aspect: Literal["stretch", "crop", "pad"] = "stretch"  # what happens to an image of another shape
    fill: Annotated[float, Meta(ge=0, le=255)] = 0.0  # value of the border that `pad` adds

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return the resized image, uint8 when it was uint8, otherwise float32."""
        if values.ndim not in (2, 3) or 0 in values.shape:
            raise ProcessingError(
                f"a sample of shape {values.shape} is not (height, width) or (height, width, channels)"
            )
        values = values if values.dtype == np.uint8 else values.astype(np.float32)
        height, width = values.shape[:2]
        if self.keep_aspect != "pad":
            return self._resized(values, self.height, self.width, self._box(height, width))
        inner_height, inner_width, top, left = self._inner(height, width)
        result = np.full((self.height, self.width, *values.shape[2:]), self.fill, values.dtype)
        inner = self._resized(values, inner_height, inner_width, (0, 0, width, height))
        result[top : top + inner_height, left : left + inner_width] = inner
        return result

    def placement(self, height: int, width: int) -> Placement:
        """Return where an image of this size lies in the resized one."""
        size = (self.height, self.width)
        if self.keep_aspect == "pad":
            inner_height, inner_width, top, left = self._inner(height, width)
            return Placement(size, (inner_height / height, inner_width / width), (float(top), float(left)))
        left_, top_, right, bottom = self._box(height, width)
        scale = (self.height / (bottom - top_), self.width / (right - left_))
        return Placement(size, scale, (-top_ * scale[0], -left_ * scale[1]))

    def _inner(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return height, width, top and left of the image within its border."""
        fit = min(self.height / height, self.width / width)
        inner_height = min(self.height, max(1, round(height * fit)))
        inner_width = min(self.width, max(1, round(width * fit)))
        return inner_height, inner_width, (self.height - inner_height) // 2, (self.width - inner_width) // 2

    def _box(self, height: int, width: int) -> _Box:
        """Return the part of the source that is used: all of it, or its middle in the wanted shape."""
        if self.keep_aspect == "stretch":
            return (0, 0, width, height)
        fit = max(self.height / height, self.width / width)
        used_height, used_width = min(float(height), self.height / fit), min(float(width), self.width / fit)
        top, left = (height - used_height) / 2, (width - used_width) / 2
        return (left, top, left + used_width, top + used_height)

    def _resized(self, values: np.ndarray, height: int, width: int, box: _Box) -> np.ndarray:
        nothing_to_do = values.shape[0] == height and values.shape[1] == width and box[2] - box[0] == width
        if nothing_to_do and box[3] - box[1] == height:
            return values
        try:
            from PIL import Image  # here, since a board that resizes nothing need not have it
        except ImportError as error:
            raise ProcessingError(f"resize needs Pillow: {PILLOW.hint}") from error
        method = Image.Resampling[_FILTERS[self.method]]

        def resized(plane: np.ndarray) -> np.ndarray:
            image = Image.fromarray(np.ascontiguousarray(plane))
            return np.asarray(image.resize((width, height), method, box=box))

        if values.ndim == 2 or (values.dtype == np.uint8 and values.shape[2] == 3):
            return resized(values)
        return np.stack([resized(values[:, :, channel]) for channel in range(values.shape[2])], axis=-1)
