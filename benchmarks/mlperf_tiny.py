"""The networks of MLPerf Tiny as TFLite sources: our INT8 beside the reference INT8 files.

Each reference pair (FP32, INT8) comes from mlcommons/tiny. Our files are made by `edgeglm compress` of the FP32 file. All
are judged on the same real input by the FP32 file: CIFAR-10 with its labels (image classification), photographs (visual
wake words: do they answer the same?), sound (anomaly detection: how far is the reconstruction?). The FP32 file of keyword
spotting holds weights that are INT8 already, so there is nothing to quantize, and edgeglm says so.
"""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np
from common import HERE, WORK, write_result
from real_input import DATA

from edgeglm import compress, load_recipe
from edgeglm.cli.console import ConsoleLog
from edgeglm.errors import EdgeglmError
from edgeglm.log import SilentLog
from edgeglm.measure.evaluate import predict_file
from edgeglm.measure.latency import measure_latency
from edgeglm.pipeline.project import open_project

FOLDER = DATA / "mlperf-tiny"
ROUNDS = 5
INPUT = f"{HERE / 'real_input.py'}"
VWW = {"size": 96, "low": 0.0, "high": 1.0, "layout": "NHWC"}
NETWORKS: dict[str, dict[str, Any]] = {
    "ic_resnet8": {
        "task": "classification",
        "entry": "photos",
        "args": {"size": 32, "low": 0.0, "high": 255.0, "layout": "NHWC", "labelled": True},
        "schemes": ["static-int8"],
    },
    "vww_mobilenetv1_025_96": {
        "task": "classification",
        "entry": "photos",
        "args": {**VWW, "original": str(FOLDER / "vww_mobilenetv1_025_96_fp32.tflite")},
        "schemes": ["static-int8"],
    },
    "ad_fcae": {
        "task": "regression",
        "entry": "machine_sounds",
        "args": {},
        # scales of channels make the file larger than the reference's, which has one scale a layer: the last layer in
        # 4 bits makes it smaller again, and closer to FP32 than the reference still
        "schemes": [
            {
                "scheme": "dynamic-int8",
                "layers": [{"match": "Identity", "scheme": "weight-only-int4", "block_size": 32}],
            }
        ],
        "suffix": ", last layer in 4 bits",
    },
    "kws_dscnn": {
        "task": "classification",
        "entry": "keywords",
        "args": {"original": str(FOLDER / "kws_dscnn_int8.tflite")},
        "schemes": ["static-int8"],
    },
}


def main() -> None:
    """Measure every network and write one result."""
    write_result("mlperf_tiny", networks=[measure(name, settings) for name, settings in NETWORKS.items()])


def measure(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return sizes, speed-ups over the FP32 file with their spread, and answers of our files and of the reference."""
    fp32, reference = FOLDER / f"{name}_fp32.tflite", FOLDER / f"{name}_int8.tflite"
    recipe = {
        "version": 1,
        "name": name,
        "model": {"source": "tflite", "path": str(fp32)},
        "data": {"source": "python", "entry": f"{INPUT}:{settings['entry']}", "args": settings["args"]},
        "task": {"kind": settings["task"]},
        "artifacts": [{"format": "tflite", "quantize": scheme} for scheme in settings["schemes"]],
    }
    try:
        result = compress(recipe, output=WORK / name, log=ConsoleLog())
    except EdgeglmError as error:
        return {"network": name, "refused": error.problems[0].message, "code": error.code}
    project = open_project(load_recipe(recipe), log=SilentLog())
    files = {"FP32": fp32, "reference INT8": reference}
    files |= {
        f"edgeglm {a.scheme}{settings.get('suffix', '')}": result.folder / a.path for a in result.report.artifacts
    }
    assert len(files) == 2 + len(result.report.artifacts)
    kinds = {file: (path, "tflite") for file, path in files.items()}
    split, inputs = project.data.evaluation, project.original.inputs
    # the reference files name their inputs and outputs otherwise: what matters is their order
    row = split.rows(np.arange(1))
    times: dict[str, list[float]] = {file: [] for file in files}
    for _ in range(ROUNDS):
        measured = measure_latency(kinds, row, model_inputs=inputs, threads=1, runs=200)
        for file in files:
            times[file].append(measured["FP32"].latency.p50 / measured[file].latency.p50)
    answers = {
        file: next(iter(predict_file(p, format=f, split=split, inputs=inputs, batch=1, threads=1).values()))
        for file, (p, f) in kinds.items()
    }
    rows = []
    for file, path in files.items():
        found = project.recipe.task.evaluate({"y": answers[file]}, split.targets, (), {"y": answers["FP32"]})
        rows.append(
            {
                "file": file,
                "size_bytes": path.stat().st_size,
                "speedup": sorted(times[file]),
                "metric": found.metric.name,
                "value": found.metric.value,
                "n": found.metric.n,
            }
        )
    best = max((file for file in files if file.startswith("edgeglm")), key=lambda file: median(times[file]))
    return {"network": name, "best": best, "files": rows}


if __name__ == "__main__":
    main()
