from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from edgeglm.tasks.roc import auc, auc_drop, auc_interval, threshold_at
from edgeglm.tasks.statistics import samples_needed


def drawn(seed: int, n: int = 60, *, levels: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return two correlated scores and which samples are anomalous; few levels make ties."""
    rng = np.random.default_rng(seed)
    anomalous = rng.random(n) < 0.3
    anomalous[:4] = [True, True, False, False]
    truth = rng.normal(size=n) + 1.2 * anomalous
    first, second = truth + rng.normal(scale=0.4, size=n), truth + rng.normal(scale=0.8, size=n)
    if levels is not None:
        first, second = np.round(first * levels) / levels, np.round(second * levels) / levels
    return first, second, anomalous


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**20), levels=st.sampled_from([None, 1, 3]))
def test_the_area_is_that_of_scikit_learn_ties_included(seed: int, levels: int | None) -> None:
    scores, _, anomalous = drawn(seed, levels=levels)
    assert auc(scores, anomalous) == pytest.approx(roc_auc_score(anomalous, scores), abs=1e-12)


def delong_by_definition(a: np.ndarray, b: np.ndarray, anomalous: np.ndarray) -> tuple[float, float, float]:
    """Return both areas and the variance of their difference, pair by pair (DeLong et al. 1988, equations 3 to 5)."""
    areas, v10, v01 = [], [], []
    for scores in (a, b):
        pairs = np.array([[(x > y) + 0.5 * (x == y) for y in scores[~anomalous]] for x in scores[anomalous]])
        areas.append(float(pairs.mean()))
        v10.append(pairs.mean(axis=1))
        v01.append(pairs.mean(axis=0))
    s = np.cov(np.stack(v10)) / len(v10[0]) + np.cov(np.stack(v01)) / len(v01[0])
    return areas[0], areas[1], float(s[0, 0] + s[1, 1] - 2 * s[0, 1])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**20), levels=st.sampled_from([None, 2]))
def test_the_fast_interval_is_the_one_by_definition(seed: int, levels: int | None) -> None:
    first, second, anomalous = drawn(seed, levels=levels)
    one, two, variance = delong_by_definition(first, second, anomalous)
    half = 1.959963984540054 * math.sqrt(variance)
    drop = auc_drop(first, second, anomalous)
    assert (drop.value, *drop.ci95) == pytest.approx((one - two, one - two - half, one - two + half), abs=1e-9)
    assert (drop.n, drop.method) == (60, "delong")
    assert auc_drop(second, first, anomalous).worse == drop.better


def test_the_interval_covers_the_true_area_about_as_often_as_it_says() -> None:
    true = 0.8023  # of two normal distributions 1.2 apart: Phi(1.2 / sqrt(2))
    inside = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        anomalous = np.arange(160) < 60
        low, high = auc_interval(rng.normal(size=160) + 1.2 * anomalous, anomalous)
        inside += low <= true <= high
    assert 0.91 <= inside / 300 <= 0.98


def test_perfect_scores_do_not_prove_that_nothing_was_lost() -> None:
    anomalous = np.arange(40) < 10
    scores = anomalous + np.linspace(0, 0.5, 40)
    low, high = auc_interval(scores, anomalous)
    assert (high, 0.6 < low < 0.8) == (1.0, True)  # ten pairs, all right
    drop = auc_drop(scores, scores * 2, anomalous)
    low, high = drop.ci95
    assert (low, drop.worse, drop.better) == (pytest.approx(-high), 0, 0)
    assert 0.2 < high < 0.35
    assert (drop.n, drop.method) == (10, "counts")
    enough = samples_needed(drop, 0.005)
    assert enough is not None
    both = np.arange(2 * enough) < enough
    assert auc_drop(both * 1.0, both * 2.0, both).ci95[1] <= 0.005
    one_anomaly = np.arange(5) == 0
    low, high = auc_drop(scores[:5], -scores[:5], one_anomaly).ci95
    assert -1 <= low < high <= 1


def test_a_limit_lets_no_more_false_alarms_through_than_allowed() -> None:
    normal = np.random.default_rng(0).permutation(np.arange(200.0))
    for rate, limit in ((0.0, 199.0), (0.004, 199.0), (0.01, 197.0), (0.5, 99.0), (1.0, 0.0)):
        assert threshold_at(normal, rate) == limit
        assert (normal > limit).mean() <= rate
    assert threshold_at(np.array([1.0, 2.0, 2.0, 2.0]), 0.5) == 2.0  # ties: rather fewer alarms than more
