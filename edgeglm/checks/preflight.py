"""Before long work: every step and every export tried on one batch, and the disk looked at."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from edgeglm.artifacts.built import ONE_ROW
from edgeglm.cache import Cache, cache_folder, make_key
from edgeglm.choice.accuracy_control import check_held_out, is_controlled
from edgeglm.errors import EdgeglmError, StorageError
from edgeglm.formats import file_name
from edgeglm.host import free_disk_bytes
from edgeglm.leftovers import temporary_folder
from edgeglm.log import SilentLog
from edgeglm.model import Model, ModelFile
from edgeglm.naming import users_names
from edgeglm.pipeline.applied import apply_step
from edgeglm.pipeline.build import Builder, calibration_batches, convert_file, export_float, quantize_file
from edgeglm.pipeline.step_runs import make_context, step_parts
from edgeglm.plugins import is_own
from edgeglm.recipe import Quantize

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.artifacts.built import Built
    from edgeglm.choice.candidates import Proposal
    from edgeglm.log import Log
    from edgeglm.pipeline.project import Project
    from edgeglm.recipe import ArtifactConfig

CALIBRATION_SAMPLES = 8  # enough to see that calibration runs
MARGIN_BYTES = 64 << 20
TEMPORARY_MARGIN_BYTES = 16 << 20  # a runtime's own account of where the time goes is of this order


def preflight(project: Project, proposal: Proposal, output: Path, cache: Cache, log: Log) -> None:
    """Fail within a minute where the whole run would fail after an hour.

    Steps run for one optimizer step each, on a copy; what comes out is exported and quantized in every way the
    recipe asks for. Without steps, what is exported here is what the run goes on with: only calibration is tried on
    few samples first. What passed once is not tried again until something it depends on changes.

    Raises:
        UserError: A step or an export cannot work, or what accuracy control judges by; names the step or artifact and,
            where it can be known, the layer.
        StorageError: The disk will not hold the result.
    """
    check_disk(project, proposal, output, cache)
    for candidate in filter(is_controlled, proposal.candidates):
        check_held_out(project, candidate)
    recipe = project.recipe
    key = make_key(
        base=project.key,
        steps=[step_parts(step, index, project) for index, step in enumerate(recipe.steps)],
        artifacts=msgspec.to_builtins(recipe.artifacts),
        target=recipe.target,
        device=project.device,
    )
    with cache.entry("preflight", key) as entry:
        if entry.result is not None:
            return
        model = project.original
        for index, step in enumerate(recipe.steps):
            assert isinstance(model, Model)  # the recipe's rules: a file takes no steps
            ctx = make_context(project, index, step, log=SilentLog(), precision="float32", checkpoint=None)
            log.stage(f"preflight: trying {ctx.key}")
            model = apply_step(step, model, replace(ctx, dry_run=True), project.sample)
        with entry.scratch() as folder, users_names(folder, model):
            _try_artifacts(project, proposal, model, folder, cache, log)
        entry.finish()
        counts = [
            f"{len(made)} {word}{'s' * (len(made) != 1)}"
            for made, word in ((recipe.steps, "step"), (proposal.candidates, "artifact"))
            if made
        ]
        log.note(f"{' and '.join(counts)} tried on one batch")


class _FloatFiles:
    """The float file of each format that artifacts are made from, as far as it can be known before the steps.

    ONNX is tried on the original, whose file every result is measured against: that export is needed anyway, and
    our steps remove channels, not kinds of operators. With a step of a plug-in, and for TFLite, it is the network as
    the steps leave it. Without steps it is the very file that the run will use.
    """

    def __init__(self, project: Project, builder: Builder, model: Model | ModelFile, folder: Path) -> None:
        self.project = project
        self.builder = builder
        self.model = model
        self.folder = folder
        self._written: dict[str, Built] = {}

    def get(self, artifact: ArtifactConfig) -> Path:
        """Return the file for one artifact. Raises: ExportError."""
        project, file_format = self.project, artifact.format
        if not project.recipe.steps:
            calls = self.builder.calls(self.model, artifact) if isinstance(self.model, Model) else ONE_ROW
            return self.builder.source(self.model, project.key, file_format, calls).built.path
        return self._tried(file_format).path

    def _tried(self, file_format: str) -> Built:
        project = self.project
        assert isinstance(self.model, Model)
        if file_format not in self._written:
            path = self.folder / file_name(file_format)
            if file_format == "onnx" and all(is_own(type(step)) for step in project.recipe.steps):
                made = self.builder.baseline().built
            elif file_format == "openvino":
                made = convert_file(self._tried("onnx"), path, project, batch=project.recipe.serve.batch)
            else:
                made = export_float(self.model, project.sample, path, file_format, board=project.board)
            self._written[file_format] = made
        return self._written[file_format]


def _try_artifacts(
    project: Project, proposal: Proposal, model: Model | ModelFile, folder: Path, cache: Cache, log: Log
) -> None:
    """Export and quantize once in every way that the recipe asks for, calibrated on few samples."""
    from edgeglm.artifacts.sequences import check_cuts

    builder = Builder(project, cache)
    files = _FloatFiles(project, builder, model, folder)
    trials: dict[str, tuple[int, float]] = {}  # format -> how many a scan makes at most, and how long one takes
    for index, candidate in enumerate(proposal.candidates):
        artifact, where = candidate.config, candidate.where
        log.stage(f"preflight: trying {where} {artifact.format} {artifact.scheme}")
        try:
            if isinstance(model, Model) and (buckets := builder.calls(model, artifact).buckets) is not None:
                check_cuts(model, project.sample, buckets)
            source, quantization = files.get(artifact), artifact.quantization
            if artifact.scheme != "none":
                started = time.perf_counter()
                if project.recipe.steps or not isinstance(quantization, Quantize) or quantization.calibrated:
                    calibration = project.data.calibration
                    samples = calibration_batches(calibration, CALIBRATION_SAMPLES, seed=project.recipe.seed)
                    target = folder / f"{index}.{file_name(artifact.format)}"
                    quantize_file(source, target, artifact.format, quantization, samples, board=project.board)
                else:  # what needs no samples is as quickly made for good
                    builder.artifact(model, project.key, artifact, where=where)
                if candidate.is_auto and artifact.scheme != "fp16":
                    trials[artifact.format] = (artifact.search.trials, time.perf_counter() - started)
        except EdgeglmError as error:
            if not candidate.is_auto or isinstance(error, StorageError):
                raise error.at(where) from error
            log.note(f"will be left out: {candidate.word}: {error.problems[0].message}")
    for file_format, (count, seconds) in trials.items():
        log.note(f"a scan of sensitivity, if {file_format} needs one: at most {count} trials of about {seconds:.1f} s")
    builder.baseline()


def check_disk(project: Project, proposal: Proposal, output: Path, cache: Cache) -> None:
    """Raise StorageError when cache, output or temporary folder have too little room for what the run will write."""
    weights = _source_bytes(project.original)
    # each step keeps weights, and while it trains a checkpoint: weights, the best ones, two optimizer moments
    in_cache = weights * (len(project.recipe.steps) + 4 + 2 * len(proposal.candidates))
    in_output = weights * (len(project.recipe.steps) + 2 * len(proposal.candidates))
    temporary = 3 * weights + TEMPORARY_MARGIN_BYTES  # of one file at a time: as it is optimized, or calibrated
    for folder, needed, mend in (
        (cache.folder or cache_folder(), in_cache + MARGIN_BYTES, "set EDGEGLM_CACHE to a folder on a larger disk"),
        (output, in_output + MARGIN_BYTES, "choose a folder on a larger disk with -o"),
        (temporary_folder(), temporary, "set TMPDIR to a folder on a larger disk"),
    ):
        free = free_disk_bytes(folder)
        if free < needed:
            raise StorageError(
                f"{free / 1e6:.0f} MB are free, and this run may write {needed / 1e6:.0f} MB",
                where=str(folder),
                hint=f"make room, or {mend}",
                code="disk-too-small",
            )


def _source_bytes(model: Model | ModelFile) -> int:
    """Return how many bytes the weights take as they are."""
    if isinstance(model, ModelFile):
        return model.path.stat().st_size
    return sum(tensor.numel() * tensor.element_size() for tensor in model.module.state_dict().values())
