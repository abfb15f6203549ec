"""Write, load again and evaluate every artifact of a recipe, and for `auto` every candidate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edgeglm.choice.accuracy_control import ALL_FLOAT, control_accuracy, held_out_against_the_better, is_controlled
from edgeglm.choice.sensitivity import FORMATS, Trials, layer_losses, rungs, scan_candidate
from edgeglm.errors import EdgeglmError, ExportError, StorageError
from edgeglm.formats import file_name
from edgeglm.pipeline.sides import MadeArtifact, parity_of
from edgeglm.pipeline.standing import Standing
from edgeglm.recipe.types import Quantize
from edgeglm.report.types import Skipped

if TYPE_CHECKING:
    from edgeglm.choice.candidates import Candidate, Proposal
    from edgeglm.data.splits import Arrays, Split
    from edgeglm.log import Log
    from edgeglm.model import Model, ModelFile
    from edgeglm.pipeline.build import Builder, File
    from edgeglm.pipeline.evaluation import Evaluator
    from edgeglm.pipeline.project import Project
    from edgeglm.recipe import Budget
    from edgeglm.report.types import Host

MIXED = "mixed"  # in names: some layers are left in float because of a scan
CLIPPED = "clipped"  # in names: ranges of activations leave out what is rare
_CLOSER = 0.1  # of the error on calibration samples that clipping must take away
_GAIN = 0.01  # less of the loss gone in two steps is nothing gained
_FLOAT = 0.5  # of the weights left in float32, from which on a file is no quantized one


class Maker:
    """Makes the artifacts of one network."""

    def __init__(
        self,
        project: Project,
        builder: Builder,
        evaluator: Evaluator,
        network: tuple[Model | ModelFile, str],  # and its key
        host: Host,
        log: Log,
    ) -> None:
        self.project = project
        self.builder = builder
        self.evaluator = evaluator
        self.final, self.key = network
        self.log = log
        self.skipped: list[Skipped] = []
        self._good: dict[str, bool] = {}  # by the file's digest
        self.standing = Standing(project, evaluator, network, host)
        self._before: dict[int, Arrays] = {}  # how many calibration samples were drawn -> the original's answers

    def make(self, proposal: Proposal) -> list[MadeArtifact]:
        """Return what was made, in the order of the proposal; ``skipped`` then says what was not, and why.

        Raises:
            ExportError: An artifact that the recipe names cannot be made; or of an `auto`, no candidate.
            StorageError: The disk is full.
        """
        self.skipped = list(proposal.skipped)
        for skipped in proposal.skipped:
            self.log.note(f"not tried: {skipped.format} {skipped.scheme}".rstrip() + f": {skipped.reason}")
        made: list[MadeArtifact] = []
        for where in dict.fromkeys(candidate.where for candidate in proposal.candidates):
            group = [candidate for candidate in proposal.candidates if candidate.where == where]
            made += self._searched(group) if group[0].is_auto else [self._named(group[0])]
        return made

    def _named(self, candidate: Candidate) -> MadeArtifact:
        made = self._made(candidate, candidate.where)
        limit = self.project.recipe.budget.metric_drop
        if not is_controlled(candidate) or limit is None:
            return made
        source = self.builder.source(self.final, self.key, candidate.config.format)
        return control_accuracy(
            made,
            limit=limit,
            held_out=held_out_against_the_better(self.evaluator, self.builder.baseline(), source, candidate, self.log),
            scan=lambda: scan_candidate(Trials(self.evaluator, source, candidate), self.log),
            make=lambda changed: self._made(changed, candidate.where, variant=MIXED),
            log=self.log,
        )

    def _searched(self, group: list[Candidate]) -> list[MadeArtifact]:
        made: list[MadeArtifact] = []
        failure: EdgeglmError | None = None
        for number, candidate in enumerate(group, start=1):
            try:
                artifact = self._made(candidate, f"{candidate.where}: candidate {number} of {len(group)},")
                self._require_integers(artifact)
                made.append(artifact)
            except StorageError:
                raise
            except EdgeglmError as error:
                failure = failure or error
                self._skip(candidate, error.problems[0].message)
        if failure is not None and not made:
            raise failure
        whole = [artifact for artifact in made if artifact.config.scheme not in ("none", "fp16")]
        good = [self._is_good(artifact) for artifact in whole]
        behind = {artifact.name for artifact in whole[good.index(True) + 1 :]} if any(good) else set()
        for file_format in dict.fromkeys(artifact.config.format for artifact in whole):
            of_format = [artifact for artifact in whole if artifact.config.format == file_format]
            made += self._rescued(of_format, behind)
        places = {candidate.word: place for place, candidate in enumerate(group)}
        return sorted(made, key=lambda artifact: places[artifact.candidate.word])

    def _require_integers(self, artifact: MadeArtifact) -> None:
        """Refuse a candidate that is a float file under another name, so that no rule of speed takes it for integers.

        Layers that the recipe itself leaves in float are its own wish.

        Raises:
            ExportError: ``quantized-nothing``: most of its weights stayed float32.
        """
        from edgeglm.measure.census import weight_dtypes

        config = artifact.config
        asked = isinstance(config.quantization, Quantize) and (config.quantization.ignore or config.quantization.layers)
        if config.scheme in ("none", "fp16") or asked:
            return
        source = self.builder.source(self.final, self.key, config.format)
        before, after = (
            weight_dtypes(file.built.path, config.format).get("float32", 0) for file in (source, artifact.file)
        )
        if after > _FLOAT * before:
            left = next((warning for warning in artifact.file.built.warnings if "still float32" in warning), "")
            raise ExportError(
                f"{after / before:.0%} of its weights stayed float32" + f" ({left})" * bool(left),
                where=artifact.candidate.where,
                hint="this format does not quantize its main layers: take another format or weight-only-int8",
                code="quantized-nothing",
            )

    def _skip(self, candidate: Candidate, reason: str) -> None:
        self.log.note(f"left out: {candidate.word}: {reason}")
        self.skipped.append(Skipped(format=candidate.config.format, scheme=candidate.config.scheme, reason=reason))

    def _made(self, candidate: Candidate, stage: str, *, variant: str = "") -> MadeArtifact:
        config = candidate.config
        self.log.stage(f"{stage} {candidate.word}{f' {variant}' * bool(variant)}")
        try:
            file = self.builder.artifact(self.final, self.key, config, where=candidate.where)
            outputs = self.evaluator.predict_file(
                file.built.path, file_format=config.format, sha256=file.digest, buckets=file.built.buckets
            )
        except EdgeglmError as error:
            raise error.at(candidate.where) from error
        self.log.note(f"{file.size_bytes / 1e3:.1f} kB")
        name = file_name(config.format, "-".join(word for word in (config.scheme, variant) if word))
        return MadeArtifact(name, file, outputs, candidate)

    def _rescued(self, artifacts: list[MadeArtifact], behind: set[str]) -> list[MadeArtifact]:
        """Return mixed forms of the quantized ones of one format that lose too much, where they may be the fastest.

        Artifacts come with the fastest by the rule first: behind the first that is good enough, none is worth a scan.
        Nor is one that comes ``behind`` the first good one of all formats, where this format has something good to fall
        back on.
        """
        found: list[MadeArtifact] = []
        falls_back = any(self._is_good(artifact) for artifact in artifacts)
        for artifact in artifacts:
            config = artifact.config
            if self._is_good(artifact):
                break
            if falls_back and artifact.name in behind:
                continue
            if config.format not in FORMATS or not config.search.trials or not self._can_be_rescued(artifact):
                continue
            try:
                clipped = self._clipped(artifact)
                if clipped is not None:
                    found.append(clipped)
                    if self._is_good(clipped):
                        continue
                mixed = self._mixed(clipped or artifact)
            except StorageError:
                raise
            except EdgeglmError as error:
                self._skip(artifact.candidate, f"no mixed form: {error.problems[0].message}")
                continue
            if mixed is not None:
                found.append(mixed)
        return found

    def _clipped(self, artifact: MadeArtifact) -> MadeArtifact | None:
        """Return the static INT8 file whose ranges leave out what is rare, where calibration samples gain from it."""
        candidate = artifact.candidate
        quantization = candidate.config.quantization
        if not isinstance(quantization, Quantize) or quantization.scheme != "static-int8":
            return None
        if quantization.ranges is not None:
            return None
        self.log.stage(f"{candidate.where}: whether {candidate.word} gains from ranges without what is rare")
        trials = Trials(self.evaluator, self.builder.source(self.final, self.key, candidate.config.format), candidate)
        narrower = msgspec.structs.replace(quantization, ranges="mean")
        before, after = trials.loss_of(quantization), trials.loss_of(narrower)
        if after > (1 - _CLOSER) * before:
            self.log.note("it does not")
            return None
        config = msgspec.structs.replace(candidate.config, quantize=narrower)
        reason = f"ranges without what is rare lower the error on calibration samples to {after / before:.0%}"
        return self._made(replace(candidate, config=config, reason=reason), f"{candidate.where}:", variant=CLIPPED)

    def _mixed(self, artifact: MadeArtifact) -> MadeArtifact | None:
        """Give the most sensitive layers a wider scheme, or none, till the file is good enough or nothing is gained."""
        candidate = artifact.candidate
        if candidate.config.buckets or candidate.config.several_batches:  # its operators are others than one call's
            self._skip(candidate, "no mixed form: layers of a file that can be called in several ways are not scanned")
            return None
        self.log.stage(f"{candidate.where}: which layers {candidate.word} hurts")
        source = self.builder.source(self.final, self.key, candidate.config.format)
        trials = Trials(self.evaluator, source, candidate)
        scored = scan_candidate(trials, self.log)
        losses = [trials.loss_of(trials.quantization)]
        last: MadeArtifact | None = None
        for rung in rungs(len(scored)):
            groups = [group for part in scored[:rung] for group in part.groups]
            spared = f"{rung} of {len(scored)} parts in {candidate.wider_word}"
            mixed = candidate.sparing(groups, f"{spared}, by a scan of sensitivity")
            quantization = mixed.config.quantization
            assert isinstance(quantization, Quantize)
            losses.append(trials.loss_of(quantization))
            if len(losses) > 3 and losses[-1] > (1 - _GAIN) * losses[-3]:
                break
            try:
                if self._proves_loss(mixed):
                    continue
                made = self._made(mixed, f"{candidate.where}: {spared},", variant=MIXED)
            except ExportError as error:
                if error.code != ALL_FLOAT:
                    raise
                break
            last = replace(made, sensitivity=layer_losses(scored, rung, candidate.wider))
            if self._is_good(last):
                break
        if last is None:
            self._skip(candidate, "no mixed form: leaving sensitive layers in float gained too little")
        return last

    def _is_good(self, artifact: MadeArtifact) -> bool:
        """Return whether nothing speaks against an artifact's answers that does not against the float file's too."""
        if artifact.file.digest not in self._good:
            source = self.builder.source(self.final, self.key, artifact.config.format)
            outputs = self.evaluator.predict_file(
                source.built.path, file_format=source.built.format, sha256=source.digest
            )
            plain = MadeArtifact(artifact.name, source, outputs, artifact.candidate)
            mine, others = self.standing.of(artifact), self.standing.of(plain)
            self._good[artifact.file.digest] = mine.counts <= others.counts
        return self._good[artifact.file.digest]

    def _can_be_rescued(self, artifact: MadeArtifact) -> bool:
        """Return False where any change at all counts as a loss: a mean metric that no budget gives room."""
        budget, data = self.project.recipe.budget, self.project.data
        if _limits_quality(budget):
            return True
        drop = self.evaluator.results(artifact.outputs)[data.eval_splits[0]].drop
        passed = parity_of(self.project, artifact, self.final, self.key, self.evaluator).passed
        return not passed or drop is None or drop.method == "counts"

    def _proves_loss(self, candidate: Candidate) -> bool:
        """Return whether the calibration samples prove already that a candidate loses more than it may."""
        project, budget = self.project, self.project.recipe.budget
        if budget.metric_drop is None and _limits_quality(budget):
            return False  # the metric itself may lose what it likes
        calibration = project.data.splits["calibration"]
        if self.evaluator.has_right_answers(calibration):
            return False
        if calibration.targets is None and project.recipe.task.needs_targets:
            return False  # of a split that is not judged nobody wants them: they prove nothing
        drawn = np.random.default_rng(project.recipe.seed).permutation(len(calibration))
        split = calibration.take(np.sort(drawn[: candidate.config.quantization.calibration_samples]))
        if len(split) not in self._before:  # each `auto` draws as many as its own `calibration` says
            self._before[len(split)] = self._answers(self.builder.baseline(), split)
        file = self.builder.artifact(self.final, self.key, candidate.config, where=candidate.where)
        task = project.judge
        try:
            both = self._before[len(split)], self._answers(file, split)
            before, after = (task.prepared(outputs, split) for outputs in both)
            result = task.evaluate(after, split.targets, project.data.labels, before)
        except EdgeglmError:  # a split that nobody asked to be evaluated may hold targets of one kind only
            return False
        return result.drop is not None and result.drop.ci95[0] > (budget.metric_drop or 0.0)

    def _answers(self, file: File, split: Split) -> Arrays:
        return self.evaluator.answers(file.built.path, file.built.format, split)


def _limits_quality(budget: Budget) -> bool:
    """Return whether a budget says how much the answers may lose."""
    return any(limit is not None for limit in (budget.metric_drop, budget.per_class_drop, budget.per_slice_drop))
