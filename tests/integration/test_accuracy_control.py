"""`accuracy_control`: as many layers in float as it takes, found without the evaluation data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeglm import compress
from edgeglm.cache import Cache
from edgeglm.errors import DataError
from edgeglm.log import SilentLog
from tests.support.outlier import SENSITIVE, digits, outlier_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeglm.pipeline.run import Result

CONTROLLED = {"scheme": "static-int8", "calibration": 100, "accuracy_control": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """Compress the network with an outlier; every run shares one cache."""
    folder = tmp_path_factory.mktemp("control")
    data = digits()
    network = outlier_network(data)

    def compressed(file_format: str, limit: float, **settings: Any) -> Result:
        recipe = {
            "name": "outlier",
            "task": {"kind": "classification"},
            "artifacts": [{"format": file_format, "quantize": CONTROLLED | settings}],
            "budget": {"metric_drop": limit},
            "on_violation": "best-effort",
        }
        cache = Cache(folder / "cache")
        return compress(recipe, model=network, data=data, output=folder / "out", cache=cache, log=SilentLog())

    return compressed


class Heard(SilentLog):
    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def stage(self, text: str) -> None:
        self.stages.append(text)


def refused(folder: Path, data: Any, *, task: Any = None, outputs: int = 10, **settings: Any) -> DataError:
    """Return what a run with a training step says; it must be said before anything is trained or written."""
    recipe = {
        "name": "outlier",
        "task": task or {"kind": "classification"},
        "steps": [{"distill": {"epochs": 50}}],
        "artifacts": [{"format": "onnx", "quantize": CONTROLLED | settings}],
        "budget": {"metric_drop": 0.03},
    }
    heard, network = Heard(), nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))
    with pytest.raises(DataError) as raised:
        compress(recipe, model=network, data=data, output=folder / "out", cache=Cache(folder / "cache"), log=heard)
    assert heard.stages[-1] == "model"  # data and model are read; no step, no export was tried
    return raised.value


@pytest.mark.parametrize("file_format", [pytest.param("openvino", marks=pytest.mark.full), "onnx"])
def test_the_layers_that_cost_more_than_the_budget_stay_in_float(run: Callable[..., Result], file_format: str) -> None:
    result = run(file_format, 0.03)
    (side,) = result.report.artifacts
    # nncf gives each channel of a weight its own scale and each input its own range: the reader alone is hurt
    assert set(side.ignored) == (set(SENSITIVE) if file_format == "onnx" else {SENSITIVE[1]})
    assert [part.kept for part in side.sensitivity] == sorted((part.kept for part in side.sensitivity), reverse=True)
    assert side.dtypes["int8"] > 4_000
    assert side.metric is not None
    assert side.metric.value > 0.9
    assert result.report.budget.met is not False
    assert (side.candidate, side.reason) == (False, "")
    assert side.path == ("model.xml" if file_format == "openvino" else "model.onnx")


def test_a_limit_that_all_int8_keeps_leaves_nothing_in_float(run: Callable[..., Result]) -> None:
    (side,) = run("openvino", 0.95).report.artifacts
    assert side.ignored == []
    assert side.sensitivity == []


@pytest.mark.parametrize("file_format", ["onnx", pytest.param("tflite", marks=pytest.mark.full)])
def test_where_nothing_but_float_would_do_the_form_that_lost_least_is_kept(
    run: Callable[..., Result], file_format: str
) -> None:
    (side,) = run(file_format, 0.0, ignore=["0.conv", "3.conv", "5"]).report.artifacts
    assert any("found no mixture that loses 0 or less" in warning for warning in side.warnings)
    assert set(side.ignored) < {"0.conv", "1.conv", "2.conv", "3.conv", "5"}
    assert set(side.ignored) >= {"0.conv", "3.conv", "5"}
    assert side.dtypes["int8"] > 0


def test_without_trials_nothing_is_said_to_have_been_tried(tmp_path: Path) -> None:
    data = digits()
    recipe = {
        "name": "outlier",
        "task": {"kind": "classification"},
        "artifacts": [{"format": "onnx", "quantize": CONTROLLED, "search": {"trials": 0}}],
        "budget": {"metric_drop": 0.03},
        "on_violation": "best-effort",
    }
    result = compress(
        recipe, model=outlier_network(data), data=data, output=tmp_path / "out", cache=Cache(tmp_path / "cache")
    )
    (side,) = result.report.artifacts
    assert any("accuracy_control tried no mixture (`trials: 0`, or one layer)" in text for text in side.warnings)


@pytest.mark.full
def test_what_is_lost_is_lost_against_the_network_that_the_steps_trained(tmp_path: Path) -> None:
    """The original answers at random: against it, a network that INT8 broke loses nothing."""
    data, heard = digits(), Heard()
    network = outlier_network(data)
    with torch.no_grad():
        network[5].weight.zero_()
    recipe = {
        "name": "outlier",
        "task": {"kind": "classification"},
        "steps": [{"finetune": {"epochs": 8, "learning_rate": 0.01, "freeze": ["re:[0-3]"]}}],
        "artifacts": [{"format": "onnx", "quantize": CONTROLLED}],
        "budget": {"metric_drop": 0.03},
    }
    result = compress(
        recipe, model=network, data=data, output=tmp_path / "out", cache=Cache(tmp_path / "cache"), log=heard
    )
    (side,) = result.report.artifacts
    assert set(side.ignored) == set(SENSITIVE)
    assert side.metric is not None
    assert side.metric.value > 0.9
    assert any("against the float network on 100 held-out calibration samples" in note for note in heard.notes)


def test_samples_are_needed_that_ranges_are_not_measured_on(tmp_path: Path) -> None:
    error = refused(tmp_path, digits(), calibration=180)
    assert error.code == "control-samples"
    assert "and 20 of 200 are left" in str(error)
    assert error.problems[0].where == "artifacts[0].quantize.accuracy_control"


def test_samples_without_targets_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    data = digits()
    error = refused(tmp_path, data | {"calibration": (data["calibration"][0], None)})
    assert error.code == "data-no-targets"
    assert "artifacts[0].quantize.accuracy_control: the calibration split" in error.problems[0].where


def test_samples_of_one_kind_are_refused_where_two_are_told_apart(tmp_path: Path) -> None:
    data = {name: (images, (labels == 3).astype(np.int64)) for name, (images, labels) in digits().items()}
    normal = data["calibration"][1] == 0
    data["calibration"] = tuple(part[normal] for part in data["calibration"])  # type: ignore[assignment]
    error = refused(tmp_path, data, task={"kind": "anomaly", "score": "output"}, outputs=1)
    assert error.code == "data-one-class"


def test_a_scheme_without_ranges_needs_the_calibration_split_all_the_same(tmp_path: Path) -> None:
    """A model that is not trained needs no `train`, of which calibration samples would be taken."""
    recipe = {
        "name": "outlier",
        "task": {"kind": "classification"},
        "artifacts": [{"format": "onnx", "quantize": {"scheme": "weight-only-int8", "accuracy_control": True}}],
        "budget": {"metric_drop": 0.03},
    }
    network, data = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), {"eval": digits()["eval"]}
    with pytest.raises(DataError) as raised:
        compress(recipe, model=network, data=data, output=tmp_path / "out", cache=Cache(tmp_path / "cache"))
    assert raised.value.code == "data-split-missing"
