"""Memory stays flat: no object is left behind by a sample, a window, or a row that the collector has.

Python's own objects are counted, not bytes: one that leaks in a thousand turns is a thousand, and chance leaves a few.
"""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from edgeglm_agent import ipc
from edgeglm_agent.drift import GAP_S, DriftMeter
from edgeglm_agent.inputs._base import Arrival, EndOfInput
from edgeglm_agent.inputs.replay import ReplayInput
from edgeglm_agent.outbox import EVENTS, METRICS, SAMPLES
from edgeglm_agent.results._base import Outcome, ResultContext
from edgeglm_agent.results.jsonl import Jsonl
from edgeglm_agent.results.mqtt import MqttResults
from edgeglm_agent.settings.types import Settings, Slot
from edgeglm_agent.supervisor.run import Supervisor
from edgeglm_agent.wire.manifest import ProcessOp, Reference
from edgeglm_agent.wire.telemetry import Ack, Window
from edgeglm_agent.worker.meter import Meter
from edgeglm_agent.worker.progress import Progress
from edgeglm_agent.worker.sampling import Sampling
from edgeglm_agent.worker.serve import Loop

from edgeglm.output.manifest import distributions
from tests.support.agent.broker import Broker
from tests.support.agent.collector import Collector
from tests.support.agent.uplinks import Board, event, result, window
from tests.support.model_folders import artifact_of, load, write_folder
from tests.support.tiny_models import tiny_images, tiny_logits, write_tiny_onnx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def left_by(turn: Callable[[], None], *, turns: int, warm: int) -> int:
    """Return by how many objects there are more after so many turns, once caches are warm."""
    counts: list[int] = []
    for many in (warm, turns):
        for _ in range(many):
            turn()
        gc.collect()
        counts.append(sys.getallocatedblocks())
    print(f"{counts[1] - counts[0]} of {counts[1]}")
    return counts[1] - counts[0]


class Endless:
    """A source that gives these samples in turn, a thousand at a time."""

    def __init__(self, samples: np.ndarray) -> None:
        self._samples = samples
        self._given = 0

    def read(self, _: float) -> list[Arrival]:
        self._given += 1
        if self._given % 1000 == 0:
            raise EndOfInput
        return [Arrival(sample=self._samples[self._given % len(self._samples)], name="a")]

    def stop(self) -> None: ...
    def close(self) -> None: ...


class Ticks:
    """A clock by which drift looks at every sample."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += GAP_S
        return self.now


def test_a_worker_keeps_nothing_of_its_samples(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    best = (ProcessOp("softmax"), ProcessOp("top-k", {"k": 1}), ProcessOp("labels"))
    artifact = artifact_of(write_tiny_onnx(folder / "model.onnx"), "onnx")
    model = load(write_folder(folder, [artifact], postprocess=best, labels=tuple("abcde")))
    images = tiny_images(500)
    inputs, outputs = ({"image": images}, {"logits": tiny_logits(images)})
    reference = Reference(
        500,
        distributions(lambda: iter([inputs])),
        distributions(lambda: iter([outputs])),
        dict.fromkeys("abcde", 0.2),
    )
    drift = DriftMeter(reference, model.manifest.inputs, artifact.outputs, model.manifest.labels, clock=Ticks())
    assert len(drift.features) == 3
    meter = Meter(drift)

    def publish(outcome: Outcome, crop: bytes) -> None:
        del outcome, crop

    context = ResultContext(slot="main", state_dir=tmp_path, publish=publish)
    sinks = [Jsonl(max_mb=1, keep=1).open(context), MqttResults(share=0.5).open(context)]
    progress = Progress(tmp_path / "progress")
    sampling = Sampling(0.5, lambda _: None)
    told: list[str] = []
    loop = Loop(
        slot="main",
        load=1,
        model=model,
        sinks=sinks,
        meter=meter,
        progress=progress,
        sampling=sampling,
        bursts=None,
        tell=lambda *what: told.append(what[0]),
    )
    source = Endless(images)

    def turn() -> None:
        with pytest.raises(EndOfInput):
            loop.until_it_ends(source, lambda: False)
        meter.take()
        drift.changes()

    left = left_by(turn, turns=10, warm=5)
    for sink in sinks:
        sink.close()
    # a new latency has a bucket of its own for ever, of which there are a few hundred
    assert left < 1000, "ten thousand samples"
    assert told == []


def test_a_supervisor_keeps_nothing_of_its_windows(tmp_path: Path) -> None:
    slot = Slot(model=str(tmp_path / "model"), input=ReplayInput(path="x.npz"))
    settings = Settings(workers="external", state_dir=str(tmp_path), runtime_dir=str(tmp_path), slots={"main": slot})
    supervisor = Supervisor(settings)
    keeper = supervisor.slots["main"]
    ours, its = socket.socketpair()
    process = subprocess.Popen(["sleep", "3600"])  # is looked at, and ended, as a worker's
    keeper.hello(ipc.Hello("main", process.pid), ours, ipc.Frames(from_worker=True), 0.0)
    keeper.heard(ipc.Serving("tiny 1", "0" * 64, "model.onnx", "none", "onnxruntime", "cpu"))
    frames, meter, now = ipc.Frames(from_worker=False), Meter(), 0.0
    ipc.receive(its, frames)  # its Start

    def turn() -> None:
        nonlocal now
        now += 300.0
        meter.add(0.1, 0.2)
        meter.predicted(1, 0.9)
        supervisor.windows.flush_now(now)
        told = ipc.receive(its, frames)
        assert [type(message).__name__ for message in told or ()] == ["Flush"]
        its.sendall(ipc.frame(meter.take()))
        supervisor.workers.hear(keeper, ours)
        supervisor._tick(now)
        outbox = supervisor.outbox
        outbox.mark_sent([row.sequence for row in outbox.pending(METRICS)])
        outbox.acknowledge(Ack(1, outbox.epoch, outbox.high_water))

    try:
        left = left_by(turn, turns=600, warm=100)
        assert isinstance(supervisor.windows.last["main"], Window)
        assert supervisor.windows.last["main"].inferences == 1
        assert sum(supervisor.outbox.waiting.values()) <= 1
    finally:
        supervisor._close()
        its.close()
        process.wait()
    assert left < 300, "600 windows"


def test_an_uplink_keeps_nothing_of_the_rows_that_the_collector_has(tmp_path: Path) -> None:
    rows: list[tuple[int, Any]] = [(METRICS, window()), (EVENTS, event()), (SAMPLES, result())]
    with Broker(tmp_path / "broker") as broker, Collector(broker.port, tmp_path / "rows.db", lazy=0.0):
        board = Board(tmp_path / "board", broker.port)

        def turn() -> None:
            for _ in range(10):
                board.outbox.put_many(rows)
                board.turn(0.0)
            board.until(board.delivered)

        try:
            left = left_by(turn, turns=20, warm=10)
            assert board.outbox.high_water == 30 * 30
        finally:
            board.close()
    assert left < 300, "600 rows"
