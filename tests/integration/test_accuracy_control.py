"""`accuracy_control`: as many layers in float as it takes, found without the evaluation data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from edgeglm import compress
from edgeglm.cache import Cache
from edgeglm.errors import DataError
from edgeglm.log import SilentLog
from tests.support.outlier import SENSITIVE, digits, outlier_network

if TYPE_CHECKING:
    from collections.abc import Callable

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


@pytest.mark.parametrize("file_format", ["openvino", "onnx"])
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


def test_samples_are_needed_that_ranges_are_not_measured_on(run: Callable[..., Result]) -> None:
    with pytest.raises(DataError, match="and 20 of 200 are left") as raised:
        run("openvino", 0.03, calibration=180)
    assert raised.value.code == "control-samples"
