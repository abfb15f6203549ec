"""The functions that a recipe names: imported early, so that a run's key covers their modules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgeglm.data.shifts import OwnShift
from edgeglm.host import module_versions
from edgeglm.sources import PythonData, PythonModel
from edgeglm.steps import step_name
from edgeglm.tasks import OwnMetric

if TYPE_CHECKING:
    from edgeglm.recipe import LoadedRecipe
    from edgeglm.sources.entry import Entries
    from edgeglm.steps import StepConfig

_ENTRY = re.compile(r"[^:\s]+:[A-Za-z_]\w*")


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


def import_entries(loaded: LoadedRecipe, entries: Entries, *, own_model: bool, own_data: bool) -> dict[str, str]:
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
