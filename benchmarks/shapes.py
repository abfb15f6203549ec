"""digits-cnn, ResNet-8 and DS-CNN: our artifacts beside the plain INT8 conversions of the unpruned networks.

Peers, on the same trained network, the same calibration samples and the same machine, interleaved:
`onnxruntime.quantization.quantize_static` (QDQ, u8 activations, s8 per-channel weights, after its own pre-processing)
and ai-edge-quantizer's static INT8 of the litert-torch flatbuffer.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import HERE, WORK, write_result
from plain_static import ai_edge_quantizer_static, onnxruntime_static, rows_of

from edgeglm import compress, load_recipe
from edgeglm.boards import BOARDS
from edgeglm.cli.console import ConsoleLog
from edgeglm.log import SilentLog
from edgeglm.measure.evaluate import predict_file
from edgeglm.measure.latency import measure_latency
from edgeglm.model import Model
from edgeglm.pipeline.build import calibration_batches
from edgeglm.pipeline.project import Project, open_project

ROUNDS = 5
SHAPES: dict[str, dict[str, Any]] = {
    "resnet8": {"height": 32, "width": 32, "channels": 3},
    "dscnn": {"height": 49, "width": 10, "channels": 1},
}
CALIBRATION = 200


def main() -> None:
    """Measure every shape and write one result."""
    write_result("shapes", shapes=[measure(name) for name in ("digits-cnn", *SHAPES)])


def recipe_of(name: str) -> tuple[Path, tuple[str, ...]]:
    """Return the recipe of a shape and its overrides; the network is trained first where no weights are shipped."""
    if name == "digits-cnn":
        return HERE.parent / "recipes" / "digits-cnn" / "recipe.yaml", ()
    weights = WORK / f"{name}.safetensors"
    if not weights.is_file():
        train(name, weights)
    args = ", ".join(f"{key}: {value}" for key, value in SHAPES[name].items())
    return HERE / "shapes" / "recipe.yaml", (
        f"name={name}",
        f"model.entry=./model.py:{name}",
        f"model.weights={weights}",
        f"data.args={{{args}}}",
    )


def train(name: str, path: Path) -> None:
    """Train the original network: 40 epochs of AdamW with a cosine, by edgeglm's own fine-tuning."""
    args = SHAPES[name]
    recipe = {
        "version": 1,
        "name": f"{name}-original",
        "model": {"source": "python", "entry": f"{HERE / 'shapes' / 'model.py'}:{name}"},
        "data": {"source": "python", "entry": f"{HERE / 'shapes' / 'data.py'}:load", "args": args},
        "task": {"kind": "classification"},
        "steps": [
            {
                "finetune": {
                    "epochs": 40,
                    "batch_size": 32,
                    "learning_rate": 3e-3,
                    "augment": f"{HERE / 'shapes' / 'data.py'}:augment",
                }
            }
        ],
        "artifacts": [{"format": "onnx"}],
    }
    torch.manual_seed(0)
    result = compress(recipe, output=WORK / f"{name}-original", log=ConsoleLog())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((result.folder / "steps" / "00-finetune" / "weights.safetensors").read_bytes())


def measure(name: str) -> dict[str, Any]:
    """Return sizes, speed-ups with their spread, and accuracies of our artifacts and of the peers."""
    path, overrides = recipe_of(name)
    loaded = load_recipe(path, overrides=overrides)
    result = compress(loaded, output=WORK / name, log=ConsoleLog())
    project = open_project(loaded, log=SilentLog())
    files = {f"edgeglm {a.format} {a.scheme}": (result.folder / a.path, a.format) for a in result.report.artifacts}
    files |= peers(project, WORK / f"{name}-peers")
    row = {key: values[:1] for key, values in project.sample.items()}
    times: dict[str, list[float]] = {file: [] for file in files}
    for _ in range(ROUNDS):
        measured = measure_latency(files, row, model_inputs=project.original.inputs, threads=1, runs=200)
        base = measured["onnxruntime fp32"].latency.p50
        for file in files:
            times[file].append(base / measured[file].latency.p50)
    targets = project.data.evaluation.targets
    assert targets is not None
    rows = []
    for file, (where, file_format) in files.items():
        outputs = predict_file(
            where,
            format=file_format,
            split=project.data.evaluation,
            inputs=project.original.inputs,
            batch=1,
            threads=1,
        )
        logits = next(iter(outputs.values()))
        rows.append(
            {
                "file": file,
                "size_bytes": where.stat().st_size,
                "speedup": sorted(times[file]),
                "accuracy": float(np.mean(logits.argmax(1) == targets)),
                "n": len(targets),
            }
        )
    return {"shape": name, "preferred": result.report.artifacts[0].path, "files": rows}


def peers(project: Project, folder: Path) -> dict[str, tuple[Path, str]]:
    """Write the plain conversions of the unpruned network and return name -> (path, format)."""
    from edgeglm.artifacts import onnx as onnx_artifacts
    from edgeglm.artifacts import tflite as tflite_artifacts

    assert isinstance(project.original, Model)
    folder.mkdir(parents=True, exist_ok=True)
    board = BOARDS["x86-64"]
    fp32 = {kind: folder / f"fp32.{kind}" for kind in ("onnx", "tflite")}
    onnx_artifacts.export_float(project.original, project.sample, fp32["onnx"], board=board)
    tflite_artifacts.export_float(project.original, project.sample, fp32["tflite"], board=board)
    samples = rows_of(calibration_batches(project.data.splits["calibration"], CALIBRATION))
    ort, aeq = folder / "ort-int8.onnx", folder / "aeq-int8.tflite"
    onnxruntime_static(fp32["onnx"], ort, samples)
    ai_edge_quantizer_static(fp32["tflite"], aeq, samples)
    return {
        "onnxruntime fp32": (fp32["onnx"], "onnx"),
        "onnxruntime quantize_static": (ort, "onnx"),
        "ai-edge-quantizer static": (aeq, "tflite"),
    }


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()
