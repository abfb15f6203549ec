"""The recipe's `postprocess` against the model: what does not fit is said before anything long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from edgeglm_agent.processing import Postprocess, ProcessingError
from edgeglm_agent.processing._base import Answers
from edgeglm_agent.processing.boxes import DecodeBoxes
from edgeglm_agent.processing.ranking import Argmax, Labels, TopK
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
        _try_postprocess(postprocess, original, labels)
    except ProcessingError as error:
        raise RecipeError(
            error.message,
            where=error.key,
            hint=f"the model puts out {', '.join(f'`{spec.name}` {list(spec.shape)}' for spec in original.outputs)}",
            code="recipe-conflict",
        ) from error
    return postprocess


def _check_names(postprocess: Postprocess, outputs: dict[str, np.ndarray], labels: Sequence[str]) -> None:
    """Refuse names of more or fewer classes than `boxes`, `top-k` or `argmax` tells apart. Raises: RecipeError."""
    classes = _classes(postprocess, outputs)
    boxes = any(isinstance(op, DecodeBoxes) for op in postprocess.ops)
    named = [("labels", labels)] if boxes and labels else []  # of other tasks, the task itself counts them
    for index, op in enumerate(postprocess.ops):
        if isinstance(op, Labels) and op.names != list(labels):
            named.append((f"postprocess[{index}].labels.names", op.names))
    for where, names in named:
        if classes and len(names) != classes:
            raise RecipeError(
                f"there are {len(names)} labels ({', '.join(names[:8])}{', ...' if len(names) > 8 else ''}), and the "
                f"model has {classes} classes",
                hint="one label for each class of the model, in the order of its scores",
                where=where,
                code="labels-mismatch",
            )


def _classes(postprocess: Postprocess, outputs: dict[str, np.ndarray]) -> int:
    """Return how many classes there are scores of; 0: that is not known."""
    answers = Answers(outputs)
    for op in postprocess.ops:
        if isinstance(op, DecodeBoxes):
            return op.count_classes(answers)
        if isinstance(op, TopK | Argmax):
            return int(answers.outputs[answers.named(op.output)].shape[-1])
        if op.makes != ("outputs",) or op.needs_inputs:
            return 0
        answers = op.apply(answers)
    return 0


def _try_postprocess(postprocess: Postprocess, original: Model | ModelFile, labels: Sequence[str]) -> None:
    if not postprocess.ops or any(-1 in spec.shape for spec in (*original.inputs, *original.outputs)):
        return
    inputs, outputs = (
        {spec.name: np.zeros((1, *spec.shape), spec.dtype) for spec in specs}
        for specs in (original.inputs, original.outputs)
    )
    postprocess.batch(outputs, inputs=inputs)
    _check_names(postprocess, outputs, labels)
