"""The recipe's `postprocess` against the model: what does not fit is said before anything long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from edgeglm_agent.processing import Postprocess, ProcessingError
from edgeglm_agent.processing.ranking import TopK
from edgeglm_agent.wire import ProcessOp

from edgeglm.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm_agent.wire import TensorSpec

    from edgeglm.model import Model, ModelFile
    from edgeglm.recipe import Recipe


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


def fitting_postprocess(recipe: Recipe, original: Model | ModelFile, labels: Sequence[str]) -> Postprocess:
    """Return the recipe's `postprocess`, tried on zeros of the model's shapes where all are known.

    Raises:
        RecipeError: An operation does not fit the model.
    """
    _check_ranking(recipe, original.outputs)
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
