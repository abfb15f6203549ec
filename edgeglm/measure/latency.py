"""Latency and memory of several files, side by side."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeglm.measure.children import await_spares
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
LOOKS = (5, 10, 20, 30, 40)  # rounds after which files with a rival are looked at
CLEARLY = 1.1  # times a rival's latency, from which on a file is timed no further: far more than medians wander
_RESAMPLES = 1000
STABLE_SHARE = 0.02  # the median is stable when its two halves lie this close


@dataclass(frozen=True)
class Measured:
    """One file's latency and memory, on this host."""

    latency: Latency
    peak_rss_bytes: int  # of a process that holds numpy, the runtime and this model, and has run it
    rounds_p50_ms: tuple[float, ...]  # median of each round; rounds of one call correspond, from the first on
    outpaced: bool = False  # a rival was faster beyond doubt: there are fewer rounds of it


def measure_latency(
    files: dict[str, tuple[Path, str]],
    sample: Arrays,
    *,
    model_inputs: Sequence[TensorSpec],
    threads: int,
    runs: int = 200,
    others: Mapping[str, Arrays] | None = None,
    rivals: Mapping[str, Sequence[str]] | None = None,
    owners: Mapping[str, str] | None = None,
) -> dict[str, Measured]:
    """Time files against each other, each in a process of its own that is alive throughout.

    Rounds of ten runs go from file to file, and each round starts with another file. Rounds are added until the
    medians stand still, up to three times ``runs``: counts decide, no clock does. A file with a rival is looked at
    after 5, 10, 20, ... rounds: once the rival is faster by a tenth beyond doubt, it is timed no further.

    Args:
        files: Name -> path and format.
        sample: Rows of real data by input name, as many as are served at a time, in the model's layout: latency of some
            operators depends on the values.
        model_inputs: The model's inputs, for the layout of ``sample``.
        threads: Threads of each runtime; they do not spin.
        runs: Timed runs of each file, at least.
        others: Name -> what it is called with instead of ``sample``, as the same rows with their sequences cut.
        rivals: Name -> files each of which will be taken instead of it, if it is faster.
        owners: Name -> the file that it is timed with, and no longer than.

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
        await_spares()
        for name, runner in runners.items():
            runner.time_ms(given[name], runs=0, warmup=WARMUP_RUNS)
        names = list(files)
        for number in range(rounds * MAX_FACTOR):
            if number >= rounds and all(is_stable(times[name]) for name in names):
                break
            if number in LOOKS and rivals:
                slow = {name for name in names if _is_outpaced(name, rivals.get(name, ()), times)}
                names = [name for name in names if not {name, (owners or {}).get(name)} & slow]
            first = number % len(names)
            for name in names[first:] + names[:first]:
                # one run that is not timed: the caches hold the model that had the turn before
                times[name].append(runners[name].time_ms(given[name], runs=ROUND_RUNS, warmup=1))
        return {
            name: Measured(
                summarise(times[name], threads=threads, batch=batch, runtime=runner.runtime),
                runner.peak_rss_bytes(),
                tuple(float(np.median(turn)) for turn in times[name]),
                outpaced=name not in names,
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


def speedup_of(baseline: Measured, other: Measured) -> float:
    """Return ``baseline p50 / other p50``; of a file that was outpaced over the rounds in which both were timed."""
    if not other.outpaced:
        return baseline.latency.p50 / other.latency.p50
    common = len(other.rounds_p50_ms)
    return float(np.median(baseline.rounds_p50_ms[:common]) / np.median(other.rounds_p50_ms))


def speedup_interval(baseline: Measured, other: Measured) -> tuple[float, float]:
    """Return a 95 % interval of the speed-up, by a paired bootstrap over the rounds in which both were timed.

    It always holds ``speedup_of`` itself: the median over all runs can differ a little from that over the rounds.
    """
    low, high = _ratio_interval(baseline.rounds_p50_ms, other.rounds_p50_ms)
    ratio = speedup_of(baseline, other)
    return min(low, ratio), max(high, ratio)


def _is_outpaced(name: str, rivals: Sequence[str], times: Mapping[str, Sequence[Sequence[float]]]) -> bool:
    """Return whether a rival that has been timed as often is faster by ``CLEARLY`` beyond doubt."""
    mine = [float(np.median(turn)) for turn in times[name]]
    for rival in rivals:
        others = [float(np.median(turn)) for turn in times[rival]]
        if len(others) == len(mine) and _ratio_interval(mine, others)[0] > CLEARLY:
            return True
    return False


def _ratio_interval(slow: Sequence[float], fast: Sequence[float]) -> tuple[float, float]:
    """Return a 95 % interval of the ratio of two medians over rounds (R,) that correspond, the first on.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile interval).
    """
    rounds = np.array(list(zip(slow, fast, strict=False)))  # (R, 2)
    drawn = np.random.default_rng(0).integers(0, len(rounds), (_RESAMPLES, len(rounds)))
    medians = np.median(rounds[drawn], axis=1)  # (resamples, 2)
    low, high = np.percentile(medians[:, 0] / medians[:, 1], (2.5, 97.5))
    return float(low), float(high)
