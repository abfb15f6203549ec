"""Canvases of 32 x 32 pixels with one or two handwritten digits on a noisy, unevenly lit ground, and a map of each.

The digits are scikit-learn's copy of the UCI set, enlarged; no digit lies on the canvases of two splits.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SIZE = 32
CANVASES = {"train": 2400, "calibration": 200, "eval": 500}
SEEDS = {"train": 1, "calibration": 2, "eval": 3}


def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return canvases, uint8 (N, 32, 32), and maps, int64 (N, 32, 32): 0 for the ground, d + 1 for the digit d."""
    digits = load_digits()
    every = np.arange(len(digits.target))
    rest, evaluation = train_test_split(every, test_size=0.4, stratify=digits.target, random_state=0)
    train, calibration = train_test_split(rest, test_size=0.2, stratify=digits.target[rest], random_state=0)
    own = {"train": train, "calibration": calibration, "eval": evaluation}[split]
    rng = np.random.default_rng(SEEDS[split])
    made = [_canvas(rng, digits.images[own], digits.target[own]) for _ in range(CANVASES[split])]
    return np.stack([canvas for canvas, _ in made]), np.stack([classes for _, classes in made])


def _canvas(rng: np.random.Generator, images: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ink, classes = np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE), dtype=np.int64)
    for _ in range(int(rng.integers(1, 3))):
        chosen = int(rng.integers(len(images)))
        side = int(rng.integers(13, 18))
        digit = _enlarged(images[chosen], side)
        top, left = rng.integers(0, SIZE - side + 1, 2)
        place = np.s_[top : top + side, left : left + side]
        if classes[place].any():
            continue  # digits do not lie on each other
        ink[place] = digit * rng.uniform(0.6, 1.0)
        classes[place][digit > 0.4] = targets[chosen] + 1
    slope = rng.uniform(-0.2, 0.2, 2)
    ramp = np.linspace(-0.5, 0.5, SIZE)
    ground = 0.3 + slope[0] * ramp[:, None] + slope[1] * ramp[None]
    canvas = ground + 0.6 * ink + rng.normal(0, rng.uniform(0.02, 0.1), ink.shape)
    return np.rint(np.clip(canvas, 0, 1) * 255).astype(np.uint8), classes


def _enlarged(digit: np.ndarray, side: int) -> np.ndarray:
    """Return an image of 8 x 8 (0 to 16) as side x side (0 to 1)."""
    enlarged = Image.fromarray(digit.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(enlarged) / 16
