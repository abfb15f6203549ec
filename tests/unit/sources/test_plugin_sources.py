"""Sources that packages add, when they go wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from torch import nn

from edgeglm.errors import DataError, ModelError, UserError
from edgeglm.model import Model
from edgeglm.sources import DataSource, ModelSource
from edgeglm.sources.entry import Entries
from edgeglm.sources.plugin_sources import load_data, load_model
from tests.support.nets import Plain, images, make_model

SAMPLE = {"input": images()}
Fault = Literal["raises", "returns another thing", "refuses", "fingerprint", "none"]


class FaultyModel(ModelSource, tag="faulty", frozen=True, kw_only=True):
    """A source of models of a package that is this module."""

    fault: Fault

    def load(self, entries: Entries, sample: object) -> Model:  # noqa: ARG002
        if self.fault == "raises":
            raise KeyError("scale")
        if self.fault == "refuses":
            raise ModelError("not a network of ours", where="model.path")
        return nn.Linear(2, 2) if self.fault == "returns another thing" else make_model(Plain())  # type: ignore[return-value]

    def fingerprint(self, entries: Entries) -> str:  # noqa: ARG002
        if self.fault == "fingerprint":
            raise OSError("no key")
        return "digest"


class FaultyData(DataSource, tag="faulty", frozen=True, kw_only=True):
    """A source of data of the same package."""

    fault: Fault

    def load(self, entries: Entries, **given: Any) -> Any:  # noqa: ARG002
        if self.fault == "raises":
            raise KeyError("scale")
        if self.fault == "refuses":
            raise DataError("the sensor is off", where="data.sensor")
        return {"train": []}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raises", "raised KeyError: 'scale' (tests/unit/sources/test_plugin_sources.py:"),
        ("returns another thing", "returned a Linear, not a Model"),
        ("fingerprint", "raised OSError: no key"),
    ],
)
def test_what_a_packages_source_of_models_does_wrong_is_that_packages(fault: Fault, said: str) -> None:
    with pytest.raises(UserError) as caught:
        load_model(FaultyModel(fault=fault), Entries(Path()), SAMPLE)
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("source-failed", "model")
    assert f"the source of models `faulty` of {__name__} {said}" in problem.message
    assert "package" in problem.hint


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raises", "raised KeyError: 'scale' (tests/unit/sources/test_plugin_sources.py:"),
        ("returns another thing", "returned a dict, not a Data"),
    ],
)
def test_what_a_packages_source_of_data_does_wrong_is_that_packages(fault: Fault, said: str) -> None:
    with pytest.raises(UserError) as caught:
        load_data(FaultyData(fault=fault), Entries(Path()), seed=0)
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("source-failed", "data")
    assert f"the source of data `faulty` of {__name__} {said}" in problem.message


def test_what_a_source_refuses_itself_is_told_as_it_says() -> None:
    with pytest.raises(ModelError) as model:
        load_model(FaultyModel(fault="refuses"), Entries(Path()), SAMPLE)
    assert model.value.problems[0].where == "model.path"
    with pytest.raises(DataError, match="the sensor is off"):
        load_data(FaultyData(fault="refuses"), Entries(Path()))


def test_a_source_that_goes_well_gives_its_model_and_fingerprint() -> None:
    model, fingerprint = load_model(FaultyModel(fault="none"), Entries(Path()), SAMPLE)
    assert isinstance(model, Model)
    assert fingerprint == "digest"
