"""What is measured of each side: the baseline, the network after every step, every artifact."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from edgeglm_agent.processing import bucket_of

from edgeglm.data.splits import batches
from edgeglm.model import Model, ModelFile
from edgeglm.pipeline.step_runs import StepRun, step_key
from edgeglm.pipeline.timing import served_rows
from edgeglm.recipe.types import Quantize
from edgeglm.report.remarks import alarms_doubt, no_faster, outputs_differ
from edgeglm.report.types import ArtifactSide, BucketLatency, Latency, LayerLoss, Parity, Side, StepSide

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.choice.candidates import Candidate
    from edgeglm.data.splits import Arrays
    from edgeglm.measure.latency import Measured
    from edgeglm.pipeline.build import File
    from edgeglm.pipeline.evaluation import Evaluator
    from edgeglm.pipeline.project import Project
    from edgeglm.recipe import ArtifactConfig
    from edgeglm.tasks._base import ObjectiveName

_ROWS = 256  # of the evaluation split, read at a time


@dataclass(frozen=True)
class MadeArtifact:
    """One artifact of the recipe, or a candidate for one: the file that was written, and what it answers."""

    name: str  # model.onnx
    file: File
    outputs: dict[str, Arrays]  # split -> outputs
    candidate: Candidate
    sensitivity: list[LayerLoss] = field(default_factory=list)  # what a scan found, the most sensitive first

    @property
    def config(self) -> ArtifactConfig:
        """Its format and scheme."""
        return self.candidate.config

    @property
    def companions(self) -> dict[str, Path]:
        """What travels with it: name in the output folder -> file."""
        return {str(PurePath(self.name).with_suffix(path.suffix)): path for path in self.file.companions}


def _extra(figures: dict[int, Measured]) -> list[Latency]:
    return [figures[threads].latency for threads in sorted(figures) if threads != 1]


def baseline_side(project: Project, file: File, evaluator: Evaluator, figures: dict[int, Measured]) -> Side:
    """Return the original's side; ``figures`` is threads -> latency and memory."""
    return Side(
        **_counts(project.original, file),
        size_bytes=file.size_bytes,
        latency_ms=figures[1].latency,
        latency_ms_extra=_extra(figures),
        peak_rss_bytes=figures[1].peak_rss_bytes,
        **_costs(project, file),
        warnings=list(file.built.warnings),
        **evaluator.side(evaluator.baseline, is_baseline=True),
    )


def step_side(
    run: StepRun, structures: dict[int, File], evaluator: Evaluator, figures: dict[str, dict[int, Measured]]
) -> StepSide:
    """Return the network's side after a step; ``structures`` is step index -> the file that was timed for it."""
    index = min(i for i in structures if i >= run.index)
    file, measured = structures[index], figures[f"step {index}"][1]
    return StepSide(
        index=run.index,
        step=step_key(run.index, run.config),
        settings=run.config.as_settings(),
        precision=run.precision,
        notes=run.notes,
        warnings=run.warnings,
        seconds=round(run.seconds, 3),
        cached=run.cached,
        **_counts(run.model, file),
        size_bytes=file.size_bytes,
        latency_ms=measured.latency,
        peak_rss_bytes=measured.peak_rss_bytes,
        **evaluator.side(evaluator.predict_torch(run.model, run.key)),
    )


def artifact_side(
    project: Project,
    artifact: MadeArtifact,
    final: Model | ModelFile,
    key: str,
    evaluator: Evaluator,
    baseline: Side,
    baseline_figures: dict[int, Measured],
    figures: dict[int, Measured],
    cut_figures: dict[int, Measured],
) -> ArtifactSide:
    """Return an artifact's side, compared with the network it was made from and with the baseline.

    ``cut_figures`` is length -> figures, of those below the full one.
    """
    from edgeglm.measure.census import weight_dtypes
    from edgeglm.measure.latency import speedup_interval, speedup_of

    file = artifact.file
    parity = parity_of(project, artifact, final, key, evaluator)
    size_ratio = cast("int", baseline.size_bytes) / file.size_bytes
    latency = figures[1].latency
    speedup = speedup_of(baseline_figures[1], figures[1])
    interval = speedup_interval(baseline_figures[1], figures[1])
    slow = no_faster(speedup, interval, "1 thread")
    more_threads = [threads for threads in sorted(figures) if threads != 1]  # none, where it was outpaced
    judged = evaluator.side(artifact.outputs)
    return ArtifactSide(
        format=artifact.config.format,
        scheme=artifact.config.scheme,
        path=artifact.name,
        sha256=file.sha256,
        activation_type=file.built.activation_type,
        ranges=_ranges(artifact.config),
        dtypes=weight_dtypes(file.built.path, artifact.config.format),
        parity=parity,
        size_ratio=size_ratio,
        speedup=speedup,
        speedup_ci95=interval,
        speedup_extra={
            f"threads={threads}": speedup_of(baseline_figures[threads], figures[threads]) for threads in more_threads
        },
        speedup_extra_ci95={
            f"threads={threads}": speedup_interval(baseline_figures[threads], figures[threads])
            for threads in more_threads
        },
        outpaced=figures[1].outpaced,
        ignored=left_in_float(artifact),
        candidate=artifact.candidate.is_auto,
        reason=artifact.candidate.reason,
        sensitivity=artifact.sensitivity,
        **_counts(final, file),
        size_bytes=file.size_bytes,
        latency_ms=latency,
        latency_ms_extra=_extra(figures),
        peak_rss_bytes=figures[1].peak_rss_bytes,
        buckets=_buckets(project, file, cast("Latency", baseline.latency_ms), cut_figures),
        **_costs(project, file),
        warnings=[
            *file.built.warnings,
            *_warnings(project, artifact, size_ratio, slow, parity),
            *filter(None, [alarms_doubt(judged["alarms"], judged["metrics_extra"])]),
        ],
        **judged,
    )


def parity_of(
    project: Project, artifact: MadeArtifact, final: Model | ModelFile, key: str, evaluator: Evaluator
) -> Parity:
    """Compare an artifact's answers with those of the network it was made from, on samples drawn by the run's seed."""
    from edgeglm.measure.parity import compare, drawn_rows

    chief, task = project.data.eval_splits[0], project.recipe.task
    reference = (evaluator.predict_torch(final, key) if isinstance(final, Model) else evaluator.baseline)[chief]
    rows = drawn_rows(reference, seed=project.recipe.seed)
    kinds: dict[str, ObjectiveName] = dict.fromkeys(reference, "outputs")
    kinds[task.output or next(iter(reference))] = task.objective
    return compare(
        {name: values[rows] for name, values in reference.items()},
        {name: values[rows] for name, values in artifact.outputs[chief].items()},
        quantized=artifact.config.scheme != "none",
        kinds=kinds,
    )


def left_in_float(artifact: MadeArtifact) -> list[str]:
    """Return what the recipe leaves in float, and the layers that a scan added."""
    quantization = artifact.config.quantization
    named = quantization.ignore if isinstance(quantization, Quantize) else []
    scanned = [layer for part in artifact.sensitivity if part.kept for layer in part.layers]
    return [*(name for name in named if not (scanned and name.startswith("op:"))), *scanned]


def _ranges(config: ArtifactConfig) -> str:
    """Return how the ranges of static INT8 were found, where not as ever."""
    quantization = config.quantization
    return "mean" if isinstance(quantization, Quantize) and quantization.ranges == "mean" else ""


def _buckets(project: Project, file: File, baseline: Latency, figures: dict[int, Measured]) -> list[BucketLatency]:
    """Return latency and share of the evaluation samples of each length below the full one."""
    buckets = file.built.buckets
    if buckets is None:
        return []
    lengths = np.concatenate(
        [bucket_of(rows[buckets.mask], buckets) for _, rows in batches(project.data.evaluation, _ROWS)]
    )
    return [
        BucketLatency(
            length=length,
            share=float(np.mean(lengths == length)),
            latency_ms=measured.latency,
            speedup=baseline.p50 / measured.latency.p50,
        )
        for length, measured in figures.items()
    ]


def _warnings(project: Project, artifact: MadeArtifact, size_ratio: float, slow: str, parity: Parity) -> list[str]:
    """Return what a user must hear about an artifact that did not get better."""
    warnings = []
    if size_ratio <= 1:
        warnings.append(f"no smaller than the baseline: {1 / size_ratio:.2f} times its size")
    if slow:
        text = slow[0].lower() + slow[1:].rstrip(".")
        if project.board.activation_type == "int8" and artifact.config.scheme == "static-int8":
            text += f"; a signed INT8 graph is made for {project.board.name}, and this host says little about it"
        warnings.append(text)
    if not parity.passed:
        warnings.append(outputs_differ(parity))
    return warnings


def _costs(project: Project, file: File) -> dict[str, Any]:
    """Return where the bytes and the milliseconds of a file are."""
    from edgeglm.measure.layers import layer_bytes
    from edgeglm.measure.profile import operator_times

    path, file_format = file.built.path, file.built.format
    rows = served_rows(project)
    return {
        "layer_bytes": layer_bytes(path, file_format),
        "operator_ms": operator_times(path, file_format, rows, model_inputs=project.original.inputs),
    }


def _counts(model: Model | ModelFile, file: File) -> dict[str, Any]:
    """Return parameters and MACs, of the network where there is one, else of the file."""
    if isinstance(model, Model):
        from edgeglm.nn.macs import count_macs, count_params

        return {"params": count_params(model), "macs": count_macs(model)}
    from edgeglm.measure.census import count_file_macs, count_file_params

    path, file_format = file.built.path, file.built.format
    return {"params": count_file_params(path, file_format), "macs": count_file_macs(path, file_format)}
