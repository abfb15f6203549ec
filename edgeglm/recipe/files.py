"""The files that a recipe names: are they there, and what they should be? Nothing of the user's is imported."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgeglm.data.shifts import OwnShift
from edgeglm.errors import Problem
from edgeglm.recipe.data_files import data_problems
from edgeglm.recipe.entry_source import entry_problem
from edgeglm.recipe.label_file import labels_in
from edgeglm.recipe.model_files import model_problems
from edgeglm.recipe.named_file import given_problem, missing_problem
from edgeglm.recipe.operation_files import operation_problems
from edgeglm.recipe.wording import ENTRY_PATTERN
from edgeglm.sources import GivenData, ModelSource, PythonData
from edgeglm.tasks import OwnMetric

if TYPE_CHECKING:
    from collections.abc import Collection

    from edgeglm.recipe.load import LoadedRecipe


def file_problems(loaded: LoadedRecipe, *, given: Collection[str] = ()) -> list[Problem]:
    """Return every problem with a file that the recipe names, each at the line that names it.

    Args:
        loaded: The recipe.
        given: ``model`` or ``data``, where a program gives an object in the place of it.
    """
    recipe = loaded.recipe
    found: list[Problem | None] = []
    if "model" not in given:
        found += model_problems(loaded, recipe.model, "model")
    if "data" not in given:
        found += _data(loaded)
    found += operation_problems(loaded)
    for index, name in enumerate(recipe.slices):
        if re.search(ENTRY_PATTERN, name):
            arguments = dict.fromkeys(("inputs", "targets", "split"), "")
            found.append(entry_problem(name, loaded, f"slices[{index}]", given=arguments, has_args=False))
    for index, shift in enumerate(recipe.robustness):
        if isinstance(shift, OwnShift):
            arguments = dict.fromkeys(("inputs", "generator"), "")
            key = f"robustness[{index}].entry.function"
            found.append(entry_problem(shift.function, loaded, key, given=arguments, has_args=False))
    if isinstance(recipe.task, OwnMetric):
        arguments = dict.fromkeys(("outputs", "targets", "labels"), "")
        found.append(entry_problem(recipe.task.entry, loaded, "task.entry", given=arguments, has_args=False))
    if isinstance(recipe.labels, str):
        found.append(_labels(loaded, recipe.labels))
    for index, step in enumerate(recipe.steps):
        augment = getattr(step, "augment", None)
        if isinstance(augment, str):
            key = f"steps[{index}].{step.__struct_config__.tag}.augment"
            found.append(entry_problem(augment, loaded, key, given=None))
        teacher = getattr(step, "teacher", None)
        if isinstance(teacher, ModelSource):
            found += model_problems(loaded, teacher, f"steps[{index}].{step.__struct_config__.tag}.teacher")
    return [problem for problem in found if problem is not None]


def _data(loaded: LoadedRecipe) -> list[Problem | None]:
    data = loaded.recipe.data
    if isinstance(data, PythonData):
        return [entry_problem(data.entry, loaded, "data.entry", given={**data.args, "split": "train"})]
    return [given_problem(loaded, "data")] if isinstance(data, GivenData) else [*data_problems(loaded)]


def _labels(loaded: LoadedRecipe, name: str) -> Problem | None:
    if problem := missing_problem(loaded, name, "labels"):
        return problem
    try:
        labels = labels_in(loaded.folder / name)
    except UnicodeDecodeError:
        return Problem(f"`{name}` is not UTF-8", "save it as UTF-8", loaded.where("labels"), code="file-missing")
    if not labels:
        return Problem(f"`{name}` is empty", "write one label a line", loaded.where("labels"), code="file-missing")
    return None
