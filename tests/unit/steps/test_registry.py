from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from typing import Any

import msgspec
import pytest
from edgeglm_agent.engines import EngineError, engine_types, load_engine

from edgeglm.errors import UserError
from edgeglm.nn.loading import state_sha256
from edgeglm.nn.macs import count_params
from edgeglm.schemes import SchemeConfig, scheme_types
from edgeglm.sources import DataSource, ModelSource, data_types, model_types
from edgeglm.steps import Distill, DropLayers, Finetune, Prune, Sparsify, StepConfig, step_name, step_types
from edgeglm.steps._training import TrainingConfig
from edgeglm.tasks import TaskConfig, task_types
from tests.support.nets import Plain, make_context, make_model


class IdleStep(StepConfig, tag="nothing", frozen=True, kw_only=True):
    """Without the method that does the work, as the next four are."""


class IdleTask(TaskConfig, tag="nothing", frozen=True, kw_only=True):
    """A task."""


class IdleModel(ModelSource, tag="nothing", frozen=True, kw_only=True):
    """A source of models."""


class IdleData(DataSource, tag="nothing", frozen=True, kw_only=True):
    """A source of data."""


class IdleScheme(SchemeConfig, tag="nothing", frozen=True, kw_only=True):
    """A scheme."""


class Nothing(IdleStep, tag="nothing", frozen=True, kw_only=True):
    """A step from elsewhere."""

    def apply(self, *_: Any, **__: Any) -> Any:
        """Do nothing, as the next four do."""


class NoTask(IdleTask, tag="nothing", frozen=True, kw_only=True):
    """A task from elsewhere."""

    def evaluate(self, *_: Any, **__: Any) -> Any:
        """Judge."""


class NoModel(IdleModel, tag="nothing", frozen=True, kw_only=True):
    """A source of models from elsewhere."""

    def load(self, *_: Any, **__: Any) -> Any:
        """Load a model."""


class NoData(IdleData, tag="nothing", frozen=True, kw_only=True):
    """A source of data from elsewhere."""

    def load(self, *_: Any, **__: Any) -> Any:
        """Load data."""


class NoScheme(IdleScheme, tag="nothing", frozen=True, kw_only=True):
    """A scheme from elsewhere."""

    def quantize(self, *_: Any, **__: Any) -> Any:
        """Quantize."""


REGISTRIES = [
    (step_types, "Nothing", "prune"),
    (task_types, "NoTask", "classification"),
    (model_types, "NoModel", "onnx"),
    (data_types, "NoData", "npz"),
    (scheme_types, "NoScheme", ""),
]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes entry points seem installed."""

    def install(**points: str) -> None:
        found = [EntryPoint(name, value, "edgeglm.steps") for name, value in points.items()]
        monkeypatch.setattr("edgeglm.plugins.entry_points", lambda **_: found)
        monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: found)
        clear()

    def clear() -> None:
        for types, *_ in REGISTRIES:
            types.cache_clear()

    yield install
    clear()


def test_our_steps_are_known_by_the_name_a_recipe_writes(installed: Any) -> None:
    installed()
    assert list(step_types()) == ["prune", "drop-layers", "sparsify", "distill", "finetune"]
    assert step_types()["drop-layers"] is DropLayers
    assert step_name(Prune(channel_ratio=0.5)) == step_name(Prune) == "prune"


@pytest.mark.parametrize(("types", "struct", "taken"), REGISTRIES)
def test_a_package_adds_what_recipes_may_name(installed: Any, types: Any, struct: str, taken: str) -> None:
    installed(nothing=f"{__name__}:{struct}")
    assert list(types())[-1] == "nothing"
    assert types()["nothing"].__name__ == struct
    assert not taken or taken in types()


@pytest.mark.parametrize(("types", "struct", "taken"), REGISTRIES)
def test_what_is_nothing_new_is_refused_by_name(installed: Any, types: Any, struct: str, taken: str) -> None:
    points = {taken or "static-int8": f"{__name__}:{struct}", "odd": "json:dumps", "other": "json:JSONDecoder"}
    points |= {"another_name": f"{__name__}:{struct}", "missing": "no_such_module_of_test:Thing"}
    for name, value in points.items():
        installed(**{name: value})
        with pytest.raises(UserError, match=f"`{name}`") as caught:
            types()
        assert caught.value.code == "plugin-invalid"
        assert caught.value.problems[0].hint


@pytest.mark.parametrize(
    ("types", "struct", "lacks"),
    [
        (step_types, "IdleStep", "has no `apply`"),
        (task_types, "IdleTask", "has neither `evaluate` nor `bind`"),
        (model_types, "IdleModel", "has no `load`"),
        (data_types, "IdleData", "has no `load`"),
        (scheme_types, "IdleScheme", "has no `quantize`"),
    ],
)
def test_what_lacks_the_method_that_does_the_work_is_refused(
    installed: Any, types: Any, struct: str, lacks: str
) -> None:
    installed(nothing=f"{__name__}:{struct}")
    with pytest.raises(UserError, match=f"`nothing` of group edgeglm.* {lacks}") as caught:
        types()
    assert caught.value.code == "plugin-invalid"
    assert caught.value.problems[0].where == f"{__name__}:{struct}"


def test_two_packages_cannot_add_one_name(installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    installed()
    twice = [EntryPoint("nothing", f"{__name__}:Nothing", "edgeglm.steps")] * 2
    monkeypatch.setattr("edgeglm.plugins.entry_points", lambda **_: twice)
    with pytest.raises(UserError, match="`nothing`"):
        step_types()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("broken", "no_such_module_of_test:Engine", "an engine for `broken` cannot be imported"),
        ("onnx", f"{__name__}:Nothing", "claims the format `onnx`"),
        ("another", f"{__name__}:Nothing", "for format `broken`; there are onnx, tflite, openvino, another"),
    ],
)
def test_an_engine_that_cannot_be_had_says_why(installed: Any, name: str, value: str, message: str) -> None:
    installed(**{name: value})
    with pytest.raises(EngineError, match=message) as caught:
        load_engine("model.bin", format="broken")
    assert caught.value.fault == "no-runtime"


def test_our_engines_are_known_by_their_formats(installed: Any) -> None:
    installed()
    assert list(engine_types()) == ["onnx", "tflite", "openvino"]


@pytest.mark.parametrize(
    "config",
    [
        Prune(macs_ratio=0.5, ignore=["re:.*head"]),
        Distill(epochs=3),
        Sparsify(pattern="unstructured", ratio=0.5),
        DropLayers(keep=3, ignore=["re:.*0"]),
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
