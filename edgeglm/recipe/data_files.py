"""The files of data that a recipe names: are they there, with the arrays and columns that it wants?

Archives are asked for the names of their arrays, tables for their first lines: no sample is read.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from edgeglm_agent.suggest import suggestion

from edgeglm.errors import EdgeglmError, Problem
from edgeglm.files import tidied
from edgeglm.plugins import tag
from edgeglm.recipe.label_file import labels_of
from edgeglm.recipe.named_file import lfs_problem, missing_problem
from edgeglm.recipe.wording import ENTRY_PATTERN
from edgeglm.sources import CsvData, ImagesData, NpzData, TextData
from edgeglm.sources.csv_columns import column_problems, first_row, read_rows
from edgeglm.sources.csv_file import SUFFIXES as CSV_SUFFIXES
from edgeglm.sources.image_folders import missing_split
from edgeglm.sources.npz import has_own_splits, usual_splits
from edgeglm.sources.split_files import WHOLE, find_files, text_lines
from edgeglm.sources.text import SUFFIXES as TEXT_SUFFIXES
from edgeglm.sources.text_columns import column_problems as text_column_problems
from edgeglm.sources.text_columns import is_table, plain_problems
from edgeglm.tasks import Embedding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeglm.recipe.load import LoadedRecipe

_MOST_ROWS = 100_000  # of a table, read to see whether a window fits


def data_problems(loaded: LoadedRecipe) -> list[Problem]:
    """Return every problem with the files of the data, each at the line of the key that names what is missing."""
    data = loaded.recipe.data
    try:
        if isinstance(data, NpzData):
            return _npz(loaded, data)
        if isinstance(data, ImagesData):
            return _images(loaded, data)
        if isinstance(data, CsvData):
            return _csv(loaded, data)
        if isinstance(data, TextData):
            return _text(loaded, data)
    except EdgeglmError as error:
        return list(error.problems)
    return []


def _column_slices(loaded: LoadedRecipe) -> dict[str, str]:
    """Return column -> key of those slices that are columns of the data."""
    named = enumerate(loaded.recipe.slices)
    return {name: f"slices[{index}]" for index, name in named if re.search(ENTRY_PATTERN, name) is None}


def _located(loaded: LoadedRecipe, problems: list[Problem]) -> Iterator[Problem]:
    """Yield the problems at the lines of their keys, one for each key: files of several splits lack the same."""
    keys: set[str] = set()
    for problem in problems:
        if problem.where not in keys:
            keys.add(problem.where)
            yield replace(problem, where=loaded.where(problem.where))


def _npz(loaded: LoadedRecipe, data: NpzData) -> list[Problem]:
    """Read the names in the archive, not its arrays."""
    if problem := missing_problem(loaded, data.path, "data.path"):
        return [problem]
    path = tidied(loaded.folder / data.path)
    if problem := lfs_problem(loaded, path, "data.path"):
        return [problem]
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError) as error:
        message = f"`{path}` is no npz archive: {error}"
        return [Problem(message, "write it with numpy.savez", loaded.where("data.path"), code="data-file-corrupt")]
    inputs = data.inputs if isinstance(data.inputs, list) else [data.inputs]
    by_split = has_own_splits(inputs[0], names)
    train = ["train"] if f"{inputs[0]}_train" in names else []
    named = [("data.inputs", name) for name in inputs]
    named += [] if data.targets is None else [("data.targets", data.targets)]
    wanted = [
        (key, array)
        for key, name in named
        for array in ([f"{name}_{split}" for split in (*train, *data.eval_splits)] if by_split else [name])
    ]
    if data.group is not None and not by_split:
        wanted.append(("data.group", data.group))
    wanted += [
        (key, array)
        for name, key in _column_slices(loaded).items()
        for array in ([f"{name}_{split}" for split in data.eval_splits] if by_split else [name])
    ]
    problems = []
    for key, array in wanted:
        if array not in names:
            from_split = key in ("data.inputs", "data.targets") and by_split and not array.endswith("_train")
            there = usual_splits(inputs[0], names) if from_split else []
            hint = suggestion(array, names, what="it holds")
            hint = f"write `eval_splits: [{', '.join(there)}]` under `data`" if there else hint
            problems.append(Problem(f"`{path}` holds no array `{array}`", hint, key, code="data-array-missing"))
            if there:
                break  # the same for every other array
    return list(_located(loaded, problems))


def _images(loaded: LoadedRecipe, data: ImagesData) -> list[Problem]:
    if problem := missing_problem(loaded, data.path, "data.path", folder=True):
        return [problem]
    path = tidied(loaded.folder / data.path)
    if missing := missing_split(path, data.eval_splits):
        key = "data.eval_splits" if "data.eval_splits" in loaded.lines else "data.path"
        return [Problem(*missing, loaded.where(key), code="data-split-missing")]
    if any(item.is_dir() for item in path.iterdir()):
        return []
    return [
        Problem(
            f"`{path}` holds no folders",
            "give each class a folder of its own, with its images in it",
            loaded.where("data.path"),
            code="data-classes",
        )
    ]


def _csv(loaded: LoadedRecipe, data: CsvData) -> list[Problem]:
    """Read the first row of every file, and no more than shows whether one window fits."""
    path, slices = tidied(loaded.folder / data.path), _column_slices(loaded)
    files = find_files(path, CSV_SUFFIXES, data.eval_splits, where=loaded.where("data.path"))
    problems: list[Problem] = []
    for split, file in files.items():
        rows = read_rows(file, data.delimiter)
        number, first = first_row(rows, file)
        problems += column_problems(first, data, slices, place=f"{file}:{number}")
        if data.window is not None:
            problems += _too_short(file, data, split, sum(1 for _ in islice(rows, _MOST_ROWS)) + (not data.header))
    return list(_located(loaded, problems))


def _too_short(path: Path, data: CsvData, split: str, rows: int) -> list[Problem]:
    """Return the problem of a table that is too short for one window to judge by, however its rows are grouped."""
    assert data.window is not None
    if rows >= _MOST_ROWS or split in ("train", "calibration"):
        return []
    span, left = data.window + data.horizon, rows
    if split == WHOLE and data.divided_by == "time":
        left = max(0, round(rows * data.fractions.eval) - data.gap)
    if left >= span:
        return []
    part = f", of which {left} are for `{data.eval_splits[0]}`" if left < rows else ""
    after = f" and {data.horizon} to predict" if data.horizon else ""
    return [
        Problem(
            f"no window fits: `{path}` has {rows} rows{part}, and a window takes {data.window}{after}",
            "use a shorter `window`" + (" or `horizon`" * bool(data.horizon)) + ", or give more rows",
            "data.window",
            "data-too-few",
        )
    ]


def _text(loaded: LoadedRecipe, data: TextData) -> list[Problem]:
    """Read the first line of every file."""
    path, slices, task = tidied(loaded.folder / data.path), _column_slices(loaded), loaded.recipe.task
    files = find_files(path, TEXT_SUFFIXES, data.eval_splits, where=loaded.where("data.path"))
    problems: list[Problem] = []
    for split, file in files.items():
        if is_table(file) and isinstance(task, Embedding) and data.tsv != "pairs":
            message = f"`{file}` holds texts with labels, and `kind: embedding` takes scored pairs, or no targets"
            hint = "write `tsv: pairs` where a line is a text, a text and a score; or texts alone in a .txt file"
            problems.append(Problem(message, hint, "data.tsv", "data-targets"))
        elif is_table(file):
            first = next(((number, line) for number, line in text_lines(file) if line.strip()), None)
            labels = labels_of(loaded.recipe.labels, loaded.folder)
            problems += text_column_problems(file, first, data, slices, labels) if first is not None else []
        elif split not in ("train", "calibration"):
            problems += plain_problems(file, slices, judged_by=tag(task) if task.needs_targets else "")
    return list(_located(loaded, problems))
