from __future__ import annotations

from typing import ClassVar

import msgspec

from edgeglm.checks.omissions import omissions
from edgeglm.steps import Prune, StepConfig
from tests.support.recipes import MINIMAL, parse


class Learns(StepConfig, tag="learns", frozen=True, kw_only=True):
    trains: ClassVar[bool] = True
    qat: bool = False


class Forgets(StepConfig, tag="forgets", frozen=True, kw_only=True):
    needs_training: ClassVar[str] = "it has forgotten much"


def test_steps_of_packages_say_themselves_whether_they_train_and_what_needs_it() -> None:
    recipe = parse(MINIMAL).recipe

    def said(*steps: StepConfig) -> list[str]:
        return [one.message for one in omissions(msgspec.structs.replace(recipe, steps=list(steps)))]

    prune = Prune(channel_ratio=0.5)
    assert said(prune, Learns()) == []
    assert said(Learns(), prune) == ["nothing is trained after the last prune"]
    assert said(Forgets()) == ["nothing is trained after the last forgets"]
    assert said(Forgets(), Learns()) == []
    (rounding,) = said(Learns(qat=True))
    assert "no artifact is static-int8" in rounding
