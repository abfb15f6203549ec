"""The metric again, on samples that were changed as the recipe's `robustness` says: before and after."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeglm.data.shifts import OwnShift, ShiftConfig, Surroundings, shift_name
from edgeglm.data.splits import WrappedSplit, batches
from edgeglm.errors import EntryError, RecipeError
from edgeglm.report.types import RobustnessResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.data.splits import Arrays, Split
    from edgeglm.log import Log
    from edgeglm.pipeline.build import File
    from edgeglm.pipeline.evaluation import Evaluator
    from edgeglm.pipeline.project import Project
    from edgeglm.pipeline.sides import MadeArtifact
    from edgeglm.report.types import ArtifactSide, Side

MOST_SAMPLES = 2000  # more tell little, and cost as much as the evaluation itself for every change
_ROWS = 256
_TRIED = 16  # samples at a time, after a first one
_DRAW = 0x5417  # keeps these draws apart from others of the same seed


@dataclass(frozen=True)
class ShiftedSplit(WrappedSplit):
    """A split whose inputs are changed when they are read."""

    shift: ShiftConfig
    around: Surroundings
    numbers: np.ndarray  # (N,) of the samples: what is random about one hangs on its number

    def rows(self, indices: np.ndarray) -> Arrays:
        """Return the changed inputs of these samples, in this order."""
        return self.shift.apply(self.split.rows(indices), self.numbers[indices], self.around)

    def take(self, indices: np.ndarray) -> ShiftedSplit:
        """Return these samples alone."""
        return ShiftedSplit(self.split.take(indices), self.shift, self.around, self.numbers[indices])


@dataclass
class Robustness:
    """The changes of one recipe, tried on a sample, and what the baseline makes of them."""

    evaluator: Evaluator
    rows: np.ndarray  # of the split that decides: those that are changed
    splits: list[ShiftedSplit] = field(default_factory=list)
    _baseline: list[Arrays] = field(default_factory=list)  # what of its outputs is judged, for each change
    _unchanged: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, project: Project, evaluator: Evaluator, log: Log) -> Robustness:
        """Return the changes, each tried on samples: what is wrong is better heard before hours of work.

        Raises:
            RecipeError: A change does not suit the inputs, or changes none of them.
            EntryError: A function of the user's cannot be used, or changes none of them.
        """
        split = project.data.evaluation
        rows, seed = np.arange(len(split)), project.recipe.seed
        if not project.recipe.robustness:
            return cls(evaluator, rows)
        if len(rows) > MOST_SAMPLES:
            rows = np.sort(np.random.default_rng([seed, _DRAW]).permutation(rows)[:MOST_SAMPLES])
            log.note(f"robustness: {MOST_SAMPLES:,} of {len(split):,} samples, drawn by seed")
        chosen = split.take(rows)
        spread, layouts = _spread(chosen), {spec.name: spec.layout for spec in project.original.inputs}
        made = cls(evaluator, rows)
        for place, shift in enumerate(project.recipe.robustness):
            key = f"robustness[{place}].{shift.__struct_config__.tag}"
            around = Surroundings(spread, layouts, partial(_generator, seed, place), project.entries, key)
            made.splits.append(ShiftedSplit(chosen, shift, around, rows))
            _refuse_unchanged(made.splits[-1])
        return made

    def added(
        self,
        reference: File,
        baseline: Side,
        artifacts: Sequence[MadeArtifact],
        sides: Sequence[ArtifactSide],
        log: Log,
    ) -> tuple[Side, list[ArtifactSide]]:
        """Return the baseline's and the artifacts' sides with the metric under each change.

        Args:
            reference: The baseline's file.
            baseline: Its side.
            artifacts: Those that are written.
            sides: Theirs, in their order, and after them those of candidates that are not.
            log: Told that this begins.
        """
        if not self.splits:
            return baseline, list(sides)
        log.stage("robustness")
        found = self.results(reference, self.evaluator.baseline, is_baseline=True)
        changed = [
            msgspec.structs.replace(side, robustness=self.results(artifact.file, artifact.outputs))
            for artifact, side in zip(artifacts, sides, strict=False)
        ]
        return msgspec.structs.replace(baseline, robustness=found), [*changed, *sides[len(artifacts) :]]

    def results(self, file: File, outputs: dict[str, Arrays], *, is_baseline: bool = False) -> list[RobustnessResult]:
        """Return the metric under each change; the baseline's are asked for first.

        Args:
            file: What is judged.
            outputs: Split -> its outputs on the samples as they are.
            is_baseline: Whether it is the baseline: then nothing is compared.
        """
        evaluator, project = self.evaluator, self.evaluator.project
        labels, judge = project.data.labels, project.judge
        plain, targets = self.splits[0].split, self.splits[0].split.targets
        part = {name: values[self.rows] for name, values in outputs[project.data.eval_splits[0]].items()}
        teacher = evaluator.teacher if evaluator.has_right_answers(plain) else None
        right = None
        if teacher is not None and (answers := evaluator.right_answers(project.data.eval_splits[0])) is not None:
            right = {name: values[self.rows] for name, values in answers.items()}
        unchanged = judge.evaluate(judge.prepared(part, plain), targets, labels, right).metric.value
        found = []
        for place, split in enumerate(self.splits):
            answers = evaluator.predict_changed(file, split, **self._key(split, place))
            judged = judge.prepared(answers, split)
            if is_baseline:
                self._baseline.append(judged if teacher is None else judge.prepared(teacher.answers(split), split))
            before = None if is_baseline and teacher is None else self._baseline[place]
            result = judge.evaluate(judged, targets, labels, before)
            found.append(
                RobustnessResult(
                    name=shift_name(split.shift),
                    metric=evaluator.named(result.metric, plain),
                    unchanged=unchanged,
                    drop=result.drop,
                )
            )
        return found

    def _key(self, split: ShiftedSplit, place: int) -> dict[str, Any]:
        """Return what decides the changed samples, besides the data."""
        project = self.evaluator.project
        return {
            "shift": msgspec.to_builtins(split.shift),
            "place": place,
            "seed": project.recipe.seed,
            "most": MOST_SAMPLES,
            "code": project.entries.sha256(),
        }


def _refuse_unchanged(split: ShiftedSplit) -> None:
    """Raise unless a sample comes out other than it went in; the first that does is the last that is tried."""
    tried = 0
    while tried < len(split):
        rows = np.arange(tried, min(tried + _TRIED, len(split)) if tried else 1)
        before, after = split.split.rows(rows), split.rows(rows)
        if not all(np.array_equal(before[name], after[name]) for name in before):
            return
        tried += len(rows)
    own = isinstance(split.shift, OwnShift)
    called = f"`{split.shift.function}`" if isinstance(split.shift, OwnShift) else "this"
    raise (EntryError if own else RecipeError)(
        f"{called} changes nothing in any of {tried:,} samples",
        where=split.around.key,
        hint="return changed inputs, or remove the line" if own else "change more, or remove the line",
        code="entry-result" if own else "recipe-conflict",
    )


def _generator(seed: int, place: int, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, place, number])


def _spread(split: Split) -> dict[str, float]:
    """Return the standard deviation of all values of each input of real numbers, in one pass over the samples."""
    counts: dict[str, int] = {}
    sums: dict[str, np.ndarray] = {}
    for _, rows in batches(split, _ROWS):
        for name, values in rows.items():
            if values.dtype.kind == "f":
                flat = values.astype(np.float64)
                counts[name] = counts.get(name, 0) + flat.size
                sums[name] = sums.get(name, np.zeros(2)) + np.array([flat.sum(), np.square(flat).sum()])
    found = {}
    for name, (total, squares) in sums.items():
        mean = total / counts[name]
        found[name] = float(np.sqrt(max(0.0, squares / counts[name] - mean**2)))
    return found
