"""`edgeglm eval` and `edgeglm bench`: how good model files are, how fast they run here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edgeglm.cache import Cache, cache_folder
from edgeglm.errors import ModelError
from edgeglm.inspection import artifact_files, format_of, read_manifest
from edgeglm.naming import users_names
from edgeglm.report.figures import drop_text, format_interval, format_metric, verdict
from edgeglm.report.types import Latency, SplitResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm_agent.wire import Artifact, TensorSpec

    from edgeglm.log import Log
    from edgeglm.recipe import LoadedRecipe


class FileResult(msgspec.Struct, frozen=True, kw_only=True):
    """How good one file is on every evaluation split."""

    path: str
    splits: dict[str, SplitResult]


class BenchRow(msgspec.Struct, frozen=True, kw_only=True):
    """How fast one file runs on this host."""

    path: str
    latency_ms: Latency
    peak_rss_bytes: int
    speedup: float  # first file's p50 / this one's


def evaluate_files(loaded: LoadedRecipe, files: list[Path], *, folder: Path | None, log: Log) -> list[FileResult]:
    """Judge model files by a recipe's evaluation data, paired with the recipe's original model.

    Raises:
        UserError: A file is missing, corrupt, or takes other inputs than the recipe's model.
    """
    from edgeglm.measure.external_data import model_file_sha256
    from edgeglm.pipeline.build import Builder
    from edgeglm.pipeline.evaluation import Evaluator
    from edgeglm.pipeline.project import open_project

    if not files:
        root = folder or Path("build") / loaded.recipe.name
        files = artifact_files(root, read_manifest(root))
    formats = [format_of(path) for path in files]
    project = open_project(loaded, log=log)
    cache = Cache()
    evaluator = Evaluator(project, cache)
    with cache.in_use(), users_names(cache.folder or cache_folder(), project.original):
        baseline = Builder(project, cache).baseline()
        evaluator.baseline = evaluator.predict_file(
            baseline.built.path, file_format=baseline.built.format, sha256=baseline.digest
        )
    results = [FileResult(path="original", splits=evaluator.results(evaluator.baseline, is_baseline=True))]
    for path, file_format in zip(files, formats, strict=True):
        artifact = _artifact(path)
        log.stage(str(path))
        outputs = evaluator.predict_file(
            path,
            file_format=file_format,
            sha256=model_file_sha256(path, file_format),
            buckets=artifact.buckets if artifact else None,
        )
        results.append(FileResult(path=str(path), splits=evaluator.results(outputs)))
    project.entries.close()
    return results


def bench_files(files: list[Path], *, threads: int, runs: int) -> list[BenchRow]:
    """Time files on seeded noise, interleaved, each in a process of its own; the first is the reference.

    Raises:
        UserError: A file is missing or corrupt, or two take different inputs.
    """
    from edgeglm.measure.census import describe
    from edgeglm.measure.latency import measure_latency

    formats = [format_of(path) for path in files]
    specs = describe(files[0], formats[0])[0]
    rng = np.random.default_rng(0)
    sample = {spec.name: _noise(rng, _shape(spec, files[0]), spec.dtype) for spec in specs}
    measured = measure_latency(
        {str(path): (path, kind) for path, kind in zip(files, formats, strict=True)},
        sample,
        model_inputs=specs,
        threads=threads,
        runs=runs,
    )
    first = measured[str(files[0])].latency.p50
    return [
        BenchRow(
            path=str(path),
            latency_ms=measured[str(path)].latency,
            peak_rss_bytes=measured[str(path)].peak_rss_bytes,
            speedup=first / measured[str(path)].latency.p50,
        )
        for path in files
    ]


def _artifact(path: Path) -> Artifact | None:
    """Return what the manifest beside a file says of it; None where there is none, or it lists no such file."""
    if not (path.parent / "manifest.json").is_file():
        return None
    return next((found for found in read_manifest(path.parent).artifacts if found.path == path.name), None)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return one row: of integers ones, which are in every table of tokens, and no padding under a mask."""
    if np.dtype(dtype).kind in "biu":
        return np.ones((1, *shape), dtype)
    return rng.standard_normal((1, *shape)).astype(dtype)


def _shape(spec: TensorSpec, path: Path) -> tuple[int, ...]:
    """Return the shape of an input without its batch axis; a free length is the longest that the manifest names."""
    if -1 not in spec.shape:
        return spec.shape
    artifact = _artifact(path)
    if artifact is None or artifact.buckets is None:
        raise ModelError(
            f"input `{spec.name}` may have any length: there is nothing to time it with",
            where=str(path),
            hint="name a file of an output folder, whose manifest has its lengths, or one of fixed shape",
            code="input-mismatch",
        )
    return tuple(artifact.buckets.lengths[-1] if length < 0 else length for length in spec.shape)


def render_evaluation(results: list[FileResult]) -> str:
    """Return results of `eval` as a table for people."""
    rows = [("file", "split", "metric", "95 % interval", "n", "change (95 % interval)")]
    for result in results:
        for name, split in result.splits.items():
            metric, drop = split.metric, split.drop
            changed = "" if drop is None else "{} ({})".format(*drop_text(drop, metric))
            rows.append(
                (
                    result.path,
                    name,
                    f"{metric.name} {format_metric(metric.name, metric.value)}",
                    format_interval(metric.name, metric.ci95),
                    f"{metric.n:,}",
                    "" if drop is None else f"{changed}, {verdict(drop, metric)}",
                )
            )
    return _table(rows)


def render_bench(rows: list[BenchRow]) -> str:
    """Return results of `bench` as a table for people."""
    table = [("file", "p50 ms", "p95 ms", "p99 ms", "speed", "peak RSS MB", "runtime (this host)")]
    for row in rows:
        latency = row.latency_ms
        table.append(
            (
                row.path,
                f"{latency.p50:.4f}",
                f"{latency.p95:.4f}",
                f"{latency.p99:.4f}",
                f"{row.speedup:.2f}x",
                f"{row.peak_rss_bytes / 1e6:.0f}",
                f"{latency.runtime}, {latency.threads} thread{'s' * (latency.threads > 1)}",
            )
        )
    return _table(table)


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
