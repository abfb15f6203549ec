"""How fast every file of a run is: all that is compared is timed side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from edgeglm_agent.processing import cut

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeglm.data.splits import Arrays
    from edgeglm.log import Log
    from edgeglm.measure.latency import Measured
    from edgeglm.pipeline.build import File
    from edgeglm.pipeline.project import Project

LATENCY_RUNS = 200


def served_rows(project: Project) -> Arrays:
    """Return as many rows of real data as are served at a time."""
    evaluation = project.data.evaluation
    return evaluation.rows(np.arange(project.recipe.serve.batch) % len(evaluation))


def cut_name(name: str, length: int) -> str:
    """Return what a file's figures with sequences of another length are called."""
    return f"{name} cut to {length}"


def measure_files(
    project: Project, files: dict[str, File], log: Log, *, rivals: Mapping[str, Sequence[str]] | None = None
) -> dict[str, dict[int, Measured]]:
    """Return name -> threads -> figures; everything of one thread count is interleaved in one run.

    A file with buckets has figures of each length below the full one too, on one thread (``cut_name``). One that a
    rival outpaced (``measure_latency``) has fewer runs, and figures on one thread alone.
    """
    from edgeglm.measure.latency import measure_latency

    rows = served_rows(project)
    shorter: dict[str, Arrays] = {}
    owners: dict[str, str] = {}
    for name, file in list(files.items()):
        buckets = file.built.buckets
        if buckets is None:
            continue
        for length in buckets.lengths[:-1]:
            shorter[cut_name(name, length)] = cut(rows, length, buckets)
            owners[cut_name(name, length)] = name
            files = files | {cut_name(name, length): file}
    figures: dict[str, dict[int, Measured]] = {name: {} for name in files}
    for threads in (1, 2):
        chosen = files
        if threads > 1:
            outpaced = {name for name, found in figures.items() if found[1].outpaced}
            left_out = {name for name in files if name.startswith("step")} | set(shorter) | outpaced
            chosen = {name: file for name, file in files.items() if name not in left_out}
        measured = measure_latency(
            {name: (file.built.path, file.built.format) for name, file in chosen.items()},
            rows,
            model_inputs=project.original.inputs,
            threads=threads,
            runs=LATENCY_RUNS,
            others=shorter,
            rivals=rivals if threads == 1 else None,
            owners=owners,
        )
        for name, value in measured.items():
            figures[name][threads] = value
        early = sum(found.outpaced for name, found in measured.items() if name not in shorter)
        said = f", {early} of them not to the end: too slow to be chosen" if early else ""
        log.note(f"{len(chosen)} files interleaved on {threads} thread{'s' * (threads > 1)}{said}")
    return figures


def cut_figures(figures: dict[str, dict[int, Measured]], name: str, file: File) -> dict[int, Measured]:
    """Return length -> one file's figures on one thread, of the lengths below the full one."""
    lengths = file.built.buckets.lengths[:-1] if file.built.buckets else ()
    return {length: figures[cut_name(name, length)][1] for length in lengths}
