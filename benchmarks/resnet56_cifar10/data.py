"""CIFAR-10 from the folder that $EDGEGLM_BENCH_DATA names (default: the data kept beside the repository)."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(os.environ.get("EDGEGLM_BENCH_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
CALIBRATION = 512


def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, 32, 32, 3) uint8 and classes (N,): 20,000 training images less those for calibration, 500 test."""
    spec = importlib.util.spec_from_file_location("bench_data_load", FOLDER / "load.py")
    assert spec is not None
    assert spec.loader is not None
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    if split == "eval":
        return reader.cifar10("test")
    images, targets = reader.cifar10("train")
    part = slice(0, CALIBRATION) if split == "calibration" else slice(CALIBRATION, None)
    return images[part], targets[part]


def augment(inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Flip half of the images and shift each by up to 4 pixels, edges filled with zeros; (B, 3, 32, 32)."""
    count = len(inputs)
    flip = torch.rand(count, generator=generator) < 0.5
    inputs = torch.where(flip[:, None, None, None], inputs.flip(3), inputs)
    padded = torch.nn.functional.pad(inputs, (4, 4, 4, 4))
    offsets = torch.randint(0, 9, (2, count), generator=generator)
    rows = offsets[0][:, None] + torch.arange(32)  # (B, 32)
    columns = offsets[1][:, None] + torch.arange(32)
    index = torch.arange(count)[:, None, None]
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
