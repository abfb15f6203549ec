"""Embedding: one vector a sample, judged by how close it stays to the original's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from msgspec import Meta

from edgeglm.errors import DataError, ModelError, RecipeError
from edgeglm.report.types import Change, Metric, SplitResult
from edgeglm.tasks._base import ObjectiveName, TaskConfig, finite_output, judged_output
from edgeglm.tasks.changes import Changes
from edgeglm.tasks.statistics import mean_interval, paired_mean_drop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm_agent.wire import TensorSpec

    from edgeglm.data.splits import Arrays, Data

_ROWS = 1024  # of a matrix of similarities, at a time


class Embedding(TaskConfig, tag="embedding", frozen=True, kw_only=True):
    """Outputs are vectors (N, D); targets, where there are any, score pairs: (N, 2) [number of the pair, score]."""

    objective: ClassVar[ObjectiveName] = "embedding"
    reads_one_output: ClassVar[bool] = True
    judges_classes: ClassVar[bool] = False

    output: str | None = None  # name of the output that holds the vectors; None: the first
    neighbours: Annotated[int, Meta(ge=1)] = 1  # how many nearest samples must stay the same; at most half of all

    def read_targets(
        self, targets: np.ndarray | None, *, labels: Sequence[str], judged: bool, where: str
    ) -> np.ndarray | None:
        """Return pair numbers and scores, (N, 2) float64, or None where there are none.

        Raises:
            DataError: They are not (N, 2), or a pair does not have two samples of one score.
        """
        del labels, judged
        if targets is None:
            return None
        if targets.ndim != 2 or targets.shape[1] != 2 or targets.dtype.kind not in "iuf":
            raise DataError(
                f"targets of shape {list(targets.shape)} are no scored pairs",
                hint="give none, or (N, 2): the number of the pair that a sample belongs to (-1: none) and its score",
                where=where,
                code="data-targets",
            )
        targets = targets.astype(np.float64)
        paired = targets[targets[:, 0] >= 0]
        numbers, counts = np.unique(paired[:, 0], return_counts=True)
        if len(numbers) and ((counts != 2).any() or not np.isfinite(paired[:, 1]).all()):
            wrong = numbers[counts != 2]
            raise DataError(
                f"pair {wrong[0]:g} has {counts[counts != 2][0]} samples" if len(wrong) else "a score is not finite",
                hint="a pair has two samples, which carry the same number and the same score",
                where=where,
                code="data-targets",
            )
        return targets

    def check(self, outputs: Sequence[TensorSpec], data: Data) -> None:
        """Refuse an output that holds no vectors, and more neighbours than can tell anything.

        Raises:
            ModelError: The first.
            RecipeError: The second: of n samples, neighbours that are drawn agree in ``neighbours / (n - 1)``.
        """
        spec = judged_output(outputs, self.output)
        if len(spec.shape) != 1 or spec.shape[0] < 2 or not spec.dtype.startswith("float"):
            raise ModelError(
                f"output `{spec.name}` of shape {list(spec.shape)} and type {spec.dtype} holds no embeddings: one "
                "vector of numbers for each sample is needed",
                hint="pool and normalise in the network's forward(), or name another output in `task.output`",
                where="task",
                code="output-not-embedding",
            )
        name = min(data.eval_splits, key=lambda split: len(data.splits[split]))
        samples = len(data.splits[name])
        if self.neighbours > 1 and 2 * self.neighbours > samples:
            raise RecipeError(
                f"{self.neighbours} nearest samples are no choice among the {samples - 1} others of split `{name}`",
                hint=f"write {max(1, samples // 2)} or less: 1 to 10 is usual",
                where="task.neighbours",
                code="recipe-out-of-range",
            )

    def follows_original(self, targets: np.ndarray | None) -> bool:
        """Return True: scored pairs say something, but not what a vector should be."""
        del targets
        return True

    def evaluate(
        self, outputs: Arrays, targets: np.ndarray | None, labels: Sequence[str], baseline: Arrays | None = None
    ) -> SplitResult:
        """Return the mean cosine to the original's vectors; of the original itself that is 1.

        ``metrics_extra`` holds the smallest cosine, the share of samples whose nearest neighbours (among the split's
        own samples) are those of the original, and of scored pairs Spearman's rank correlation.

        Raises:
            ModelError: The vectors hold NaN or Inf.
        """
        del labels
        vectors = _unit(finite_output(outputs, self.output))
        original = vectors if baseline is None else _unit(finite_output(baseline, self.output))
        cosines = np.einsum("nd,nd->n", vectors, original) if baseline is not None else np.ones(len(vectors))
        extra = {"cosine_min": float(cosines.min())}
        k = min(self.neighbours, len(vectors) - 1)
        if k:
            agreement = 1.0 if baseline is None else neighbour_agreement(original, vectors, k)
            extra[f"neighbour_agreement_{k}"] = agreement
        if targets is not None and (targets[:, 0] >= 0).sum() >= 4:
            extra["spearman"] = _pair_correlation(vectors, targets)
        return SplitResult(
            metric=Metric(
                name="cosine_to_original",
                value=float(cosines.mean()),
                n=len(cosines),
                ci95=mean_interval(cosines),
                higher_is_better=True,
            ),
            metrics_extra=extra,
            drop=None if baseline is None else paired_mean_drop(np.ones(len(cosines)), cosines, higher_is_better=True),
        )

    def changes(self, before: Arrays, after: Arrays, targets: np.ndarray | None, labels: Sequence[str]) -> Changes:
        """Return the samples that have another nearest neighbour, those whose vector turned furthest first."""
        del targets, labels
        old, new = (_unit(finite_output(outputs, self.output)) for outputs in (before, after))
        cosines = np.einsum("nd,nd->n", old, new)
        nearest = [_neighbours(vectors, 1)[:, 0] if len(vectors) > 1 else np.zeros(1, int) for vectors in (old, new)]

        def tell(row: int) -> Change:
            neighbours = [int(rows[row]) for rows in nearest]
            alike = [
                float(vectors[row] @ vectors[other]) for vectors, other in zip((old, new), neighbours, strict=True)
            ]
            return Change(
                row=row,
                before=f"nearest: sample {neighbours[0]:,}, cosine {alike[0]:.3f}",
                after=f"nearest: sample {neighbours[1]:,}, cosine {alike[1]:.3f}",
                row_before=neighbours[0],
                row_after=neighbours[1],
                note=f"cosine of its vector to the original's {cosines[row]:.4f}",
            )

        sizes = np.where(nearest[0] != nearest[1], 3.0 - cosines, 0.0)  # above 0 for any cosine
        return Changes(sizes, tell, "nearest neighbours changed")


def neighbour_agreement(before: np.ndarray, after: np.ndarray, k: int) -> float:
    """Return the mean share of each sample's k nearest others (by cosine) that are the same on both sides.

    Args:
        before: (N, D) unit vectors.
        after: (N, D) unit vectors of the same samples.
        k: 1 to N - 1.
    """
    one, other = (_neighbours(vectors, k) for vectors in (before, after))
    return float((one[:, :, None] == other[:, None, :]).any(axis=2).mean())


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Return the rank correlation of two (N,) sequences, ties by their mean rank; 0 where one of them is constant.

    Source: Spearman 1904, Am. J. Psychol. 15:72-101.
    """
    ranks = [_ranks(values) - (len(values) + 1) / 2 for values in (a, b)]
    norm = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum()) / norm if norm else 0.0


def _neighbours(vectors: np.ndarray, k: int) -> np.ndarray:
    """Return the numbers of the k nearest others of each of (N, D) unit vectors, (N, k)."""
    found = []
    for start in range(0, len(vectors), _ROWS):
        similar = vectors[start : start + _ROWS] @ vectors.T
        similar[np.arange(len(similar)), np.arange(start, start + len(similar))] = -np.inf  # not itself
        found.append(np.argpartition(-similar, k - 1, axis=1)[:, :k])
    return np.concatenate(found)


def _pair_correlation(vectors: np.ndarray, targets: np.ndarray) -> float:
    order = np.argsort(targets[:, 0], kind="stable")
    numbers, counts = np.unique(targets[:, 0], return_counts=True)  # a slice may hold half a pair
    whole = numbers[(numbers >= 0) & (counts == 2)]
    order = order[np.isin(targets[order, 0], whole)]  # the two samples of each pair stand side by side
    first, second = order[0::2], order[1::2]
    return spearman(np.einsum("nd,nd->n", vectors[first], vectors[second]), targets[first, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[places], dtype=np.float64)


def _unit(values: np.ndarray) -> np.ndarray:
    """Return (N, D) float64 vectors of length 1; a zero vector stays zero."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(norms > 0, norms, 1.0)
