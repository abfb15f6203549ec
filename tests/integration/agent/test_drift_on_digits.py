"""Drift against a reference that the SDK wrote, on real images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from edgeglm_agent.drift import GAP_S, DriftMeter
from edgeglm_agent.wire.manifest import Reference, TensorSpec
from sklearn.datasets import load_digits

from edgeglm.output.manifest import distributions

if TYPE_CHECKING:
    from collections.abc import Callable


class Ticks:
    """A clock that lets every sample be looked at."""

    def __init__(self) -> None:
        self.now, self.looking = 0.0, False

    def __call__(self) -> float:
        self.looking = not self.looking
        self.now += 2 * GAP_S * self.looking
        return self.now


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    images = load_digits().images.astype(np.float32)[:, None] / 16  # (1797, 1, 8, 8)
    return images[np.random.default_rng(0).permutation(len(images))]


def meter_for(reference: np.ndarray) -> DriftMeter:
    found = Reference(len(reference), distributions(lambda: iter([{"image": reference}])), {})
    return DriftMeter(found, [TensorSpec("image", "float32", (1, 8, 8), "NCHW")], (), (), clock=Ticks())


def raised_by(meter: DriftMeter, images: np.ndarray, windows: int = 3) -> list[str]:
    for part in np.array_split(images, windows):
        for row in range(len(part)):
            meter.add({"image": part}, {}, row)
        meter.take()
    return [change.name for change in meter.changes()]


@pytest.mark.parametrize("samples", [40, 300, 900])
def test_other_digits_are_no_drift(digits: np.ndarray, samples: int) -> None:
    assert raised_by(meter_for(digits[:samples]), digits[900:]) == []


def test_a_signal_with_rare_peaks_is_seen_to_grow_weaker() -> None:
    rng = np.random.default_rng(2)
    signal = rng.normal(0, 1, (600, 1, 8, 8)).astype(np.float32)
    signal[::50, 0, 0, 0] = 100.0  # a knock now and then: the range says nothing of the rest
    assert raised_by(meter_for(signal[:300]), signal[300:]) == []
    assert raised_by(meter_for(signal[:300]), signal[300:] * 0.5) == ["drift-raised"]


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "inverted": lambda images: 1 - images,
    "darker": lambda images: images * 0.5,
    "lens covered": lambda images: images * 0,
    "noise": lambda images: images + np.random.default_rng(1).normal(0, 0.1, images.shape),
    "washed out": lambda images: 0.3 + 0.4 * images,
    "scaled wrongly": lambda images: images * 16,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("samples", [40, 900])
def test_what_goes_wrong_with_a_camera_is_drift(digits: np.ndarray, change: str, samples: int) -> None:
    meter = meter_for(digits[:samples])
    changed = CHANGES[change](digits[900:]).astype(np.float32)
    assert raised_by(meter, changed) == ["drift-raised"]
