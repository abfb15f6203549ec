"""A worker counts every sample once, in little time and no growing memory; a crash leaves what it had counted."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from edgeglm_agent.drift import DriftMeter
from edgeglm_agent.wire.sketch import Sketch, unpack_numbers
from edgeglm_agent.worker.meter import Meter
from edgeglm_agent.worker.progress import SIZE, Progress, ProgressReader

if TYPE_CHECKING:
    from pathlib import Path


def test_a_window_holds_what_was_counted_in_it_and_nothing_else() -> None:
    meter = Meter()
    for number in range(1000):
        meter.add(1.0 + number / 1000, 3.0)
    meter.predicted(3, 0.95)
    meter.predicted(3, 0.5)
    meter.predicted(None, 1.7)
    meter.predicted(0, -2.0)
    meter.predicted(1, math.nan)
    meter.error("input", "resize: no image")
    meter.error("input")
    meter.error("sink")
    trace_id = meter.trace_id
    part = meter.take()
    assert (part.inferences, part.errors, part.classes) == (1000, {"input": 2, "sink": 1}, {3: 2, 0: 1, 1: 1})
    assert unpack_numbers(part.confidence) == [1, 0, 0, 0, 0, 1, 0, 0, 0, 2]
    assert part.trace_id == trace_id != meter.trace_id
    latency = Sketch.unpack(part.latency_ms)
    assert latency.n == 1000
    assert latency.quantile(0.5) == pytest.approx(1.5, rel=0.02)
    assert Sketch.unpack(part.total_ms).quantile(0.5) == pytest.approx(3.0, rel=0.02)
    empty = meter.take()
    assert (empty.inferences, empty.errors, empty.latency_ms, empty.confidence, empty.classes) == (0, {}, b"", b"", {})


def test_many_are_counted_as_each_would_be() -> None:
    meter, each = Meter(), Sketch()
    rng = np.random.default_rng(0)
    values = [0.0, -1.0, 1e-13, 1e-12, 1e-3, 1.0, 1e6, *rng.lognormal(0, 3, 5000).tolist()]
    for value in values:
        meter.add(value, 1.0)
        each.add(value)
    counted = Sketch.unpack(meter.take().latency_ms)
    assert counted.n == each.n
    moved = sum(
        abs(counted.counts.get(index, 0) - each.counts.get(index, 0)) for index in {*counted.counts, *each.counts}
    )
    assert moved <= 4  # a value on the border of two buckets
    assert counted.quantile(0.0) == 0.0


def test_totals_that_say_nothing_new_are_not_sent() -> None:
    meter = Meter()
    for number in range(100):
        meter.add(10.0 + number, 10.05 + number)
    assert meter.take().total_ms == b""
    for _ in range(100):
        meter.add(10.0, 10.05)
    meter.add(10.0, 50.0)  # one that waited
    assert meter.take().total_ms != b""


def test_what_a_worker_came_to_is_known_over_all_windows() -> None:
    meter = Meter()
    for _ in range(3):
        meter.add(1.0, 2.0)
        meter.predicted(7, 0.25)
        meter.error("run")
        meter.take()
    meter.add(1.0, 2.0)
    totals = meter.totals()
    assert (totals.inferences, totals.errors, totals.classes, totals.latency.n) == (4, {"run": 3}, {7: 3}, 4)
    assert meter.take().inferences == 1


def test_nothing_is_lost_between_two_threads() -> None:
    meter = Meter()
    stop = threading.Event()
    parts = []

    def flush() -> None:
        while not stop.is_set():
            parts.append(meter.take())

    thread = threading.Thread(target=flush)
    thread.start()
    for _ in range(20_000):
        meter.add(1.0, 1.0)
        meter.predicted(1, 0.5)
    stop.set()
    thread.join()
    parts.append(meter.take())
    assert sum(part.inferences for part in parts) == 20_000
    assert sum(Sketch.unpack(part.latency_ms).n for part in parts) == 20_000
    assert sum(part.classes.get(1, 0) for part in parts) == 20_000


def test_memory_does_not_grow_with_samples_windows_or_nonsense() -> None:
    meter = Meter(DriftMeter(None, (), (), ()))
    array = {"x": np.zeros((1, 4), np.float32)}

    def work(times: int) -> None:
        for number in range(times):
            meter.add(0.1 + number % 97 / 50, 0.2 + number % 89 / 50)
            meter.predicted(number % 10, number % 11 / 10)
            meter.watch(array, array, 0)
            if number % 1000 == 0:
                meter.take()

    tracemalloc.start()
    work(50_000)  # every bucket has a number of its own by then
    before = tracemalloc.get_traced_memory()[0]
    work(50_000)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 16_384  # a byte a sample would be three times as much
    for number in range(20_000):
        meter.predicted(number, 0.5)
        meter.error(f"kind {number}")
    part = meter.take()
    assert len(part.classes) <= 10_000
    assert len(part.errors) <= 32


def test_progress_is_seen_from_outside(tmp_path: Path) -> None:
    path = tmp_path / "main.progress"
    reader = ProgressReader(path)
    assert reader.read() is None
    progress = Progress(path, load=4)
    assert path.stat().st_size == SIZE
    assert path.stat().st_mode & 0o777 == 0o600
    progress.begin(5_000_000_000)
    progress.answered()
    progress.answered(31)
    progress.failed()
    progress.seen(77)
    moment = reader.read()
    assert moment == (os.getpid(), 4, 5_000_000_000, 32, 1, 77)
    assert moment is not None
    assert moment.runs_for_s(7_500_000_000) == 2.5
    progress.end()
    moment = reader.read()
    assert moment is not None
    assert moment.runs_for_s(10**18) == 0.0
    progress.close()
    reader.close()


KILLED = """
import sys, time
from pathlib import Path
from edgeglm_agent.worker.progress import Progress
progress = Progress(Path(sys.argv[1]), load=int(sys.argv[2]))
progress.answered(int(sys.argv[3]))
progress.begin(time.monotonic_ns())
print(flush=True)
while True: pass  # holds the interpreter
"""


def test_what_a_killed_worker_had_done_is_still_there_when_the_next_has_begun(tmp_path: Path) -> None:
    path = tmp_path / "main.progress"
    reader = ProgressReader(path)
    for load, answered in ((1, 12), (2, 34)):
        worker = subprocess.Popen(
            [sys.executable, "-c", KILLED, path, str(load), str(answered)], stdout=subprocess.PIPE
        )
        assert worker.stdout is not None
        worker.stdout.readline()
        if load == 2:  # the first one's is still open, and whole
            moment = reader.read()
            assert moment is not None
            assert (moment.load, moment.answered) == (1, 12)
            assert reader.renew()
        moment = reader.read()
        assert moment is not None
        assert (moment.pid, moment.load, moment.answered) == (worker.pid, load, answered)
        assert moment.began_ns > 0
        assert not reader.renew()
        os.kill(worker.pid, signal.SIGKILL)
        worker.communicate()
    assert [path.name for path in tmp_path.iterdir()] == ["main.progress"]


def test_no_word_is_seen_half_written(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from edgeglm_agent.worker.progress import Progress
progress = Progress(Path(sys.argv[1]))
print(flush=True)
import os, signal
while True:
    progress.begin(0x1111111111111111)
    progress.begin(0x2222222222222222)
"""
    path = tmp_path / "p"
    writer = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        reader = ProgressReader(path)
        seen = set()
        for _ in range(50_000):
            moment = reader.read()
            assert moment is not None
            seen.add(moment.began_ns)
        assert seen <= {0, 0x1111111111111111, 0x2222222222222222}
    finally:
        writer.kill()
        writer.communicate()


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 64, b"x" * 4096])
def test_a_file_that_is_no_progress_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p"
    path.write_bytes(content)
    reader = ProgressReader(path)
    assert reader.read() is None
    Progress(path).answered(3)
    reader.renew()
    moment = reader.read()
    assert moment is not None
    assert moment.answered == 3
