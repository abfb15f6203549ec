"""Where the milliseconds are: time by type of operator, as the runtime itself tells it."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from edgeglm_agent.engines import EngineError

from edgeglm.measure.children import await_spares
from edgeglm.measure.evaluate import to_file_inputs
from edgeglm.measure.worker import Runner
from edgeglm.report.types import OperatorTime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeglm_agent.wire import TensorSpec

    from edgeglm.data.splits import Arrays

RUNS = 20
WARMUP_RUNS = 5
PROFILED = ("onnx", "openvino")  # LiteRT's Python package has no profiler: only its C++ benchmark tells operators apart


def operator_times(
    path: Path,
    format: str,  # noqa: A002 - the manifest's word
    sample: Arrays,
    *,
    model_inputs: Sequence[TensorSpec],
) -> list[OperatorTime]:
    """Return time by type of operator, longest first, on 1 thread; nothing where the runtime does not tell.

    Profiling costs time itself: the shares are what to look at, the sum lies above the latency.

    Args:
        path: The file.
        format: Of it.
        sample: Rows of real data by input name, as many as are served at a time, in the model's layout.
        model_inputs: The model's inputs, for the layout of ``sample``.

    Raises:
        ExportError: The file does not load, or takes other inputs.
        StorageError: There is no room for temporary files (``disk-full``).
        WorkerError: The child died.
    """
    if format not in PROFILED:
        return []
    with Runner(path, format=format, threads=1) as runner:
        given = to_file_inputs(sample, model_inputs, runner.inputs, where=str(path))
        await_spares()
        found = runner.profile(_filled(given, runner.batch), runs=RUNS, warmup=WARMUP_RUNS)
    return sorted((OperatorTime(operator=kind, count=n, ms=ms) for kind, n, ms in found), key=lambda row: -row.ms)


def profile_file(
    path: Path,
    format: str,  # noqa: A002 - the manifest's word
    inputs: Mapping[str, np.ndarray],
    *,
    runs: int,
    warmup: int,
) -> list[tuple[str, int, float]]:
    """Return type, number and milliseconds a run of all operators of that type, of this process.

    Raises:
        EngineError: The runtime does not load or run the file, or tells nothing.
        OSError: There is no room for what it tells.
    """
    if format == "onnx":
        return _profile_onnx(path, inputs, runs, warmup)
    if format == "openvino":
        return _profile_openvino(path, inputs, runs, warmup)
    raise EngineError(f"the runtime of {format} files tells no times by operator", fault="run-failed")


def _profile_onnx(path: Path, inputs: Mapping[str, np.ndarray], runs: int, warmup: int) -> list[tuple[str, int, float]]:
    from edgeglm_agent.engines.onnx import silenced_onnxruntime

    ort = silenced_onnxruntime()
    with tempfile.TemporaryDirectory(prefix="edgeglm-") as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            for _ in range(warmup + runs):
                session.run(None, dict(inputs))
        except Exception as error:  # its exceptions share no base class
            raise EngineError(str(error), fault="run-failed") from error
        try:
            events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        except (OSError, ValueError) as error:  # the runtime does not tell that its file was cut off
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder) from error
    times: dict[tuple[str, str], list[float]] = defaultdict(list)  # (type, node) -> microseconds, run by run
    for event in events:
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith("_kernel_time"):
            times[event["args"]["op_name"], event["name"]].append(float(event["dur"]))
    return _by_type([(kind, took[warmup:] or took) for (kind, _), took in times.items()])


def _profile_openvino(
    path: Path, inputs: Mapping[str, np.ndarray], runs: int, warmup: int
) -> list[tuple[str, int, float]]:
    from edgeglm_agent.engines.openvino import settings, silenced_openvino

    ov = silenced_openvino()
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    try:
        compiled = ov.Core().compile_model(str(path), "CPU", settings(1) | {"PERF_COUNT": True})
        request = compiled.create_infer_request()
        for number in range(warmup + runs):
            request.infer(dict(inputs))
            for node in request.profiling_info if number >= warmup else ():
                if str(node.status).endswith("EXECUTED"):
                    times[node.node_type, node.node_name].append(node.real_time.total_seconds() * 1e6)
    except RuntimeError as error:
        raise EngineError(str(error), fault="run-failed") from error
    return _by_type([(kind, took) for (kind, _), took in times.items()])


def _by_type(nodes: Sequence[tuple[str, Sequence[float]]]) -> list[tuple[str, int, float]]:
    """Return type, number and milliseconds, of type and microseconds of each run of a node: their median counts."""
    found: dict[str, tuple[int, float]] = {}
    for kind, took in nodes:
        count, before = found.get(kind, (0, 0.0))
        found[kind] = count + 1, before + float(np.median(took)) / 1e3
    return [(kind, count, ms) for kind, (count, ms) in found.items()]


def _filled(inputs: Arrays, batch: int | None) -> Arrays:
    """Return as many rows as the file takes; the last one again and again, or some left out."""
    if batch is None:
        return inputs
    return {name: values[np.minimum(np.arange(batch), len(values) - 1)] for name, values in inputs.items()}
