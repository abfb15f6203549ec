"""all-MiniLM-L6-v2 made shallower: layers dropped, the rest distilled on real sentences, then quantized.

Three points of depth against fidelity, each with the minutes that its training took. The sentences are SST-2's training
part (EDGEGLM_BENCH_DATA) and WordNet's definitions and examples; the shipped evaluation sentences of recipes/minilm judge.
Training goes on the GPU where there is one. A point that was trained before comes from the cache.
"""

from __future__ import annotations

import json
import time
from typing import Any

from common import HERE, WORK, write_result
from minilm import RECIPE, float_file

from edgeglm import compress, load_recipe
from edgeglm.cli.console import ConsoleLog
from edgeglm.log import SilentLog
from edgeglm.measure.latency import measure_latency
from edgeglm.pipeline.project import open_project

ROUNDS = 7
EPOCHS = 4
POINTS = {"4 of 6 layers": 4, "3 of 6 layers": 3, "2 of 6 layers": 2}


def main() -> None:
    """Train and measure every point, and write one result."""
    project = open_project(load_recipe(RECIPE), log=SilentLog())
    base = float_file(project)
    write_result("minilm_pareto", epochs=EPOCHS, points=[point(name, keep, base) for name, keep in POINTS.items()])


def point(name: str, keep: int, base: Any) -> dict[str, Any]:
    """Return the figures of one depth."""
    steps = [
        {"drop-layers": {"keep": keep, "by": "even"}},
        {
            "distill": {
                "epochs": EPOCHS,
                "batch_size": 32,
                "learning_rate": 5e-4,
                "alpha": 1.0,
                "freeze": ["re:.*embeddings.*"],
            }
        },
    ]
    data = {"source": "python", "entry": f"{HERE / 'real_input.py'}:sentences", "args": {"shipped": str(RECIPE.parent)}}
    artifacts = [{"format": "tflite", "quantize": "dynamic-int8"}]
    values = {"steps": steps, "data": data, "artifacts": artifacts, "budget": {}}
    overrides = tuple(f"{key}={json.dumps(value)}" for key, value in values.items())
    started = time.monotonic()
    result = compress(load_recipe(RECIPE, overrides=overrides), output=WORK / f"minilm-{keep}", log=ConsoleLog())
    minutes = (time.monotonic() - started) / 60
    report = result.report
    artifact = report.artifacts[0]
    files = {"fp32": (base, "onnx"), "ours": (result.folder / artifact.path, artifact.format)}
    project = open_project(load_recipe(RECIPE, overrides=overrides), log=SilentLog())
    row = {key: value[:1] for key, value in project.sample.items()}
    speedup = []
    for _ in range(ROUNDS):
        measured = measure_latency(files, row, model_inputs=project.original.inputs, threads=1, runs=60)
        speedup.append(measured["fp32"].latency.p50 / measured["ours"].latency.p50)
    assert artifact.metric is not None
    return {
        "point": name,
        "training_minutes": sum(step.seconds for step in report.steps) / 60,
        "minutes": minutes,
        "cosine_after_dropping": report.steps[0].metric.value if report.steps[0].metric else None,
        "cosine": artifact.metric.value,
        **{key: artifact.metrics_extra[key] for key in ("cosine_min", "neighbour_agreement_1")},
        "size_bytes": artifact.size_bytes,
        "size_ratio": base.stat().st_size / (artifact.size_bytes or 1),
        "speedup": sorted(speedup),
        "device": project.device,
    }


if __name__ == "__main__":
    main()
