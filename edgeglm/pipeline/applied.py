"""One step applied, tried or for good: what a package's step raises, or returns, is that package's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeglm.data.splits import ArraySplit
from edgeglm.errors import StepError
from edgeglm.model import Model
from edgeglm.plugins import blaming, called, fault, is_own
from edgeglm.steps import GROUP

if TYPE_CHECKING:
    from edgeglm.data.splits import Arrays
    from edgeglm.steps import Context, StepConfig


def apply_step(config: StepConfig, model: Model, ctx: Context, sample: Arrays) -> Model:
    """Return the network after a step, which answers with numbers still.

    A package's step is looked at whenever it ran; ours when it is tried: what they train is watched as it is trained.

    Args:
        config: The step.
        model: What it is applied to.
        ctx: Its ``dry_run`` says whether it is only tried.
        sample: A few preprocessed rows by input name, (N, ...), that the network answers.

    Raises:
        StepError: The step cannot do it; or a package's raised, or returned no network (``step-failed``); or the
            network answers NaN or infinity (``training-diverged``, ``step-not-finite``).
    """
    own = is_own(type(config))
    after = config.apply(model, ctx) if own else _theirs(config, model, ctx)
    if ctx.dry_run or not own:
        _check_finite(config, after, ctx, sample)
    return after


def _theirs(config: StepConfig, model: Model, ctx: Context) -> Model:
    with blaming(config, GROUP, where=ctx.key):
        after: object = config.apply(model, ctx)
    if not isinstance(after, Model):
        raise fault(
            config,
            GROUP,
            f"returned a {type(after).__name__}, not a Model",
            where=ctx.key,
            mend="`apply` returns a new Model, as `model.with_module(...)` makes",
        )
    return after


def _check_finite(config: StepConfig, model: Model, ctx: Context, sample: Arrays) -> None:
    from edgeglm.nn.inference import predict

    outputs = predict(model, ArraySplit(sample, None), threads=ctx.threads)
    if all(np.isfinite(values).all() for values in outputs.values()):
        return
    own = is_own(type(config))
    if own and config.trains:
        raise StepError(
            "after one optimizer step the network answers NaN or infinity",
            where=ctx.key,
            hint="lower `learning_rate`, or keep `clip_norm` and `warmup_steps`",
            code="training-diverged",
        )
    raise StepError(
        f"after {'this step' if own else called(config, GROUP)} the network answers NaN or infinity",
        where=ctx.key,
        hint="give it settings that change less, or leave it out"
        if own
        else "mend the package that adds this step, or give the step other settings",
        code="step-not-finite",
    )
