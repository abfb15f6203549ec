"""Samples of a few classes, as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from edgeglm_agent.processing import Preprocess

from edgeglm.sources import data_from_objects
from edgeglm.tasks import Classification

NONE = Preprocess()


def samples(n: int, *, seed: int = 0, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return n samples (n, ...) and their class numbers (n,)."""
    return np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32), np.arange(n) % classes


def objects(data: dict[str, Any], **kwargs: Any) -> Any:
    """Return splits, given as a program gives them, as ``Data``."""
    return data_from_objects(data, **({"preprocess": NONE, "task": Classification(), "labels": (), "seed": 0} | kwargs))


def three() -> dict[str, Any]:
    """Return three disjoint splits."""
    return {"train": samples(60), "calibration": samples(12, seed=1), "eval": samples(30, seed=2)}
