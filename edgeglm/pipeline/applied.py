"""One step applied, tried or for good: what a package's step raises, or returns, is that package's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeglm.data.splits import ArraySplit
from edgeglm.errors import EdgeglmError, StepError
from edgeglm.host import entry_point_packages
from edgeglm.model import Model
from edgeglm.plugins import failure, is_own
from edgeglm.steps import GROUP, step_name

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
    step = _called(config)
    try:
        after: object = config.apply(model, ctx)
    except EdgeglmError:
        raise
    except Exception as error:  # someone else's package: whatever it raises is about that package
        raise StepError(
            f"{step} raised {failure(error, type(config))}",
            where=ctx.key,
            hint="mend the package that adds this step, or leave the step out",
            code="step-failed",
        ) from error
    if not isinstance(after, Model):
        raise StepError(
            f"{step} returned a {type(after).__name__}, not a Model",
            where=ctx.key,
            hint="mend the package that adds this step: `apply` returns a new Model, as `model.with_module(...)` makes",
            code="step-failed",
        )
    return after


def _called(config: StepConfig) -> str:
    """Return ``the step `refit-head` of edgeglm-example-plugin 1.0``."""
    name = step_name(config)
    packages = entry_point_packages(GROUP, name) or [type(config).__module__]
    return f"the step `{name}` of {', '.join(packages)}"


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
        f"after {'this step' if own else _called(config)} the network answers NaN or infinity",
        where=ctx.key,
        hint="give it settings that change less, or leave it out"
        if own
        else "mend the package that adds this step, or give the step other settings",
        code="step-not-finite",
    )
