"""Networks that others trained, as ONNX sources: what INT8 makes of them, and whether it still answers the same.

silero-vad (an LSTM with a state and a sampling rate for inputs), FastestDet (a detector), and two networks of the
STMicroelectronics model zoo. Each artifact is judged on real input by what the original answers there: silero by the
probability of speech, FastestDet by the boxes that the original finds, the others by the class that it names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from common import HERE, WORK, write_result
from onnx import numpy_helper
from real_input import DATA, DETECTOR

from edgeglm import compress, load_recipe
from edgeglm.cli.console import ConsoleLog
from edgeglm.log import SilentLog
from edgeglm.measure.latency import measure_latency
from edgeglm.pipeline.project import open_project

FOLDER = DATA / "onnx"
ROUNDS = 5
INPUT = f"{HERE / 'real_input.py'}"
ST = {"mobilenet": "st_mobilenet_v2_0.35_128.onnx", "yamnet": "st_yamnet_256_64x96.onnx"}
NETWORKS: dict[str, dict[str, Any]] = {
    "silero-vad": {
        "model": {"path": "silero_vad_16k_op15.onnx", "constants": {"sr": 16000}},
        "data": {"entry": "speech"},
        "task": {"kind": "regression"},
        "budget": {"metric_drop": 0.02},
        "search": {"trials": 16},
    },
    "FastestDet": {
        "model": {"path": "FastestDet.onnx"},
        "data": {"entry": "scenes", "args": {"original": str(FOLDER / "FastestDet.onnx")}},
        "task": {"kind": "detection"},
        "postprocess": DETECTOR,
        "budget": {"metric_drop": 0.05},
        "search": {"trials": 8, "samples": 16},
        "beside": [{"format": "onnx", "quantize": "weight-only-int8"}],  # what the weights alone cost
    },
    "ST MobileNetV2 0.35": {
        "model": {"path": ST["mobilenet"]},
        "data": {
            "entry": "photos",
            "args": {"size": 128, "low": -1.0, "high": 1.0, "original": str(FOLDER / ST["mobilenet"])},
        },
        "task": {"kind": "classification"},
        "budget": {"metric_drop": 0.05},
        "search": {"trials": 8},
    },
    "ST YAMNet 256": {
        "model": {"path": ST["yamnet"]},
        "data": {"entry": "mels", "args": {"original": str(FOLDER / ST["yamnet"])}},
        "task": {"kind": "classification"},
        "budget": {"metric_drop": 0.05},
        "search": {"trials": 8},
    },
}


def main() -> None:
    """Measure every network and write one result."""
    write_result("onnx_sources", networks=[measure(name, settings) for name, settings in NETWORKS.items()])


def measure(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what `auto` and plain INT8 made of a network."""
    slug = name.replace(" ", "-")
    recipe = {
        "version": 1,
        "name": slug,
        "model": {"source": "onnx", **settings["model"], "path": str(FOLDER / settings["model"]["path"])},
        "data": {"source": "python", **settings["data"], "entry": f"{INPUT}:{settings['data']['entry']}"},
        "task": settings["task"],
        "postprocess": settings.get("postprocess", []),
        "artifacts": [
            {"format": "onnx", "quantize": "auto", "search": {**settings["search"], "keep": "pareto"}},
            *settings.get("beside", []),
        ],
        "budget": settings["budget"],
    }
    result = compress(recipe, output=WORK / slug, log=ConsoleLog())
    report = result.report
    assert report.baseline.metric is not None
    project = open_project(load_recipe(recipe), log=SilentLog())
    base = {"original": (FOLDER / settings["model"]["path"], "onnx")}
    below = result.folder / ("" if result.manifest else "rejected")
    files = {s.path: (below / s.path, s.format) for s in report.artifacts if (below / s.path).is_file()}
    row = project.data.evaluation.rows(np.arange(1))
    times: dict[str, list[float]] = {path: [] for path in files}
    plain = not settings["model"].get("constants")  # else the original takes other inputs: the report's own ratio
    for _ in range(ROUNDS if plain else 0):
        measured = measure_latency(base | files, row, model_inputs=project.original.inputs, threads=1, runs=100)
        for path in files:
            times[path].append(measured["original"].latency.p50 / measured[path].latency.p50)
    rows = [
        {
            "file": side.path,
            "scheme": side.scheme,
            "chosen": bool(side.chosen),
            "size_bytes": side.size_bytes,
            "size_ratio": side.size_ratio,
            "speedup": sorted(times.get(side.path, [])) or [side.speedup],
            "value": side.metric.value if side.metric else None,
            "integer_share": integer_share(files[side.path][0]) if side.path in files else None,
        }
        for side in report.artifacts
    ]
    metric = report.baseline.metric
    return {"network": name, "metric": metric.name, "original": metric.value, "n": metric.n, "files": rows}


def integer_share(path: Path) -> float:
    """Return which share of the weights' numbers is stored in 8 bits or fewer, read from the file itself."""
    count: dict[bool, int] = {True: 0, False: 0}
    for tensor in onnx.load(str(path)).graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim > 1 and values.dtype.kind in "iuf":
            count[values.dtype.itemsize == 1] += values.size
    return count[True] / max(1, sum(count.values()))


if __name__ == "__main__":
    main()
