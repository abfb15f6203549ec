"""A small project of a user's: a CNN on real digits, as recipe.yaml, model.py and data.py in a folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

MODEL = """\
from torch import nn


def build(width: int = 16) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10),
    )
"""

DATA = """\
import numpy as np
from sklearn.datasets import load_digits

PARTS = {"train": slice(0, 900), "calibration": slice(900, 1100), "eval": slice(1100, None)}


def load(split: str):
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))[PARTS[split]]
    images = digits.images[order].astype(np.float32)[:, None] / 8.0 - 1.0
    return images, digits.target[order].astype(np.int64)
"""

HEAD = """\
version: 1
name: digits
model: {source: python, entry: "./model.py:build"}
data: {source: python, entry: "./data.py:load"}
task: {kind: classification}
"""

LEAN = HEAD + "artifacts: [{format: onnx}]\n"

RECIPE = (
    HEAD
    + """\
steps:
  - finetune: {epochs: 2, learning_rate: 5e-3}
  - prune: {channel_ratio: 0.5}
  - distill: {epochs: 2, learning_rate: 5e-3}
artifacts:
  - {format: onnx, quantize: static-int8}
budget: {size_mb: 1}
"""
)


@dataclass
class Project:
    """A folder with a recipe, and a cache of its own."""

    folder: Path
    files: dict[str, str] = field(default_factory=lambda: {"recipe.yaml": RECIPE, "model.py": MODEL, "data.py": DATA})

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.files.items():
            (self.folder / name).write_text(text)

    def edit(self, name: str, old: str, new: str) -> Project:
        """Replace text in one file; it must be there."""
        path = self.folder / name
        text = path.read_text()
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new))
        return self

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a run: this cache, two threads at most."""
        return os.environ | {"EDGEGLM_CACHE": str(self.folder / "cache"), "COLUMNS": "100"} | more

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """Start `edgeglm` in the folder, as from a terminal: tests in the background may ignore Ctrl-C themselves."""
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # else a child would inherit that
        return subprocess.Popen(
            [sys.executable, "-m", "edgeglm", *arguments],
            cwd=self.folder,
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `edgeglm` in the folder to its end."""
        process = self.start(*arguments, **more)
        stdout, stderr = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
