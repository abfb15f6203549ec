"""What a folder of images tells about a recipe: classes, size, colour."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeglm.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_SIDE = 224  # pixels: what networks for small boards take at most
_MOST_OPENED = 2000  # images whose headers are read; more would tell the same


@dataclass(frozen=True)
class Photos:
    """What was found."""

    classes: tuple[str, ...]
    count: int
    usual: tuple[int, int]  # (height, width) that most images have, in pixels
    grey: bool  # every image looked at is grey

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) to resize to: the usual one, square and at most ``LARGEST_SIDE`` when it is larger."""
        return self.usual if max(self.usual) <= LARGEST_SIDE else (LARGEST_SIDE, LARGEST_SIDE)


def survey(root: Path) -> Photos:
    """Look at a folder per class (or per split, with a folder per class in each); headers alone are read.

    Raises:
        DataError: There is no such folder, no class, or a class without a readable image.
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MissingExtraError("reading images needs Pillow", hint="pip install edgeglm-agent[images]") from error
    from edgeglm.sources.image_files import SUFFIXES, class_folders

    if not root.is_dir():
        raise DataError("no such folder", where=str(root), hint="a folder per class", code="data-file-missing")
    inside = root / "train" if (root / "train").is_dir() and class_folders(root / "train") else root
    folders = class_folders(inside)
    if len(folders) < 2:
        raise DataError(
            f"{len(folders)} folder{'s' * (len(folders) != 1)} in it; one is wanted for each of two or more classes",
            where=str(inside),
            hint="photos/cat/1.jpg, photos/dog/1.jpg, ...; or photos/train/cat/1.jpg, photos/eval/cat/1.jpg, ...",
            code="data-classes",
        )
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[bool] = Counter()
    count = 0
    for folder in folders:
        paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
        count += len(paths)
        readable = 0
        for path in paths[: max(1, _MOST_OPENED // len(folders))]:
            try:
                with Image.open(path) as image:
                    turned = ImageOps.exif_transpose(image) if image.getexif().get(0x0112, 1) > 4 else image
                    sizes[turned.height, turned.width] += 1
                    modes[image.mode in ("1", "L", "LA") or image.mode.startswith("I;16")] += 1
            except (OSError, SyntaxError, ValueError):
                continue  # named when the data is loaded
            readable += 1
        if not readable:
            raise DataError(
                "no readable image in it",
                where=str(folder),
                hint=f"every class has images ({', '.join(sorted(SUFFIXES))})",
                code="data-class-empty",
            )
    usual = sizes.most_common(1)[0][0]
    return Photos(tuple(folder.name for folder in folders), count, usual, grey=not modes[False])
