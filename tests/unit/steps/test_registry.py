from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from typing import Any

import msgspec
import pytest

from edgeglm.errors import UserError
from edgeglm.nn.loading import state_sha256
from edgeglm.nn.macs import count_params
from edgeglm.steps import Distill, Finetune, Prune, StepConfig, step_name, step_types
from edgeglm.steps._training import TrainingConfig
from tests.support.nets import Plain, make_context, make_model


class Nothing(StepConfig, tag="nothing", frozen=True, kw_only=True):
    """A step from elsewhere."""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes entry points seem installed."""

    def install(**points: str) -> None:
        found = [EntryPoint(name, value, "edgeglm.steps") for name, value in points.items()]
        monkeypatch.setattr("edgeglm.plugins.entry_points", lambda **_: found)
        step_types.cache_clear()

    yield install
    step_types.cache_clear()


def test_our_steps_are_known_by_the_name_a_recipe_writes(installed: Any) -> None:
    installed()
    assert step_types() == {"prune": Prune, "distill": Distill, "finetune": Finetune}
    assert step_name(Prune(channel_ratio=0.5)) == step_name(Prune) == "prune"


def test_a_package_adds_its_step(installed: Any) -> None:
    installed(nothing=f"{__name__}:Nothing")
    assert step_name(step_types()["nothing"]) == "nothing"


@pytest.mark.parametrize(
    ("name", "value"), [("prune", f"{__name__}:Nothing"), ("odd", "json:dumps"), ("odd", "json:JSONDecoder")]
)
def test_what_is_no_new_step_is_refused_by_name(installed: Any, name: str, value: str) -> None:
    installed(**{name: value})
    with pytest.raises(UserError, match=f"`{name}`") as caught:
        step_types()
    assert caught.value.code == "plugin-invalid"


@pytest.mark.parametrize(
    "config",
    [
        Prune(macs_ratio=0.5, ignore=["re:.*head"]),
        Distill(epochs=3),
        Finetune(epochs=3, optimizer="sgd", augment="a.py:b"),
    ],
)
def test_settings_come_back_from_json_with_every_default_written_out(config: StepConfig) -> None:
    settings = json.loads(json.dumps(config.as_settings()))
    settings.pop("type", None)
    assert set(settings) == set(config.__struct_fields__)
    assert msgspec.convert(settings | {"type": step_name(config)}, type(config)) == config


@pytest.mark.parametrize(
    ("step", "settings"),
    [
        (Prune, {"channel_ratio": 1.0}),
        (Prune, {"macs_ratio": 0.0}),
        (Prune, {"channel_ratio": 0.5, "round_to": 0}),
        (Distill, {"epochs": 1, "temperature": 0.0}),
        (Distill, {"epochs": 1, "alpha": 1.1}),
        (Finetune, {"epochs": 0}),
        (Finetune, {}),
        (Finetune, {"epochs": 1, "validation_fraction": 1.0}),
        (Finetune, {"epochs": 1, "learning_rat": 1e-3}),
    ],
)
def test_settings_out_of_range_are_refused(step: type[StepConfig], settings: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(settings | {"type": step_name(step)}, step)


def test_every_training_step_shares_the_same_settings() -> None:
    shared = set(TrainingConfig.__struct_fields__)
    assert shared <= set(Distill.__struct_fields__)
    assert shared == set(Finetune.__struct_fields__)


def test_steps_in_a_row_prune_and_teach_and_leave_what_they_were_given() -> None:
    original = make_model(Plain())
    before = state_sha256(original.module)
    ctx = make_context(original)
    smaller = Prune(channel_ratio=0.5).apply(original, ctx)
    taught = Distill(epochs=1).apply(smaller, ctx)
    tuned = Finetune(epochs=1).apply(taught, ctx)
    hashes = [state_sha256(model.module) for model in (original, smaller, taught, tuned)]
    assert hashes[0] == before
    assert len(set(hashes)) == 4
    assert count_params(tuned) == count_params(smaller) < count_params(original)
    assert tuned.edits == smaller.edits
    assert len(ctx.notes) == 3
