"""What a recipe leaves out, so that it does not do what it seems to be for; told by `check` and by the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeglm.recipe.types import Quantize
from edgeglm.steps import step_name
from edgeglm.steps._training import TrainingConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeglm.recipe import ArtifactConfig, Recipe

_TAKES_AWAY = {  # step -> what a network has to do after it
    "prune": "a pruned network has to learn again",
    "drop-layers": "a network without some of its layers has to learn again",
    "sparsify": "what the zeros cost is learnt back by a step that holds them",
}


@dataclass(frozen=True)
class Omission:
    """Something that runs, and is likely not what was meant."""

    key: str  # in the recipe: steps[0].sparsify
    message: str
    hint: str


def omissions(recipe: Recipe) -> Iterator[Omission]:
    """Yield what is missing between the steps and artifacts of a recipe."""
    trains = [index for index, step in enumerate(recipe.steps) if isinstance(step, TrainingConfig)]
    for name, reason in _TAKES_AWAY.items():
        found = [index for index, step in enumerate(recipe.steps) if step_name(step) == name]
        if found and not any(index > found[-1] for index in trains):
            yield Omission(
                f"steps[{found[-1]}].{name}",
                f"nothing is trained after the last {name}",
                f"add `- distill: {{epochs: 10}}` after it: {reason}",
            )
    rounded = [index for index in trains if getattr(recipe.steps[index], "qat", False)]
    if rounded and not any(_may_be_static(artifact) for artifact in recipe.artifacts):
        yield Omission(
            f"steps[{rounded[-1]}].{step_name(recipe.steps[rounded[-1]])}.qat",
            "no artifact is static-int8, so the rounding that the weights learn under never comes",
            "ask for `quantize: static-int8`, or take `qat` out",
        )


def _may_be_static(artifact: ArtifactConfig) -> bool:
    scheme = artifact.quantization
    return not isinstance(scheme, Quantize) or bool(scheme.schemes & {"static-int8", "auto"})
