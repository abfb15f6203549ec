"""The way through a recipe: load, preflight, steps, artifacts, measure, judge, publish."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import msgspec

from edgeglm.budget import judge
from edgeglm.build import Builder, File, StepRun, run_steps, step_key
from edgeglm.cache import Cache
from edgeglm.errors import BudgetMissedError, EdgeglmError
from edgeglm.evaluation import Evaluator
from edgeglm.host import describe_host
from edgeglm.manifest import golden_file, golden_rows, make_manifest
from edgeglm.model import Model, ModelFile
from edgeglm.output import OutputFolder, open_output
from edgeglm.preflight import place, preflight
from edgeglm.project import open_project
from edgeglm.report.types import ArtifactSide, Latency, Report, Side, StepSide

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm_agent.wire import Manifest

    from edgeglm.data import Arrays
    from edgeglm.log import Log
    from edgeglm.measure.latency import Measured
    from edgeglm.project import Project
    from edgeglm.recipe import ArtifactConfig, LoadedRecipe

LATENCY_RUNS = 200
PARITY_SAMPLES = 64


@dataclass(frozen=True)
class Result:
    """What a run made."""

    report: Report
    manifest: Manifest | None  # None: rejected
    folder: Path


@dataclass(frozen=True)
class _Artifact:
    config: ArtifactConfig
    name: str  # model.onnx
    file: File
    outputs: dict[str, Arrays]  # split -> outputs


def run_recipe(
    loaded: LoadedRecipe, *, output: Path, log: Log, cache: Cache | None = None, model: Any = None, data: Any = None
) -> Result:
    """Run a recipe into an output folder.

    Args:
        loaded: The recipe, with the lines of its keys.
        output: The folder; made when missing. It keeps its old result until a new one is whole.
        log: Told how far the work is.
        cache: Where results of steps and artifacts are kept; default: the user's cache.
        model: A ``torch.nn.Module`` instead of the recipe's source.
        data: Split name -> ``(inputs, targets)`` or a Dataset, instead of the recipe's source.

    Returns:
        The report, already written; a missed budget is in ``report.budget``, it is no exception here.

    Raises:
        EdgeglmError: See ``edgeglm.errors``; whatever happens, no half result is left behind.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    cache = cache or Cache()
    with open_output(output) as folder:
        project = open_project(loaded, log=log, model=model, data=data)
        preflight(project, output, cache, log)
        steps = run_steps(project, cache, log)
        final, key = (steps[-1].model, steps[-1].key) if steps else (project.original, project.key)
        builder, evaluator = Builder(project, cache), Evaluator(project, cache)

        log.stage("baseline")
        reference = baseline_file(project, builder)
        evaluator.baseline = evaluator.predict_file(
            reference.built.path, file_format=reference.built.format, sha256=reference.sha256
        )
        artifacts = _make_artifacts(project, builder, evaluator, final, key, log)
        structures = _step_files(steps, builder)

        log.stage("measure")
        timed = {"baseline": reference}
        timed |= {f"step {index}": file for index, file in structures.items()}
        timed |= {f"artifact {index}": artifact.file for index, artifact in enumerate(artifacts)}
        figures = _measure(project, timed, log)
        baseline = _baseline_side(project, reference, evaluator, figures["baseline"])
        step_sides = [_step_side(run, structures, evaluator, figures) for run in steps]
        sides = [
            _artifact_side(project, artifact, final, key, evaluator, baseline, figures[f"artifact {index}"])
            for index, artifact in enumerate(artifacts)
        ]
        host = describe_host()
        budget = judge(baseline, sides, project.recipe.budget, project.board, host)
        order = _preference(project, sides)
        artifacts, sides = [artifacts[i] for i in order], [sides[i] for i in order]
        report = Report(
            name=project.recipe.name,
            recipe=msgspec.to_builtins(project.recipe),
            target=project.recipe.target,
            baseline=baseline,
            steps=step_sides,
            artifacts=sides,
            budget=budget,
            host=host,
            warnings=list(project.data.warnings),
            started=started.isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - clock, 3),
        )
        log.stage("write")
        manifest = _publish(folder, project, report, artifacts, steps)
    return Result(report, manifest, output)


def check_budget(report: Report) -> None:
    """Raise BudgetMissedError when the report's budget has a violation."""
    if report.budget.violations:
        first = report.budget.violations[0]
        raise BudgetMissedError(
            "; ".join(f"{verdict.key}: {verdict.message}" for verdict in report.budget.violations),
            where=first.artifact,
            hint="loosen the budget, compress less, or train the steps for longer",
        )


def baseline_file(project: Project, builder: Builder) -> File:
    """Return the original as it is measured against: FP32 ONNX, or the source file itself."""
    if isinstance(project.original, ModelFile):
        return builder.source_file(project.original)
    return builder.float_file(project.original, project.key, "onnx")


def _make_artifacts(
    project: Project, builder: Builder, evaluator: Evaluator, final: Model | ModelFile, key: str, log: Log
) -> list[_Artifact]:
    """Write, load again and evaluate every artifact of the recipe."""
    configs = project.recipe.artifacts
    formats = [config.format for config in configs]
    artifacts: list[_Artifact] = []
    for index, config in enumerate(configs):
        log.stage(f"artifacts[{index}] {config.format} {config.scheme}")
        try:
            file = builder.artifact(final, key, config, where=f"artifacts[{index}]")
            outputs = evaluator.predict_file(file.built.path, file_format=config.format, sha256=file.sha256)
        except EdgeglmError as error:
            raise place(error, f"artifacts[{index}]") from error
        several = formats.count(config.format) > 1
        name = f"model.{config.scheme}.{config.format}" if several else f"model.{config.format}"
        artifacts.append(_Artifact(config, name, file, outputs))
        log.note(f"{file.size_bytes / 1e3:.1f} kB")
    return artifacts


def _step_files(steps: list[StepRun], builder: Builder) -> dict[int, File]:
    """Return step index -> FP32 ONNX file, for the last step of each structure: others have its size and speed."""
    last: dict[str, int] = {}
    for run in steps:
        last[msgspec.json.encode(run.model.edits).decode()] = run.index
    return {index: builder.float_file(steps[index].model, steps[index].key, "onnx") for index in last.values()}


def _measure(project: Project, files: dict[str, File], log: Log) -> dict[str, dict[int, Measured]]:
    """Return name -> threads -> figures; everything of one thread count is interleaved in one run."""
    from edgeglm.measure.latency import measure_latency

    row = {name: values[:1] for name, values in project.sample.items()}
    figures: dict[str, dict[int, Measured]] = {name: {} for name in files}
    for threads in (1, 2):
        chosen = files if threads == 1 else {n: f for n, f in files.items() if not n.startswith("step")}
        measured = measure_latency(
            {name: (file.built.path, file.built.format) for name, file in chosen.items()},
            row,
            model_inputs=project.original.inputs,
            threads=threads,
            runs=LATENCY_RUNS,
        )
        for name, value in measured.items():
            figures[name][threads] = value
        log.note(f"{len(chosen)} files interleaved on {threads} thread{'s' * (threads > 1)}")
    return figures


def _extra(figures: dict[int, Measured]) -> list[Latency]:
    return [figures[threads].latency for threads in sorted(figures) if threads != 1]


def _baseline_side(project: Project, file: File, evaluator: Evaluator, figures: dict[int, Measured]) -> Side:
    return Side(
        **_counts(project.original, file),
        size_bytes=file.size_bytes,
        latency_ms=figures[1].latency,
        latency_ms_extra=_extra(figures),
        peak_rss_bytes=figures[1].peak_rss_bytes,
        warnings=list(file.built.warnings),
        **evaluator.side(evaluator.baseline, is_baseline=True),
    )


def _step_side(
    run: StepRun, structures: dict[int, File], evaluator: Evaluator, figures: dict[str, dict[int, Measured]]
) -> StepSide:
    index = min(i for i in structures if i >= run.index)
    file, measured = structures[index], figures[f"step {index}"][1]
    return StepSide(
        index=run.index,
        step=step_key(run.index, run.config),
        settings=run.config.as_settings(),
        notes=run.notes,
        seconds=round(run.seconds, 3),
        cached=run.cached,
        **_counts(run.model, file),
        size_bytes=file.size_bytes,
        latency_ms=measured.latency,
        peak_rss_bytes=measured.peak_rss_bytes,
        **evaluator.side(evaluator.predict_torch(run.model, run.key)),
    )


def _artifact_side(
    project: Project,
    artifact: _Artifact,
    final: Model | ModelFile,
    key: str,
    evaluator: Evaluator,
    baseline: Side,
    figures: dict[int, Measured],
) -> ArtifactSide:
    from edgeglm.measure.census import weight_dtypes
    from edgeglm.measure.parity import compare

    file, chief = artifact.file, project.data.eval_splits[0]
    reference = evaluator.predict_torch(final, key) if isinstance(final, Model) else evaluator.baseline
    rows = slice(0, PARITY_SAMPLES)
    parity = compare(
        {name: values[rows] for name, values in reference[chief].items()},
        {name: values[rows] for name, values in artifact.outputs[chief].items()},
        quantized=artifact.config.scheme != "none",
    )
    size_ratio = cast("int", baseline.size_bytes) / file.size_bytes
    latency = figures[1].latency
    speedup = cast("Latency", baseline.latency_ms).p50 / latency.p50
    extra = {
        f"threads={row.threads}": base.p50 / row.p50
        for row, base in zip(_extra(figures), baseline.latency_ms_extra, strict=True)
    }
    return ArtifactSide(
        format=artifact.config.format,
        scheme=artifact.config.scheme,
        path=artifact.name,
        sha256=file.sha256,
        activation_type=file.built.activation_type,
        dtypes=weight_dtypes(file.built.path, artifact.config.format),
        parity=parity,
        size_ratio=size_ratio,
        speedup=speedup,
        speedup_extra=extra,
        **_counts(final, file),
        size_bytes=file.size_bytes,
        latency_ms=latency,
        latency_ms_extra=_extra(figures),
        peak_rss_bytes=figures[1].peak_rss_bytes,
        warnings=[*file.built.warnings, *_warnings(project, artifact, size_ratio, speedup, passed=parity.passed)],
        **evaluator.side(artifact.outputs),
    )


def _warnings(project: Project, artifact: _Artifact, size_ratio: float, speedup: float, *, passed: bool) -> list[str]:
    """Return what a user must hear about an artifact that did not get better."""
    warnings = []
    if size_ratio <= 1:
        warnings.append(f"no smaller than the baseline: {1 / size_ratio:.2f} times its size")
    if speedup <= 1:
        text = f"no faster than the baseline on this host: {speedup:.2f}x"
        if project.board.activation_type == "int8" and artifact.config.scheme == "static-int8":
            text += f"; a signed INT8 graph is made for {project.board.name}, and this host says little about it"
        warnings.append(text)
    if not passed:
        warnings.append("its outputs differ from the network's more than its scheme explains: see parity")
    return warnings


def _counts(model: Model | ModelFile, file: File) -> dict[str, Any]:
    """Return parameters and MACs, of the network where there is one, else of the file."""
    if isinstance(model, Model):
        from edgeglm.nn.macs import count_macs, count_params

        return {"params": count_params(model), "macs": count_macs(model)}
    from edgeglm.measure.census import count_file_macs, count_file_params

    path, file_format = file.built.path, file.built.format
    return {"params": count_file_params(path, file_format), "macs": count_file_macs(path, file_format)}


def _preference(project: Project, sides: list[ArtifactSide]) -> list[int]:
    """Return the order in which an agent should try the artifacts.

    Where the target is this kind of machine, the fastest comes first, so INT8 is never preferred where it is
    slower. For another machine the recipe's order stands: this host's latency would be a guess about it.
    """
    order = list(range(len(sides)))
    if describe_host().machine == project.board.arch:
        order.sort(key=lambda i: -(sides[i].speedup or 0.0))
    return order


def _publish(
    folder: OutputFolder, project: Project, report: Report, artifacts: list[_Artifact], steps: list[StepRun]
) -> Manifest | None:
    """Write the result; a missed budget with ``on_violation: fail`` puts artifacts under rejected/, unmanifested."""
    from edgeglm.recipe import dump_recipe
    from edgeglm.report.html import render_html
    from edgeglm.report.json import encode_report

    rejected = bool(report.budget.violations) and project.recipe.on_violation == "fail"
    recipe_text = dump_recipe(project.recipe)
    texts: dict[str, bytes] = {
        "report.json": encode_report(report),
        "report.html": render_html(report).encode(),
        "recipe.resolved.yaml": recipe_text.encode(),
    }
    for run in steps:
        name = f"steps/{run.index:02d}-{run.config.__struct_config__.tag}"
        for file in ("weights.safetensors", "edits.json"):
            texts[f"{name}/{file}"] = (run.folder / file).read_bytes()
    prefix = "rejected/" if rejected else ""
    entries: list[tuple[str, File, str]] = []
    rows = golden_rows(project)
    for artifact in artifacts:
        golden = f"golden/{artifact.name}.safetensors"
        if not rejected:
            texts[golden] = golden_file(project, artifact.file, rows)
        folder.add(prefix + artifact.name, artifact.file.built.path)
        entries.append((artifact.name, artifact.file, golden))
    for name, content in texts.items():
        folder.add(name, content)
    if rejected:
        folder.publish(None)
        return None
    chief = project.data.eval_splits[0]
    manifest = make_manifest(project, entries, artifacts[0].outputs[chief], texts, recipe_text)
    from edgeglm_agent.wire import encode_manifest

    folder.publish(encode_manifest(manifest))
    return manifest
