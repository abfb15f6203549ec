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
from edgeglm.data.labels import read_labels
from edgeglm.data.needed_splits import require_splits
from edgeglm.data.slices import column_slices, with_entry_slices
from edgeglm.errors import RecipeError
from edgeglm.host import entry_point_versions, package_versions, usable_cores
from edgeglm.model import Model, ModelFile
from edgeglm.output.board_files import BoardPreprocess, read_board_preprocess
from edgeglm.pipeline.postprocess import fitting_postprocess
from edgeglm.pipeline.used_entries import import_entries
from edgeglm.plugins import blaming, tag
from edgeglm.recipe.files import file_problems
from edgeglm.schemes import GROUP as SCHEME_GROUP
from edgeglm.sources import DATA_GROUP, MODEL_GROUP
from edgeglm.sources.entry import Entries
from edgeglm.sources.plugin_sources import load_data, load_model
from edgeglm.tasks import GROUP as TASK_GROUP
from edgeglm.tasks.plugin_task import bind_task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm_agent.wire import TensorSpec

    from edgeglm.data.splits import Arrays, Data
    from edgeglm.log import Log
    from edgeglm.recipe import LoadedRecipe, Recipe
    from edgeglm.tasks import Judge

SAMPLE_ROWS = 8  # rows of the evaluation split that shapes and exports are tried on


@dataclass(frozen=True)
class Project:
    """Everything that a run needs, loaded and checked."""

    recipe: Recipe
    board: Board
    board_preprocess: BoardPreprocess  # what the board does to inputs
    entries: Entries
    data: Data
    original: Model | ModelFile
    sample: Arrays  # a few preprocessed rows
    threads: int  # for training and evaluation on this host
    device: str  # cpu | cuda
    weights_sha256: str
    versions: dict[str, str]
    key: str  # covers model, data, code, versions, threads, seed
    judge: Judge  # the recipe's task, with what it needs of this run


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
    given = [key for key, value in (("model", model), ("data", data)) if value is not None]
    if problems := file_problems(loaded, given=given):  # before anything heavy is imported
        raise RecipeError.of(problems)
    entries = Entries(loaded.folder)
    preprocess = Preprocess([ProcessOp(step.op, step.settings) for step in recipe.preprocess], folder=loaded.folder)
    labels = read_labels(loaded, entries)
    log.stage("data")
    board_preprocess = read_board_preprocess(recipe.preprocess, loaded.folder)
    if data is None:
        columns = {"slices": column_slices(recipe.slices)} if recipe.data.has_columns else {}
        loaded_data = load_data(
            recipe.data, entries, preprocess=preprocess, task=recipe.task, labels=labels, seed=recipe.seed, **columns
        )
    else:
        from edgeglm.sources import data_from_objects

        loaded_data = data_from_objects(data, preprocess=preprocess, task=recipe.task, labels=labels, seed=recipe.seed)
    require_splits(recipe, loaded_data, where=loaded.where("data"))
    loaded_data = with_entry_slices(loaded_data, recipe.slices, entries)
    for warning in loaded_data.warnings:
        log.warn(warning)
    for name, split in loaded_data.splits.items():
        log.note(f"{name}: {len(split)} samples")
    sample = loaded_data.evaluation.rows(np.arange(min(SAMPLE_ROWS, len(loaded_data.evaluation))))
    log.stage("model")
    original: Model | ModelFile
    if model is None:
        original, fingerprint = load_model(recipe.model, entries, sample)
        described = msgspec.to_builtins(recipe.model) | {"fingerprint": fingerprint}
    else:
        from edgeglm.nn.loading import build_python_model, module_text

        original, described = build_python_model(deepcopy(model), None, sample, where="model"), module_text(model)
    loaded_data = loaded_data.for_inputs(tuple(spec.name for spec in original.inputs))
    sample = loaded_data.evaluation.rows(np.arange(len(next(iter(sample.values())))))
    with blaming(recipe.task, TASK_GROUP, where="task"):
        recipe.task.check(original.outputs, loaded_data)
    if recipe.task.output is None and len(original.outputs) > 1:
        recipe = _with_output(recipe, original.outputs, log)
    postprocess = fitting_postprocess(recipe, original, loaded_data.labels)
    judge = bind_task(recipe.task, entries=entries, postprocess=postprocess)
    if isinstance(original, Model):
        from edgeglm.nn.loading import state_sha256

        weights = state_sha256(original.module)
    else:
        from edgeglm.measure.external_data import model_file_sha256

        weights = model_file_sha256(original.path, original.format)
    threads = recipe.threads or usable_cores()
    versions = package_versions() | import_entries(loaded, entries, own_model=model is None, own_data=data is None)
    for group, used in ((MODEL_GROUP, recipe.model), (DATA_GROUP, recipe.data), (TASK_GROUP, recipe.task)):
        versions |= entry_point_versions(group, tag(used))
    for artifact in recipe.artifacts:
        versions |= entry_point_versions(SCHEME_GROUP, artifact.scheme)
    key = make_key(
        model=described,
        task=msgspec.to_builtins(recipe.task),
        preprocess=msgspec.to_builtins(recipe.preprocess),
        weights=weights,
        data=loaded_data.sha256,
        code=entries.sha256(),  # asked here first, and so the run's from now on
        versions=versions,
        threads=threads,
        seed=recipe.seed,
    )
    return Project(
        recipe=recipe,
        board=BOARDS[recipe.target],
        board_preprocess=board_preprocess,
        entries=entries,
        data=loaded_data,
        original=original,
        sample=sample,
        threads=threads,
        device=_device(recipe.device),
        weights_sha256=weights,
        versions=versions,
        key=key,
        judge=judge,
    )


def _with_output(recipe: Recipe, outputs: Sequence[TensorSpec], log: Log) -> Recipe:
    """Return the recipe with the first output named as the one that is judged: a file may have another order."""
    first = outputs[0]
    alike = [f"`{spec.name}`" for spec in outputs[1:] if len(spec.shape) == 1 and spec.shape[0] > 1]
    if alike:
        log.warn(
            f"output `{first.name}` is judged, since it is the first; {', '.join(alike)} could be meant, too: "
            "name the right one in `task.output`"
        )
    return msgspec.structs.replace(recipe, task=msgspec.structs.replace(recipe.task, output=first.name))


def _device(wanted: str) -> str:
    if wanted == "cpu":
        return "cpu"
    from edgeglm.nn.precision import cuda_available

    if cuda_available():
        return "cuda"
    if wanted == "cuda":
        raise RecipeError(
            "`device: cuda` is asked for, and torch sees no CUDA device here",
            where="device",
            hint="write `device: auto`, or install a CUDA build of torch",
            code="no-cuda",
        )
    return "cpu"
