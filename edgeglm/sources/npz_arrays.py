"""Splits from one NumPy archive; object arrays are refused, since reading them would run a pickle."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np

from edgeglm.data.slices import check_values
from edgeglm.data.splits import ArraySplit, Places, sample_digests
from edgeglm.errors import DataError
from edgeglm.files import tidied
from edgeglm.sources.arrays import INPUT
from edgeglm.sources.checking import assemble
from edgeglm.sources.lfs import refuse_lfs_pointer
from edgeglm.sources.npz import has_own_splits, usual_splits
from edgeglm.sources.python_data import array_split
from edgeglm.sources.splitting import divide

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import Path

    from edgeglm_agent.processing import Preprocess

    from edgeglm.data.splits import Data
    from edgeglm.sources.npz import NpzData
    from edgeglm.tasks import TaskConfig


def load_npz(
    config: NpzData,
    folder: Path,
    *,
    preprocess: Preprocess,
    task: TaskConfig,
    labels: tuple[str, ...],
    seed: int,
    slices: Sequence[str] = (),
) -> Data:
    """Read the archive, in splits of its own or divided by ``fractions``.

    Raises:
        DataError: The file is missing or damaged, lacks an array, or its data cannot be used.
    """
    with _Archive(tidied(folder / config.path)) as archive:
        inputs = [config.inputs] if isinstance(config.inputs, str) else config.inputs
        if has_own_splits(inputs[0], archive.names):
            return _own_splits(config, inputs, archive, preprocess, task, labels, seed, slices)
        return _divided(config, inputs, archive, preprocess, task, labels, seed, slices)


def _own_splits(
    config: NpzData,
    inputs: list[str],
    archive: _Archive,
    preprocess: Preprocess,
    task: TaskConfig,
    labels: tuple[str, ...],
    seed: int,
    slices: Sequence[str],
) -> Data:
    if config.group is not None:
        raise DataError(
            f"`group` divides one set, and this archive has splits of its own (`{inputs[0]}_train`)",
            hint="remove `group`, or name arrays that are not divided yet",
            where=str(archive.path),
            code="data-groups",
        )
    splits: dict[str, ArraySplit | None] = {}
    where = {}
    for name in ("train", "calibration", *config.eval_splits):
        where[name] = f"{archive.path}, split `{name}`"
        if name not in config.eval_splits and f"{inputs[0]}_{name}" not in archive.names:
            splits[name] = None
            continue
        if f"{inputs[0]}_{name}" not in archive.names:
            raise _no_eval_split(archive, inputs[0], name)
        arrays = {_input_name(config, key): archive.read(f"{key}_{name}") for key in inputs}
        key = f"{config.targets}_{name}"
        unlabelled = config.targets is None or (name == "calibration" and key not in archive.names)
        targets = None if unlabelled else archive.read(key)
        splits[name] = array_split(arrays, targets, preprocess, where[name])
    columns = {
        name: {key: archive.column(f"{key}_{name}", len(split)) for key in slices}
        for name in config.eval_splits
        if (split := splits[name]) is not None
    }
    return assemble(
        splits, eval_splits=config.eval_splits, task=task, labels=labels, seed=seed, where=where, columns=columns
    )


def _divided(
    config: NpzData,
    inputs: list[str],
    archive: _Archive,
    preprocess: Preprocess,
    task: TaskConfig,
    labels: tuple[str, ...],
    seed: int,
    slices: Sequence[str],
) -> Data:
    place = str(archive.path)
    if len(config.eval_splits) > 1:
        raise DataError(
            f"`eval_splits` names {len(config.eval_splits)}, and one set is divided into one",
            hint=f"give arrays `{inputs[0]}_train`, `{inputs[0]}_{config.eval_splits[1]}`, ..., or keep one",
            where=place,
            code="data-split-missing",
        )
    arrays = {_input_name(config, key): archive.read(key) for key in inputs}
    targets = None if config.targets is None else archive.read(config.targets)
    whole = array_split(arrays, targets, preprocess, place)
    units: Sequence[Hashable] = sample_digests(whole)
    stratify = None
    if task.objective == "classes" and targets is not None and targets.ndim == 1 and np.isfinite(targets).all():
        stratify = targets  # what holds NaN is refused by the task, which says why
    if config.group is not None:
        groups = archive.read(config.group, text=True)
        if groups.shape != (len(whole),):
            raise DataError(
                f"`{config.group}` of shape {list(groups.shape)} is not one group for each of {len(whole)} samples",
                where=place,
                hint="an array of ids, as long as the inputs",
                code="data-groups",
            )
        units, stratify = groups.tolist(), None  # groups hold classes in any mixture
    chosen = divide(
        config.fractions, seed, eval_split=config.eval_splits[0], units=units, targets=stratify, where=place
    )
    columns = {key: archive.column(key, len(whole)) for key in slices}
    return assemble(
        {name: whole.take(indices) for name, indices in chosen.items()},
        eval_splits=config.eval_splits,
        task=task,
        labels=labels,
        seed=seed,
        where={name: f"{place}, split `{name}`" for name in chosen},
        columns={name: {key: values[rows] for key, values in columns.items()} for name, rows in chosen.items()},
        places={name: Places(rows, "row") for name, rows in chosen.items()},
    )


def _no_eval_split(archive: _Archive, inputs: str, split: str) -> DataError:
    there = usual_splits(inputs, archive.names)
    return DataError(
        f"there is no array `{inputs}_{split}`; there are {', '.join(sorted(archive.names))}",
        where=str(archive.path),
        hint=f"write `eval_splits: [{', '.join(there)}]` under `data`"
        if there
        else f"save the samples to judge by as `{inputs}_{split}`",
        code="data-array-missing",
    )


def _input_name(config: NpzData, key: str) -> str:
    return INPUT if isinstance(config.inputs, str) else key


class _Archive:
    """An open .npz file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> _Archive:
        if not self.path.is_file():
            raise DataError(
                "no such file",
                where=str(self.path),
                hint="`data.path` is relative to the folder of the recipe",
                code="data-file-missing",
            )
        refuse_lfs_pointer(self.path, str(self.path))
        try:
            loaded = np.load(self.path, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise self._corrupt(str(error)) from error
        if isinstance(loaded, np.ndarray):
            raise self._corrupt("it holds one array (.npy)")
        self._file = loaded
        self.names = set(loaded.files)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, name: str, *, text: bool = False) -> np.ndarray:
        """Return one array of numbers (or, for group ids, of text)."""
        if name not in self.names:
            raise DataError(
                f"there is no array `{name}`; there are {', '.join(sorted(self.names)) or 'none'}",
                where=str(self.path),
                hint="name the arrays by `data.inputs` and `data.targets`; those of a split end in `_train`, `_eval`",
                code="data-array-missing",
            )
        try:
            array: np.ndarray = self._file[name]
        except Exception as error:  # a damaged header raises whatever its text happens to parse as
            if isinstance(error, ValueError) and "allow_pickle" in str(error):
                raise DataError(
                    f"`{name}` is an array of Python objects, which would be unpickled; that could run any code",
                    where=str(self.path),
                    hint="save numbers: `np.savez(path, x=x.astype(np.float32), y=y.astype(np.int64))`",
                    code="data-pickle",
                ) from error
            raise self._corrupt(f"`{name}`: {error}") from error
        if array.dtype.kind not in ("biufUS" if text else "biuf"):
            raise DataError(
                f"`{name}` is of type {array.dtype}, not numbers",
                where=str(self.path),
                hint="number the classes from 0, and list their names in `labels`",
                code="data-dtype",
            )
        return array

    def column(self, name: str, count: int) -> np.ndarray:
        """Return one array of ``count`` values, numbers or texts, that slices are made of."""
        values = self.read(name, text=True)
        if values.shape != (count,):
            raise DataError(
                f"`{name}` of shape {list(values.shape)} is not one value for each of {count} samples",
                where=str(self.path),
                hint="a slice is made of an array (samples,) of names or numbers, as long as the inputs",
                code="data-slices",
            )
        check_values(name, values, [f"row {row}" for row in range(count)], where=str(self.path))
        return values

    def _corrupt(self, reason: str) -> DataError:
        return DataError(
            f"cannot be read as .npz: {reason}",
            where=str(self.path),
            hint="write it with np.savez or np.savez_compressed; the file may be cut short: copy it again",
            code="data-file-corrupt",
        )
