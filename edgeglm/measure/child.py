"""The child process that holds one model: `python -m edgeglm.measure.child FORMAT THREADS PARENT`.

One model a process, because a failed load can damage the heap of the one it happened in, and because memory is then
that of a process that serves this model and nothing else: besides numpy and the runtime it imports nothing large.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm_agent.engines import EngineError, load_engine

from edgeglm.measure import frames

if TYPE_CHECKING:
    from typing import BinaryIO

    import numpy as np
    from edgeglm_agent.engines import Engine

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main(format: str, threads: int, parent: int) -> None:  # noqa: A002 - the manifest's word
    """Import the runtime, load the model that the first request names, then answer requests until stdin ends."""
    _die_with(parent)
    # libraries print to stdout: keep it for frames alone, and send what they print to stderr
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _import_runtime(format)
    frames.write_frame(replies, frames.Idle())
    try:
        load = frames.request_decoder.decode(frames.read_message(requests))
    except EOFError:
        return  # no model came
    assert isinstance(load, frames.Load)
    try:
        engine = load_engine(load.path, format=format, threads=threads)
    except EngineError as error:
        frames.write_frame(replies, frames.Failed(error.fault, str(error)))
        return
    frames.write_frame(replies, frames.Ready(engine.runtime, engine.inputs, engine.outputs, engine.batch))
    while True:
        try:
            request = frames.request_decoder.decode(frames.read_message(requests))
            inputs = frames.read_arrays(requests, getattr(request, "arrays", []))
        except EOFError:
            return  # the parent is gone, or needs no more
        _answer(engine, Path(load.path), format, request, inputs, replies)


def _import_runtime(format: str) -> None:  # noqa: A002
    """Import what the engine of a format will need; what is missing is said when a file is to be loaded."""
    with contextlib.suppress(EngineError, ImportError):
        if format == "onnx":
            from edgeglm_agent.engines.onnx import silenced_onnxruntime

            silenced_onnxruntime()
        elif format == "tflite":
            import ai_edge_litert.interpreter  # noqa: F401
            import edgeglm_agent.engines.litert  # noqa: F401
        elif format == "openvino":
            from edgeglm_agent.engines.openvino import silenced_openvino

            silenced_openvino()


def _answer(
    engine: Engine,
    path: Path,
    format: str,  # noqa: A002
    request: frames.Request,
    inputs: dict[str, np.ndarray],
    replies: BinaryIO,
) -> None:
    try:
        if isinstance(request, frames.Run):
            outputs = engine.run(inputs)
            frames.write_frame(replies, frames.Outputs(frames.heads(outputs)), outputs)
        elif isinstance(request, frames.Time):
            frames.write_frame(replies, frames.Times(time_runs(engine, inputs, request.runs, request.warmup)))
        elif isinstance(request, frames.AskPeakRss):
            frames.write_frame(replies, frames.PeakRss(peak_rss_bytes()))
        elif isinstance(request, frames.Profile):
            from edgeglm.measure.profile import profile_file

            typed = {spec.name: inputs[spec.name].astype(spec.dtype) for spec in engine.inputs}
            types = profile_file(path, format, typed, runs=request.runs, warmup=request.warmup)
            frames.write_frame(replies, frames.Profiled(types))
        elif isinstance(request, frames.WriteOptimized):
            from edgeglm.measure.onnx_execution import write_optimized

            write_optimized(path, request.folder)
            frames.write_frame(replies, frames.Written())
        else:
            from edgeglm.measure.execution import executed_operators  # not a cost of serving

            frames.write_frame(replies, frames.Operators(executed_operators(path, format)))
    except EngineError as error:
        frames.write_frame(replies, frames.Failed(error.fault, str(error)))
    except OSError as error:
        from edgeglm.files import FULL  # not a cost of serving

        if error.errno not in FULL:
            raise
        frames.write_frame(replies, frames.StorageFull())


def time_runs(engine: Engine, inputs: dict[str, np.ndarray], runs: int, warmup: int) -> list[float]:
    """Return how long each run took, in milliseconds; collection of garbage waits until the end."""
    for _ in range(warmup):
        engine.run(inputs)
    times: list[float] = []
    gc.disable()
    try:
        for _ in range(runs):
            start = time.perf_counter_ns()
            engine.run(inputs)
            times.append((time.perf_counter_ns() - start) / 1e6)
    finally:
        gc.enable()
    return times


def peak_rss_bytes() -> int:
    """Return the most memory that this process had resident.

    From the kernel's high-water mark of this very program: ``ru_maxrss`` would still hold the parent's, which was
    in memory when the child was made.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise EngineError("the kernel does not tell the peak of resident memory (VmHWM)", fault="run-failed")


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, also in the middle of a run."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        raise SystemExit(1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    os._exit(0)  # the kernel frees a runtime faster than it tears itself down, and the parent waits for the end
