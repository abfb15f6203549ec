"""Embeddings are judged against the original's, by neighbours, and by scored pairs."""

from __future__ import annotations

import numpy as np
import pytest
from edgeglm_agent.wire import TensorSpec
from scipy import stats

from edgeglm.data.splits import ArraySplit, Data
from edgeglm.errors import DataError, ModelError, RecipeError
from edgeglm.tasks import Embedding
from edgeglm.tasks.embedding import neighbour_agreement, spearman

RNG = np.random.default_rng(0)


def vectors(n: int = 60, width: int = 16) -> np.ndarray:
    return RNG.normal(size=(n, width)).astype(np.float32)


def test_the_original_is_its_own_measure() -> None:
    result = Embedding().evaluate({"embedding": vectors()}, None, ())
    assert (result.metric.name, result.metric.value, result.metric.ci95) == ("cosine_to_original", 1.0, (1.0, 1.0))
    assert result.metrics_extra == {"cosine_min": 1.0, "neighbour_agreement_1": 1.0}
    assert result.drop is None


def test_length_does_not_count_and_noise_does() -> None:
    before = vectors()
    scaled = Embedding().evaluate({"e": before * 3}, None, (), {"e": before})
    assert scaled.metric.value == pytest.approx(1.0)
    noisy = Embedding(neighbours=3).evaluate({"e": before + 0.3 * vectors()}, None, (), {"e": before})
    assert noisy.drop is not None
    assert 0.02 < noisy.drop.value < 0.1
    assert noisy.drop.ci95[0] < noisy.drop.value < noisy.drop.ci95[1]
    assert noisy.drop.value == pytest.approx(1 - noisy.metric.value)
    assert 0.2 < noisy.metrics_extra["neighbour_agreement_3"] < 1


def test_neighbours_are_those_of_a_full_search_and_never_the_sample_itself() -> None:
    before, after = vectors(1100, 8), vectors(1100, 8)
    before, after = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (before, after))
    wanted = []
    for row in range(len(before)):
        found = [set(np.argsort(-np.where(np.arange(1100) == row, -9, v @ v[row]))[:5]) for v in (before, after)]
        wanted.append(len(found[0] & found[1]) / 5)
    assert neighbour_agreement(before, after, 5) == pytest.approx(np.mean(wanted))


def test_spearman_is_that_of_scipy_with_ties() -> None:
    a, b = RNG.integers(0, 6, 200), RNG.integers(0, 9, 200).astype(float)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert spearman(np.ones(5), np.arange(5)) == 0


def test_pairs_are_scored_whatever_their_order() -> None:
    angles = np.linspace(0, 1.5, 8)
    first, second = np.tile([1.0, 0.0], (8, 1)), np.stack([np.cos(angles), np.sin(angles)], 1)
    inputs = np.concatenate([first, second]).astype(np.float32)
    targets = np.stack([np.tile(np.arange(8), 2), np.tile(-angles, 2)], 1)
    order = RNG.permutation(16)
    task = Embedding()
    read = task.read_targets(targets[order], labels=(), judged=True, where="data")
    assert task.evaluate({"e": inputs[order]}, read, ()).metrics_extra["spearman"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (np.zeros(4), r"shape \[4\] are no scored pairs"),
        (np.array([[0, 1.0], [0, 1.0], [1, 2.0], [-1, 0]]), "pair 1 has 1 samples"),
        (np.array([[0, np.nan], [0, np.nan]]), "a score is not finite"),
    ],
)
def test_what_is_no_pair_is_refused(targets: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Embedding().read_targets(targets, labels=(), judged=True, where="data")


def test_vectors_that_are_not_finite_are_refused() -> None:
    broken = vectors()
    broken[3, 0] = np.nan
    with pytest.raises(ModelError, match="NaN or Inf for 1 of 60 samples, first sample 3"):
        Embedding().evaluate({"e": broken}, None, ())


def test_more_neighbours_than_half_of_the_samples_are_refused() -> None:
    splits = {"train": ArraySplit({"x": np.zeros((90, 2))}, None), "eval": ArraySplit({"x": np.zeros((20, 2))}, None)}
    data = Data(splits=splits, eval_splits=("eval",))
    outputs = [TensorSpec("e", "float32", (4,), "NC")]
    Embedding(neighbours=10).check(outputs, data)
    for neighbours in (11, 100_000):
        with pytest.raises(RecipeError, match="among the 19 others of split `eval`") as caught:
            Embedding(neighbours=neighbours).check(outputs, data)
        assert caught.value.problems[0].where == "task.neighbours"
        assert "write 10 or less" in caught.value.problems[0].hint
    one = Data(splits={"eval": splits["eval"].take(np.arange(1))}, eval_splits=("eval",))
    Embedding().check(outputs, one)  # the default is no one's choice
