"""What a recipe may do to a model; one file a step.

The table below is the registry: a new technique is its file, one line here, a test and a section of docs/steps.md.
Packages add theirs by the entry point group ``edgeglm.steps`` (name -> a ``StepConfig`` subclass).
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from edgeglm.errors import UserError
from edgeglm.steps._base import Context, Progress, StepConfig
from edgeglm.steps.distill import Distill
from edgeglm.steps.finetune import Finetune
from edgeglm.steps.prune import Prune

_OURS: tuple[type[StepConfig], ...] = (Prune, Distill, Finetune)


@cache
def step_types() -> dict[str, type[StepConfig]]:
    """Return step name -> struct: ours, then those of installed packages.

    Raises:
        UserError: A package's entry point is no step, or takes a name that is taken.
    """
    table = {step_name(step): step for step in _OURS}
    for point in entry_points(group="edgeglm.steps"):
        try:
            loaded = point.load()
        except Exception as error:  # someone else's package: whatever it raises is about that package
            raise UserError(
                f"the package that adds the step `{point.name}` cannot be imported: {type(error).__name__}: {error}",
                where=point.value,
                hint="repair or uninstall that package",
                code="plugin-invalid",
            ) from error
        if not (isinstance(loaded, type) and issubclass(loaded, StepConfig)) or point.name in table:
            raise UserError(
                f"entry point `{point.name}` of group edgeglm.steps is not a new step",
                where=point.value,
                hint="it must name a subclass of edgeglm.steps.StepConfig under a name that no other step has",
                code="plugin-invalid",
            )
        table[point.name] = loaded
    return table


def step_name(step: type[StepConfig] | StepConfig) -> str:
    """Return the name a recipe writes for this step."""
    return str(step.__struct_config__.tag)


__all__ = ["Context", "Distill", "Finetune", "Progress", "Prune", "StepConfig", "step_name", "step_types"]
