"""Latency and memory of several files, side by side."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeglm.measure.evaluate import to_file_inputs
from edgeglm.measure.worker import Runner
from edgeglm.report.types import Latency

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeglm_agent.wire import TensorSpec

    from edgeglm.data.splits import Arrays

ROUND_RUNS = 10  # short turns: a disturbance of the machine falls on every file alike
WARMUP_RUNS = 10
MAX_FACTOR = 3  # at most this many times the runs asked for
_RESAMPLES = 1000
STABLE_SHARE = 0.02  # the median is stable when its two halves lie this close


@dataclass(frozen=True)
class Measured:
    """One file's latency and memory, on this host."""

    latency: Latency
    peak_rss_bytes: int  # of a process that holds numpy, the runtime and this model, and has run it
    rounds_p50_ms: tuple[float, ...]  # median of each round; rounds of one call correspond


def measure_latency(
    files: dict[str, tuple[Path, str]],
    sample: Arrays,
    *,
    model_inputs: Sequence[TensorSpec],
    threads: int,
    runs: int = 200,
    others: Mapping[str, Arrays] | None = None,
) -> dict[str, Measured]:
    """Time files against each other, each in a process of its own that is alive throughout.

    Rounds of ten runs go from file to file, and each round starts with another file. Rounds are added until the
    medians stand still, up to three times ``runs``: counts decide, no clock does.

    Args:
        files: Name -> path and format.
        sample: Rows of real data by input name, as many as are served at a time, in the model's layout: latency of some
            operators depends on the values.
        model_inputs: The model's inputs, for the layout of ``sample``.
        threads: Threads of each runtime; they do not spin.
        runs: Timed runs of each file, at least.
        others: Name -> what it is called with instead of ``sample``, as the same rows with their sequences cut.

    Raises:
        ExportError: A file does not load, or takes other inputs.
        WorkerError: A child died.
    """
    batch = len(next(iter(sample.values())))
    rounds = max(1, -(-runs // ROUND_RUNS))
    times: dict[str, list[list[float]]] = {name: [] for name in files}
    with ExitStack() as stack:
        runners: dict[str, Runner] = {}
        for name, (path, file_format) in files.items():  # all start before the first is waited for
            runners[name] = Runner(path, format=file_format, threads=threads)
            stack.callback(runners[name].close)
        for runner in runners.values():
            stack.enter_context(runner)
        given = {
            name: to_file_inputs((others or {}).get(name, sample), model_inputs, runner.inputs, where=str(runner.path))
            for name, runner in runners.items()
        }
        for name, runner in runners.items():
            runner.time_ms(given[name], runs=0, warmup=WARMUP_RUNS)
        names = list(files)
        for number in range(rounds * MAX_FACTOR):
            if number >= rounds and all(is_stable(turns) for turns in times.values()):
                break
            first = number % len(names)
            for name in names[first:] + names[:first]:
                # one run that is not timed: the caches hold the model that had the turn before
                times[name].append(runners[name].time_ms(given[name], runs=ROUND_RUNS, warmup=1))
        return {
            name: Measured(
                summarise(times[name], threads=threads, batch=batch, runtime=runner.runtime),
                runner.peak_rss_bytes(),
                tuple(float(np.median(turn)) for turn in times[name]),
            )
            for name, runner in runners.items()
        }


def summarise(turns: Sequence[Sequence[float]], *, threads: int, runtime: str, batch: int = 1) -> Latency:
    """Return the percentiles over all runs of all rounds, in milliseconds, interpolated linearly."""
    values = np.concatenate([np.asarray(turn, dtype=np.float64) for turn in turns])
    p50, p95, p99 = (float(value) for value in np.percentile(values, (50, 95, 99)))
    return Latency(p50=p50, p95=p95, p99=p99, threads=threads, batch=batch, runs=len(values), runtime=runtime)


def is_stable(turns: Sequence[Sequence[float]]) -> bool:
    """Return whether the medians of the first and the second half of the rounds agree to 2 %."""
    half = len(turns) // 2
    if not half:
        return False
    early, late = np.median(np.concatenate(turns[:half])), np.median(np.concatenate(turns[half:]))
    return bool(abs(early - late) <= STABLE_SHARE * min(early, late))


def speedup_interval(baseline: Measured, other: Measured) -> tuple[float, float]:
    """Return a 95 % interval of ``baseline p50 / other p50``, by a paired bootstrap over the rounds.

    It always holds that ratio itself: the median over all runs can differ a little from that over the rounds.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile interval).
    """
    pairs = zip(baseline.rounds_p50_ms, other.rounds_p50_ms, strict=False)
    rounds = np.array(list(pairs))  # (R, 2)
    drawn = np.random.default_rng(0).integers(0, len(rounds), (_RESAMPLES, len(rounds)))
    medians = np.median(rounds[drawn], axis=1)  # (resamples, 2)
    low, high = np.percentile(medians[:, 0] / medians[:, 1], (2.5, 97.5))
    ratio = baseline.latency.p50 / other.latency.p50
    return min(float(low), ratio), max(float(high), ratio)
