"""all-MiniLM-L6-v2 at sequence 64: our artifacts beside the plain conversions of the libraries, and of Olive.

All files are judged on the shipped evaluation sentences, one at a time, by the cosine to the FP32 network, and timed
interleaved with FP32 ONNX Runtime on one thread and on two. Then real sentences of mixed length: every file in turn on the
same sentence, the float file and one padded signature beside sequence buckets.

`--alone` only measures how long a run for one file takes, and adds that to the recorded result.

Olive needs an environment of its own: EDGEGLM_BENCH_OLIVE names its python; without it that row is left out, and says so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import HERE, WORK, add_alone, alone_minutes, beside, empty_cache, read_result, rewrite_result, write_result
from edgeglm_agent.engines import load_engine
from edgeglm_agent.processing import Preprocess, cut_to_bucket
from edgeglm_agent.wire import Buckets, decode_manifest
from plain_static import nncf_static, rows_of

from edgeglm import compress, load_recipe
from edgeglm.cli.console import ConsoleLog
from edgeglm.log import SilentLog
from edgeglm.measure.evaluate import predict_file
from edgeglm.measure.latency import measure_latency
from edgeglm.pipeline.build import calibration_batches
from edgeglm.pipeline.project import Project, open_project
from edgeglm.report.types import Drop
from edgeglm.tasks.statistics import paired_mean_drop

ROUNDS = 11
RUNS = 60
PASSES = 5  # over the sentences of mixed length
RECIPE = HERE.parent / "recipes" / "minilm" / "recipe.yaml"
SMALL = HERE.parent / "recipes" / "minilm-small" / "recipe.yaml"
ARTIFACTS = [
    {"format": "onnx", "quantize": "dynamic-int8"},
    {"format": "tflite", "quantize": "dynamic-int8"},
    {"format": "openvino", "quantize": "none"},
    {"format": "openvino", "quantize": "static-int8"},
    {"format": "openvino", "quantize": "weight-only-int8"},
]
WORDS_IN_4_BITS = {  # half of the bytes are the table of words
    "scheme": "dynamic-int8",
    "layers": [{"match": "re:.*word_embeddings", "scheme": "weight-only-int4", "block_size": 128}],
}
BUCKETS = [
    {"format": "tflite", "quantize": "dynamic-int8", "buckets": [12, 16, 20, 24, 32]},
    {"format": "onnx", "quantize": "dynamic-int8", "buckets": [12, 16, 20, 24, 32]},
]
SAME_FORMAT = {  # peer's file -> ours
    "onnxruntime quantize_dynamic": "edgeglm onnx dynamic-int8",
    "Olive OnnxDynamicQuantization": "edgeglm onnx dynamic-int8",
    "ai-edge-quantizer dynamic": "edgeglm tflite dynamic-int8",
    "nncf + OpenVINO": "edgeglm openvino static-int8",
}


def main() -> None:
    """Measure, and write one result."""
    if "--alone" in sys.argv:
        result = read_result("minilm")
        float_file(open_project(load_recipe(RECIPE), log=SilentLog()))  # loads the libraries, as for peers
        add_alone(result, result["beside"], alone())
        rewrite_result("minilm", result)
        return
    project = open_project(load_recipe(RECIPE), log=SilentLog())
    ours, minutes = made("minilm", RECIPE, ARTIFACTS)
    words, minutes_words = made("minilm-words", RECIPE, [{"format": "tflite", "quantize": WORDS_IN_4_BITS}])
    small, minutes_small = made("minilm-small", SMALL, None)
    files = {"onnxruntime fp32": (float_file(project), "onnx")}
    files |= ours | {f"{name}, words in 4 bits": file for name, file in words.items()}
    files |= {name.replace("edgeglm", "edgeglm small"): file for name, file in small.items()}
    others, taken = peers(project, files["onnxruntime fp32"][0])
    files |= others
    taken |= dict.fromkeys(ours, minutes) | {f"{name}, words in 4 bits": minutes_words for name in words}
    taken |= {name.replace("edgeglm", "edgeglm small"): minutes_small for name in small}
    single = alone()
    row = {name: values[:1] for name, values in project.sample.items()}
    speed: dict[int, dict[str, list[float]]] = {}
    times: dict[str, list[float]] = {name: [] for name in files}  # on one thread
    memory: dict[str, list[float]] = {name: [] for name in files}
    for threads in (1, 2):
        speed[threads] = {name: [] for name in files}
        for _ in range(ROUNDS):
            measured = measure_latency(files, row, model_inputs=project.original.inputs, threads=threads, runs=RUNS)
            base = measured["onnxruntime fp32"]
            for name in files:
                speed[threads][name].append(base.latency.p50 / measured[name].latency.p50)
                if threads == 1:
                    times[name].append(measured[name].latency.p50)
                    memory[name].append(base.peak_rss_bytes / measured[name].peak_rss_bytes)
    answers = {name: outputs(project, path, kind) for name, (path, kind) in files.items()}
    rows = [
        {
            "file": name,
            "size_bytes": size_of(path, kind),
            "speedup_1": sorted(speed[1][name]),
            "speedup_2": sorted(speed[2][name]),
            "rss_ratio": sorted(memory[name]),
            "times": times[name],
            "minutes": taken.get(name),
            "minutes_alone": single.get(name),
            **fidelity(project, answers[name], answers["onnxruntime fp32"]),
        }
        for name, (path, kind) in files.items()
    ]
    by_name = {row["file"]: row for row in rows}
    pairs = [
        beside(by_name[own], by_name[peer], lost(answers[peer], answers[own], answers["onnxruntime fp32"]))
        for peer, own in SAME_FORMAT.items()
        if peer in files
    ]
    write_result("minilm", sentences=len(project.data.evaluation), files=rows, beside=pairs, mixed_lengths=mixed())


def alone() -> dict[str, float]:
    """Return the minutes of a run for each of our files alone that a peer's stands beside."""
    import json

    named = {f"edgeglm {artifact['format']} {artifact['quantize']}": artifact for artifact in ARTIFACTS}
    return {
        name: alone_minutes(
            load_recipe(RECIPE, overrides=(f"artifacts={json.dumps([named[name]])}", "budget={}")),
            WORK / "minilm-alone",
        )
        for name in dict.fromkeys(SAME_FORMAT.values())
    }


def made(name: str, recipe: Path, artifacts: list[dict[str, Any]] | None) -> tuple[dict[str, tuple[Path, str]], float]:
    """Return the artifacts of a recipe (None: its own), and how many minutes making them took."""
    import json

    overrides = [] if artifacts is None else [f"artifacts={json.dumps(artifacts)}"]
    started = time.monotonic()
    loaded = load_recipe(recipe, overrides=(*overrides, "budget={}"))
    result = compress(loaded, output=WORK / name, cache=empty_cache(), log=ConsoleLog())
    files = {
        f"edgeglm {side.format} {side.scheme}": (result.folder / side.path, side.format)
        for side in result.report.artifacts
        if (result.folder / side.path).is_file()
    }
    return files, (time.monotonic() - started) / 60


def float_file(project: Project) -> Path:
    """Write the FP32 ONNX file that everything is measured against."""
    from edgeglm.artifacts.onnx import export_float

    path = WORK / "minilm-peers" / "fp32.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    export_float(project.original, project.sample, path, board=project.board)  # type: ignore[arg-type]
    return path


def peers(project: Project, source: Path) -> tuple[dict[str, tuple[Path, str]], dict[str, float]]:
    """Return name -> (path, format) of what the libraries make by themselves, and the minutes that each took."""
    folder = source.parent
    makers: dict[str, tuple[str, str, Any]] = {
        "onnxruntime quantize_dynamic": ("ort.onnx", "onnx", plain_onnxruntime),
        "ai-edge-quantizer dynamic": ("aeq.tflite", "tflite", plain_ai_edge_quantizer),
        "nncf + OpenVINO": ("nncf.xml", "openvino", plain_nncf),
    }
    if os.environ.get("EDGEGLM_BENCH_OLIVE"):
        makers["Olive OnnxDynamicQuantization"] = ("olive.onnx", "onnx", plain_olive)
    else:
        print("Olive: no environment; set EDGEGLM_BENCH_OLIVE to its python", file=sys.stderr)
    files, minutes = {}, {}
    for name, (file, kind, make) in makers.items():
        started = time.monotonic()
        make(project, source, folder / file)
        minutes[name] = (time.monotonic() - started) / 60
        files[name] = (folder / file, kind)
    return files, minutes


def plain_onnxruntime(project: Project, source: Path, target: Path) -> None:
    """Quantize as the library's documentation does, with the settings that suit transformers."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    del project
    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_dynamic(str(prepared), str(target), per_channel=True, weight_type=QuantType.QInt8)


def plain_ai_edge_quantizer(project: Project, source: Path, target: Path) -> None:
    """Convert by litert-torch and quantize with the library's own dynamic recipe."""
    from ai_edge_quantizer import quantizer, recipe

    from edgeglm.artifacts.tflite import export_float

    del source
    fp32 = target.with_name("fp32.tflite")
    export_float(project.original, project.sample, fp32, board=project.board)  # type: ignore[arg-type]
    target.unlink(missing_ok=True)
    quantizer.Quantizer(str(fp32), recipe.dynamic_wi8_afp32()).quantize().export_model(str(target))


def plain_nncf(project: Project, source: Path, target: Path) -> None:
    """Quantize by nncf as its documentation does for transformers, inputs reshaped to what is served."""
    rows = rows_of(calibration_batches(project.data.splits["calibration"], 256))
    nncf_static(source, target, rows, transformer=True)


def plain_olive(project: Project, source: Path, target: Path) -> None:
    """Quantize in Olive's own environment."""
    del project
    python = os.environ["EDGEGLM_BENCH_OLIVE"]
    subprocess.run([python, str(HERE / "peers" / "olive_quantize.py"), str(source), str(target)], check=True)


def size_of(path: Path, kind: str) -> int:
    """Return the bytes of a file and of what belongs to it."""
    return path.stat().st_size + (path.with_suffix(".bin").stat().st_size if kind == "openvino" else 0)


def outputs(project: Project, path: Path, kind: str) -> np.ndarray:
    """Return the vectors of the evaluation sentences, one a run."""
    found = predict_file(
        path, format=kind, split=project.data.evaluation, inputs=project.original.inputs, batch=1, threads=1
    )
    return next(iter(found.values()))


def fidelity(project: Project, got: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Return mean and least cosine, and the share of nearest neighbours that stayed."""
    result = project.recipe.task.evaluate({"embedding": got}, None, (), {"embedding": reference})
    return {"cosine": result.metric.value, **result.metrics_extra}


def lost(before: np.ndarray, after: np.ndarray, reference: np.ndarray) -> Drop:
    """Return by how much the cosine to the FP32 network is lower in the second file than in the first."""
    norms = np.linalg.norm(reference, axis=1)
    first, second = ((got * reference).sum(1) / (np.linalg.norm(got, axis=1) * norms) for got in (before, after))
    return paired_mean_drop(first, second, higher_is_better=True)


def mixed() -> dict[str, Any]:
    """Return, for sentences as they come, how much faster sequence buckets are than one padded signature."""
    padded, _ = made("minilm-padded", RECIPE, [{k: v for k, v in a.items() if k != "buckets"} for a in BUCKETS])
    bucketed, _ = made("minilm-buckets", RECIPE, BUCKETS)
    manifest = decode_manifest((WORK / "minilm-buckets" / "manifest.json").read_bytes())
    preprocess = Preprocess(manifest.preprocess, folder=WORK / "minilm-buckets")
    lines = (RECIPE.parent / "sentences" / "eval.txt").read_text(encoding="utf-8").splitlines()
    rows = [{name: values[None] for name, values in preprocess.one(line).items()} for line in lines if line]
    lengths = [int(row["attention_mask"].sum()) for row in rows]
    cuts: dict[str, Buckets | None] = {a.format: a.buckets for a in manifest.artifacts}
    ratios: dict[str, list[float]] = {}
    for name, (path, kind) in bucketed.items():
        pair = {
            "padded": (load_engine(str(padded[name][0]), format=kind, threads=1), None),
            "buckets": (load_engine(str(path), format=kind, threads=1), cuts[kind]),
        }
        ratios[name] = []
        for _ in range(PASSES):
            spent = dict.fromkeys(pair, 0.0)
            for row in rows:
                for which, (engine, buckets) in pair.items():
                    started = time.perf_counter()
                    engine.run(cut_to_bucket(row, buckets))
                    spent[which] += time.perf_counter() - started
            ratios[name].append(spent["padded"] / spent["buckets"])
    return {
        "sentences": len(rows),
        "mean_tokens": float(np.mean(lengths)),
        "buckets": [*BUCKETS[0]["buckets"], 64],
        "faster": {name: sorted(values) for name, values in ratios.items()},
    }


if __name__ == "__main__":
    main()
