"""ResNet-56 on CIFAR-10: pruned to at most 1/2.13 of its MACs, distilled, INT8, against FP32 ONNX Runtime.

The network and the images are no part of the project: $EDGEGLM_BENCH_DATA names the folder (see docs/benchmarks.md).
Training takes 30 to 40 minutes on two cores; the cache keeps it.
"""

from __future__ import annotations

import os
from pathlib import Path

from common import HERE, WORK, write_result

from edgeglm import compress
from edgeglm.cli.console import ConsoleLog
from edgeglm.measure.latency import measure_latency
from edgeglm.report.types import ArtifactSide

RECIPE = HERE / "resnet56_cifar10" / "recipe.yaml"
DATA = Path(os.environ.get("EDGEGLM_BENCH_DATA", HERE.parents[1] / "shared" / "data"))
OVERRIDES = (f"model.weights={(DATA / 'resnet-cifar10' / 'resnet56.safetensors').resolve()}",)
ROUNDS = 5  # whole measurements; the spread of their ratios is reported


def main() -> None:
    """Run the recipe, then measure its files again some times for the spread."""
    result = compress(RECIPE, overrides=OVERRIDES, output=WORK / "resnet56", log=ConsoleLog())
    report = result.report
    ratios = spread(result.folder, report.artifacts)
    baseline = report.baseline
    assert baseline.macs is not None
    assert baseline.metric is not None
    write_result(
        "resnet56",
        macs_ratio=baseline.macs / (report.steps[0].macs or 1),
        params_ratio=(baseline.params or 0) / (report.steps[0].params or 1),
        baseline={
            "size_bytes": baseline.size_bytes,
            "accuracy": baseline.metric.value,
            "latency_ms": baseline.latency_ms,
        },
        steps=[
            {"step": step.step, "accuracy": step.metric, "seconds": step.seconds, "notes": step.notes}
            for step in report.steps
        ],
        artifacts=[
            {
                "path": side.path,
                "size_bytes": side.size_bytes,
                "size_ratio": side.size_ratio,
                "speedup_1_thread": ratios[side.path],
                "speedup_2_threads": side.speedup_extra,
                "accuracy": side.metric,
                "drop": side.drop,
                "dtypes": side.dtypes,
            }
            for side in report.artifacts
        ],
    )


def spread(folder: Path, artifacts: list[ArtifactSide]) -> dict[str, list[float]]:
    """Return path -> speed-up over the baseline in each of several whole measurements, lowest first."""
    from edgeglm.cache import Cache
    from edgeglm.log import SilentLog
    from edgeglm.pipeline.build import Builder
    from edgeglm.pipeline.project import open_project
    from edgeglm.recipe import load_recipe

    project = open_project(load_recipe(RECIPE, overrides=OVERRIDES), log=SilentLog())
    baseline = Builder(project, Cache()).baseline()
    files = {"baseline": (baseline.built.path, "onnx")} | {a.path: (folder / a.path, a.format) for a in artifacts}
    row = {name: values[:1] for name, values in project.sample.items()}
    found: dict[str, list[float]] = {artifact.path: [] for artifact in artifacts}
    for _ in range(ROUNDS):
        measured = measure_latency(files, row, model_inputs=project.original.inputs, threads=1, runs=200)
        for artifact in artifacts:
            found[artifact.path].append(measured["baseline"].latency.p50 / measured[artifact.path].latency.p50)
    return {path: sorted(values) for path, values in found.items()}


if __name__ == "__main__":
    main()
