"""A source of data: simulated pressure gauges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from msgspec import Meta

from edgeglm.sources import DataSource, data_from_objects

if TYPE_CHECKING:
    from edgeglm_agent.processing import Preprocess

    from edgeglm.data.splits import Data
    from edgeglm.sources.entry import Entries
    from edgeglm.tasks import TaskConfig


class Gauges(DataSource, tag="gauges", frozen=True, kw_only=True):
    """Bridge voltages that depend on pressure and on temperature; both are to be told from them."""

    samples: Annotated[int, Meta(ge=10)] = 600  # of each split
    noise: Annotated[float, Meta(ge=0)] = 0.005  # standard deviation of a voltage, volts

    def load(
        self, entries: Entries, *, preprocess: Preprocess, task: TaskConfig, labels: tuple[str, ...], seed: int
    ) -> Data:
        """Return three splits; ``data_from_objects`` preprocesses, checks and keeps them disjoint."""
        rng = np.random.default_rng(seed)
        splits = {}
        for name in ("train", "calibration", "eval"):
            pressure, heat = rng.uniform(-1, 1, (2, self.samples))  # each scaled to its range
            span = np.linspace(0.6, 1.4, 4)[:, None]  # four gauges, each with its own sensitivity
            volts = span * pressure * (1 + 0.3 * heat) + 0.2 * heat * span**2 + 0.1 * pressure**3
            inputs = (volts.T + rng.normal(0, self.noise, (self.samples, 4))).astype(np.float32)
            splits[name] = (inputs, np.stack([pressure, heat], axis=1).astype(np.float32))
        return data_from_objects(splits, preprocess=preprocess, task=task, labels=labels, seed=seed)
