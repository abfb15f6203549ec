"""Drift is raised where there is some, seldom where there is none, and at a cost that nobody feels."""

from __future__ import annotations

import math
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from edgeglm_agent.drift import GAP_S, SHARE, DriftMeter
from edgeglm_agent.stability import Blocks, chi_square_quantile, compare, groups_of, index_groups
from edgeglm_agent.wire.manifest import Distribution, Histogram, Reference, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable


def distribution(values: np.ndarray) -> Distribution:
    """As the SDK writes it: 32 bins of one width from the lowest value to the highest."""
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, bins=32, range=(low, high if high > low else low + 1))
    return Distribution(
        n=values.size,
        mean=float(values.mean()),
        std=float(values.std()),
        low=low,
        high=high,
        histogram=Histogram(tuple(map(float, edges)), tuple(map(int, counts))),
    )


class Ticks:
    """A clock that lets every sample be looked at."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looking = False

    def __call__(self) -> float:
        self.looking = not self.looking  # asked before and after; looking takes no time
        self.now += 2 * GAP_S * self.looking
        return self.now


class Watch:
    """One input `x` and one output `y`, and a model that predicts classes."""

    def __init__(self, x: np.ndarray, y: np.ndarray, predicted: dict[str, float] | None = None) -> None:
        reference = Reference(len(x), {"x": distribution(x)}, {"y": distribution(y)}, predicted or {})
        specs = [TensorSpec(name, "float32", values.shape[1:], "") for name, values in (("x", x), ("y", y))]
        self.meter = DriftMeter(reference, specs[:1], specs[1:], (), clock=Ticks())

    def window(self, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
        for row in range(len(x)):
            self.meter.add({"x": x}, {"y": y}, row)
        return {drift.feature: drift.psi_milli / 1000 for drift in self.meter.take()}

    def raised(self) -> list[tuple[str, object]]:
        return [(change.name, change.detail["feature"]) for change in self.meter.changes()]


def series(rng: np.random.Generator, n: int, shift: float = 0.0) -> np.ndarray:
    """Windows (n, 32) of a signal whose level differs from window to window."""
    return (rng.normal(size=(n, 1)) * 0.7 + rng.normal(size=(n, 32)) * 0.7 + shift).astype(np.float32)


def score(rng: np.random.Generator, n: int, shift: float = 0.0) -> np.ndarray:
    return (rng.normal(size=(n, 1)) + shift).astype(np.float32)


def test_data_like_the_references_raises_nothing() -> None:
    seen = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        watch = Watch(series(rng, 400), score(rng, 400))
        for _ in range(4):
            seen += len(watch.window(series(rng, 250), score(rng, 250)))
        assert watch.raised() == []
    assert seen > 300  # figures were told


def test_a_shift_is_raised_in_the_second_window_and_cleared_when_it_is_over() -> None:
    rng = np.random.default_rng(0)
    watch = Watch(series(rng, 400), score(rng, 400))
    assert watch.window(series(rng, 400), score(rng, 400))["input.x"] < 0.1
    assert watch.window(series(rng, 400, 1.0), score(rng, 400))["input.x"] > 0.5
    assert watch.raised() == []  # one window may be an accident
    watch.window(series(rng, 400, 1.0), score(rng, 400))
    (change,) = watch.meter.changes()
    assert (change.name, change.severity, change.detail["feature"]) == ("drift-raised", "warning", "input.x")
    assert change.detail["limit"] == 0.25
    assert change.detail["n"] == 400
    for _ in range(3):  # told once
        watch.window(series(rng, 400, 1.0), score(rng, 400))
    watch.window(series(rng, 400), score(rng, 400))
    assert watch.raised() == []
    watch.window(series(rng, 400), score(rng, 400))
    assert watch.raised() == [("drift-cleared", "input.x")]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda x: x * 3, id="spread"),
        pytest.param(lambda x: x * 0, id="nothing but zeros"),
        pytest.param(lambda x: x * np.nan, id="NaN"),
        pytest.param(lambda x: x + 1e30, id="far outside"),
        pytest.param(lambda x: np.where(x > 0, x, -x), id="half mirrored"),
        pytest.param(lambda x: np.round(x), id="coarse"),
    ],
)
def test_whatever_changed_it_is_raised(changed: Callable[[np.ndarray], np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    watch = Watch(series(rng, 500), score(rng, 500))
    for _ in range(2):
        watch.window(changed(series(rng, 500)).astype(np.float32), score(rng, 500))
    assert watch.raised() == [("drift-raised", "input.x")]


def test_the_worst_comes_first() -> None:
    rng = np.random.default_rng(2)
    watch = Watch(series(rng, 400), score(rng, 400))
    assert list(watch.window(series(rng, 400, 0.3), score(rng, 400, 2.0))) == ["output.y", "input.x"]


@pytest.mark.parametrize("samples", [8, 20, 50])
def test_a_reference_of_few_samples_is_not_taken_for_the_truth(samples: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        watch = Watch(series(rng, samples), score(rng, samples))
        for _ in range(3):
            watch.window(series(rng, 300), score(rng, 300))
        assert watch.raised() == []
        for _ in range(2):
            watch.window(series(rng, 300, 5.0), score(rng, 300, 5.0))
        assert ("drift-raised", "input.x") in watch.raised()


def test_samples_that_follow_each_other_closely_count_for_fewer() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        watch = Watch(series(rng, 1000), score(rng, 1000))
        level = 0.0
        for _ in range(4):
            y = np.empty((1000, 1), np.float32)
            for index in range(len(y)):  # a signal with a memory of about a hundred samples
                level = 0.99 * level + math.sqrt(1 - 0.99**2) * rng.normal()
                y[index] = level
            watch.window(series(rng, 1000), y)
        assert watch.raised() == []


def test_nothing_is_said_below_the_sample_size_it_takes() -> None:
    # ten groups of independent samples: (1/n + 1/1000) * 27.9 <= 0.25 from about n = 125 on
    rng = np.random.default_rng(3)
    reference = score(rng, 1000)
    watch = Watch(series(rng, 1000), reference)
    told_at = []
    for _ in range(20):
        found = watch.window(series(rng, 20), score(rng, 20))
        told_at.append("output.y" in found)
    first = told_at.index(True)
    assert 4 <= first <= 11  # windows of 20 are gathered until it is enough
    assert not any(told_at[first + 1 : first + 4])  # and begin anew
    fewer = Watch(series(rng, 1000), reference)
    assert fewer.window(series(rng, 15), score(rng, 15)) == {}


def test_predicted_classes_are_compared() -> None:
    shares = {"cat": 0.9, "dog": 0.08, "owl": 0.02}
    rng = np.random.default_rng(4)
    reference = Reference(500, {}, {"y": distribution(score(rng, 1500))}, shares)
    spec = TensorSpec("y", "float32", (3,), "")
    meter = DriftMeter(reference, (), [spec], ("cat", "dog", "owl"))
    assert meter.features == ("output.y", "predicted")

    def window(probabilities: list[float]) -> dict[str, float]:
        meter.predicted(rng.choice(3, 1003, p=probabilities).tolist())
        meter.predicted([-1, 7])  # no classes of this model
        return {drift.feature: drift.psi_milli / 1000 for drift in meter.take()}

    for _ in range(4):
        assert window([0.9, 0.08, 0.02])["predicted"] < 0.05
    for _ in range(2):
        assert window([0.4, 0.58, 0.02])["predicted"] > 0.5
    (change,) = meter.changes()
    assert change.detail["feature"] == "predicted"


def test_looking_costs_at_most_its_share_of_the_time() -> None:
    rng = np.random.default_rng(5)
    x, y = series(rng, 100), score(rng, 100)
    reference = Reference(100, {"x": distribution(x)}, {"y": distribution(y)})

    for cost, inference in ((0.00005, 0.0001), (0.005, 0.0001), (0.002, 1.0)):
        now = [0.0]
        spent = [0.0]
        inside = [False]

        def clock(now=now, spent=spent, inside=inside, cost=cost, gate=[0]) -> float:  # type: ignore[no-untyped-def]  # noqa: B006
            if inside[0]:  # the second reading of a sample that is looked at
                now[0] += cost
                spent[0] += cost
            inside[0] = True
            return now[0]

        specs = TensorSpec("x", "float32", (32,), ""), TensorSpec("y", "float32", (1,), "")
        meter = DriftMeter(reference, specs[:1], specs[1:], (), clock=clock)
        times = 30_000 if inference < 0.1 else 300
        for _ in range(times):
            inside[0] = False
            meter.add({"x": x}, {"y": y}, 0)
            now[0] += inference
        assert 0 < spent[0] <= 1.2 * SHARE * now[0] + cost
        if inference == 1.0:  # a slow model: every sample
            assert round(spent[0] / cost) == times


def test_memory_stays_the_same() -> None:
    rng = np.random.default_rng(6)
    x, y = series(rng, 500), score(rng, 500)
    watch = Watch(x, y, {str(index): 0.1 for index in range(10)})

    def work() -> None:
        for row in range(500):
            watch.meter.add({"x": x}, {"y": y}, row)
            watch.meter.predicted([row % 10])

    work()
    tracemalloc.start()
    work()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(8):
        work()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 3000  # a byte for each of the 4000 samples would be more


def test_arrays_of_any_kind_are_looked_at() -> None:
    rng = np.random.default_rng(7)
    images = rng.random((300, 8, 64, 3), dtype=np.float32)
    tokens = rng.integers(0, 5000, (300, 16))
    reference = Reference(
        300,
        {"image": distribution(images), "ids": distribution(tokens), "absent": distribution(tokens)},
        {"score": distribution(rng.random(300))},
    )
    meter = DriftMeter(
        reference,
        [TensorSpec("image", "float32", (8, 64, 3), "NHWC"), TensorSpec("ids", "int64", (-1,), "")],
        [TensorSpec("score", "float32", (), ""), TensorSpec("unknown", "float32", (3,), "")],
        (),
        clock=Ticks(),
    )
    assert meter.features == ("input.image", "input.ids", "output.score")
    for row in range(300):
        turned = images.transpose(0, 3, 1, 2)  # not contiguous
        meter.add({"image": turned, "ids": tokens[:, :7]}, {"score": rng.random(300).astype(np.float32)}, row)
        meter.add({"ids": tokens}, {}, 10_000)  # a name is missing, the row is beyond
    found = {drift.feature: drift for drift in meter.take()}
    assert set(found) == {"input.image", "input.ids", "output.score"}
    assert all(drift.psi_milli < 100 and drift.n == 300 for drift in found.values())


def test_without_a_reference_nothing_is_watched() -> None:
    meter = DriftMeter(None, (), (), ())
    meter.add({"x": np.zeros((1, 3))}, {}, 0)
    meter.predicted([1, 2, 3])
    assert meter.features == meter.take() == ()


def test_groups_share_the_reference_evenly() -> None:
    rng = np.random.default_rng(8)
    groups = groups_of(distribution(rng.normal(size=5000)).histogram, 10)
    assert 8 <= len(groups.shares) <= 12
    assert groups.shares.sum() == pytest.approx(1.0)
    assert groups.shares[0] == groups.shares[-1] == 0.0  # beyond all that was seen
    assert groups.shares[1:-1].min() > 0.04
    assert (np.diff(groups.inner) > 0).all()


def test_a_value_that_most_have_is_a_group_of_its_own() -> None:
    values = np.concatenate([np.zeros(900), np.linspace(0.1, 1, 100)])
    groups = groups_of(distribution(values).histogram, 10)
    assert groups.shares[1] >= 0.9
    assert len(groups.shares) >= 4
    rare = groups_of(Histogram((0.0, 1.0, 2.0), (9990, 10)), 10)
    assert rare.shares == pytest.approx([0.0, 0.999, 0.001, 0.0])


def test_a_reference_of_one_value_has_room_around_it() -> None:
    groups = groups_of(distribution(np.full(50, 3.0)).histogram, 10)
    assert groups.shares.tolist() == [0.0, 1.0, 0.0]
    assert np.searchsorted(groups.inner, [2.0, 3.0, 4.0], side="right").tolist() == [0, 1, 2]


def test_what_the_histogram_counts_outside_belongs_to_its_ends() -> None:
    groups = groups_of(Histogram((0.0, 1.0, 2.0), (100, 100), below=100, above=200), 2)
    assert groups.shares == pytest.approx([0.0, 0.4, 0.6, 0.0])
    assert groups.inner.tolist() == [-1 / 32, 1.0, 2 + 1 / 32]
    few = groups_of(Histogram((0.0, 1.0, 2.0), (1, 1), below=1, above=2), 2)
    assert few.shares == pytest.approx([0.4, 0.6])


def test_classes_are_grouped_until_each_group_has_its_share() -> None:
    lookup, shares = index_groups([0.001] * 1000, 10)
    assert len(shares) == 10
    assert shares == pytest.approx([0.1] * 10, abs=0.01)
    assert (np.diff(lookup) >= 0).all()
    lookup, shares = index_groups([0.98, 0.02, 0.0], 10)
    assert lookup.tolist() == [0, 1, 1]
    assert shares == pytest.approx([0.98, 0.02])


def test_figures_are_those_of_the_definitions() -> None:
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    blocks = Blocks(3)
    blocks.add(np.tile(p * 1000, (64, 1)), 100_000)  # no noise at all, and so many that smoothing does nothing
    found = compare(blocks, q, 10**9)
    assert found is not None
    assert found.psi == pytest.approx(float(((p - q) * np.log(p / q)).sum()), rel=1e-3)
    middle = (p + q) / 2
    divergence = 0.5 * float((p * np.log2(p / middle)).sum() + (q * np.log2(q / middle)).sum())
    assert found.js == pytest.approx(math.sqrt(divergence), rel=1e-3)
    assert compare(blocks, p, 10**9) == pytest.approx((0.0, 0.0, 0.0, 0.0), abs=1e-6)


def test_chance_is_what_the_theory_says_for_independent_samples() -> None:
    # Yurdakul and Naranjo: (1/n + 1/m) * chi-square of groups - 1
    for degrees, exact in ((1, 10.828), (4, 18.467), (9, 27.877), (30, 59.703)):
        assert chi_square_quantile(degrees) == pytest.approx(exact, rel=0.05)
    found = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        blocks = Blocks(10)
        blocks.add(np.eye(10)[rng.integers(0, 10, 2000)])
        result = compare(blocks, np.full(10, 0.1), 1000)
        assert result is not None
        found.append(result.chance)
    assert float(np.mean(found)) == pytest.approx((1 / 2000 + 1 / 1000) * 27.877, rel=0.25)


@pytest.mark.parametrize("size", [1, 7, 64, 500])
def test_blocks_count_the_same_however_they_are_filled(size: int) -> None:
    rng = np.random.default_rng(9)
    counts = rng.integers(0, 5, (1500, 3)) + 1
    one, other = Blocks(3), Blocks(3)
    one.add(counts)
    for first in range(0, len(counts), size):
        other.add(counts[first : first + size])
    mine, its = one.shares(), other.shares()
    assert mine is not None
    assert its is not None
    assert 16 <= len(mine) <= 64
    np.testing.assert_array_equal(mine, its)
    np.testing.assert_allclose(one.variance(), other.variance())
    assert one.samples == other.samples == 1500
