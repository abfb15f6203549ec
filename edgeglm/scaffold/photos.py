"""What a folder of images tells about a recipe: classes, size, colour."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeglm_agent.needs import PILLOW

from edgeglm.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_SIDE = 224  # pixels: what networks for small boards take at most, and most often
_MOST_OPENED = 2000  # images whose headers are read; more would tell the same


@dataclass(frozen=True)
class Photos:
    """What was found."""

    classes: tuple[str, ...]
    count: int  # in all splits
    usual: tuple[int, int] | None  # (height, width) that most images have, in pixels; None: sizes differ
    extremes: tuple[tuple[int, int], tuple[int, int]]  # (height, width) of the smallest and of the largest
    grey: bool  # every image looked at is grey
    eval_splits: tuple[str, ...] = ("eval",)
    others: tuple[str, ...] = ()  # more folders of splits, whose names do not say what they are for

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) to resize to: the usual one, else or when it is larger ``LARGEST_SIDE``, square."""
        return self.usual if self.usual and max(self.usual) <= LARGEST_SIDE else (LARGEST_SIDE, LARGEST_SIDE)


def survey(root: Path) -> Photos:
    """Look at a folder per class (or per split, with a folder per class in each); headers alone are read.

    Raises:
        DataError: There is no such folder, no class, a class without a readable image, or splits without one to
            evaluate on.
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MissingExtraError("reading images needs Pillow", hint=PILLOW.hint) from error
    from edgeglm.sources.image_folders import SUFFIXES, class_folders, eval_folders, is_divided, missing_split

    if not root.is_dir():
        raise DataError("no such folder", where=str(root), hint="a folder per class", code="data-file-missing")
    inside = root / "train" if is_divided(root) else root
    classes = class_folders(inside)
    if len(classes) < 2:
        raise DataError(
            f"{len(classes)} folder{'s' * (len(classes) != 1)} in it; one is wanted for each of two or more classes",
            where=str(inside),
            hint="photos/cat/1.jpg, photos/dog/1.jpg, ...; or photos/train/cat/1.jpg, photos/eval/cat/1.jpg, ...",
            code="data-classes",
        )
    eval_splits, others = eval_folders(root) if is_divided(root) else (["eval"], [])
    if not eval_splits and (missing := missing_split(root, ["eval"])):
        raise DataError(missing[0], where=str(root), hint=missing[1], code="data-split-missing")
    folders = list(classes)
    if is_divided(root):
        folders += [
            path
            for split in ("calibration", *eval_splits)
            if (root / split).is_dir()
            for path in class_folders(root / split)
        ]
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
    usual, images = sizes.most_common(1)[0]
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    return Photos(
        classes=tuple(folder.name for folder in classes),
        count=count,
        usual=usual if 2 * images > sizes.total() else None,
        extremes=(by_area[0], by_area[-1]),
        grey=not modes[False],
        eval_splits=tuple(eval_splits),
        others=tuple(others),
    )
