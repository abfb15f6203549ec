"""Image files to arrays, the same where a model is trained and where it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

import numpy as np

from edgeglm_agent.needs import PILLOW
from edgeglm_agent.processing._base import ProcessingError
from edgeglm_agent.processing.arrays import Crop

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL.Image import Image

    from edgeglm_agent.processing.pipeline import Preprocess

ImageMode: TypeAlias = Literal["rgb", "grey"]
NEEDED = "reading images needs Pillow"
EXTRA = PILLOW.hint
_TRIED_SIZE = (64, 64)  # of an image that an operation brings to a size of its own


class ImageError(ValueError):
    """Bytes that are no image, or one that is damaged.

    Attributes:
        unknown: Nothing in it looks like an image; else it is one, and damaged.
    """

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        self.unknown = unknown
        super().__init__(message)


def read_image(
    source: Path | BinaryIO,
    mode: ImageMode | str,
    *,
    most_pixels: int | None = None,
    formats: tuple[str, ...] | None = None,
) -> np.ndarray:
    """Return an image upright, as uint8 (height, width, 3), or (height, width, 1) when mode is ``grey``.

    Args:
        source: A file, or one that is open for reading bytes.
        mode: ``rgb`` or ``grey``.
        most_pixels: An image of more is refused before it is decoded; None: Pillow's own limit alone.
        formats: Pillow's names of those that are read; None: all that it knows.

    Raises:
        ImageError: It is damaged, too large, or no image.
        ImportError: Pillow is not installed.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError  # here, since a board that sees nothing need not have it

    try:
        with Image.open(source, formats=formats) as file:
            if most_pixels is not None and file.width * file.height > most_pixels:
                raise ImageError(f"{file.width} x {file.height} pixels; at most {most_pixels / 1e6:g} million are read")
            return _pixels(ImageOps.exif_transpose(file), mode)
    except UnidentifiedImageError as error:
        raise ImageError("its content is no image", unknown=True) from error
    except ImageError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ImageError(str(error)) from error


def image_mode(preprocess: Preprocess, shape: Sequence[int]) -> ImageMode:
    """Return how images are to be read so that preprocessing makes what the model takes.

    Args:
        preprocess: The manifest's.
        shape: Of the model's image input, without the batch axis.

    Returns:
        ``grey`` where one channel fits and three do not, else ``rgb``.
    """
    wanted = tuple(shape)
    if len(wanted) != 3:
        return "rgb"
    sizes = {
        _TRIED_SIZE,
        wanted[1:],
        wanted[:2],
        *((op.height, op.width) for op in preprocess.ops if isinstance(op, Crop)),
    }
    sizes = {size for size in sizes if min(size) > 0}
    for channels, mode in ((3, "rgb"), (1, "grey")):
        for height, width in sorted(sizes):
            if _fits(preprocess, np.zeros((height, width, channels), np.uint8), wanted):
                return mode  # type: ignore[return-value]  # one of the two above
    return "rgb"


def _fits(preprocess: Preprocess, image: np.ndarray, wanted: tuple[int, ...]) -> bool:
    try:
        ready: Any = preprocess.one(image)
    except (ProcessingError, ImportError):
        return False
    return (
        isinstance(ready, np.ndarray)
        and len(ready.shape) == len(wanted)
        and all(want in (-1, got) for want, got in zip(wanted, ready.shape, strict=True))
    )


def _pixels(image: Image, mode: str) -> np.ndarray:
    if image.mode.startswith("I;16"):  # Pillow would clip 16 bits to 8, not scale them
        high = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(high[:, :, None], 1 if mode == "grey" else 3, axis=2)
    if "transparency" in image.info:
        image = image.convert("RGBA")
    array = np.asarray(image.convert("L" if mode == "grey" else "RGB"))
    return array[:, :, None] if array.ndim == 2 else array
