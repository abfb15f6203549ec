"""Handwritten digits: scikit-learn's copy of the UCI set, 1,797 grey images of 8 x 8 pixels."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of one split, uint8 (N, 8, 8), and their digits, int64 (N,)."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # 17 levels of grey, from 0 to 255
    every = np.arange(len(images))
    rest, evaluation = train_test_split(every, test_size=0.4, stratify=digits.target, random_state=0)
    train, calibration = train_test_split(rest, test_size=0.2, stratify=digits.target[rest], random_state=0)
    chosen = {"train": train, "calibration": calibration, "eval": evaluation}[split]
    return images[chosen], digits.target[chosen]
