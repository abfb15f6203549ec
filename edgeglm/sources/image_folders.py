"""How folders of images are laid out: a folder per class, or a folder per split and in it a folder per class."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
EVAL_NAMES = ("eval", "val", "valid", "validation", "dev", "test")  # what people call what they evaluate on


def class_folders(root: Path) -> list[Path]:
    """Return the folders in a folder, by name; hidden ones do not count."""
    return sorted((path for path in root.iterdir() if path.is_dir() and path.name[0] != "."), key=lambda p: p.name)


def is_divided(root: Path, eval_splits: Sequence[str] = ()) -> bool:
    """Tell whether a folder holds splits: `train`, or all that are evaluated on, with a folder per class in each."""

    def holds(*names: str) -> bool:
        return all((root / name).is_dir() and class_folders(root / name) for name in names)

    return holds("train") or (bool(eval_splits) and holds(*eval_splits))


def eval_folders(root: Path) -> tuple[list[str], list[str]]:
    """Return what a divided folder may be evaluated on: those of a usual name, and others that hold folders too."""
    names = [path.name for path in class_folders(root) if path.name not in ("train", "calibration")]
    names = [name for name in names if class_folders(root / name)]
    usual = [name for name in EVAL_NAMES if name in names]
    return usual, [name for name in names if name not in usual]


def missing_split(root: Path, eval_splits: Sequence[str]) -> tuple[str, str] | None:
    """Return message and hint when a divided folder lacks a split that is evaluated on; None when it does not."""
    missing = [name for name in eval_splits if not (root / name).is_dir()]
    if not missing or not is_divided(root):
        return None
    usual, others = eval_folders(root)
    there = usual or others
    message = f"there is no folder `{missing[0]}` for the split of that name"
    if not there:
        return message, f"put images the model has not seen there, a folder per class, as in `{root / 'train'}`"
    return f"{message}; there is {', '.join(usual + others)}", f"write `eval_splits: [{', '.join(there)}]` under `data`"
