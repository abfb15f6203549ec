"""Intervals against published examples, and against the likelihood maximised by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from edgeglm.report.types import Drop
from edgeglm.tasks.statistics import (
    bootstrap_interval,
    drop_interval,
    mean_interval,
    paired_drop,
    paired_mean_drop,
    samples_needed,
    student_quantile,
    wilson_interval,
)

PAIRS = st.integers(1, 400).flatmap(
    lambda n: st.integers(0, n).flatmap(lambda b: st.tuples(st.just(b), st.integers(0, n - b), st.just(n)))
)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_wilson_interval_is_that_of_newcombes_table(correct: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_wilson_interval_is_that_of_scipy(counts: tuple[int, int]) -> None:
    ours = wilson_interval(*counts)
    theirs = stats.binomtest(*counts).proportion_ci(0.95, method="wilson")
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= ours[0] <= counts[0] / counts[1] <= ours[1] <= 1


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (3, 2), (-1, 4)])
def test_counts_that_are_no_share_are_refused(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson_interval(correct, n)


def test_the_paired_interval_is_the_published_one() -> None:
    # Airway hyper-responsiveness before and after transplantation, 1/1/7/12 of 21: Fagerland, Lydersen and Laake 2014
    assert drop_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


def score_statistic(worse: int, better: int, n: int, difference: float) -> float:
    """Return the score statistic, its nuisance rate found by maximising the likelihood over a bracket."""

    def loss(rate: float) -> float:  # rate: share of "better" pairs
        parts = ((worse, rate + difference), (better, rate), (n - worse - better, 1 - 2 * rate - difference))
        return -sum(count * math.log(max(share, 1e-300)) for count, share in parts if count)

    bounds = (max(0.0, -difference), (1 - difference) / 2)
    rate = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-13}).x
    variance = n * (2 * rate + difference - difference**2)
    return (worse - better - n * difference) / math.sqrt(variance)


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_the_paired_interval_ends_where_the_score_test_begins_to_reject(pairs: tuple[int, int, int]) -> None:
    worse, better, n = pairs
    low, high = drop_interval(worse, better, n)
    assert -1 <= low <= (worse - better) / n <= high <= 1
    for limit, sign in ((low, 1), (high, -1)):
        if abs(limit) < 1:  # at the ends of the scale nothing is left to reject
            assert score_statistic(worse, better, n, limit) == pytest.approx(sign * 1.959964, abs=2e-3)


@given(PAIRS)
def test_the_paired_interval_turns_over_with_the_models(pairs: tuple[int, int, int]) -> None:
    worse, better, n = pairs
    low, high = drop_interval(worse, better, n)
    assert drop_interval(better, worse, n) == pytest.approx((-high, -low), abs=1e-12)


@pytest.mark.parametrize("n", [10, 100, 540, 10_000])
def test_models_that_agree_everywhere_are_within_z2_over_n_plus_z2(n: int) -> None:
    expected = 1.959964**2 / (n + 1.959964**2)
    assert drop_interval(0, 0, n) == pytest.approx((-expected, expected), rel=1e-6)


def test_the_interval_covers_the_true_drop_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    n, worse_rate, better_rate = 300, 0.04, 0.02
    counts = rng.multinomial(n, [worse_rate, better_rate, 1 - worse_rate - better_rate], size=4000)
    drawn, times = np.unique(counts[:, :2], axis=0, return_counts=True)
    inside = [low <= worse_rate - better_rate <= high for low, high in (drop_interval(b, c, n) for b, c in drawn)]
    assert 0.94 <= (times * inside).sum() / 4000 <= 0.965


def test_a_drop_counts_what_changed_on_the_same_samples() -> None:
    before = np.array([True, True, True, False, False])
    after = np.array([True, False, False, True, False])
    drop = paired_drop(before, after)
    assert (drop.worse, drop.better, drop.n) == (2, 1, 5)
    assert drop.value == pytest.approx(0.2)
    assert drop.ci95 == drop_interval(2, 1, 5)


@pytest.mark.parametrize(("before", "after"), [([True], [True, False]), ([], [])])
def test_answers_that_are_not_paired_are_refused(before: list[bool], after: list[bool]) -> None:
    with pytest.raises(ValueError, match="paired answers"):
        paired_drop(np.array(before, dtype=bool), np.array(after, dtype=bool))


def make_drop(worse: int, better: int, n: int) -> Drop:
    return Drop(value=(worse - better) / n, ci95=drop_interval(worse, better, n), n=n, worse=worse, better=better)


def test_the_samples_needed_without_any_change_follow_from_the_limit() -> None:
    assert samples_needed(make_drop(0, 0, 100), 0.01) == 381  # z^2 (1 - limit) / limit, rounded up


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.floats(0.001, 0.2))
@example((1, 0, 100), 0.0101)
@example((169, 6, 175), 0.125)  # at a larger n the shares add up to 1 and a rounding error
def test_the_samples_needed_decide_and_one_fewer_do_not(pairs: tuple[int, int, int], limit: float) -> None:
    worse, better, n = pairs
    needed = samples_needed(make_drop(worse, better, n), limit)
    if needed is None:
        assert (worse - better) / n == pytest.approx(limit, abs=1e-3)
        return

    def decided(m: int) -> bool:
        low, high = drop_interval(worse / n * m, better / n * m, m)
        return high <= limit or low > limit

    assert decided(needed)
    assert needed == 1 or not decided(needed - 1)


def test_a_drop_that_is_the_limit_is_never_decided() -> None:
    assert samples_needed(make_drop(1, 0, 100), 0.01) is None


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 29, 400])
def test_students_t_is_that_of_scipy(freedom: int) -> None:
    assert student_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=3e-3)


def test_the_interval_of_a_mean_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = [low <= 1 <= high for low, high in (mean_interval(rng.normal(1, 2, 12)) for _ in range(1500))]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.02)


def test_a_drop_of_means_is_paired_and_points_in_the_bad_direction() -> None:
    before = np.random.default_rng(1).normal(size=200)
    lower = paired_mean_drop(before, before - 0.1, higher_is_better=True)
    assert (lower.value, lower.worse, lower.better) == (pytest.approx(0.1), 200, 0)
    assert lower.ci95 == (pytest.approx(0.1), pytest.approx(0.1))
    assert paired_mean_drop(before, before - 0.1, higher_is_better=False).value == pytest.approx(-0.1)
    with pytest.raises(ValueError, match="paired scores of shapes"):
        paired_mean_drop(before, before[1:], higher_is_better=True)


def test_a_bootstrap_of_a_mean_agrees_with_students_t() -> None:
    values = np.random.default_rng(2).normal(size=400)
    assert bootstrap_interval(lambda rows: float(values[rows].mean()), 400) == pytest.approx(
        mean_interval(values), abs=0.02
    )


def test_draws_without_a_figure_are_left_out() -> None:
    low, high = bootstrap_interval(lambda rows: float("nan") if 0 in rows else 3.0, 5)
    assert (low, high) == (3.0, 3.0)


def test_a_narrower_interval_needs_samples_by_the_square() -> None:
    drop = Drop(value=0.02, ci95=(0.0, 0.04), n=100, worse=0, better=0, method="means")
    assert samples_needed(drop, 0.01) == 400
    assert samples_needed(drop, 0.02) is None
