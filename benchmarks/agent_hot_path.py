"""What does each thing that a worker does for every sample cost by itself? Microseconds, best of five."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from common import write_result
from edgeglm_agent.board.read import Board
from edgeglm_agent.drift import DriftMeter
from edgeglm_agent.inputs._base import Arrival
from edgeglm_agent.settings.types import Anomaly
from edgeglm_agent.wire.manifest import Reference, TensorSpec
from edgeglm_agent.worker.burst import Bursts
from edgeglm_agent.worker.meter import Meter
from edgeglm_agent.worker.progress import Progress, ProgressReader

from edgeglm.output.manifest import distributions

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = 10


def microseconds(call: Callable[[], object], times: int = 100_000) -> float:
    """Return what one call takes, with the loop around it (some 0.03 us)."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter_ns()
        for _ in range(times):
            call()
        best = min(best, (time.perf_counter_ns() - began) / times / 1000)
    return round(best, 3)


def watched(shape: tuple[int, ...]) -> tuple[DriftMeter, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return a drift meter for images of this shape and ten classes, with inputs and outputs of one sample."""
    rng = np.random.default_rng(0)
    inputs, outputs = (
        {"x": rng.random((64, *shape), dtype=np.float32)},
        {"y": rng.random((64, CLASSES), dtype=np.float32)},
    )
    reference = Reference(
        64,
        distributions(lambda: iter([inputs])),
        distributions(lambda: iter([outputs])),
        {str(index): 1 / CLASSES for index in range(CLASSES)},
    )
    specs = TensorSpec("x", "float32", shape, "NCHW"), TensorSpec("y", "float32", (CLASSES,), "NC")
    one = [{name: values[:1].copy() for name, values in tensors.items()} for tensors in (inputs, outputs)]
    return DriftMeter(reference, specs[:1], specs[1:], ()), one[0], one[1]


def main() -> None:
    """Measure, print, and write the figures."""
    folder = Path(tempfile.mkdtemp())
    progress, reader, meter = Progress(folder / "p"), ProgressReader(folder / "p"), Meter()
    bursts = Bursts(Anomaly(before=4, after=4), print)
    arrival = Arrival(sample=np.zeros((128, 3), np.float32))
    small, inputs, outputs = watched((1, 8, 8))
    large, large_inputs, large_outputs = watched((3, 224, 224))
    board = Board(folder)
    every = {
        "meter.add": microseconds(lambda: meter.add(0.1234, 0.4321)),
        "meter.predicted": microseconds(lambda: meter.predicted(3, 0.93)),
        "progress": microseconds(lambda: (progress.begin(1), progress.answered(), progress.end())),
        "drift.add 1x8x8": microseconds(lambda: small.add(inputs, outputs, 0)),
        "drift.add 3x224x224": microseconds(lambda: large.add(large_inputs, large_outputs, 0)),
        "bursts.add 128x3": microseconds(lambda: bursts.add(arrival, None)),
    }

    def look(meter: DriftMeter, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> None:
        meter._next = -1.0
        meter.add(inputs, outputs, 0)

    seldom = {
        "drift looks at 1x8x8": microseconds(lambda: look(small, inputs, outputs), 2000),
        "drift looks at 3x224x224": microseconds(lambda: look(large, large_inputs, large_outputs), 2000),
        "progress is read": microseconds(reader.read, 10_000),
        "board is sampled": microseconds(board.sample, 1000),
        "window is taken": microseconds(meter.take, 1000),
    }
    for name, cost in (every | seldom).items():
        print(f"{name:28}{cost:9.3f} us")
    write_result("agent_hot_path", every_sample_us=every, seldom_us=seldom)


if __name__ == "__main__":
    main()
