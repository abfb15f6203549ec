"""The steps of one recipe in order, each from the cache when it was made before."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import msgspec

from edgeglm.cache import Cache, Entry, make_key
from edgeglm.errors import EdgeglmError, StepError
from edgeglm.host import entry_point_packages
from edgeglm.pipeline.applied import apply_step
from edgeglm.plugins import blaming, is_own
from edgeglm.steps import GROUP, Context, step_name

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.log import Log
    from edgeglm.model import Model
    from edgeglm.pipeline.project import Project
    from edgeglm.steps import StepConfig

STEP_FILES = ("weights.safetensors", "edits.json")


@dataclass(frozen=True)
class StepRun:
    """One step that has run, or was found in the cache."""

    index: int
    config: StepConfig
    model: Model
    key: str
    folder: Path  # holds weights.safetensors and edits.json
    notes: list[str]
    warnings: list[str]
    seconds: float
    cached: bool
    precision: str = ""  # that it trained in: float32 | bfloat16; empty: it trains nothing


def step_key(index: int, config: StepConfig) -> str:
    """Return the step's name as `--set` writes it."""
    return f"steps[{index}].{step_name(config)}"


def step_parts(config: StepConfig, index: int, project: Project) -> dict[str, Any]:
    """Return what of a step alone belongs into a key; of a plug-in's, the packages that offer it too."""
    parts: dict[str, Any] = {"step": step_name(config), "settings": config.as_settings()}
    if not is_own(type(config)):
        parts["packages"] = entry_point_packages(GROUP, parts["step"])
    if config.follows_target:
        parts["target"] = project.recipe.target
    original = cast("Model", project.original)
    where = step_key(index, config)
    with blaming(config, GROUP, where=where):
        said = config.fingerprint(original, project.entries, project.data, where=where)
    if said:
        parts["fingerprint"] = said
    return parts


def make_context(
    project: Project, index: int, config: StepConfig, *, log: Log, precision: str, checkpoint: Path | None
) -> Context:
    """Return what a step may use besides the model."""
    return Context(
        original=cast("Model", project.original),
        data=project.data,
        task=project.recipe.task,
        target=project.recipe.target,
        seed=project.recipe.seed,
        threads=project.threads,
        device=project.device,
        precision=precision,
        entries=project.entries,
        progress=log.progress,
        checkpoint=checkpoint,
        key=step_key(index, config),
    )


def choose_precision(project: Project, cache: Cache, log: Log) -> str:
    """Return the number type that trains faster here; measured once and stored, so that a later run agrees.

    The choice changes weights, so it is part of every later key.
    """
    wanted = {getattr(step, "precision", None) for step in project.recipe.steps}
    if "auto" not in wanted:
        return "float32"
    from edgeglm.measure.children import await_spares
    from edgeglm.nn.precision import measure_precision

    model = cast("Model", project.original)
    key = make_key(project=project.key, device=project.device)
    with cache.entry("precision", key) as entry:
        precision = str((entry.result or {}).get("precision", ""))
        if precision not in ("float32", "bfloat16"):
            await_spares()
            precision = measure_precision(model, project.sample, device=project.device, threads=project.threads)
            entry.finish(precision=precision)
    log.note(f"training in {precision}, the faster by a timing; `precision: {precision}` makes this run repeatable")
    return precision


def run_steps(project: Project, cache: Cache, log: Log) -> list[StepRun]:
    """Run every step in order, from the cache where the key is known.

    Raises:
        StepError: A step cannot run, or changed nothing.
    """
    runs: list[StepRun] = []
    if not project.recipe.steps:
        return runs
    precision = choose_precision(project, cache, log)
    _warn_of_emulation(project, log)
    model, key = cast("Model", project.original), make_key(base=project.key, precision=precision, device=project.device)
    for index, config in enumerate(project.recipe.steps):
        log.stage(step_key(index, config))
        key = make_key(before=key, **step_parts(config, index, project))
        with cache.entry("step", key) as entry:
            found = _cached_step(project, index, config, key, entry)
            if found is None and (entry.damaged or entry.result is not None):
                log.note("what the cache held of this step was damaged: it is made again")
            run = found or _fresh_step(project, index, config, key, entry, model, log=log, precision=precision)
        for note in run.notes:
            log.note(note)
        for warning in run.warnings:
            log.warn(warning)
        if run.cached:
            log.note(f"from the cache (took {run.seconds:.0f} s)")
        model = run.model
        asked = getattr(config, "precision", "")
        runs.append(replace(run, precision=precision if asked == "auto" else asked))
    return runs


def _warn_of_emulation(project: Project, log: Log) -> None:
    """Say that a step asks for bfloat16 on a device that computes it in software, several times as long."""
    from edgeglm.nn.precision import bfloat16_supported

    asked = [i for i, step in enumerate(project.recipe.steps) if getattr(step, "precision", "") == "bfloat16"]
    if asked and not bfloat16_supported(project.device):
        key = f"{step_key(asked[0], project.recipe.steps[asked[0]])}.precision"
        log.warn(
            f"{key} is bfloat16, which this {project.device} does not compute by itself: training takes several times "
            f"as long; `--set {key}=float32` trains faster, and gives other weights"
        )


def _cached_step(project: Project, index: int, config: StepConfig, key: str, entry: Entry) -> StepRun | None:
    from edgeglm.nn.structure import load_weights, replay

    result = entry.result
    if result is None:
        return None
    try:
        notes, warnings = (msgspec.convert(result[said], list[str]) for said in ("notes", "warnings"))
        seconds = float(result["seconds"])
        edits = msgspec.json.decode((entry.folder / "edits.json").read_bytes(), type=list[dict[str, Any]])
        model = load_weights(replay(cast("Model", project.original), edits), entry.folder / "weights.safetensors")
    except (EdgeglmError, msgspec.MsgspecError, OSError, KeyError, TypeError, ValueError):  # made again
        return None
    return StepRun(index, config, model, key, entry.folder, notes, warnings, seconds, True)


def _fresh_step(
    project: Project,
    index: int,
    config: StepConfig,
    key: str,
    entry: Entry,
    model: Model,
    *,
    log: Log,
    precision: str,
) -> StepRun:
    from edgeglm.files import write_bytes
    from edgeglm.nn.loading import state_sha256
    from edgeglm.nn.structure import save_weights

    started = time.perf_counter()
    checkpoint = entry.folder / "checkpoint.pt"
    ctx = make_context(project, index, config, log=log, precision=precision, checkpoint=checkpoint)
    after = apply_step(config, model, ctx, project.sample)
    if state_sha256(after.module) == state_sha256(model.module):
        raise StepError(
            "the step changed nothing: the network is the same as before it",
            where=ctx.key,
            hint="remove the step, or give it settings that do something",
            code="step-changed-nothing",
        )
    seconds = time.perf_counter() - started
    save_weights(after, entry.folder / "weights.safetensors")
    write_bytes(entry.folder / "edits.json", msgspec.json.encode(after.edits))
    said = {"notes": ctx.notes, "warnings": ctx.warnings}
    entry.finish(*STEP_FILES, **said, seconds=seconds, step=ctx.key, recipe=project.recipe.name)
    checkpoint.unlink(missing_ok=True)
    return StepRun(index, config, after, key, entry.folder, ctx.notes, ctx.warnings, seconds, False)
