"""What a worker counts: less than a microsecond a sample, and the same memory after a million of them."""

from __future__ import annotations

import collections
import os
import threading
import time
from array import array
from typing import TYPE_CHECKING

import numpy as np

from edgeglm_agent import ipc
from edgeglm_agent.wire.sketch import PER_LOG, SMALLEST, Sketch, pack_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeglm_agent.drift import DriftMeter

CONFIDENCE_BINS = 10
_TOGETHER = 1024  # samples
_SAME = 1.02  # totals within one bucket of the latencies say nothing of their own
_MOST_CLASSES = 10_000  # a model that invents numbers fills no memory
_MOST_KINDS = 32
_MOST_SAID = 500  # characters of an error, for the status


class Counts:
    """What one window, or a worker's life, came to."""

    __slots__ = ("classes", "confidence", "errors", "inferences", "latency", "total")

    def __init__(self) -> None:
        self.inferences = 0
        self.errors: dict[str, int] = {}
        self.latency = Sketch()
        self.total = Sketch()
        self.confidence = [0] * CONFIDENCE_BINS
        self.classes: dict[int, int] = {}


class Meter:
    """Counts for the inference thread; ``take`` and ``totals`` may be called from another.

    What is told of a sample is put aside as it is, and counted for a thousand samples at once.
    """

    def __init__(self, drift: DriftMeter | None = None) -> None:
        self._lock = threading.Lock()
        self._now = Counts()
        self._before = Counts()  # all windows before this one
        self._latencies, self._totals = array("d"), array("d")
        self._scores, self._indices = array("d"), array("q")
        self._last_error = ""
        self._cpu_ns = time.process_time_ns()
        self._drift = drift
        # bound here, so that a sample pays for no call in between
        self.watch: Callable[[Mapping[str, np.ndarray], Mapping[str, np.ndarray], int], None] = (
            _nothing if drift is None else drift.add
        )
        self.trace_id = os.urandom(8).hex()  # of the window that runs

    def add(self, latency_ms: float, total_ms: float) -> None:
        """Count a sample that was answered.

        Args:
            latency_ms: Of the model alone.
            total_ms: From its coming in to its answer's going out.
        """
        with self._lock:
            self._latencies.append(latency_ms)
            self._totals.append(total_ms)
            if len(self._latencies) >= _TOGETHER:
                self._count()

    def predicted(self, index: int | None, score: float) -> None:
        """Count the first of an answer's predictions.

        Args:
            index: The class; None: the answer is no class.
            score: A probability; what lies outside 0 to 1 counts to the outermost bin, NaN to none.
        """
        with self._lock:
            self._scores.append(score)
            if index is not None:
                self._indices.append(index)
            if len(self._scores) >= _TOGETHER:
                self._count()

    def error(self, kind: str, said: str = "", *, count: int = 1) -> None:
        """Count samples that got no answer, or answers that a sink did not take."""
        with self._lock:
            errors = self._now.errors
            if kind in errors or len(errors) < _MOST_KINDS:
                errors[kind] = errors.get(kind, 0) + count
            self._last_error = said or self._last_error

    def take(self) -> ipc.Part:
        """Return the window's figures, and begin the next."""
        with self._lock:
            self._count()
            taken, self._now = self._now, Counts()
            _merge(self._before, taken)
            last_error, self._last_error = self._last_error, ""
        cpu_ns = time.process_time_ns()
        cpu_ms, self._cpu_ns = (cpu_ns - self._cpu_ns) // 1_000_000, cpu_ns
        trace_id, self.trace_id = self.trace_id, os.urandom(8).hex()
        return ipc.Part(
            inferences=taken.inferences,
            errors=taken.errors,
            latency_ms=taken.latency.pack(),
            total_ms=b"" if _alike(taken.latency, taken.total) else taken.total.pack(),
            cpu_ms=cpu_ms,
            confidence=pack_numbers(taken.confidence) if any(taken.confidence) else b"",
            classes=taken.classes,
            drift=() if self._drift is None else self._drift.take(),
            trace_id=trace_id,
            last_error=last_error[:_MOST_SAID],
        )

    def totals(self) -> Counts:
        """Return what all windows and the running one came to, since the worker began: for ``/metrics``."""
        with self._lock:
            self._count()
            sum_of = Counts()
            _merge(sum_of, self._before)
            _merge(sum_of, self._now)
            return sum_of

    def _count(self) -> None:
        """Count what was put aside; the lock is held."""
        now = self._now
        now.inferences += len(self._latencies)
        _add_all(now.latency, self._latencies)
        _add_all(now.total, self._totals)
        scores = np.frombuffer(self._scores) if self._scores else np.empty(0)
        bins = np.clip(scores[~np.isnan(scores)], 0.0, 1.0) * CONFIDENCE_BINS
        found = np.bincount(np.minimum(bins.astype(np.int64), CONFIDENCE_BINS - 1), minlength=CONFIDENCE_BINS)
        now.confidence = [before + more for before, more in zip(now.confidence, found.tolist(), strict=True)]
        for index, count in collections.Counter(self._indices).items():
            if index in now.classes or len(now.classes) < _MOST_CLASSES:
                now.classes[index] = now.classes.get(index, 0) + count
        if self._drift is not None and self._indices:
            self._drift.predicted(self._indices)
        self._latencies, self._totals = array("d"), array("d")
        self._scores, self._indices = array("d"), array("q")


def _merge(into: Counts, other: Counts) -> None:
    into.inferences += other.inferences
    for kind, count in other.errors.items():
        into.errors[kind] = into.errors.get(kind, 0) + count
    into.latency.merge(other.latency)
    into.total.merge(other.total)
    into.confidence = [mine + its for mine, its in zip(into.confidence, other.confidence, strict=True)]
    for index, count in other.classes.items():
        into.classes[index] = into.classes.get(index, 0) + count


def _add_all(sketch: Sketch, values: array[float]) -> None:
    """Do as ``Sketch.add`` for each value."""
    if not values:
        return
    numbers = np.clip(np.frombuffer(values), SMALLEST, 1e16)
    buckets = np.ceil(np.log(numbers) * PER_LOG).astype(np.int64)
    lowest = int(buckets.min())
    for place, count in enumerate(np.bincount(buckets - lowest).tolist()):
        if count:
            sketch.counts[lowest + place] = sketch.counts.get(lowest + place, 0) + count


def _alike(latency: Sketch, total: Sketch) -> bool:
    """Return whether the totals say what the latencies say already."""
    for share in (0.5, 0.95, 0.99, 1.0):
        one, other = latency.quantile(share), total.quantile(share)
        if one is not None and other is not None and not one / _SAME <= other <= one * _SAME:
            return False
    return True


def _nothing(inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], row: int = 0) -> None:
    """Watch nothing."""
