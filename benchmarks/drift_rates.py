"""How often does the agent call drift what is none, and how small a drift does it see? Simulated; beside it the plain index.

The plain index is the population stability index as it is usually computed: ten groups of one share, a fixed limit of
0.25, two windows in a row, nothing known of chance. Each run draws a reference of its own.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from common import write_result
from edgeglm_agent.drift import GAP_S, IN_A_ROW, LIMIT, DriftMeter
from edgeglm_agent.wire.manifest import Reference, TensorSpec

from edgeglm.output.manifest import distributions

WINDOWS = 4
RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 200


def score(rng: np.random.Generator, n: int, shift: float = 0.0) -> np.ndarray:
    """One number a sample, independent of the others."""
    return (rng.normal(size=(n, 1)) + shift).astype(np.float32)


def signal(rng: np.random.Generator, n: int, shift: float = 0.0) -> np.ndarray:
    """Windows of 64 values whose level differs from window to window; shift in standard deviations of a value."""
    level = rng.normal(size=(n, 1)) * math.sqrt(0.5)
    return (level + rng.normal(size=(n, 64)) * math.sqrt(0.5) + shift).astype(np.float32)


def slow(rng: np.random.Generator, n: int, shift: float = 0.0) -> np.ndarray:
    """One number a sample, each 0.99 of the one before: a hundred samples hang together."""
    noise = rng.normal(size=n) * math.sqrt(1 - 0.99**2)
    values = np.empty((n, 1), np.float32)
    value = rng.normal()
    for index in range(n):
        value = 0.99 * value + noise[index]
        values[index] = value + shift
    return values


class Ticks:
    """A clock that lets every sample be looked at."""

    def __init__(self) -> None:
        self.now, self.looking = 0.0, False

    def __call__(self) -> float:
        self.looking = not self.looking
        self.now += 2 * GAP_S * self.looking
        return self.now


def plain_index(reference: np.ndarray, values: np.ndarray) -> float:
    """Return the usual index of all values."""
    edges = np.quantile(reference, np.linspace(0.1, 0.9, 9))
    p, q = (
        np.maximum(np.bincount(np.searchsorted(edges, one.ravel()), minlength=10) / one.size, 1e-4)
        for one in (values, reference)
    )
    return float(((p - q) * np.log(p / q)).sum())


def rates(reference_draw: Any, live_draw: Any, samples: int, window: int, shift: float) -> dict[str, float]:
    """Return shares of runs in which drift was raised, by us and by the plain index, and of windows that were told."""
    ours = plain = told = 0
    for run in range(RUNS):
        rng = np.random.default_rng([run, samples, window])
        reference = reference_draw(rng, samples)
        found = Reference(samples, distributions(lambda reference=reference: iter([{"x": reference}])), {})
        meter = DriftMeter(found, [TensorSpec("x", "float32", reference.shape[1:], "")], (), (), clock=Ticks())
        beyond = []
        for _ in range(WINDOWS):
            values = live_draw(rng, window, shift)
            for row in range(window):
                meter.add({"x": values}, {}, row)
            told += len(meter.take())
            beyond.append(plain_index(reference, values) >= LIMIT)
        ours += any(change.name == "drift-raised" for change in meter.changes())
        plain += any(all(beyond[first : first + IN_A_ROW]) for first in range(WINDOWS - IN_A_ROW + 1))
    return {"raised": ours / RUNS, "plain_raised": plain / RUNS, "told": told / RUNS / WINDOWS}


def main() -> None:
    """Simulate, print a table, and write the figures."""
    rows = []
    cases = [
        *(
            (score, score, m, k, 0.0)
            for m, k in ((20, 300), (50, 300), (100, 100), (300, 300), (1000, 300), (1000, 2000))
        ),
        *((signal, signal, m, 300, 0.0) for m in (20, 50, 300)),
        (score, slow, 1000, 2000, 0.0),
        (score, slow, 1000, 10_000, 0.0),
        *((score, score, 300, 1000, shift) for shift in (0.3, 0.5, 0.7, 1.0)),
        *((score, score, 30, 1000, shift) for shift in (0.7, 1.0, 1.5)),
        *((signal, signal, 300, 300, shift) for shift in (0.3, 0.5, 0.7, 1.0)),
    ]
    print(
        "| data | reference | samples a window | shift | told | raised | plain index |\n|---|---|---|---|---|---|---|"
    )
    for before, live, samples, window, shift in cases:
        found = rates(before, live, samples, window, shift)
        rows.append({"data": live.__name__, "reference": samples, "window": window, "shift": shift, **found})
        print(
            f"| {live.__name__} | {samples} | {window} | {shift:g} | {found['told']:.0%} | {found['raised']:.1%} "
            f"| {found['plain_raised']:.1%} |",
            flush=True,
        )
    write_result("drift_rates", runs=RUNS, windows=WINDOWS, cases=rows)


if __name__ == "__main__":
    main()
