"""The way through a recipe: load, preflight, steps, artifacts, measure, judge, publish."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from edgeglm_agent.wire import Manifest, encode_manifest

from edgeglm.cache import Cache, cache_folder
from edgeglm.checks.doubts import doubt_original
from edgeglm.checks.preflight import preflight
from edgeglm.choice.candidates import propose_for
from edgeglm.choice.choosing import settle
from edgeglm.choice.rivals import rivals
from edgeglm.errors import BudgetMissedError
from edgeglm.host import describe_host, usable_cores
from edgeglm.measure.children import spare_children
from edgeglm.naming import users_names
from edgeglm.output.folder import OutputFolder, open_output
from edgeglm.output.manifest import golden_file, golden_rows, make_lineage, make_manifest
from edgeglm.pipeline.build import Builder, File
from edgeglm.pipeline.changed import with_changes
from edgeglm.pipeline.evaluation import Evaluator
from edgeglm.pipeline.making import Maker
from edgeglm.pipeline.project import open_project
from edgeglm.pipeline.robustness import Robustness
from edgeglm.pipeline.sides import MadeArtifact, artifact_side, baseline_side, step_side
from edgeglm.pipeline.step_runs import StepRun, run_steps
from edgeglm.pipeline.timing import cut_figures, measure_files
from edgeglm.recipe import dump_recipe, resolved
from edgeglm.report.types import Report

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.log import Log
    from edgeglm.pipeline.project import Project
    from edgeglm.recipe import LoadedRecipe


@dataclass(frozen=True)
class Result:
    """What a run made."""

    report: Report
    manifest: Manifest | None  # None: rejected
    folder: Path


def run_recipe(
    loaded: LoadedRecipe,
    *,
    output: Path,
    log: Log,
    cache: Cache | None = None,
    model: Any = None,
    data: Any = None,
    named: bool = True,
) -> Result:
    """Run a recipe into an output folder.

    Args:
        loaded: The recipe, with the lines of its keys.
        output: The folder; made when missing. It keeps its old result until a new one is whole.
        log: Told how far the work is.
        cache: Where results of steps and artifacts are kept; default: the user's cache.
        model: A ``torch.nn.Module`` instead of the recipe's source.
        data: Split name -> ``(inputs, targets)`` or a Dataset, instead of the recipe's source.
        named: Whether the user chose the folder: one that follows from the recipe's `name` is not taken from another
            recipe.

    Returns:
        The report, already written; a missed budget is in ``report.budget``, it is no exception here.

    Raises:
        EdgeglmError: See ``edgeglm.errors``; whatever happens, no half result is left behind.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    cache = cache or Cache()
    made_by = loaded.path if loaded.path.is_file() else None
    with open_output(output, recipe=made_by, named=named) as folder, ExitStack() as ending:
        ending.enter_context(cache.in_use())
        first = "tflite" if loaded.recipe.model.gives == "tflite" else "onnx"
        threads = loaded.recipe.threads or usable_cores()
        ending.enter_context(spare_children((first, 1), (first, threads)))  # they start while torch is imported
        project = open_project(loaded, log=log, model=model, data=data)
        ending.callback(project.entries.close)
        ending.enter_context(users_names(cache.folder or cache_folder(), project.original))
        builder, evaluator = Builder(project, cache), Evaluator(project, cache)
        proposal = propose_for(project, builder, log)
        robustness = Robustness.of(project, evaluator, log)
        preflight(project, proposal, output, cache, log)

        log.stage("baseline")  # before the steps: what is wrong with the original is better heard before hours of work
        reference = builder.baseline()
        evaluator.baseline = evaluator.predict_file(
            reference.built.path, file_format=reference.built.format, sha256=reference.digest
        )
        doubts = doubt_original(project, evaluator, log)

        steps = run_steps(project, cache, log)
        final, key = (steps[-1].model, steps[-1].key) if steps else (project.original, project.key)
        host = describe_host()
        maker = Maker(project, builder, evaluator, (final, key), host, log)
        artifacts = maker.make(proposal)
        structures = _step_files(steps, builder)

        log.stage("measure")
        timed = {"baseline": reference}
        timed |= {f"step {index}": file for index, file in structures.items()}
        timed |= {f"artifact {index}": artifact.file for index, artifact in enumerate(artifacts)}
        same_machine = project.board.is_like(host.machine)
        hopeless = rivals(
            [artifact.candidate for artifact in artifacts],
            lambda index: maker.standing.of(artifacts[index], sized=True),
            project.recipe.budget,
            same_machine=same_machine,
        )
        against = {f"artifact {one}": [f"artifact {other}" for other in others] for one, others in hopeless.items()}
        figures = measure_files(project, timed, log, rivals=against)
        baseline = baseline_side(project, reference, evaluator, figures["baseline"])
        step_sides = [step_side(run, structures, evaluator, figures) for run in steps]
        sides = [
            artifact_side(
                project,
                made,
                final,
                key,
                evaluator,
                baseline,
                figures["baseline"],
                figures[f"artifact {index}"],
                cut_figures(figures, f"artifact {index}", made.file),
            )
            for index, made in enumerate(artifacts)
        ]
        traits = proposal.traits
        if traits is None and not same_machine:
            from edgeglm.measure.traits import traits_of

            traits = traits_of(reference.built.path, reference.built.format)
        settled = settle(project, artifacts, sides, baseline=baseline, host=host, cache=cache, traits=traits)
        sides, samples = with_changes(evaluator, settled.artifacts, settled.sides)
        baseline, sides = robustness.added(reference, baseline, settled.artifacts, sides, log)
        recipe_text = dump_recipe(project.recipe)
        report = Report(
            name=project.recipe.name,
            recipe=resolved(project.recipe),
            target=project.recipe.target,
            baseline=baseline,
            steps=step_sides,
            artifacts=sides,
            budget=settled.budget,
            host=host,
            warnings=[*doubts, *project.data.warnings],
            skipped=maker.skipped,
            order_kept=settled.order_kept,
            samples=samples,
            lineage=msgspec.to_builtins(make_lineage(project, recipe_text)),
            started=started.isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - clock, 3),
        )
        log.stage("write")
        manifest = _publish(folder, project, report, settled.artifacts, steps, recipe_text)
    return Result(report, manifest, output)


def check_budget(report: Report) -> None:
    """Raise BudgetMissedError when the report's budget has a violation; its message has a line for each."""
    if report.budget.violations:
        rejected = report.recipe.get("on_violation") == "fail"
        raise BudgetMissedError(
            "\n".join(verdict.message for verdict in report.budget.violations),  # each begins with its artifact
            hint="do what the lines say, or loosen `budget`"
            + ("; what was made lies under rejected/, to be looked at" if rejected else ""),
        )


def _step_files(steps: list[StepRun], builder: Builder) -> dict[int, File]:
    """Return step index -> FP32 ONNX file, for the last step of each structure: others have its size and speed."""
    last: dict[str, int] = {}
    for run in steps:
        last[msgspec.json.encode(run.model.edits).decode()] = run.index
    return {index: builder.float_file(steps[index].model, steps[index].key, "onnx") for index in last.values()}


def _publish(
    folder: OutputFolder,
    project: Project,
    report: Report,
    artifacts: list[MadeArtifact],
    steps: list[StepRun],
    recipe_text: str,
) -> Manifest | None:
    """Write the result; a missed budget with ``on_violation: fail`` puts artifacts under rejected/, unmanifested."""
    from edgeglm.report.html import render_html
    from edgeglm.report.json import encode_report

    rejected = bool(report.budget.violations) and project.recipe.on_violation == "fail"
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
        for name, path in artifact.companions.items():
            folder.add(prefix + name, path)
        entries.append((artifact.name, artifact.file, golden))
    texts |= project.board_preprocess.files
    for name, content in texts.items():
        folder.add(name, content)
    if rejected:
        folder.publish(None)
        return None
    chief = project.data.eval_splits[0]
    manifest = make_manifest(project, entries, artifacts[0].outputs[chief], texts, recipe_text)
    folder.publish(encode_manifest(manifest))
    return manifest
