"""The files that a recipe names: are they there, and what they should be? Nothing of the user's is imported."""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm.artifacts.onnx_versions import check_opset
from edgeglm.boards import BOARDS
from edgeglm.data.shifts import OwnShift
from edgeglm.errors import EdgeglmError, Problem
from edgeglm.files import tidied
from edgeglm.recipe.entry_source import entry_problem
from edgeglm.recipe.suggest import nearest, suggestion
from edgeglm.recipe.wording import ENTRY_PATTERN
from edgeglm.sources import (
    CsvData,
    GivenData,
    GivenModel,
    HfModel,
    ImagesData,
    NpzData,
    OnnxModel,
    PythonData,
    PythonModel,
    TextData,
    TfliteModel,
)
from edgeglm.sources.csv_file import SUFFIXES as CSV_SUFFIXES
from edgeglm.sources.hf_folder import check_folder, checkpoint_folder
from edgeglm.sources.image_folders import missing_split
from edgeglm.sources.lfs import refuse_lfs_pointer
from edgeglm.sources.npz import has_own_splits, usual_splits
from edgeglm.sources.pickle_scan import refuse_full_pickle
from edgeglm.sources.split_files import find_files
from edgeglm.sources.text import SUFFIXES as TEXT_SUFFIXES
from edgeglm.tasks import OwnMetric

if TYPE_CHECKING:
    from edgeglm.recipe.load import LoadedRecipe


_MISSING = {
    "model.weights": "weights-missing",
    "model.path": "model-file-missing",
    "data.path": "data-file-missing",
}


def file_problems(loaded: LoadedRecipe) -> list[Problem]:
    """Return every problem with a file that the recipe names, each at the line that names it."""
    recipe = loaded.recipe
    found: list[Problem | None] = []
    model, data = recipe.model, recipe.data
    if isinstance(model, PythonModel):
        found.append(entry_problem(model.entry, loaded, "model.entry", given=model.args))
        if model.weights is not None:
            found.append(_weights(loaded, model.weights))
    elif isinstance(model, GivenModel):
        found.append(_given(loaded, "model"))
    elif isinstance(model, OnnxModel | TfliteModel):
        found.append(_model_file(loaded, model))
    elif isinstance(model, HfModel):
        found.append(_hf(loaded, model))
    if isinstance(data, PythonData):
        found.append(entry_problem(data.entry, loaded, "data.entry", given={**data.args, "split": "train"}))
    elif isinstance(data, NpzData):
        found.append(_npz(loaded, data))
    elif isinstance(data, GivenData):
        found.append(_given(loaded, "data"))
    elif isinstance(data, ImagesData):
        found.append(_images(loaded, data))
    elif isinstance(data, CsvData):
        found.append(_split_files(loaded, data, CSV_SUFFIXES))
    elif isinstance(data, TextData):
        found.append(_split_files(loaded, data, TEXT_SUFFIXES))
    found += _operation_files(loaded)
    for index, name in enumerate(recipe.slices):
        if re.search(ENTRY_PATTERN, name):
            given = dict.fromkeys(("inputs", "targets", "split"), "")
            found.append(entry_problem(name, loaded, f"slices[{index}]", given=given))
    for index, shift in enumerate(recipe.robustness):
        if isinstance(shift, OwnShift):
            given = dict.fromkeys(("inputs", "generator"), "")
            found.append(entry_problem(shift.function, loaded, f"robustness[{index}].entry.function", given=given))
    if isinstance(recipe.task, OwnMetric):
        given = dict.fromkeys(("outputs", "targets", "labels"), "")
        found.append(entry_problem(recipe.task.entry, loaded, "task.entry", given=given))
    if isinstance(recipe.labels, str):
        found.append(_labels(loaded, recipe.labels))
    for index, step in enumerate(recipe.steps):
        augment = getattr(step, "augment", None)
        if isinstance(augment, str):
            key = f"steps[{index}].{step.__struct_config__.tag}.augment"
            found.append(entry_problem(augment, loaded, key, given=None))
    return [problem for problem in found if problem is not None]


def _operation_files(loaded: LoadedRecipe) -> list[Problem | None]:
    """Look for the files that operations of `preprocess` read, such as a tokenizer."""
    if not loaded.recipe.preprocess:
        return []
    from edgeglm_agent.processing import PRE_OPERATIONS  # takes NumPy along: only when used

    return [
        _missing(loaded, str(step.settings[name]), f"preprocess[{index}].{step.op}.{name}")
        for index, step in enumerate(loaded.recipe.preprocess)
        for name in PRE_OPERATIONS[step.op].files
    ]


def _given(loaded: LoadedRecipe, key: str) -> Problem:
    return Problem(
        f"`source: object` is given in Python, by `compress(..., {key}=...)`; here it is missing",
        "choose another source to run the recipe from a file",
        loaded.where(f"{key}.source"),
        code="source-object",
    )


def _missing(loaded: LoadedRecipe, name: str, key: str, *, folder: bool = False) -> Problem | None:
    """Return the problem when `name`, relative to the recipe, is no file (no folder); `code` is by its key."""
    path = tidied(loaded.folder / name)
    code = _MISSING.get(key, "file-missing")
    if path.is_dir() if folder else path.is_file():
        try:
            next(path.iterdir(), None) if folder else path.open("rb").close()
        except OSError as error:
            message = f"`{path}` cannot be read: {error.strerror}"
            return Problem(message, "look at its permissions", loaded.where(key), code=code)
        return None
    what = "folder" if folder else "file"
    if path.exists():
        return Problem(f"`{path}` is not a {what}", f"name a {what}", loaded.where(key), code=code)
    return Problem(f"no {what} `{path}`", _near_files(path, name), loaded.where(key), code=code)


def _lfs_pointer(loaded: LoadedRecipe, path: Path, key: str) -> Problem | None:
    try:
        refuse_lfs_pointer(path, loaded.where(key))
    except EdgeglmError as error:
        return error.problems[0]
    return None


def _near_files(path: Path, name: str) -> str:
    """Return the hint for a missing file: one of its kind with a like name, or those that are there."""
    beside = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    stems = {item.stem: item.name for item in beside if item.suffix == path.suffix}
    if near := nearest(path.stem, stems):
        return f"did you mean `{Path(name).with_name(stems[near[0]])}`?"
    if path.suffix and stems:
        return f"beside it there is {', '.join(sorted(stems.values())[:5])}"
    return "paths are relative to the recipe's folder"


def _weights(loaded: LoadedRecipe, name: str) -> Problem | None:
    key = "model.weights"
    if problem := _missing(loaded, name, key):
        return problem
    path = loaded.folder / name
    try:
        refuse_full_pickle(path, loaded.where(key))
    except EdgeglmError as error:
        return error.problems[0]
    with path.open("rb") as file:
        head = file.read(9)
    if path.suffix == ".safetensors" or head[8:] == b"{":
        from safetensors import SafetensorError, safe_open  # takes NumPy along: only when used

        try:
            with safe_open(path, framework="numpy"):
                pass
        except SafetensorError as error:
            message = f"{path.name} cannot be read as weights: {error}"
            hint = "the file is cut short or damaged: save or copy it again"
            return Problem(message, hint, loaded.where(key), code="weights-corrupt")
    return None


def _model_file(loaded: LoadedRecipe, model: OnnxModel | TfliteModel) -> Problem | None:
    if problem := _missing(loaded, model.path, "model.path"):
        return problem
    path = tidied(loaded.folder / model.path)
    if problem := _lfs_pointer(loaded, path, "model.path"):
        return problem
    with path.open("rb") as file:
        head = file.read(8)
    is_tflite = head[4:8] == b"TFL3"
    wrong = not is_tflite if isinstance(model, TfliteModel) else (is_tflite or not head)
    if not wrong:
        return None if isinstance(model, TfliteModel) else _opset(loaded, path)
    kind = "TFLite" if isinstance(model, TfliteModel) else "ONNX"
    hint = "write `source: tflite`" if is_tflite else "export or copy the file again"
    return Problem(f"`{path}` is no {kind} file", hint, loaded.where("model.path"), code="file-unloadable")


def _hf(loaded: LoadedRecipe, model: HfModel) -> Problem | None:
    try:
        check_folder(checkpoint_folder(loaded.folder, model.path), where=loaded.where("model.path"))
    except EdgeglmError as error:
        return replace(error.problems[0], where=loaded.where("model.path"))
    return None


def _opset(loaded: LoadedRecipe, path: Path) -> Problem | None:
    try:
        check_opset(path, BOARDS[loaded.recipe.target], where=loaded.where("model.path"))
    except EdgeglmError as error:
        return error.problems[0]
    return None


def _npz(loaded: LoadedRecipe, data: NpzData) -> Problem | None:
    """Read the names in the archive, not its arrays."""
    if problem := _missing(loaded, data.path, "data.path"):
        return problem
    path = tidied(loaded.folder / data.path)
    if problem := _lfs_pointer(loaded, path, "data.path"):
        return problem
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError) as error:
        message = f"`{path}` is no npz archive: {error}"
        return Problem(message, "write it with numpy.savez", loaded.where("data.path"), code="data-file-corrupt")
    inputs = data.inputs if isinstance(data.inputs, list) else [data.inputs]
    by_split = has_own_splits(inputs[0], names)
    train = ["train"] if f"{inputs[0]}_train" in names else []
    named = [("inputs", name) for name in inputs] + ([] if data.targets is None else [("targets", data.targets)])
    for key, name in named:
        for array in [f"{name}_{split}" for split in (*train, *data.eval_splits)] if by_split else [name]:
            if array not in names:
                there = usual_splits(inputs[0], names) if by_split and not array.endswith("_train") else []
                hint = suggestion(array, names, what="it holds")
                hint = f"write `eval_splits: [{', '.join(there)}]` under `data`" if there else hint
                where = loaded.where(f"data.{key}")
                return Problem(f"`{path}` holds no array `{array}`", hint, where, code="data-array-missing")
    return None


def _images(loaded: LoadedRecipe, data: ImagesData) -> Problem | None:
    if problem := _missing(loaded, data.path, "data.path", folder=True):
        return problem
    path = tidied(loaded.folder / data.path)
    if missing := missing_split(path, data.eval_splits):
        key = "data.eval_splits" if "data.eval_splits" in loaded.lines else "data.path"
        return Problem(*missing, loaded.where(key), code="data-split-missing")
    if any(item.is_dir() for item in path.iterdir()):
        return None
    return Problem(
        f"`{path}` holds no folders",
        "give each class a folder of its own, with its images in it",
        loaded.where("data.path"),
        code="data-classes",
    )


def _split_files(loaded: LoadedRecipe, data: CsvData | TextData, suffixes: tuple[str, ...]) -> Problem | None:
    try:
        find_files(tidied(loaded.folder / data.path), suffixes, data.eval_splits, where=loaded.where("data.path"))
    except EdgeglmError as error:
        return error.problems[0]
    return None


def _labels(loaded: LoadedRecipe, name: str) -> Problem | None:
    if problem := _missing(loaded, name, "labels"):
        return problem
    try:
        lines = (loaded.folder / name).read_text(encoding="utf-8").split()
    except UnicodeDecodeError:
        return Problem(f"`{name}` is not UTF-8", "save it as UTF-8", loaded.where("labels"), code="file-missing")
    if not lines:
        return Problem(f"`{name}` is empty", "write one label a line", loaded.where("labels"), code="file-missing")
    return None
