from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, jaccard_score

from edgeglm.tasks.overlap import class_iou, confusion, mean_iou, pixel_counts


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**20), ignore=st.sampled_from([None, 255]))
def test_counts_over_all_pixels_give_the_jaccard_index_of_scikit_learn(seed: int, ignore: int | None) -> None:
    rng = np.random.default_rng(seed)
    predicted = rng.integers(0, 4, (5, 6, 7)).astype(np.uint8)
    targets = np.where(rng.random((5, 6, 7)) < 0.5, predicted, rng.integers(0, 3, (5, 6, 7))).astype(np.int64)
    if ignore is not None:
        targets[rng.random(targets.shape) < 0.2] = ignore
    seen = targets != ignore if ignore is not None else np.ones(targets.shape, bool)
    counts = pixel_counts(predicted, targets, classes=4, ignore=ignore)
    assert counts[0].shape == (5, 4)
    present = sorted(set(targets[seen].tolist()))
    expected = jaccard_score(targets[seen], predicted[seen], labels=present, average=None)
    totals = tuple(part.sum(axis=0) for part in counts)
    assert class_iou(*totals)[present] == pytest.approx(expected)
    assert np.isnan(np.delete(class_iou(*totals), present)).all()
    assert float(mean_iou(*totals)) == pytest.approx(expected.mean())
    table = confusion(predicted, targets, classes=4, ignore=ignore)
    assert np.array_equal(table, confusion_matrix(targets[seen], predicted[seen], labels=range(4)))


def test_no_class_meant_is_no_overlap() -> None:
    assert float(mean_iou(*(np.zeros(3, int),) * 3)) == 0.0
