"""Windows of simulated vibration: healthy ones to learn from, runs to failure to be judged by."""

from __future__ import annotations

import numpy as np
from simulation import machine, vibration

SAMPLES = 512  # a window: 43 ms, one turn of the shaft and a quarter, four or five bursts of a defect
WINDOWS = 60  # of a run, ten minutes apart
HEALTHY = {"train": (80, 1), "calibration": (8, 2)}  # split -> healthy runs, seed
FAILING, SOUND, SEED = 16, 8, 3  # runs to be judged: with a defect, and without


def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the windows of one split, float32 (N, 512) in g, and (N, 2) int64: 0 or 1 (anomalous), number of the run.

    No machine is in two splits. Rows are in the order of time within each run.
    """
    if split in HEALTHY:
        runs, seed = HEALTHY[split]
        return _runs(np.random.default_rng(seed), [("", run % 4) for run in range(runs)])
    races = ["outer", "inner"] * (FAILING // 2) + [""] * SOUND
    return _runs(np.random.default_rng(SEED), [(race, run // 2 % 4) for run, race in enumerate(races)])


def load_in_hp(inputs: np.ndarray, targets: np.ndarray, split: str) -> list[str]:
    """Return the load of each sample's machine in horsepower: a slice of the evaluation data."""
    del inputs, split
    return [f"{run // 2 % 4}hp" for run in targets[:, 1]]


def _runs(rng: np.random.Generator, kinds: list[tuple[str, int]]) -> tuple[np.ndarray, np.ndarray]:
    windows, targets = [], []
    for run, (race, load) in enumerate(kinds):
        rig = machine(rng, load)
        onset = int(rng.integers(20, 31)) if race else WINDOWS
        growth = _growth(rng, WINDOWS - onset)
        for place in range(WINDOWS):
            severity = growth[place - onset] if place >= onset else 0.0
            windows.append(vibration(rng, rig, SAMPLES, race=race, severity=severity))
            targets.append((int(place >= onset), run))
    return np.stack(windows), np.array(targets, dtype=np.int64)


def _growth(rng: np.random.Generator, steps: int) -> np.ndarray:
    """Return the severity of a defect from when it begins to when the bearing fails, in g: faster and faster."""
    first, last = rng.uniform(0.12, 0.18), rng.uniform(0.8, 1.5)
    return first * (last / first) ** (np.arange(steps) / max(steps - 1, 1))
