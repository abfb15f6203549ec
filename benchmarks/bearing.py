"""The LSTM autoencoder of recipes/vibration-lstm on real bearing vibration (CWRU): what INT8 costs its AUC.

The network is trained on the first part of the healthy recording, pruned to half of its hidden units, distilled, and
quantized; healthy windows from later in time and windows of nine kinds of damage judge it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from common import HERE, WORK, write_result

from edgeglm import compress
from edgeglm.cli.console import ConsoleLog

MODEL = HERE.parent / "recipes" / "vibration-lstm" / "model.py"
DATA = {"source": "python", "entry": f"{HERE / 'real_input.py'}:bearing"}
TASK = {"kind": "anomaly", "score": "squared-error"}
TRAINING = {"batch_size": 32, "learning_rate": 4e-3}
SCHEMES = [("onnx", "dynamic-int8"), ("tflite", "dynamic-int8"), ("tflite", "static-int8")]


def main() -> None:
    """Train, compress, and write one result."""
    weights = WORK / "bearing.safetensors"
    if not weights.is_file():
        train(weights)
    recipe = {
        "version": 1,
        "name": "bearing",
        "model": {"source": "python", "entry": f"{MODEL}:build", "weights": str(weights)},
        "data": DATA,
        "task": TASK,
        "steps": [
            {"prune": {"channel_ratio": 0.5, "ignore": ["code"]}},
            {"distill": {**TRAINING, "epochs": 30, "alpha": 0.5}},
        ],
        "artifacts": [{"format": kind, "quantize": scheme} for kind, scheme in SCHEMES],
    }
    report = compress(recipe, output=WORK / "bearing", log=ConsoleLog()).report
    base, distilled = report.baseline, report.steps[-1]
    rows = [
        {
            "file": f"edgeglm {side.format} {side.scheme}",
            "size_bytes": side.size_bytes,
            "size_ratio": side.size_ratio,
            "speedup": side.speedup,
            "auc": side.metric.value if side.metric else None,
            "drop": msgspec.to_builtins(side.drop),
        }
        for side in report.artifacts
    ]
    assert base.metric is not None
    assert distilled.metric is not None
    write_result("bearing", n=base.metric.n, original=base.metric.value, distilled=distilled.metric.value, files=rows)


def train(path: Path) -> None:
    """Train the original network on healthy windows alone."""
    recipe = {
        "version": 1,
        "name": "bearing-original",
        "model": {"source": "python", "entry": f"{MODEL}:build"},
        "data": DATA,
        "task": TASK,
        "steps": [{"finetune": {**TRAINING, "epochs": 60}}],
        "artifacts": [{"format": "onnx"}],
    }
    result = compress(recipe, output=WORK / "bearing-original", log=ConsoleLog())
    path.write_bytes((result.folder / "steps" / "00-finetune" / "weights.safetensors").read_bytes())


if __name__ == "__main__":
    main()
