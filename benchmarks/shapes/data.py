"""scikit-learn's handwritten digits, resized to the input shapes of ResNet-8 and DS-CNN."""

from __future__ import annotations

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

PARTS = {"train": slice(0, 900), "calibration": slice(900, 1100), "eval": slice(1100, None)}


def load(split: str, height: int, width: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, channels, height, width) float32 in [-1, 1] and digits (N,), shuffled once by a fixed seed."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))[PARTS[split]]
    images = [
        np.asarray(
            Image.fromarray(image.astype(np.float32), mode="F").resize((width, height), Image.Resampling.BILINEAR)
        )
        for image in digits.images[order]
    ]
    scaled = np.stack(images)[:, None] / 8.0 - 1.0
    return np.repeat(scaled, channels, axis=1).astype(np.float32), digits.target[order].astype(np.int64)
