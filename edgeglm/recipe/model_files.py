"""The files of a model that a recipe names: are they there, and what they should be? Nothing is loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeglm.artifacts.onnx_versions import check_opset, read_versions
from edgeglm.boards import BOARDS
from edgeglm.errors import EdgeglmError, Problem
from edgeglm.files import tidied
from edgeglm.recipe.entry_source import entry_problem
from edgeglm.recipe.label_file import labels_of
from edgeglm.recipe.named_file import given_problem, lfs_problem, missing_problem
from edgeglm.sources import GivenModel, HfModel, OnnxModel, PythonModel, TfliteModel
from edgeglm.sources.hf_folder import (
    WEIGHTS,
    check_classes,
    check_folder,
    check_length,
    check_vocabulary,
    checkpoint_folder,
)
from edgeglm.sources.pickle_scan import refuse_full_pickle

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.recipe.load import LoadedRecipe
    from edgeglm.sources import ModelSource

_ZIP = b"PK\x03\x04"


def model_problems(loaded: LoadedRecipe, model: ModelSource, key: str) -> list[Problem]:
    """Return every problem with the files of a model.

    Args:
        loaded: The recipe.
        model: The source: the recipe's, or that of a teacher.
        key: Where it stands: ``model``, ``steps[0].distill.teacher``.
    """
    found: list[Problem | None] = []
    if isinstance(model, PythonModel):
        found.append(entry_problem(model.entry, loaded, f"{key}.entry", given=model.args))
        if model.weights is not None:
            found.append(_weights(loaded, model.weights, f"{key}.weights"))
    elif isinstance(model, GivenModel):
        found.append(given_problem(loaded, key))
    elif isinstance(model, OnnxModel | TfliteModel):
        found.append(_model_file(loaded, model, f"{key}.path"))
    elif isinstance(model, HfModel):
        found.append(_hf(loaded, model, f"{key}.path"))
    return [problem for problem in found if problem is not None]


def _weights(loaded: LoadedRecipe, name: str, key: str) -> Problem | None:
    if problem := missing_problem(loaded, name, key):
        return problem
    path = loaded.folder / name
    try:
        refuse_full_pickle(path, loaded.where(key))
    except EdgeglmError as error:
        return error.problems[0]
    with path.open("rb") as file:
        head = file.read(9)
    return _safetensors(loaded, path, key) if path.suffix == ".safetensors" or head[8:] == b"{" else None


def _safetensors(loaded: LoadedRecipe, path: Path, key: str) -> Problem | None:
    """Read the head of a file of weights: what it says must be as long as the file."""
    from safetensors import SafetensorError, safe_open  # takes NumPy along: only when used

    try:
        with safe_open(path, framework="numpy"):
            return None
    except SafetensorError as error:
        message = f"{path.name} cannot be read as weights: {error}"
        hint = "the file is cut short or damaged: save or copy it again"
        return Problem(message, hint, loaded.where(key), code="weights-corrupt")


def _model_file(loaded: LoadedRecipe, model: OnnxModel | TfliteModel, key: str) -> Problem | None:
    if problem := missing_problem(loaded, model.path, key):
        return problem
    path = tidied(loaded.folder / model.path)
    if problem := lfs_problem(loaded, path, key):
        return problem
    with path.open("rb") as file:
        head = file.read(8)
    is_tflite = head[4:8] == b"TFL3"
    hint = "export or copy the file again"
    if isinstance(model, TfliteModel):
        message = "" if is_tflite else f"`{path}` is no TFLite file"
    elif is_tflite:
        message, hint = f"`{path}` is no ONNX file", "write `source: tflite`"
    elif head.startswith(_ZIP):  # what torch.save writes
        message = f"`{path}` is no ONNX file: it looks like weights of PyTorch"
        hint = "write `source: python` with its network as `entry`, and this file as `weights`; or export it to ONNX"
    else:
        message = _no_onnx(path)
    if message:
        return Problem(message, hint, loaded.where(key), code="file-unloadable")
    return None if isinstance(model, TfliteModel) else _opset(loaded, path, key)


def _no_onnx(path: Path) -> str:
    """Return why a file is no ONNX model, as far as its outermost message tells: its graph is passed over."""
    try:
        found = read_versions(path)
    except ValueError as error:
        return f"`{path}` is no ONNX file, or a part of one: {error}"
    missing = {"version": found.ir, "graph": found.has_graph, "opset": found.opset}
    lacks = [f"no {name}" for name, there in missing.items() if not there]
    return f"`{path}` is no ONNX file: it has {', '.join(lacks)}" if lacks else ""


def _hf(loaded: LoadedRecipe, model: HfModel, key: str) -> Problem | None:
    """Look at the checkpoint, and whether its tables have a row for every token of a text, and every position."""
    try:
        folder = checkpoint_folder(loaded.folder, model.path)
        said = check_folder(folder, where=key)
    except EdgeglmError as error:
        return replace(error.problems[0], where=loaded.where(key))
    try:
        check_length(said, loaded.recipe.preprocess)
        check_vocabulary(said, loaded.recipe.preprocess, loaded.folder)
        if model.task == "classification":
            check_classes(said, labels_of(loaded.recipe.labels, loaded.folder))
    except EdgeglmError as error:
        return replace(error.problems[0], where=loaded.where(error.problems[0].where))
    return _safetensors(loaded, folder / WEIGHTS, key)


def _opset(loaded: LoadedRecipe, path: Path, key: str) -> Problem | None:
    try:
        check_opset(path, BOARDS[loaded.recipe.target], where=loaded.where(key))
    except EdgeglmError as error:
        return error.problems[0]
    return None
