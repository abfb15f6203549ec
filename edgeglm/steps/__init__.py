"""What a recipe may do to a model; one file a step.

The table below is the registry: a new technique is its file, one line here, a test and a section of docs/steps.md.
Packages add theirs by the entry point group ``edgeglm.steps`` (name -> a ``StepConfig`` subclass).
"""

from __future__ import annotations

from functools import cache

from edgeglm.plugins import tag, with_plugins
from edgeglm.steps._base import Context, Progress, StepConfig
from edgeglm.steps.distill import Distill
from edgeglm.steps.drop_layers import DropLayers
from edgeglm.steps.finetune import Finetune
from edgeglm.steps.prune import Prune
from edgeglm.steps.sparsify import Sparsify

GROUP = "edgeglm.steps"
STEPS: tuple[type[StepConfig], ...] = (Prune, DropLayers, Sparsify, Distill, Finetune)


@cache
def step_types() -> dict[str, type[StepConfig]]:
    """Return step name -> struct: ours, then those of installed packages. Raises: UserError (``plugin-invalid``)."""
    return with_plugins(STEPS, StepConfig, group=GROUP, needs=("apply",))


def step_name(step: type[StepConfig] | StepConfig) -> str:
    """Return the name a recipe writes for this step."""
    return tag(step)


__all__ = [
    "GROUP",
    "STEPS",
    "Context",
    "Distill",
    "DropLayers",
    "Finetune",
    "Progress",
    "Prune",
    "Sparsify",
    "StepConfig",
    "step_name",
    "step_types",
]
