"""Looking at model files one at a time: what they hold, how good they are, how fast they run here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from edgeglm_agent.wire import Manifest, TensorSpec, WireError, decode_manifest

from edgeglm.cache import Cache
from edgeglm.errors import ModelError, UserError
from edgeglm.files import sha256_file
from edgeglm.report.types import Latency, SplitResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.data import Arrays
    from edgeglm.log import Log
    from edgeglm.recipe import LoadedRecipe

SUFFIXES = {".onnx": "onnx", ".tflite": "tflite"}


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What one model file holds."""

    path: str
    format: str
    size_bytes: int
    sha256: str
    params: int
    macs: int | None  # batch 1; None where a shape is not known
    dtypes: dict[str, int]  # weight bytes by type
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    golden: str = ""  # "passed": a file of a result that still gives its golden outputs


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


def format_of(path: Path) -> str:
    """Return onnx or tflite, by the file's name. Raises: UserError for anything else, or a missing file."""
    if path.suffix not in SUFFIXES:
        raise UserError(
            "is neither an ONNX nor a TFLite file",
            where=str(path),
            hint="name a file that ends in .onnx or .tflite, or an output folder",
            code="format-unknown",
        )
    if not path.is_file():
        raise UserError("no such file", where=str(path), hint="check the path", code="file-missing")
    return SUFFIXES[path.suffix]


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an output folder. Raises: UserError when there is none, or it is damaged."""
    path = folder / "manifest.json"
    try:
        return decode_manifest(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            "no manifest.json: this folder is no result, or one that was rejected",
            where=str(folder),
            hint="run `edgeglm compress` again, or name a model file",
            code="manifest-missing",
        ) from None
    except WireError as error:
        raise UserError(
            str(error), where=str(path), hint="run `edgeglm compress` again", code="manifest-invalid"
        ) from None


def inspect_path(path: Path) -> list[FileFacts]:
    """Return the facts of a model file, or of every artifact of an output folder.

    All files of a folder are checked against the manifest's sha256, and artifacts are run on their golden samples.

    Raises:
        UserError: No model file, or a corrupt one; a folder whose files are not those of its manifest, or whose
            artifacts do not give their golden outputs.
    """
    if not path.is_dir():
        return [_facts(path, format_of(path))]
    manifest = read_manifest(path)
    for artifact in manifest.artifacts:
        format_of(path / artifact.path)  # refuses a file that is not there
        _check_sha256(path / artifact.path, artifact.sha256)
    golden = {artifact.golden: read_golden(path / artifact.golden) for artifact in manifest.artifacts}
    for name, sha256 in manifest.files.items():
        _check_sha256(path / name, sha256)
    facts = []
    for artifact in manifest.artifacts:
        file = path / artifact.path
        check_golden(golden[artifact.golden], file, artifact.format, quantized=artifact.scheme != "none")
        facts.append(msgspec.structs.replace(_facts(file, artifact.format), golden="passed"))
    return facts


def _check_sha256(file: Path, sha256: str) -> None:
    if not file.is_file():
        raise ModelError(
            "is not there, and the manifest lists it",
            where=str(file),
            hint="copy the whole folder again, or run `edgeglm compress` again",
            code="file-missing",
        )
    if sha256_file(file) != sha256:
        raise ModelError(
            "is not the file that the manifest lists: its sha256 differs",
            where=str(file),
            hint="the file was changed or damaged after it was made; run `edgeglm compress` again",
            code="sha256-differs",
        )


def read_golden(path: Path) -> dict[str, Arrays]:
    """Return golden samples: ``input`` and ``output``, each name -> array, first axis samples.

    Raises:
        ModelError: There is no such file, or it holds none.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    again = "copy the whole folder again, or run `edgeglm compress` again"
    if not path.is_file():
        raise ModelError("no such golden samples", where=str(path), hint=again, code="golden-missing")
    golden: dict[str, Arrays] = {"input": {}, "output": {}}
    reason = "an input or an output is missing, or they are of different lengths"
    try:
        for key, value in load(path.read_bytes()).items():
            kind, _, name = key.partition(".")
            golden.setdefault(kind, {})[name] = value
    except (SafetensorError, ValueError, KeyError) as error:
        reason = str(error)
        golden = {"input": {}, "output": {}}
    lengths = {len(value) if value.ndim else 0 for part in golden.values() for value in part.values()}
    if not golden["input"] or not golden["output"] or len(lengths) != 1 or 0 in lengths:
        raise ModelError(f"holds no golden samples: {reason}", where=str(path), hint=again, code="golden-corrupt")
    return golden


def check_golden(golden: dict[str, Arrays], file: Path, file_format: str, *, quantized: bool) -> None:
    """Run a model file on its golden samples.

    Raises:
        ModelError: It does not give their outputs on this host.
    """
    from edgeglm.measure.parity import compare
    from edgeglm.measure.worker import Runner

    rows: dict[str, list[np.ndarray]] = {}
    with Runner(file, format=file_format, threads=1) as runner:
        for row in range(len(next(iter(golden["input"].values())))):
            inputs = {name: values[row : row + 1] for name, values in golden["input"].items()}
            for name, value in runner.run(inputs).items():
                rows.setdefault(name, []).append(value)
    got = {name: np.concatenate(values) for name, values in rows.items()}
    parity = compare(golden["output"], got, quantized=quantized)
    if not parity.passed:
        raise ModelError(
            f"does not give its golden outputs on this host: cosine {parity.cosine:.4f}, "
            f"max difference {parity.max_abs:.3g}",
            where=str(file),
            hint="the runtime here computes something else than where the file was made: compare the versions in "
            "manifest.json with those of `edgeglm doctor`",
            code="golden-failed",
        )


def evaluate_files(loaded: LoadedRecipe, files: list[Path], *, folder: Path | None, log: Log) -> list[FileResult]:
    """Judge model files by a recipe's evaluation data, paired with the recipe's original model.

    Raises:
        UserError: A file is missing, corrupt, or takes other inputs than the recipe's model.
    """
    from edgeglm.build import Builder
    from edgeglm.evaluation import Evaluator
    from edgeglm.project import open_project

    if not files:
        root = folder or Path("build") / loaded.recipe.name
        files = [root / artifact.path for artifact in read_manifest(root).artifacts]
    formats = [format_of(path) for path in files]
    project = open_project(loaded, log=log)
    cache = Cache()
    evaluator = Evaluator(project, cache)
    with cache.in_use():
        baseline = Builder(project, cache).baseline()
        evaluator.baseline = evaluator.predict_file(
            baseline.built.path, file_format=baseline.built.format, sha256=baseline.sha256
        )
    results = [FileResult(path="original", splits=evaluator.results(evaluator.baseline, is_baseline=True))]
    for path, file_format in zip(files, formats, strict=True):
        log.stage(str(path))
        outputs = evaluator.predict_file(path, file_format=file_format, sha256=sha256_file(path))
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
    sample = {spec.name: rng.standard_normal((1, *spec.shape)).astype(spec.dtype) for spec in specs}
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


def _facts(path: Path, file_format: str) -> FileFacts:
    from edgeglm.measure.census import count_file_macs, count_file_params, describe, weight_dtypes

    inputs, outputs = describe(path, file_format)
    return FileFacts(
        path=str(path),
        format=file_format,
        size_bytes=path.stat().st_size,
        sha256=sha256_file(path),
        params=count_file_params(path, file_format),
        macs=count_file_macs(path, file_format),
        dtypes=weight_dtypes(path, file_format),
        inputs=inputs,
        outputs=outputs,
    )


def render(facts: list[FileFacts]) -> str:
    """Return the facts as text for people."""
    blocks = []
    for fact in facts:
        total = sum(fact.dtypes.values()) or 1
        dtypes = ", ".join(f"{name} {size / total:.0%}" for name, size in sorted(fact.dtypes.items(), key=_by_size))
        lines = [
            f"{fact.path}  ({fact.format}, {fact.size_bytes / 1e3:.1f} kB)",
            f"  sha256      {fact.sha256}",
            f"  parameters  {fact.params:,}",
            f"  MACs        {'not known' if fact.macs is None else f'{fact.macs:,}'} (batch 1)",
            f"  weights     {dtypes}",
            *(f"  input       {_tensor(spec)}" for spec in fact.inputs),
            *(f"  output      {_tensor(spec)}" for spec in fact.outputs),
        ]
        if fact.golden:
            lines.append(f"  golden      {fact.golden}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def render_evaluation(results: list[FileResult]) -> str:
    """Return results of `eval` as a table for people."""
    rows = [("file", "split", "metric", "95 % interval", "n", "drop (95 % interval)")]
    for result in results:
        for name, split in result.splits.items():
            metric, drop = split.metric, split.drop
            rows.append(
                (
                    result.path,
                    name,
                    f"{metric.name} {metric.value:.4f}",
                    f"{metric.ci95[0]:.4f} to {metric.ci95[1]:.4f}",
                    str(metric.n),
                    f"{drop.value:+.4f} ({drop.ci95[0]:+.4f} to {drop.ci95[1]:+.4f})" if drop else "",
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


def _tensor(spec: TensorSpec) -> str:
    shape = ", ".join(["N", *(str(size) for size in spec.shape)])
    return f"{spec.name}: {spec.dtype} ({shape}){f' {spec.layout}' if spec.layout else ''}"


def _by_size(item: tuple[str, Any]) -> Any:
    return -item[1]
