"""`accuracy_control`: leave in float what costs more than the budget, judged on samples held out for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edgeglm.cache import make_key
from edgeglm.choice.sensitivity import layer_losses, rungs
from edgeglm.errors import DataError, ExportError
from edgeglm.host import cpu_features
from edgeglm.plugins import blaming
from edgeglm.recipe.types import Quantize
from edgeglm.tasks import GROUP as TASK_GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeglm.choice.candidates import Candidate
    from edgeglm.choice.sensitivity import Scored
    from edgeglm.data.splits import Split
    from edgeglm.log import Log
    from edgeglm.pipeline.build import File
    from edgeglm.pipeline.evaluation import Evaluator
    from edgeglm.pipeline.project import Project
    from edgeglm.pipeline.sides import MadeArtifact

LEAST = 30  # samples to judge by
MOST = 1000
ALL_FLOAT = "quantized-nothing"  # the error where `ignore` names all that could be quantized


def is_controlled(candidate: Candidate) -> bool:
    """Tell whether an artifact asks for accuracy control."""
    quantization = candidate.config.quantization
    return isinstance(quantization, Quantize) and quantization.accuracy_control


def held_out(project: Project, candidate: Candidate) -> Split:
    """Return the calibration samples behind those that ranges are measured on.

    Raises:
        DataError: There are too few (``control-samples``).
    """
    split = project.data.splits["calibration"]
    drawn = np.random.default_rng(project.recipe.seed).permutation(len(split))  # as those for ranges are
    held = np.sort(drawn[candidate.config.quantization.calibration_samples :][:MOST])
    if len(held) < LEAST:
        raise DataError(
            f"accuracy_control needs {LEAST} samples of the calibration split that ranges are not measured on, and "
            f"{len(held)} of {len(split)} are left",
            where=f"{candidate.where}.quantize.accuracy_control",
            hint="give the split more samples, or write a smaller `calibration` beside it",
            code="control-samples",
        )
    return split.take(held)


def check_held_out(project: Project, candidate: Candidate) -> None:
    """Refuse samples that accuracy control could not judge by, before anything long is done.

    Raises:
        DataError: They are too few (``control-samples``), have no targets that the task could judge by, or all of one
            kind.
    """
    split, task, labels = held_out(project, candidate), project.recipe.task, project.data.labels
    where = f"{candidate.where}.quantize.accuracy_control: the calibration split"
    targets = split.targets
    with blaming(task, TASK_GROUP, where="task"):
        if targets is None:
            task.read_targets(None, labels=labels, judged=True, where=where)
        else:  # under a name that is none of training's: they are judged by
            task.check_splits({"held-out": targets}, chief="held-out", labels=labels, where={"held-out": where})


class HeldOut:
    """What a file loses on the samples of ``held_out``. The evaluation data is never looked at: it judges the result.

    Args:
        evaluator: Runs and judges files.
        reference: The file that what is lost is lost against; see ``held_out_against_the_better``.
        candidate: The artifact.
        against: What that file is, in words.

    Raises:
        DataError: There are too few such samples (``control-samples``).
    """

    def __init__(self, evaluator: Evaluator, reference: File, candidate: Candidate, *, against: str) -> None:
        self._evaluator = evaluator
        self._reference = reference
        self.against = against
        self._where = candidate.where
        self._skipped = candidate.config.quantization.calibration_samples  # ranges are measured on those
        self.split = held_out(evaluator.project, candidate)

    def lost(self, file: File) -> float:
        """Return what the task's metric lost on these samples against the reference, in the bad direction.

        Raises:
            DataError: The split has no targets that the task could judge by.
        """
        project = self._evaluator.project
        key = make_key(
            control=file.digest,
            baseline=self._reference.digest,
            data=project.data.sha256,
            samples=len(self.split),
            skipped=self._skipped,
            seed=project.recipe.seed,
            task=msgspec.to_builtins(project.recipe.task),
            postprocess=msgspec.to_builtins(project.recipe.postprocess),
            code=project.entries.sha256(),
            batch=project.recipe.serve.batch,
            cpu_features=cpu_features(),
            versions=project.versions,
        )
        with self._evaluator.cache.entry("sensitivity", key) as entry:
            if entry.result is None:
                entry.finish(loss=self._measured(file))
            return float((entry.result or {})["loss"])

    def _measured(self, file: File) -> float:
        judge, data = self._evaluator.project.judge, self._evaluator.project.data
        before, after = (
            judge.prepared(self._evaluator.answers(one.built.path, one.built.format, self.split), self.split)
            for one in (self._reference, file)
        )
        try:
            drop = judge.evaluate(after, self.split.targets, data.labels, before).drop
        except DataError as error:
            raise error.at(f"{self._where}.quantize.accuracy_control: the calibration split") from error
        if drop is None:
            raise DataError(
                "the task gives no `drop` on these samples, so nobody knows what quantizing costs",
                where=f"{self._where}.quantize.accuracy_control",
                hint="take it out, or let the package that adds the task compare both networks (`SplitResult.drop`)",
                code="control-samples",
            )
        return drop.value


def held_out_against_the_better(
    evaluator: Evaluator, original: File, compressed: File, candidate: Candidate, log: Log
) -> HeldOut:
    """Return what judges an artifact against the original, or against the float network it is made from.

    Where the steps made that one better, as training does, INT8 could lose all of the gain and be no worse than the
    original: what quantization costs would not be seen.

    Args:
        evaluator: Runs and judges files.
        original: The original's file.
        compressed: The float file of the network that the steps gave; without steps, the original's again.
        candidate: The artifact.
        log: Told when it is the second.

    Raises:
        DataError: See ``HeldOut``.
    """
    if evaluator.has_right_answers(evaluator.project.data.splits["calibration"]):  # the original's say nothing
        return HeldOut(evaluator, compressed, candidate, against="the float network")
    found = HeldOut(evaluator, original, candidate, against="the original")
    if not evaluator.project.recipe.steps or (gain := -found.lost(compressed)) <= 0:
        return found
    log.note(f"the float network is better than the original by {gain:.4f}: what quantizing costs is judged against it")
    return HeldOut(evaluator, compressed, candidate, against="the float network")


def control_accuracy(
    made: MadeArtifact,
    *,
    limit: float,
    held_out: HeldOut,
    scan: Callable[[], Sequence[Scored]],
    make: Callable[[Candidate], MadeArtifact],
    log: Log,
) -> MadeArtifact:
    """Return an artifact whose most sensitive layers are in float, as many as it takes.

    Args:
        made: All its layers quantized.
        limit: What the metric may lose.
        held_out: Judges.
        scan: Ranks the layers; called when some must be left in float.
        make: Makes another one, by its settings.
        log: Told how it goes.

    Returns:
        The one given where it loses no more than the limit; else the first of a series, with ever more layers in float,
        that does not; else, with a warning, the one that lost least.
    """
    samples = f"{len(held_out.split)} held-out calibration samples"
    lost = held_out.lost(made.file)
    log.note(f"loses {lost:.4f} against {held_out.against} on {samples}; it may lose {limit:g}")
    if lost <= limit:
        return made
    least, best = lost, made
    scored = scan()
    for rung in rungs(len(scored)):
        candidate = made.candidate
        groups = [group for part in scored[:rung] for group in part.groups]
        try:
            mixed = make(candidate.sparing(groups, ""))
        except ExportError as error:
            if error.code != ALL_FLOAT:
                raise
            log.note(f"with {rung} of {len(scored)} parts in {candidate.wider_word} nothing would be quantized")
            break
        tried = replace(mixed, name=made.name, sensitivity=layer_losses(scored, rung, candidate.wider))
        lost = held_out.lost(tried.file)
        log.note(f"with {rung} of {len(scored)} parts in {candidate.wider_word} it loses {lost:.4f}")
        if lost <= limit:
            return tried
        if lost < least:
            least, best = lost, tried
    found = (
        f"found no mixture that loses {limit:g} or less" if scored else "tried no mixture (`trials: 0`, or one layer)"
    )
    said = f"accuracy_control {found}: against {held_out.against}, on {samples}, this file loses {least:.4f}"
    built = replace(best.file.built, warnings=[*best.file.built.warnings, said])
    return replace(best, file=replace(best.file, built=built))
