"""What a recipe leaves out, so that it does not do what it seems to be for; told by `check` and by the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeglm.boards import BOARDS
from edgeglm.recipe.types import Quantize
from edgeglm.steps import Sparsify, step_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeglm.recipe import ArtifactConfig, Recipe


@dataclass(frozen=True)
class Omission:
    """Something that runs, and is likely not what was meant."""

    key: str  # in the recipe: steps[0].sparsify
    message: str
    hint: str


def omissions(recipe: Recipe) -> Iterator[Omission]:
    """Yield what is missing between the steps and artifacts of a recipe."""
    trains = [index for index, step in enumerate(recipe.steps) if step.trains]
    last = {step_name(step): index for index, step in enumerate(recipe.steps) if step.needs_training}
    for name, index in last.items():
        if not any(other > index for other in trains):
            yield Omission(
                f"steps[{index}].{name}",
                f"nothing is trained after the last {name}",
                f"add `- distill: {{epochs: 10}}` after it: {recipe.steps[index].needs_training}",
            )
    rounded = [index for index in trains if getattr(recipe.steps[index], "qat", False)]
    if rounded and not any(_may_be_static(artifact) for artifact in recipe.artifacts):
        yield Omission(
            f"steps[{rounded[-1]}].{step_name(recipe.steps[rounded[-1]])}.qat",
            "no artifact is static-int8, so the rounding that the weights learn under never comes",
            "ask for `quantize: static-int8`, or take `qat` out",
        )
    for index, step in enumerate(recipe.steps):
        if isinstance(step, Sparsify) and not step.for_size and (gains := step.gains(BOARDS[recipe.target])):
            yield Omission(
                f"steps[{index}].sparsify",
                f"makes no file of edgeglm faster on {recipe.target} by itself: {gains}",
                "build that engine, prune whole channels instead (`prune`), or say that it is for the compressed file "
                "(`for_size: true`)",
            )


def _may_be_static(artifact: ArtifactConfig) -> bool:
    scheme = artifact.quantization
    return not isinstance(scheme, Quantize) or scheme.may_be_static
