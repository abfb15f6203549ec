"""Steps that packages add, when they go wrong."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import ClassVar, Literal

import pytest
import torch

from edgeglm.errors import StepError
from edgeglm.model import Model
from edgeglm.nn.loading import state_sha256
from edgeglm.pipeline.applied import apply_step
from edgeglm.steps import Context, Prune, StepConfig
from tests.support.nets import Plain, images, make_context, make_model

SAMPLE = {"input": images()}


class Faulty(StepConfig, tag="faulty", frozen=True, kw_only=True):
    """A step of a package that is this module."""

    fault: Literal["raises", "is tried well", "returns nothing", "makes NaN", "none"]

    def apply(self, model: Model, ctx: Context) -> Model:
        if self.fault == "raises" or (self.fault == "is tried well" and not ctx.dry_run):
            raise KeyError("scale")
        if self.fault == "returns nothing":
            return None  # type: ignore[return-value]
        module = deepcopy(model.module)
        with torch.no_grad():
            for values in module.parameters():
                values.mul_(float("nan") if self.fault == "makes NaN" else 1.1)
        return model.with_module(module)


class Trains(Faulty, tag="trains", frozen=True, kw_only=True):
    """A step that says that it trains."""

    trains: ClassVar[bool] = True


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("step", "code", "said"),
    [
        (Faulty(fault="raises"), "step-failed", f"the step `faulty` of {__name__} raised KeyError: 'scale'"),
        (Faulty(fault="returns nothing"), "step-failed", f"of {__name__} returned a NoneType, not a Model"),
        (Faulty(fault="makes NaN"), "step-not-finite", f"after the step `faulty` of {__name__} the network answers"),
        (Trains(fault="makes NaN"), "step-not-finite", f"after the step `trains` of {__name__} the network answers"),
    ],
)
def test_what_a_packages_step_does_wrong_is_that_packages(
    step: StepConfig, code: str, said: str, dry_run: bool
) -> None:
    model = make_model(Plain())
    ctx = replace(make_context(model), key="steps[0].faulty", dry_run=dry_run)
    with pytest.raises(StepError) as caught:
        apply_step(step, model, ctx, SAMPLE)
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == (code, "steps[0].faulty")
    assert said in problem.message
    assert "package" in problem.hint
    assert "learning_rate" not in problem.hint  # as far as we know, nothing was trained


def test_the_packages_own_line_is_named() -> None:
    model = make_model(Plain())
    with pytest.raises(StepError) as caught:
        apply_step(Faulty(fault="raises"), model, make_context(model), SAMPLE)
    line = Faulty.apply.__code__.co_firstlineno + 2
    assert f"KeyError: 'scale' (tests/unit/steps/test_applied.py:{line})" in caught.value.problems[0].message


def test_a_step_that_passes_its_trial_is_blamed_when_it_runs() -> None:
    model = make_model(Plain())
    ctx, step = make_context(model), Faulty(fault="is tried well")
    tried = apply_step(step, model, replace(ctx, dry_run=True), SAMPLE)
    assert state_sha256(tried.module) != state_sha256(model.module)
    with pytest.raises(StepError, match="raised KeyError"):
        apply_step(step, model, ctx, SAMPLE)


def test_steps_that_go_well_give_what_they_make() -> None:
    model = make_model(Plain())
    for step in (Faulty(fault="none"), Prune(channel_ratio=0.5)):
        after = apply_step(step, model, make_context(model), SAMPLE)
        assert state_sha256(after.module) != state_sha256(model.module)
