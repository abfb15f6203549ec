"""A recipe with its model and data loaded: what every verb that computes starts from."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from edgeglm_agent.processing import Preprocess
from edgeglm_agent.wire import ProcessOp

from edgeglm.boards import BOARDS, Board
from edgeglm.cache import make_key
from edgeglm.errors import RecipeError, UserError
from edgeglm.files import sha256_file
from edgeglm.host import package_versions, usable_cores
from edgeglm.model import Model, ModelFile
from edgeglm.sources import GivenData, GivenModel, load_data, load_model
from edgeglm.sources.entry import Entries

if TYPE_CHECKING:
    from edgeglm.data import Arrays, Data
    from edgeglm.log import Log
    from edgeglm.recipe import LoadedRecipe, Recipe

SAMPLE_ROWS = 8  # rows of the evaluation split that shapes and exports are tried on


@dataclass(frozen=True)
class Project:
    """Everything that a run needs, loaded and checked."""

    recipe: Recipe
    board: Board
    entries: Entries
    data: Data
    original: Model | ModelFile
    sample: Arrays  # a few preprocessed rows
    threads: int  # for training and evaluation on this host
    device: str  # cpu | cuda
    weights_sha256: str
    versions: dict[str, str]
    key: str  # covers model, data, code, versions, threads, seed


def open_project(
    loaded: LoadedRecipe,
    *,
    log: Log,
    model: Any = None,
    data: Any = None,
) -> Project:
    """Load data and model of a recipe, or take those given as objects (see ``edgeglm.compress``).

    Raises:
        UserError: An entry, file, weight or sample cannot be used.
    """
    recipe = loaded.recipe
    entries = Entries(loaded.folder)
    preprocess = Preprocess([ProcessOp(step.op, step.settings) for step in recipe.preprocess])
    labels = _labels(loaded)
    for key, value in (("model", model), ("data", data)):
        if value is None and isinstance(getattr(recipe, key), GivenModel | GivenData):
            raise UserError(
                "`source: object` is for the Python API, and no object was given",
                where=loaded.where(key),
                hint=f"call edgeglm.compress(recipe, {key}=...), or name a source that can be read",
                code="source-object",
            )
    log.stage("data")
    if data is None:
        loaded_data = load_data(recipe.data, entries, preprocess=preprocess, labels=labels, seed=recipe.seed)
    else:
        from edgeglm.sources import data_from_objects

        loaded_data = data_from_objects(data, preprocess=preprocess, labels=labels, seed=recipe.seed)
    for warning in loaded_data.warnings:
        log.warn(warning)
    for name, split in loaded_data.splits.items():
        log.note(f"{name}: {len(split)} samples")
    sample = loaded_data.evaluation.rows(np.arange(min(SAMPLE_ROWS, len(loaded_data.evaluation))))
    log.stage("model")
    if model is None:
        original, described = load_model(recipe.model, entries, sample), msgspec.to_builtins(recipe.model)
    else:
        from edgeglm.nn.loading import build_python_model, module_text

        original, described = build_python_model(deepcopy(model), None, sample, where="model"), module_text(model)
    loaded_data = loaded_data.for_inputs(tuple(spec.name for spec in original.inputs))
    sample = loaded_data.evaluation.rows(np.arange(len(next(iter(sample.values())))))
    recipe.task.check(original.outputs, loaded_data)
    if isinstance(original, Model):
        from edgeglm.nn.loading import state_sha256

        weights = state_sha256(original.module)
    else:
        weights = sha256_file(original.path)
    threads = recipe.threads or usable_cores()
    versions = package_versions()
    key = make_key(
        model=described,
        task=msgspec.to_builtins(recipe.task),
        preprocess=msgspec.to_builtins(recipe.preprocess),
        weights=weights,
        data=loaded_data.sha256,
        code=entries.sha256(),
        versions=versions,
        threads=threads,
        seed=recipe.seed,
    )
    return Project(
        recipe=recipe,
        board=BOARDS[recipe.target],
        entries=entries,
        data=loaded_data,
        original=original,
        sample=sample,
        threads=threads,
        device=_device(recipe.device),
        weights_sha256=weights,
        versions=versions,
        key=key,
    )


def _labels(loaded: LoadedRecipe) -> tuple[str, ...]:
    """Return the labels, read from the recipe's file when it names one."""
    labels = loaded.recipe.labels
    if isinstance(labels, list):
        return tuple(labels)
    path = loaded.folder / labels
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"cannot read the labels: {error}",
            where=loaded.where("labels"),
            hint="name a UTF-8 text file with one label a line, or write the labels as a list",
            code="file-missing",
        ) from error


def _device(wanted: str) -> str:
    if wanted == "cpu":
        return "cpu"
    from edgeglm.nn.precision import cuda_available

    if cuda_available():
        return "cuda"
    if wanted == "cuda":
        raise RecipeError(
            "`device: cuda` is asked for, and torch sees no CUDA device here",
            hint="write `device: auto`, or install a CUDA build of torch",
            code="no-cuda",
        )
    return "cpu"
