"""Splits from folders of images."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from edgeglm_agent.processing import images

from edgeglm.data.splits import ArraySplit
from edgeglm.errors import DataError, MissingExtraError, UserError
from edgeglm.files import sha256_file, tidied
from edgeglm.sources.arrays import INPUT, RESIZE_HINT, preprocessed
from edgeglm.sources.checking import assemble
from edgeglm.sources.dataset import DatasetSplit
from edgeglm.sources.image_folders import SUFFIXES, class_folders, is_divided, missing_split
from edgeglm.sources.lfs import refuse_lfs_pointer
from edgeglm.sources.splitting import divide

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeglm_agent.processing import Preprocess

    from edgeglm.data.splits import Data
    from edgeglm.sources.images import ImagesData
    from edgeglm.tasks import TaskConfig

MOST_BYTES_IN_MEMORY = 1 << 30  # a split beyond this is decoded anew each time it is read
_UNREADABLE = "cannot be read as an image: "
_MOST_NAMED = 5  # damaged files that an error lists
_HIDDEN_JUNK = frozenset({"thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class Photos:
    """Image files and their class numbers, decoded when they are asked for."""

    paths: tuple[Path, ...]
    classes: tuple[int, ...]
    mode: str

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Return one image, uint8 (height, width, channels), and its class."""
        return read_image(self.paths[index], self.mode), self.classes[index]

    def pick(self, indices: np.ndarray) -> Photos:
        """Return these images alone."""
        chosen = [int(index) for index in indices]
        return Photos(tuple(self.paths[i] for i in chosen), tuple(self.classes[i] for i in chosen), self.mode)


def load_images(
    config: ImagesData, folder: Path, *, preprocess: Preprocess, task: TaskConfig, labels: tuple[str, ...], seed: int
) -> Data:
    """Read a folder per class, or a folder per split with a folder per class in each.

    Raises:
        DataError: A folder is missing or empty, a file is damaged, or images come out in different sizes.
    """
    root = tidied(folder / config.path)
    if not root.is_dir():
        raise DataError(
            "no such folder",
            where=str(root),
            hint="`data.path` is relative to the folder of the recipe",
            code="data-file-missing",
        )
    warnings: list[str] = []
    in_splits = is_divided(root, config.eval_splits)
    chief = next((root / name for name in ("train", config.eval_splits[0]) if (root / name).is_dir()), root)
    names = labels or tuple(path.name for path in class_folders(chief if in_splits else root))
    own = _own_splits(root, config, names, warnings) if in_splits else None
    photos = own or _divided(root, config, names, warnings, seed)
    where = {name: f"{root}, split `{name}`" for name in ("train", "calibration", *config.eval_splits)}
    try:
        splits = {name: _split(part, preprocess, where[name], warnings) for name, part in photos.items()}
        return assemble(
            splits, eval_splits=config.eval_splits, task=task, labels=names, seed=seed, where=where, warnings=warnings
        )
    except DataError as error:
        if error.code == "data-file-corrupt":  # the first one: the others are wanted in the same run
            raise _all_corrupt([part for part in photos.values() if part is not None], root) or error from error
        raise


def read_image(path: Path, mode: str) -> np.ndarray:
    """Return an image upright, as uint8 (height, width, 3), or (height, width, 1) when mode is ``grey``.

    Raises:
        DataError: The file is damaged, or no image.
        MissingExtraError: Pillow is not installed.
    """
    try:
        return images.read_image(path, mode)
    except ImportError as error:
        raise MissingExtraError(images.NEEDED, hint=images.EXTRA) from error
    except images.ImageError as error:
        if error.unknown:
            refuse_lfs_pointer(path, str(path))
        raise _corrupt(path, str(error)) from error


def _all_corrupt(splits: Sequence[Photos], root: Path) -> DataError | None:
    """Read every image, and return one error that names those that cannot be; None when there is only one."""
    errors: list[UserError] = []
    for path, mode in sorted({(path, photos.mode) for photos in splits for path in photos.paths}):
        try:
            read_image(path, mode)
        except UserError as error:
            errors.append(error)
    if len(errors) < 2:
        return None
    problems = [error.problems[0] for error in errors[:_MOST_NAMED]]
    lines = [f"  {problem.where}: {problem.message.removeprefix(_UNREADABLE)}" for problem in problems]
    lines += [f"  and {len(errors) - _MOST_NAMED} more"] if len(errors) > _MOST_NAMED else []
    return DataError(
        f"{len(errors)} files cannot be read as images\n" + "\n".join(lines),
        where=str(root),
        hint="remove the files, or copy them again",
        code="data-file-corrupt",
    )


def _corrupt(path: Path, reason: str) -> DataError:
    return DataError(
        f"{_UNREADABLE}{reason}",
        where=str(path),
        hint="remove the file, or copy it again",
        code="data-file-corrupt",
    )


def _photos(root: Path, config: ImagesData, labels: tuple[str, ...], warnings: list[str]) -> Photos:
    """Return the images of one folder that holds a folder per class."""
    there = {path.name for path in class_folders(root)}
    unknown, missing = sorted(there - set(labels)), [label for label in labels if label not in there]
    if unknown or missing or not labels:
        said = [f"no folder for {', '.join(missing)}"] if missing else []
        said += [f"no label for the folder {', '.join(unknown)}"] if unknown else []
        raise DataError(
            "; ".join(said) or "there is no folder in it: one is wanted for each class",
            where=str(root),
            hint="one folder for each label, of the same name; without `labels` the folders give the names",
            code="data-classes",
        )
    paths: list[Path] = []
    classes: list[int] = []
    others: Counter[str] = Counter()
    for number, label in enumerate(labels):
        files = sorted(path for path in (root / label).rglob("*") if path.is_file() and path.name[0] != ".")
        images = [path for path in files if path.suffix.lower() in SUFFIXES]
        others.update(
            path.suffix.lower() or path.name
            for path in files
            if path.suffix.lower() not in SUFFIXES and path.name.lower() not in _HIDDEN_JUNK
        )
        if not images:
            raise DataError(
                "no image in it",
                where=str(root / label),
                hint=f"every class has images ({', '.join(sorted(SUFFIXES))}); remove the folder if it is no class",
                code="data-class-empty",
            )
        paths.extend(images)
        classes.extend([number] * len(images))
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        count = others.total()
        ignored = "1 file is no image and was" if count == 1 else f"{count} files are no images and were"
        warnings.append(f"{root}: {ignored} ignored ({kinds})")
    return Photos(tuple(paths), tuple(classes), config.mode)


def _own_splits(
    root: Path, config: ImagesData, labels: tuple[str, ...], warnings: list[str]
) -> dict[str, Photos | None]:
    if missing := missing_split(root, config.eval_splits):
        raise DataError(missing[0], where=str(root), hint=missing[1], code="data-split-missing")
    photos: dict[str, Photos | None] = {}
    for name in ("train", "calibration", *config.eval_splits):
        if not (root / name).is_dir():
            photos[name] = None  # calibration, or train where nothing trains
            continue
        photos[name] = _photos(root / name, config, labels, warnings)
    return photos


def _divided(
    root: Path, config: ImagesData, labels: tuple[str, ...], warnings: list[str], seed: int
) -> dict[str, Photos | None]:
    if len(config.eval_splits) > 1:
        raise DataError(
            f"`eval_splits` names {len(config.eval_splits)}, and one set is divided into one",
            hint=f"make folders {root / 'train'}, {root / config.eval_splits[1]}, ..., or keep one",
            where=str(root),
            code="data-split-missing",
        )
    photos = _photos(root, config, labels, warnings)
    chosen = divide(
        config.fractions,
        seed,
        eval_split=config.eval_splits[0],
        units=[sha256_file(path) for path in photos.paths],
        targets=np.array(photos.classes),
        where=str(root),
    )
    return {name: photos.pick(indices) for name, indices in chosen.items()}


def _split(
    photos: Photos | None, preprocess: Preprocess, where: str, warnings: list[str]
) -> ArraySplit | DatasetSplit | None:
    if photos is None:
        return None
    lazy = DatasetSplit.over(photos, preprocess, nullcontext, where)
    needed = len(photos) * sum(values.nbytes for values in lazy.rows(np.arange(1)).values())
    if needed > MOST_BYTES_IN_MEMORY:
        warnings.append(f"{where}: {needed / 1e9:.1f} GB preprocessed; images are decoded each time they are read")
        return lazy
    rows = []
    for index, path in enumerate(photos.paths):
        ready = preprocessed({INPUT: [photos[index][0]]}, preprocess, str(path))
        rows.append(ready[INPUT][0])
    shapes = Counter(row.shape for row in rows)
    if len(shapes) > 1:
        usual = shapes.most_common(1)[0][0]
        odd = next(index for index, row in enumerate(rows) if row.shape != usual)
        raise DataError(
            f"images come out in {len(shapes)} sizes, most of them {list(usual)}; {photos.paths[odd]} is "
            f"{list(rows[odd].shape)}",
            where=where,
            hint=RESIZE_HINT,
            code="data-shape",
        )
    return ArraySplit({INPUT: np.stack(rows)}, np.array(photos.classes, dtype=np.int64))
