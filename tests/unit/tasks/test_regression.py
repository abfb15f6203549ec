"""Regression and forecasting: errors, R2, and what was lost, with intervals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from edgeglm.data.splits import ArraySplit
from edgeglm.errors import DataError
from edgeglm.report.remarks import chance_doubt
from edgeglm.report.types import Side
from edgeglm.tasks import Forecasting, Regression

RNG = np.random.default_rng(0)


def test_figures_are_those_of_scikit_learn() -> None:
    wanted, got = RNG.normal(size=(80, 2)), RNG.normal(size=(80, 2))
    result = Regression().evaluate({"y": got}, wanted, ["speed", "load"])
    assert result.metric.value == pytest.approx(metrics.root_mean_squared_error(wanted.ravel(), got.ravel()))
    assert result.metrics_extra["mae"] == pytest.approx(metrics.mean_absolute_error(wanted, got))
    assert result.metrics_extra["r2"] == pytest.approx(metrics.r2_score(wanted, got, multioutput="variance_weighted"))
    assert result.metrics_extra["rmse_load"] == pytest.approx(metrics.root_mean_squared_error(wanted[:, 1], got[:, 1]))
    assert result.metric.ci95[0] < result.metric.value < result.metric.ci95[1]


def test_what_was_lost_is_judged_on_the_same_samples() -> None:
    wanted = RNG.normal(size=300)
    before = wanted + 0.5 * RNG.normal(size=300)
    after = before + 0.1  # a little worse on every sample that was too high
    result = Regression().evaluate({"y": after}, wanted, (), {"y": before})
    drop = result.drop
    assert drop is not None
    assert drop.value == pytest.approx(
        np.sqrt(np.mean((after - wanted) ** 2)) - np.sqrt(np.mean((before - wanted) ** 2))
    )
    assert drop.ci95[0] < drop.value < drop.ci95[1]
    assert drop.ci95[1] - drop.ci95[0] < 0.05  # paired: far narrower than the error itself varies
    assert (drop.worse + drop.better, drop.method) == (300, "bootstrap")
    assert Regression().evaluate({"y": before}, wanted, (), {"y": before}).drop.ci95 == (0.0, 0.0)


def test_without_targets_the_originals_outputs_are_the_measure() -> None:
    before = RNG.normal(size=(50, 3))
    assert Regression().evaluate({"y": before}, None, ()).metric.value == 0
    moved = Regression().evaluate({"y": before + 0.25}, None, (), {"y": before})
    assert moved.metric.value == pytest.approx(0.25)
    assert moved.drop.value == pytest.approx(0.25)


def test_a_forecast_shows_the_error_of_each_step_ahead() -> None:
    wanted = np.zeros((20, 3, 2))
    got = wanted + np.array([1.0, 2.0, 3.0])[None, :, None]
    extra = Forecasting().evaluate({"y": got}, wanted, ()).metrics_extra
    assert [extra[f"rmse_step_{step}"] for step in (1, 2, 3)] == [1.0, 2.0, 3.0]


def test_a_network_that_is_no_better_than_the_mean_knows_nothing() -> None:
    wanted = RNG.normal(size=(60, 2))
    mean = np.repeat(wanted.mean(axis=0)[None], 60, axis=0)
    nothing = Regression().evaluate({"y": mean}, wanted, ()).metric
    assert nothing.chance == pytest.approx(nothing.value)
    assert nothing.chance_by == "always answering the mean"
    worse = Regression().evaluate({"y": RNG.normal(size=(60, 2)) * 3}, wanted, ())
    assert worse.metrics_extra["r2"] < 0
    assert worse.metric.no_better_than_chance
    assert "no better than always answering the mean" in (chance_doubt(Side(metric=worse.metric)) or "")
    good = Regression().evaluate({"y": wanted + 0.5 * RNG.normal(size=(60, 2))}, wanted, ()).metric
    assert not good.no_better_than_chance
    assert chance_doubt(Side(metric=good)) is None
    assert Regression().evaluate({"y": mean}, None, ()).metric.chance is None


@pytest.mark.parametrize("columns", [1, 3], ids=["one of three columns", "all of them"])
def test_a_forecast_is_compared_with_the_last_value_too(columns: int) -> None:
    walk = np.cumsum(RNG.normal(size=(203, 3)), axis=0)
    windows = np.stack([walk[start : start + 8] for start in range(190)]).astype(np.float32)  # (N, T, F)
    ahead = np.stack([walk[start + 8 : start + 10, :columns] for start in range(190)])  # (N, H, C)
    wanted = ahead if columns > 1 else ahead[:, :, 0]
    split = ArraySplit({"x": windows}, wanted)
    repeated = np.repeat(windows[:, -1:, :columns].astype(np.float64), 2, axis=1).reshape(wanted.shape)
    outputs = Forecasting().prepared({"y": repeated}, split)
    naive = Forecasting().evaluate(outputs, wanted, ()).metric
    assert naive.chance_by == "repeating the last value"
    assert naive.chance == pytest.approx(naive.value)
    assert naive.no_better_than_chance
    better = Forecasting().prepared({"y": (repeated + wanted) / 2}, split)
    assert not Forecasting().evaluate(better, wanted, ()).metric.no_better_than_chance
    rows = {name: values[:9] for name, values in better.items()}  # a slice
    assert Forecasting().evaluate(rows, wanted[:9], ()).metric.n == 9


def test_targets_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="2 targets are NaN or infinite, first that of sample 1"):
        Regression().read_targets(np.array([0, np.nan, np.inf]), labels=(), judged=False, where="data")
