"""A recipe with its model and data loaded: what every verb that computes starts from."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from edgeglm_agent.processing import Postprocess, Preprocess, ProcessingError
from edgeglm_agent.processing.ranking import TopK
from edgeglm_agent.wire import ProcessOp

from edgeglm.boards import BOARDS, Board
from edgeglm.cache import make_key
from edgeglm.data.labels import read_labels
from edgeglm.data.needed_splits import require_splits
from edgeglm.data.shifts import OwnShift
from edgeglm.data.slices import column_slices, with_entry_slices
from edgeglm.errors import ModelError, RecipeError, UserError
from edgeglm.host import entry_point_versions, module_versions, package_versions, usable_cores
from edgeglm.model import Model, ModelFile
from edgeglm.output.board_files import BoardPreprocess, read_board_preprocess
from edgeglm.plugins import tag
from edgeglm.schemes import GROUP as SCHEME_GROUP
from edgeglm.sources import DATA_GROUP, MODEL_GROUP, GivenData, GivenModel, PythonData, PythonModel
from edgeglm.sources.entry import Entries
from edgeglm.steps import step_name
from edgeglm.tasks import GROUP as TASK_GROUP
from edgeglm.tasks import OwnMetric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm_agent.wire import TensorSpec

    from edgeglm.data.splits import Arrays, Data
    from edgeglm.log import Log
    from edgeglm.recipe import LoadedRecipe, Recipe
    from edgeglm.sources import ModelSource
    from edgeglm.steps import StepConfig
    from edgeglm.tasks import Judge

_ENTRY = re.compile(r"[^:\s]+:[A-Za-z_]\w*")
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
    entries = Entries(loaded.folder)
    preprocess = Preprocess([ProcessOp(step.op, step.settings) for step in recipe.preprocess], folder=loaded.folder)
    labels = read_labels(loaded, entries)
    for key, value in (("model", model), ("data", data)):
        if value is None and isinstance(getattr(recipe, key), GivenModel | GivenData):
            raise UserError(
                "`source: object` is for the Python API, and no object was given",
                where=loaded.where(key),
                hint=f"call edgeglm.compress(recipe, {key}=...), or name a source that can be read",
                code="source-object",
            )
    log.stage("data")
    board_preprocess = read_board_preprocess(recipe.preprocess, loaded.folder)
    if data is None:
        columns = {"slices": column_slices(recipe.slices)} if recipe.data.has_columns else {}
        loaded_data = recipe.data.load(
            entries, preprocess=preprocess, task=recipe.task, labels=labels, seed=recipe.seed, **columns
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
        original, described = recipe.model.load(entries, sample), msgspec.to_builtins(recipe.model)
        described |= {"fingerprint": recipe.model.fingerprint(entries)}
        _check_given(recipe.model, original)
    else:
        from edgeglm.nn.loading import build_python_model, module_text

        original, described = build_python_model(deepcopy(model), None, sample, where="model"), module_text(model)
    loaded_data = loaded_data.for_inputs(tuple(spec.name for spec in original.inputs))
    sample = loaded_data.evaluation.rows(np.arange(len(next(iter(sample.values())))))
    recipe.task.check(original.outputs, loaded_data)
    if recipe.task.output is None and len(original.outputs) > 1:
        recipe = _with_output(recipe, original.outputs, log)
    _check_ranking(recipe, original.outputs)
    postprocess = _check_postprocess(recipe, original, loaded_data.labels)
    judge = recipe.task.bind(entries=entries, postprocess=postprocess)
    if isinstance(original, Model):
        from edgeglm.nn.loading import state_sha256

        weights = state_sha256(original.module)
    else:
        from edgeglm.measure.external_data import model_file_sha256

        weights = model_file_sha256(original.path, original.format)
    threads = recipe.threads or usable_cores()
    versions = package_versions() | _import_entries(loaded, entries, own_model=model is None, own_data=data is None)
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


def _check_given(source: ModelSource, model: Model | ModelFile) -> None:
    """Refuse a model that is not what its source says that it gives: the recipe's rules go by that."""
    given = model.format if isinstance(model, ModelFile) else "network"
    if given != source.gives:
        raise ModelError(
            f"`source: {tag(source)}` says that it gives {source.gives}, and gave {given}",
            where="model",
            hint="mend the package that adds this source: `gives` is a class attribute",
            code="plugin-invalid",
        )


def _check_ranking(recipe: Recipe, outputs: Sequence[TensorSpec]) -> None:
    """Refuse a `top-k` of more classes than the output has. Raises: RecipeError."""
    for index, step in enumerate(recipe.postprocess):
        if step.op != "top-k":
            continue
        op = msgspec.convert(step.settings, TopK)
        spec = next((spec for spec in outputs if op.output in (None, spec.name)), None)
        if spec is None or len(spec.shape) != 1 or op.k == TopK().k:  # the default names what classes there are
            continue
        if 0 < spec.shape[0] < op.k:
            raise RecipeError(
                f"{op.k} is more than the {spec.shape[0]} classes of output `{spec.name}`",
                hint=f"give 1 to {spec.shape[0]}",
                where=f"postprocess[{index}].top-k.k",
                code="recipe-out-of-range",
            )


def _check_postprocess(recipe: Recipe, original: Model | ModelFile, labels: Sequence[str]) -> Postprocess:
    """Return the recipe's `postprocess`, tried on zeros of the model's shapes where all are known.

    Raises:
        RecipeError: An operation does not fit the model.
    """
    ops = [ProcessOp(step.op, step.settings) for step in recipe.postprocess]
    try:
        postprocess = Postprocess(ops, labels)
        _try_postprocess(postprocess, original)
    except ProcessingError as error:
        raise RecipeError(
            error.message,
            where=error.key,
            hint=f"the model puts out {', '.join(f'`{spec.name}` {list(spec.shape)}' for spec in original.outputs)}",
            code="recipe-conflict",
        ) from error
    return postprocess


def _try_postprocess(postprocess: Postprocess, original: Model | ModelFile) -> None:
    if not postprocess.ops or any(-1 in spec.shape for spec in (*original.inputs, *original.outputs)):
        return
    inputs, outputs = (
        {spec.name: np.zeros((1, *spec.shape), spec.dtype) for spec in specs}
        for specs in (original.inputs, original.outputs)
    )
    postprocess.batch(outputs, inputs=inputs)


def step_entries(step: StepConfig) -> list[tuple[str, str]]:
    """Return ``(field, entry)`` of every setting that names a function: `augment`, and any `path.py:function`.

    The entry of a source (a teacher from elsewhere) is one, too.
    """
    settings = step.as_settings()
    sources = {
        f"{field}.entry": value["entry"]
        for field, value in settings.items()
        if isinstance(value, dict) and {"source", "entry"} <= set(value)
    }
    return [
        (field, value)
        for field, value in (settings | sources).items()
        if isinstance(value, str)
        and _ENTRY.fullmatch(value)
        and (field == "augment" or field in sources or value.rpartition(":")[0].endswith(".py"))
    ]


def _import_entries(loaded: LoadedRecipe, entries: Entries, *, own_model: bool, own_data: bool) -> dict[str, str]:
    """Import what the steps name, so that the key covers their modules too.

    Returns:
        The versions of the installed packages that the recipe's ``module:function`` entries come from.

    Raises:
        EntryError: A function that a step names cannot be found.
    """
    recipe = loaded.recipe
    named = [recipe.model.entry] if own_model and isinstance(recipe.model, PythonModel) else []
    named += [recipe.data.entry] if own_data and isinstance(recipe.data, PythonData) else []
    named += [recipe.task.entry] if isinstance(recipe.task, OwnMetric) else []
    for index, shift in enumerate(recipe.robustness):
        if isinstance(shift, OwnShift):
            entries.resolve(shift.function, key=f"robustness[{index}].entry")
            named.append(shift.function)
    for index, step in enumerate(recipe.steps):
        for field, entry in step_entries(step):
            entries.resolve(entry, key=f"steps[{index}].{step_name(step)}.{field}")
            named.append(entry)
    versions: dict[str, str] = {}
    for module in sorted({entry.rpartition(":")[0] for entry in named}):
        if not module.endswith(".py"):
            versions |= module_versions(module)
    return versions


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
