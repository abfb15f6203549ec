"""Which layers a scheme hurts most: each quantized alone, on calibration samples, and ranked by what it costs.

Source: Wu et al. 2020, arXiv:2004.09602, section 6.1 (partial quantization): one layer at a time is quantized, the
layers are sorted by what that costs, and the most sensitive ones stay in float until the whole is good enough.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edgeglm.cache import make_key
from edgeglm.errors import ExportError
from edgeglm.formats import file_name
from edgeglm.host import cpu_features
from edgeglm.pipeline.build import calibration_batches, quantize_file
from edgeglm.recipe.types import Quantize
from edgeglm.report.types import LayerLoss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from edgeglm.artifacts.groups import Group
    from edgeglm.choice.candidates import Candidate
    from edgeglm.data.splits import Arrays, Split
    from edgeglm.log import Log
    from edgeglm.pipeline.build import File
    from edgeglm.pipeline.evaluation import Evaluator

_MEASURE = "mean share of what is read"  # of cached trials: another way to measure has another word
_RESOLUTION = 0.01  # variation, in shares of its size, below which a part counts as a constant: 8 bits tell no finer
WORST = 1e6  # the loss of answers that are not finite, or of a group that cannot be quantized
FORMATS = ("onnx", "tflite", "openvino")  # whose operators can be left in float one by one


@dataclass(frozen=True)
class Scored:
    """Neighbouring groups that were quantized together, and what that cost."""

    groups: tuple[Group, ...]
    loss: float  # see ``output_loss``

    @property
    def operators(self) -> tuple[str, ...]:
        """What `ignore` leaves them in float by."""
        return tuple(operator for group in self.groups for operator in group.operators)


class Trials:
    """Quantizes parts of one network by one scheme, and says what that costs on calibration samples.

    The evaluation data is never looked at. Every figure is cached by what it depends on.
    """

    def __init__(self, evaluator: Evaluator, source: File, candidate: Candidate) -> None:
        self.evaluator = evaluator
        self.project = project = evaluator.project
        self.cache = evaluator.cache
        self.source = source
        self.candidate = candidate
        quantization = candidate.config.quantization
        assert isinstance(quantization, Quantize)
        self.quantization = quantization
        count = min(candidate.config.search.samples, len(project.data.splits["calibration"]))
        drawn = np.random.default_rng(project.recipe.seed).permutation(len(project.data.splits["calibration"]))
        self.samples: Split = project.data.splits["calibration"].take(np.sort(drawn[:count]))
        self._reference: Arrays | None = None

    def loss(self, left: Sequence[str]) -> float:
        """Return what is lost when these operators stay in float and all others are quantized."""
        return self.loss_of(
            msgspec.structs.replace(self.quantization, ignore=[*self.quantization.ignore, *left], layers=[])
        )

    def loss_of(self, quantization: Quantize) -> float:
        """Return what is lost by a quantization of the same network."""
        project, search = self.project, self.candidate.config.search
        settings = msgspec.structs.replace(quantization, calibration=min(quantization.calibration, search.samples))
        key = make_key(
            source=self.source.digest,
            quantization=msgspec.to_builtins(settings),
            data=project.data.sha256,
            seed=project.recipe.seed,
            samples=len(self.samples),
            measure=_MEASURE,
            task=msgspec.to_builtins(project.recipe.task),
            postprocess=msgspec.to_builtins(project.recipe.postprocess),
            batch=project.recipe.serve.batch,
            board=project.board.name,
            cpu_features=cpu_features(),
            versions=project.versions,
        )
        with self.cache.entry("sensitivity", key) as entry:
            if entry.result is None:
                with entry.scratch() as folder:
                    loss = self._measured(settings, folder)
                entry.finish(loss=loss)
            return float((entry.result or {})["loss"])

    def _measured(self, settings: Quantize, folder: Path) -> float:
        project, file_format = self.project, self.source.built.format
        if self._reference is None:
            self._reference = self._answers(self.source.built.path, file_format)
        calibration = project.data.splits["calibration"]
        samples = calibration_batches(calibration, settings.calibration, seed=project.recipe.seed)
        path = folder / file_name(file_format)
        try:
            built = quantize_file(self.source.built.path, path, file_format, settings, samples, board=project.board)
        except ExportError as error:
            return 0.0 if error.code == "quantized-nothing" else WORST
        return output_loss(self._answers(built.path, file_format), self._reference)

    def _answers(self, path: Path, file_format: str) -> Arrays:
        return self.project.judge.outputs_read(self.evaluator.answers(path, file_format, self.samples))


def output_loss(got: Arrays, reference: Arrays) -> float:
    """Return the mean over all parts of the squared error as a share of the part's variance, at most ``WORST``.

    0 is exact; 1 is as far off as the reference's mean would be, whatever the sample. Each part counts alike, so that
    scores between 0 and 1 do not vanish beside boxes in pixels. One that hardly varies is held against 1 % of its size.
    Integers are left out where there are real numbers.

    Args:
        got: Part -> (N, ...).
        reference: The same, of the float network.
    """
    real = [name for name, values in reference.items() if values.dtype.kind == "f"]
    return float(np.mean([_share(got[name], reference[name]) for name in real or reference]))


def _share(got: np.ndarray, reference: np.ndarray) -> float:
    a, b = (np.asarray(values, dtype=np.float64).reshape(len(values), -1) for values in (reference, got))
    if not np.isfinite(b).all():
        return WORST
    spread = max(float(np.mean((a - a.mean(axis=0)) ** 2)), _RESOLUTION**2 * float(np.mean(a**2)))
    return min(float(np.mean((b - a) ** 2)) / (spread or 1.0), WORST)


def scan(
    loss: Callable[[Sequence[str]], float],
    groups: Sequence[Group],
    *,
    trials: int,
    progress: Callable[[int, int], None],
) -> list[Scored]:
    """Return groups of layers with what quantizing each alone costs, the most costly first.

    Where there are more layers than trials, neighbours are tried together with half of the trials; the rest go into
    halving whichever costs most, so that the layers that matter are told apart and the others are not.

    Args:
        loss: Of operators left in float, the others quantized.
        groups: All groups of the file, in its order.
        trials: How many may be measured, at least.
        progress: Told how many are done, of how many.
    """
    everything = [operator for group in groups for operator in group.operators]
    done = itertools.count(1)

    def scored(part: tuple[Group, ...]) -> Scored:
        inside = {operator for group in part for operator in group.operators}
        found = Scored(part, loss([operator for operator in everything if operator not in inside]))
        progress(next(done), trials)
        return found

    trials = min(trials, 2 * len(groups))  # no more than halving down to each group takes
    first = len(groups) if len(groups) <= trials else max(1, trials // 2)
    trials = first if first == len(groups) else trials
    parts = [scored(part) for part in _neighbours(groups, first)]
    left = trials - first
    while left >= 2 and any(len(part.groups) > 1 for part in parts):
        worst = max((part for part in parts if len(part.groups) > 1), key=lambda part: part.loss)
        halves = [scored(half) for half in _neighbours(worst.groups, 2)]
        at = parts.index(worst)
        parts[at : at + 1] = halves
        left -= 2
    return sorted(parts, key=lambda part: -part.loss)  # stable: equal ones stay in the file's order


def rungs(count: int) -> Iterator[int]:
    """Yield how many of ``count`` groups are left in float, step by step: 1, 2, 3, 4, 6, 8, 12, ... below ``count``."""
    steps = (base * 2**power for power in range(20) for base in (2, 3))
    yield from (rung for rung in (1, *steps) if rung < count)


def layer_losses(scored: Sequence[Scored], kept: int, wider: str) -> list[LayerLoss]:
    """Return what a report says of a scan of which the first ``kept`` parts got a ``wider`` scheme; none: float."""
    return [
        LayerLoss(
            layers=[group.layer for group in part.groups],
            loss=part.loss,
            kept=index < kept,
            scheme=wider if index < kept else "",
        )
        for index, part in enumerate(scored)
    ]


def _neighbours(groups: Sequence[Group], count: int) -> list[tuple[Group, ...]]:
    edges = [round(index * len(groups) / count) for index in range(count + 1)]
    return [tuple(groups[start:end]) for start, end in itertools.pairwise(edges)]


def scan_candidate(trials: Trials, log: Log) -> list[Scored]:
    """Scan one candidate as its recipe says, and say how long it takes. Raises: EdgeglmError."""
    from edgeglm.artifacts.groups import groups_of

    project, candidate = trials.project, trials.candidate
    groups = groups_of(trials.source.built.path, candidate.config.format, board=project.board)
    limit = candidate.config.search.trials
    if not limit or len(groups) < 2:
        return []
    started = time.perf_counter()

    def progress(done: int, total: int) -> None:
        if done == 1 and total > 1:
            seconds = (time.perf_counter() - started) * (total - 1)
            log.note(f"{len(groups)} layers, {total} trials, about {seconds:.0f} s more")
        log.progress(done, total)

    log.progress(0, min(limit, len(groups)))  # trials in the cache come one by one too: nothing is gone on from
    return scan(trials.loss, groups, trials=limit, progress=progress)
