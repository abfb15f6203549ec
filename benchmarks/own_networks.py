"""ResNet-8 on CIFAR-10 and DS-CNN on spoken digits, trained here: our INT8 beside that of the libraries alone.

The same network, the same calibration samples, the same evaluation samples, nothing pruned: static INT8 by edgeglm in three
formats, by ONNX Runtime's quantizer, by Olive, by ai-edge-quantizer, and by nncf for OpenVINO. The files of MLPerf Tiny for
these two shapes are timed in the same runs; they were trained by others, so they have a size and a time only.

Training takes some minutes on one core; its weights are kept in build/benchmarks, and a second run measures only.
`--alone` only measures how long a run for one file takes, and adds that to the recorded result.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import plain_static as plain
from common import HERE, WORK, add_alone, alone_minutes, beside, empty_cache, read_result, rewrite_result, write_result
from real_input import DATA
from safetensors.torch import load_file, save_file

from edgeglm import compress, load_recipe
from edgeglm.cli.console import ConsoleLog
from edgeglm.log import SilentLog
from edgeglm.measure.evaluate import predict_file
from edgeglm.measure.latency import measure_latency
from edgeglm.pipeline.build import calibration_batches
from edgeglm.pipeline.project import Project, open_project

ROUNDS = 7
RUNS = 200
CALIBRATION = 256  # samples; what edgeglm takes by itself
FORMATS = ("onnx", "tflite", "openvino")
BASE = "onnxruntime fp32"
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet8": {
        "entry": "cifar10",
        "preprocess": [
            {"normalise": {"scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}},
            {"layout": {"to": "CHW"}},
        ],
        "training": {
            "epochs": 45,
            "batch_size": 128,
            "optimizer": "sgd",
            "learning_rate": 0.1,
            "weight_decay": 5e-4,
            "validation_fraction": 0.03,
            "precision": "bfloat16",
            "augment": f"{HERE / 'resnet56_cifar10' / 'data.py'}:augment",
        },
        "reference": "ic_resnet8_int8.tflite",
    },
    "dscnn": {
        "entry": "digits",
        "preprocess": [],
        "training": {
            "epochs": 60,
            "batch_size": 32,
            "learning_rate": 3e-3,
            "weight_decay": 1e-3,
            "validation_fraction": 0.05,
            "precision": "float32",
            "augment": f"{HERE / 'real_input.py'}:play_otherwise",
        },
        "reference": "kws_dscnn_int8.tflite",
    },
}


def main() -> None:
    """Train what is not trained yet, measure both networks, and write one result."""
    if "--alone" in sys.argv:
        result = read_result("own_networks")
        alone("dscnn")  # loads the libraries
        for network in result["networks"]:
            add_alone(result, network["beside"], alone(network["network"]))
        rewrite_result("own_networks", result)
        return
    write_result("own_networks", networks=[measure(name) for name in NETWORKS])


def recipe_of(name: str, **more: Any) -> dict[str, Any]:
    """Return what every recipe of a network says, and more."""
    network = NETWORKS[name]
    return {
        "version": 1,
        "name": name,
        "model": {"source": "python", "entry": f"{HERE / 'shapes' / 'model.py'}:{name}"},
        "data": {"source": "python", "entry": f"{HERE / 'real_input.py'}:{network['entry']}"},
        "preprocess": network["preprocess"],
        "task": {"kind": "classification"},
        "target": "x86-64",
        "seed": 0,
        **more,
    }


def trained(name: str) -> tuple[Path, dict[str, str]]:
    """Return the weights of a network and what is known of its training; it is trained where they are not there yet."""
    path = WORK / f"own-{name}.safetensors"
    if not path.is_file():
        steps = [{"finetune": NETWORKS[name]["training"]}]
        recipe = recipe_of(name, threads=1, steps=steps, artifacts=[{"format": "onnx"}])
        result = compress(recipe, output=WORK / f"own-{name}-trained", log=ConsoleLog())
        (step,) = result.report.steps
        said = {"minutes": f"{step.seconds / 60:.1f}", "seed": "0", "notes": "; ".join(step.notes)}
        weights = load_file(result.folder / "steps" / "00-finetune" / "weights.safetensors")
        save_file(weights, path, metadata=said)
    return path, metadata(path)


def metadata(path: Path) -> dict[str, str]:
    """Return what was written beside the weights."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return dict(file.metadata())


def measure(name: str) -> dict[str, Any]:
    """Return sizes, times, accuracy and minutes of all files of one network, and ours beside each peer's."""
    weights, training = trained(name)
    recipe = int8_recipe(name, weights, *FORMATS)
    project = open_project(load_recipe(recipe), log=SilentLog())
    ours, minutes = made(name, recipe)
    others, taken = peers(project, WORK / f"own-{name}-peers")
    chosen, minutes_auto = made(f"{name}-auto", recipe | {"artifacts": "auto"})
    single = alone(name)
    files = ours | others
    reference = DATA / "mlperf-tiny" / NETWORKS[name]["reference"]
    timed = files | ({"MLPerf Tiny INT8": (reference, "tflite")} if reference.is_file() else {})
    row = {key: values[:1] for key, values in project.sample.items()}
    times: dict[str, list[float]] = {file: [] for file in timed}
    for _ in range(ROUNDS):
        measured = measure_latency(timed, row, model_inputs=project.original.inputs, threads=1, runs=RUNS)
        for file in timed:
            times[file].append(measured[file].latency.p50)
    split, task = project.data.evaluation, project.recipe.task
    answers = {
        file: predict_file(path, format=kind, split=split, inputs=project.original.inputs, batch=1, threads=1)
        for file, (path, kind) in files.items()
    }
    rows = []
    for file, (path, kind) in timed.items():
        judged = task.evaluate(answers[file], split.targets, (), answers[BASE]) if file in files else None
        rows.append(
            {
                "file": file,
                "size_bytes": size_of(path, kind),
                "speedup": sorted(base / own for base, own in zip(times[BASE], times[file], strict=True)),
                "times": times[file],
                "accuracy": judged and judged.metric.value,
                "lost": judged and judged.drop,
                "minutes": minutes if file in ours else taken.get(file),
                "minutes_alone": single.get(file),
            }
        )
    by_name = {one["file"]: one for one in rows}
    pairs = []
    for file in (file for file in others if file != BASE):
        own = f"edgeglm {others[file][1]} static-int8"
        judged = task.evaluate(answers[own], split.targets, (), answers[file])
        assert judged.drop is not None
        pairs.append(beside(by_name[own], by_name[file], judged.drop))
    return {
        "network": name,
        "n": len(split),
        "training": training,
        "auto": {"chosen": next(iter(chosen)), "minutes": minutes_auto},
        "files": rows,
        "beside": pairs,
    }


def int8_recipe(name: str, weights: Path, *formats: str) -> dict[str, Any]:
    """Return the recipe of static INT8 files of these formats, with trained weights."""
    recipe = recipe_of(name, artifacts=[{"format": kind, "quantize": "static-int8"} for kind in formats])
    recipe["model"]["weights"] = str(weights)
    return recipe


def alone(name: str) -> dict[str, float]:
    """Return the minutes of a run for each of our files alone."""
    weights, _ = trained(name)
    return {
        f"edgeglm {kind} static-int8": alone_minutes(int8_recipe(name, weights, kind), WORK / f"own-{name}-alone")
        for kind in FORMATS
    }


def made(name: str, recipe: dict[str, Any]) -> tuple[dict[str, tuple[Path, str]], float]:
    """Return the artifacts of a recipe, and how many minutes making, measuring and judging them took, nothing cached."""
    cache = empty_cache()
    started = time.monotonic()
    result = compress(recipe, output=WORK / f"own-{name}", cache=cache, log=ConsoleLog())
    files = {
        f"edgeglm {side.format} {side.scheme}": (result.folder / side.path, side.format)
        for side in result.report.artifacts
        if (result.folder / side.path).is_file()
    }
    return files, (time.monotonic() - started) / 60


def peers(project: Project, folder: Path) -> tuple[dict[str, tuple[Path, str]], dict[str, float]]:
    """Return name -> (path, format) of what the libraries make, and the minutes that each took, export included."""
    from edgeglm.artifacts import onnx as onnx_artifacts
    from edgeglm.artifacts import tflite as tflite_artifacts

    folder.mkdir(parents=True, exist_ok=True)
    sources = {}
    exported = {}
    for kind, exporter in (("onnx", onnx_artifacts), ("tflite", tflite_artifacts)):
        started = time.monotonic()
        sources[kind] = folder / f"fp32.{kind}"
        exporter.export_float(project.original, project.sample, sources[kind], board=project.board)
        exported[kind] = time.monotonic() - started
    rows = plain.rows_of(calibration_batches(project.data.splits["calibration"], CALIBRATION))
    makers = {
        "onnxruntime quantize_static": ("onnx", "ort.onnx", "onnx", plain.onnxruntime_static),
        "ai-edge-quantizer static": ("tflite", "aeq.tflite", "tflite", plain.ai_edge_quantizer_static),
        "nncf + OpenVINO": ("onnx", "nncf.xml", "openvino", plain.nncf_static),
    }
    if os.environ.get("EDGEGLM_BENCH_OLIVE"):
        makers["Olive OnnxStaticQuantization"] = ("onnx", "olive.onnx", "onnx", plain.olive_static)
    else:
        print("Olive: no environment; set EDGEGLM_BENCH_OLIVE to its python", file=sys.stderr)
    files, minutes = {BASE: (sources["onnx"], "onnx")}, {}
    for name, (source, file, kind, make) in makers.items():
        started = time.monotonic()
        make(sources[source], folder / file, rows)
        minutes[name] = (time.monotonic() - started + exported[source]) / 60
        files[name] = (folder / file, kind)
    return files, minutes


def size_of(path: Path, kind: str) -> int:
    """Return the bytes of a file and of what belongs to it."""
    return path.stat().st_size + (path.with_suffix(".bin").stat().st_size if kind == "openvino" else 0)


if __name__ == "__main__":
    main()
