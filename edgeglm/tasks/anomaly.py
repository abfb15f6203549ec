"""Anomaly detection: one score a sample, judged by how well it tells anomalies from normal samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from edgeglm_agent.processing.reconstruction import SCORE, ReconstructionError
from msgspec import Meta

from edgeglm.data.splits import batches
from edgeglm.errors import DataError, ModelError
from edgeglm.report.types import Metric, SplitResult
from edgeglm.tasks._base import ObjectiveName, TaskConfig, finite_output, judged_output
from edgeglm.tasks.alarms import LimitJudge, crossings
from edgeglm.tasks.onset import noticed
from edgeglm.tasks.roc import auc, auc_drop, auc_interval, threshold_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeglm_agent.processing import Postprocess
    from edgeglm_agent.wire import TensorSpec

    from edgeglm.data.splits import Arrays, Data, Split
    from edgeglm.sources.entry import Entries
    from edgeglm.tasks._base import Judge
    from edgeglm.tasks.changes import Changes

_ROWS = 256  # of a split in memory at a time
_LIMIT = "anomaly_limit"  # beside the outputs, the same number for each sample: above it a score is an alarm


class Anomaly(TaskConfig, tag="anomaly", frozen=True, kw_only=True):
    """A score (N,), or an output that gives the input back; targets are 0 and 1 (anomalous), or (N, 2) [that, run]."""

    reads_calibration: ClassVar[bool] = True  # the limit is chosen there
    needs_targets: ClassVar[bool] = True
    reads_one_output: ClassVar[bool] = True
    judges_classes: ClassVar[bool] = False

    output: str | None = None  # name of the output that is the score, or gives the input back; None: the first
    score: Literal["output", "squared-error", "absolute-error"] = "output"  # errors: mean, between input and output
    input: str | None = None  # name of the input that is given back; None: the first
    anomalous: Literal["high", "low"] = "high"  # what a score of an anomaly is
    false_alarm_rate: Annotated[float, Meta(ge=0, lt=1)] = 0.01  # share of normal samples that the limit lets through
    step_seconds: Annotated[float, Meta(gt=0)] | None = None  # from sample to sample of a run; None: count samples

    @property
    def objective(self) -> ObjectiveName:  # type: ignore[override]
        """An autoencoder learns to give its input back; of another network the original's answers are learnt."""
        return "outputs" if self.score == "output" else "reconstruction"

    def read_targets(
        self, targets: np.ndarray | None, *, labels: Sequence[str], judged: bool, where: str
    ) -> np.ndarray | None:
        """Return 0 and 1 as (N,) int64, or with the number of the run as (N, 2).

        Raises:
            DataError: They are something else, or there are none and the split is judged.
        """
        del labels
        if targets is None:
            if judged:
                raise DataError(
                    "has no targets, and anomaly detection is judged by them",
                    hint="return (inputs, targets) with 0 for each normal sample and 1 for each anomalous one",
                    where=where,
                    code="data-no-targets",
                )
            return None
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = targets[:, 0]
        fits = targets.ndim == 1 or (targets.ndim == 2 and targets.shape[1] == 2)
        if not fits or targets.dtype.kind not in "biuf" or not (targets == np.floor(targets)).all():
            raise DataError(
                f"targets of shape {list(targets.shape)} and type {targets.dtype} do not say what is anomalous",
                hint="give 0 or 1 for each sample; or (N, 2), with the number of the run it belongs to beside it",
                where=where,
                code="data-targets",
            )
        targets = targets.astype(np.int64)
        marks = _marks(targets)
        if not np.isin(marks, (0, 1)).all():
            first = int(np.argmin(np.isin(marks, (0, 1))))
            raise DataError(
                f"target {int(marks[first])} of sample {first} is neither 0 (normal) nor 1 (anomalous)",
                hint="turn kinds of faults into 1",
                where=where,
                code="data-targets",
                sample=first,
            )
        return targets

    def check_splits(
        self, targets: Mapping[str, np.ndarray], *, chief: str, labels: Sequence[str], where: Mapping[str, str]
    ) -> list[str]:
        """Refuse a split to be judged without both kinds; mention anomalies that an autoencoder would learn.

        Raises:
            DataError: All samples of an evaluation split are of one kind (``data-one-class``).
        """
        del labels, chief
        said = []
        for name, values in targets.items():
            marks = _marks(values)
            if name in ("train", "calibration"):
                if marks.any() and self.score != "output":
                    said.append(
                        f"{where[name]}: {int(marks.sum())} of {len(marks)} samples are anomalous; an autoencoder "
                        "that learns to give them back, too, tells them apart less well"
                    )
            elif marks.all() or not marks.any():
                raise DataError(
                    f"all samples are {'anomalous' if marks.all() else 'normal'}",
                    hint="it takes both kinds to tell how well they are told apart; look at how the splits are made",
                    where=where[name],
                    code="data-one-class",
                )
        return said

    def check(self, outputs: Sequence[TensorSpec], data: Data) -> None:
        """Refuse an output that is no score, or does not give back the input. Raises: ModelError."""
        spec = judged_output(outputs, self.output)
        row = data.evaluation.rows(np.arange(1))
        if self.score == "output":
            if int(np.prod(spec.shape)) != 1:
                alike = any(values.shape[1:] == spec.shape for values in row.values())
                raise ModelError(
                    f"output `{spec.name}` of shape {list(spec.shape)} is not one score for each sample",
                    hint="it has the shape of an input: write `score: squared-error` for an autoencoder"
                    if alike
                    else "name another output in `task.output`",
                    where="task",
                    code="output-not-score",
                )
            return
        given = self.input or next(iter(row))
        if given not in row:
            raise ModelError(
                f"the model has no input `{given}`; it has {', '.join(row)}",
                where="task.input",
                code="output-not-score",
            )
        if row[given].shape[1:] != spec.shape:
            raise ModelError(
                f"output `{spec.name}` of shape {list(spec.shape)} does not give back input `{given}` of shape "
                f"{list(row[given].shape[1:])}",
                hint="name the output by `task.output`, the input by `task.input`, or write `score: output`",
                where="task",
                code="output-not-score",
            )

    def bind(self, *, entries: Entries, postprocess: Postprocess) -> Judge:
        """Return the task, with the recipe's operations where they decide by a limit of their own."""
        del entries
        return LimitJudge(self, postprocess) if any(op.op == "threshold" for op in postprocess.wire()) else self

    def prepared(self, outputs: Arrays, split: Split) -> Arrays:
        """Return the outputs, and of an autoencoder's the score of each sample, as `anomaly_score`.

        Raises:
            ModelError: The outputs hold NaN or Inf.
        """
        if self.score == "output":
            return outputs
        made = finite_output(outputs, self.output)
        given = self.input or split.input_names[0]
        operation = ReconstructionError(error="squared" if self.score == "squared-error" else "absolute")
        scores = [operation.score(inputs[given], made[rows]) for rows, inputs in batches(split, _ROWS)]
        return {SCORE: np.concatenate(scores), **outputs}

    def calibrated(self, judged: Arrays, targets: np.ndarray | None, count: int) -> Arrays:
        """Return the limit that lets through the wanted share of the normal calibration samples, (count,).

        Without targets all of them count as normal, as what an autoencoder is trained on; nothing is returned where
        none is.
        """
        scores = self._scores(judged)
        normal = scores if targets is None else scores[_marks(targets) == 0]
        return {_LIMIT: np.full(count, threshold_at(normal, self.false_alarm_rate))} if len(normal) else {}

    def evaluate(
        self, outputs: Arrays, targets: np.ndarray | None, labels: Sequence[str], baseline: Arrays | None = None
    ) -> SplitResult:
        """Return the area under the ROC curve, and what a limit at the wanted rate of false alarms finds.

        The limit is that of ``calibrated``, for each model its own, and ``false_alarm_rate`` what it comes to on the
        samples judged; without calibration samples it is chosen on the normal ones of this very split, which flatters
        it a little. Where targets name runs, ``runs_noticed`` is the share of faults that set off an alarm
        before their run ended, and delay and lead time are medians: of those noticed, and of all (0 where not).

        Raises:
            ModelError: The scores hold NaN or Inf.
            DataError: All samples are of one kind.
        """
        del labels
        assert targets is not None  # read_targets saw to it
        scores, anomalous = self._scores(outputs), _marks(targets) == 1
        if anomalous.all() or not anomalous.any():  # of a part of the samples that somebody chose
            raise DataError(
                f"all samples are {'anomalous' if anomalous.all() else 'normal'}",
                hint="it takes both kinds to tell how well they are told apart",
                where="data",
                code="data-one-class",
            )
        limit = self._limit(outputs, scores, anomalous)
        alarms = scores > limit
        extra = {
            "detection_rate": float(alarms[anomalous].mean()),
            "false_alarm_rate": float(alarms[~anomalous].mean()),
            "threshold": limit if self.anomalous == "high" else -limit,
        }
        if targets.ndim == 2:
            extra |= self._timely(alarms, anomalous, targets[:, 1])
        before = None if baseline is None else self._scores(baseline)
        return SplitResult(
            metric=Metric(
                name="auc",
                value=auc(scores, anomalous),
                n=len(scores),
                ci95=auc_interval(scores, anomalous),
                higher_is_better=True,
                chance=0.5,
            ),
            metrics_extra=extra,
            drop=None if before is None else auc_drop(before, scores, anomalous),
        )

    def changes(self, before: Arrays, after: Arrays, targets: np.ndarray | None, labels: Sequence[str]) -> Changes:
        """Return the samples that crossed the limit, which is each model's own: see ``evaluate``."""
        del labels
        anomalous = np.zeros(len(self._scores(before)), bool) if targets is None else _marks(targets) == 1
        sides = [(outputs, self._scores(outputs)) for outputs in (before, after)]
        limits = [self._limit(outputs, scores, anomalous) for outputs, scores in sides]
        sign = 1 if self.anomalous == "high" else -1
        return crossings(
            [sign * scores for _, scores in sides],
            [scores > limit for (_, scores), limit in zip(sides, limits, strict=True)],
            [sign * limit for limit in limits],
            None if targets is None else anomalous,
        )

    def marks(self, targets: np.ndarray) -> np.ndarray:
        """Return (N,) 0 or 1 (anomalous) of targets with or without runs."""
        return _marks(targets)

    def shown_scores(self, outputs: Arrays) -> np.ndarray:
        """Return (N,) scores as the network gives them, whichever way is anomalous."""
        return self._scores(outputs) * (1 if self.anomalous == "high" else -1)

    def _limit(self, outputs: Arrays, scores: np.ndarray, anomalous: np.ndarray) -> float:
        """Return the limit that was chosen on calibration samples; without those, on the normal ones of these."""
        return (
            float(outputs[_LIMIT][0]) if _LIMIT in outputs else threshold_at(scores[~anomalous], self.false_alarm_rate)
        )

    def _scores(self, outputs: Arrays) -> np.ndarray:
        """Return (N,) scores, higher for what is more anomalous."""
        values = finite_output(outputs, self.output if self.score == "output" else SCORE).reshape(-1)
        return values if self.anomalous == "high" else -values

    def _timely(self, alarms: np.ndarray, anomalous: np.ndarray, runs: np.ndarray) -> dict[str, float]:
        found = noticed(alarms, anomalous, runs)
        delays = [one.delay for one in found if one.delay is not None]
        unit, step = ("samples", 1.0) if self.step_seconds is None else ("s", self.step_seconds)
        extra = {"runs_noticed": len(delays) / len(found)}
        if delays:
            extra[f"detection_delay_{unit}"] = float(np.median(delays)) * step
        return extra | {f"lead_time_{unit}": float(np.median([one.lead for one in found])) * step}


def _marks(targets: np.ndarray) -> np.ndarray:
    """Return (N,) 0 or 1 of targets with or without runs."""
    return targets if targets.ndim == 1 else targets[:, 0]
