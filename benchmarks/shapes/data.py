"""scikit-learn's handwritten digits, resized to the input shapes of ResNet-8 and DS-CNN."""

from __future__ import annotations

import numpy as np
import torch
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


def augment(inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift each image by up to a sixteenth of its height and width; (B, C, H, W)."""
    count, _, height, width = inputs.shape
    tall, wide = max(1, height // 16), max(1, width // 16)
    padded = torch.nn.functional.pad(inputs, (wide, wide, tall, tall), value=-1.0)
    rows = torch.randint(0, 2 * tall + 1, (count, 1), generator=generator) + torch.arange(height)
    columns = torch.randint(0, 2 * wide + 1, (count, 1), generator=generator) + torch.arange(width)
    index = torch.arange(count)[:, None, None]
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
