from __future__ import annotations

import numpy as np
import pytest
from edgeglm_agent.processing import Detection
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeglm.tasks.average_precision import match

NOTHING = (-1.0, -1.0, -1.0, -1.0, -1.0)


def scene(seed: int, images: int = 12) -> tuple[list[list[Detection]], np.ndarray]:
    """Return detections that are right, shifted, doubled, invented or missing, and what the images hold."""
    rng = np.random.default_rng(seed)
    targets = np.full((images, 5, 5), -1, np.float32)
    detections: list[list[Detection]] = []
    for row in range(images):
        found: list[Detection] = []
        for place in range(rng.integers(0, 5)):
            x, y, width, height = *rng.uniform(0, 60, 2), *rng.uniform(5, 40, 2)
            number = int(rng.integers(0, 3))
            targets[row, place] = (number, x, y, x + width, y + height)
            shifts = rng.normal(scale=3, size=(rng.integers(0, 3), 2))
            found += [
                Detection((x + dx, y + dy, x + dx + width, y + dy + height), float(rng.random()), number)
                for dx, dy in shifts.tolist()
            ]
        if rng.random() < 0.5:
            found.append(Detection((0, 0, 10, 10), float(rng.random()), int(rng.integers(0, 3))))
        detections.append(found)
    targets[0, 0] = (0, 1, 1, 30, 30)
    return detections, targets


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_the_whole_sample_gives_what_pycocotools_gives(seed: int) -> None:
    detections, targets = scene(seed)
    matches = match(detections, targets)
    assert np.nanmean(matches.resampled(np.ones((1, len(targets)), int))) == pytest.approx(matches.mean, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_a_resample_gives_what_pycocotools_gives_on_the_images_drawn(seed: int) -> None:
    detections, targets = scene(seed)
    drawn = np.random.default_rng(seed).integers(0, len(targets), len(targets))
    if not (targets[drawn][..., 0] >= 0).any():
        return
    again = match([detections[row] for row in drawn], targets[drawn])
    weights = np.bincount(drawn, minlength=len(targets))[None]
    assert np.nanmean(match(detections, targets).resampled(weights)) == pytest.approx(again.mean, abs=1e-9)


def test_average_precision_by_hand() -> None:
    """Three things; found: one well (IoU .9), a false one that scores higher, one at IoU .6, one missed.

    At .50: precision 0, 1/2, 2/3 at recall 0, 1/3, 2/3, so 2/3 for recalls up to 2/3: 67 of 101 points.
    """
    targets = np.array([[(0, 0, 0, 10, 10), (0, 50, 50, 60, 60)], [(0, 0, 0, 10, 10), NOTHING]], np.float32)
    detections = [
        [Detection((20, 20, 30, 30), 0.9, 0), Detection((0, 0, 10, 9), 0.8, 0)],
        [Detection((0, 0, 10, 6), 0.7, 0)],
    ]
    matches = match(detections, targets)
    assert matches.mean_50 == pytest.approx(67 / 101 * 2 / 3)
    at_70 = 34 / 101 / 2  # one of three right: precision 1/2 for recalls up to 1/3
    assert matches.average_precision[4, 0] == pytest.approx(at_70)


def test_nothing_found_is_no_precision_and_strange_classes_are_no_matter() -> None:
    targets = np.array([[(0, 0, 0, 10, 10)]], np.float32)
    assert match([[]], targets).mean == 0.0
    nothing = match([[Detection((0, 0, 10, 10), 0.9, 0)]], np.array([[NOTHING]], np.float32))
    assert (nothing.mean, nothing.mean_50, nothing.resampled(np.ones((3, 1))).shape) == (0.0, 0.0, (3, 0))
    assert match([[Detection((0, 0, 10, 10), 0.9, 7)]], targets).mean == 0.0
    assert match([[Detection((0, 0, 10, 10), 0.9, 0), Detection((0, 0, 5, 5), 1.0, 7)]], targets).mean == pytest.approx(
        1
    )
