"""Wisconsin Diagnostic Breast Cancer: scikit-learn's copy, 569 tumours of 30 measurements each, in their own units."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split


def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the measurements of one split, float32 (N, 30), and 0 for malignant, 1 for benign, int64 (N,)."""
    data = load_breast_cancer()
    every = np.arange(len(data.target))
    rest, evaluation = train_test_split(every, test_size=0.5, stratify=data.target, random_state=0)
    train, calibration = train_test_split(rest, test_size=0.2, stratify=data.target[rest], random_state=0)
    chosen = {"train": train, "calibration": calibration, "eval": evaluation}[split]
    return data.data[chosen].astype(np.float32), data.target[chosen].astype(np.int64)
