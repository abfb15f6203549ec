from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgeglm.artifacts.groups import Group
from edgeglm.choice.sensitivity import WORST, output_loss, rungs, scan
from edgeglm.log import SilentLog

GROUPS = [Group(f"layer{number}", f"op:{number}", (f"op:{number}",)) for number in range(40)]


class Network:
    """What quantizing each layer costs, and how often it was asked."""

    def __init__(self, **costs: float) -> None:
        self.costs = {f"op:{name.removeprefix('layer')}": cost for name, cost in costs.items()}
        self.asked = 0

    def loss(self, left: Sequence[str]) -> float:
        self.asked += 1
        return sum(self.costs.get(f"op:{number}", 0.001) for number in range(40) if f"op:{number}" not in left)


def scanned(network: Network, count: int, trials: int) -> list[tuple[str, ...]]:
    found = scan(network.loss, GROUPS[:count], trials=trials, progress=SilentLog().progress)
    return [tuple(group.layer for group in part.groups) for part in found]


def test_with_a_trial_for_each_layer_they_are_ranked_one_by_one() -> None:
    network = Network(layer3=0.5, layer1=0.9)
    found = scanned(network, 6, 32)
    assert network.asked == 6
    assert found[:2] == [("layer1",), ("layer3",)]
    assert found[2:] == [("layer0",), ("layer2",), ("layer4",), ("layer5",)]  # equal ones in the file's order


def test_with_fewer_trials_what_costs_most_is_still_told_apart() -> None:
    network = Network(layer29=5.0)
    found = scanned(network, 40, 16)
    assert network.asked <= 16
    assert found[0] == ("layer29",)
    assert sorted(layer for part in found for layer in part) == sorted(group.layer for group in GROUPS)


@pytest.mark.parametrize("trials", [1, 2, 3, 7])
def test_no_more_is_tried_than_was_asked_for(trials: int) -> None:
    network = Network()
    scanned(network, 40, trials)
    assert network.asked <= trials


def test_steps_grow_and_leave_something_quantized() -> None:
    assert list(rungs(10)) == [1, 2, 3, 4, 6, 8]
    assert list(rungs(1)) == []


def test_the_loss_is_a_share_of_what_the_network_says() -> None:
    reference = np.array([[0.0, 10.0], [2.0, 14.0]])

    def loss(got: np.ndarray, wanted: np.ndarray) -> float:
        return output_loss({"o": got}, {"o": wanted})

    assert loss(reference, reference) == 0
    assert loss(np.broadcast_to(reference.mean(axis=0), (2, 2)), reference) == pytest.approx(1)
    assert loss(np.full((2, 2), np.nan), reference) == WORST
    assert loss(np.zeros((2, 2)), np.zeros((2, 2))) == 0
    assert loss(np.full((2, 2), 8.001), np.full((2, 2), 8.0)) < 0.001  # a constant: 8 bits tell no finer


def test_each_output_counts_whatever_its_size() -> None:
    rng = np.random.default_rng(0)
    reference = {"boxes": rng.uniform(0, 640, (30, 50, 4)), "scores": rng.uniform(0, 1, (30, 50, 3))}
    silent = reference | {"scores": np.zeros((30, 50, 3))}
    assert output_loss(silent, reference) > 0.5
    assert output_loss(reference | {"scores": np.full((30, 50, 3), np.inf)}, reference) >= WORST / 2
