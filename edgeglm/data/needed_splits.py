"""Which splits a recipe needs besides those it evaluates on: training samples for steps, others for calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.errors import DataError
from edgeglm.recipe.types import Quantize
from edgeglm.steps import step_name

if TYPE_CHECKING:
    from edgeglm.data.splits import Data
    from edgeglm.recipe import Recipe


def require_splits(recipe: Recipe, data: Data, *, where: str) -> None:
    """Refuse data that lacks what the recipe reads.

    Args:
        recipe: Its steps read training samples; artifacts that are calibrated, or chosen by measuring, read others.
        data: As it was loaded.
        where: Of the data, for errors.

    Raises:
        DataError: A split is missing.
    """
    trains = [f"steps[{index}].{step_name(step)}" for index, step in enumerate(recipe.steps)]
    calibrates = [
        f"artifacts[{index}]"
        for index, artifact in enumerate(recipe.artifacts)
        if artifact.is_auto
        or not isinstance(artifact.quantization, Quantize)
        or artifact.quantization.calibrated
        or artifact.quantization.accuracy_control
    ]
    for name, keys in (("train", trains), ("calibration", calibrates)):
        if keys and name not in data.splits:
            hint = "give it samples of its own"
            if name == "calibration":
                hint += ", or give `train` some: calibration samples are taken from them"
            raise DataError(
                f"there is no split `{name}`, and {keys[0]} needs one",
                hint=hint,
                where=where,
                code="data-split-missing",
            )
