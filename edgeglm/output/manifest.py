"""manifest.json and golden samples: what the board needs to know, and to prove, about a result."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from edgeglm_agent.wire import (
    MANIFEST_SCHEMA,
    Artifact,
    Distribution,
    Histogram,
    Lineage,
    Manifest,
    ProcessOp,
    Reference,
)
from safetensors.numpy import save

from edgeglm.boards import LEAST_RUNTIMES
from edgeglm.data.splits import Arrays, batches
from edgeglm.files import sha256_file
from edgeglm.output.golden import golden_outputs
from edgeglm.plugins import blaming
from edgeglm.tasks import GROUP as TASK_GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgeglm.pipeline.build import File
    from edgeglm.pipeline.project import Project

GOLDEN_SAMPLES = 8
GOLDEN_BYTES = 1_000_000
HISTOGRAM_BINS = 32  # of about equal counts; a value that many have is a bin more
_FINE_BINS = 2048  # of equal width, which they are put together from
REFERENCE_SAMPLES = 1024  # at most; spread evenly over the split
REFERENCE_BATCH = 16  # in memory at a time: what is evaluated may be more than memory holds


def golden_rows(project: Project) -> Arrays:
    """Return at most 8 samples in the model's layout: spread over the evaluation data, or seeded noise."""
    split = project.data.evaluation
    count = min(GOLDEN_SAMPLES, len(split))
    rows = split.rows(np.unique(np.linspace(0, len(split) - 1, count).astype(np.int64)))
    if project.recipe.golden.source == "eval":
        return rows
    rng = np.random.default_rng(project.recipe.seed)
    noise: Arrays = {}
    for name, values in rows.items():
        if np.issubdtype(values.dtype, np.floating):
            noise[name] = rng.normal(values.mean(), values.std() or 1.0, values.shape).astype(values.dtype)
        else:
            noise[name] = rng.integers(values.min(), values.max() + 1, values.shape).astype(values.dtype)
    return noise


def golden_file(project: Project, file: File, rows: Arrays) -> bytes:
    """Return safetensors of `input.<name>` and `output.<name>`: what this file answers here, in batches as served.

    Inputs lie in the file's own layout. Rows are dropped from the end until all fit in 1 MB; one row always stays,
    since a file without a proof cannot be trusted on the board (an input of 3 x 512 x 512 alone is 3 MB).
    """
    from edgeglm.measure.evaluate import to_file_inputs

    built = file.built
    inputs = to_file_inputs(rows, project.original.inputs, built.inputs)
    batch = project.recipe.serve.batch
    buckets = built.buckets
    outputs = golden_outputs(inputs, built.path, built.format, batch=batch, buckets=buckets)
    tensors = {f"input.{name}": np.ascontiguousarray(values) for name, values in inputs.items()}
    tensors |= {f"output.{name}": values for name, values in outputs.items()}
    rows_kept = len(next(iter(tensors.values())))
    while len(data := save(tensors)) > GOLDEN_BYTES and rows_kept > 1:
        rows_kept -= 1
        kept = {name: np.ascontiguousarray(values[:rows_kept]) for name, values in inputs.items()}
        outputs = (
            outputs if batch == 1 else golden_outputs(kept, built.path, built.format, batch=batch, buckets=buckets)
        )
        tensors = {f"input.{name}": values for name, values in kept.items()}
        tensors |= {f"output.{name}": np.ascontiguousarray(values[:rows_kept]) for name, values in outputs.items()}
    return data


def make_manifest(
    project: Project,
    artifacts: list[tuple[str, File, str]],  # path in the folder, file, path of its golden samples
    outputs: Arrays,
    files: dict[str, bytes],
    recipe_text: str,
) -> Manifest:
    """Return the manifest of a result; ``outputs`` are those of the first artifact on the evaluation data."""
    recipe = project.recipe
    preprocess, used = project.board_preprocess.ops, project.board_preprocess.files
    postprocess = tuple(ProcessOp(step.op, step.settings) for step in recipe.postprocess)
    # what a board would do differently makes another version, and nothing else does; nor does the order of artifacts,
    # which follows measured speed and may change from run to run
    served = () if recipe.serve.batch == 1 else (recipe.serve.batch,)
    files_made = sorted(file.digest for _, file, _ in artifacts)
    read = ({name: hashlib.sha256(content).hexdigest() for name, content in used.items()},) if used else ()
    behaviour = (files_made, preprocess, postprocess, project.data.labels, *served, *read)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    for path, file, _ in artifacts:
        digests |= {str(PurePath(path).with_suffix(p.suffix)): sha256_file(p) for p in file.companions}
    return Manifest(
        schema=MANIFEST_SCHEMA,
        name=recipe.name,
        version=hashlib.sha256(msgspec.json.encode(behaviour)).hexdigest()[:12],
        target=recipe.target,
        artifacts=tuple(
            Artifact(
                path=path,
                sha256=file.sha256,
                size_bytes=file.size_bytes,
                format=file.built.format,
                scheme=file.built.scheme,
                runtime=LEAST_RUNTIMES[file.built.format],
                inputs=file.built.inputs,
                outputs=file.built.outputs,
                golden=golden,
                batch=file.built.batch,
                buckets=file.built.buckets,
            )
            for path, file, golden in artifacts
        ),
        files=dict(sorted(digests.items())),
        inputs=project.original.inputs,
        preprocess=preprocess,
        postprocess=postprocess,
        labels=project.data.labels,
        reference=make_reference(project, outputs),
        lineage=make_lineage(project, recipe_text),
        serve_batch=recipe.serve.batch,
    )


def make_lineage(project: Project, recipe_text: str) -> Lineage:
    """Return where a result comes from: digests of recipe, data, code and weights, and the versions that made it."""
    provenance = msgspec.to_builtins(project.recipe.provenance)
    return Lineage(
        recipe_sha256=hashlib.sha256(recipe_text.encode()).hexdigest(),
        data_sha256=project.data.sha256,
        code_sha256=project.entries.sha256(),
        weights_sha256=project.weights_sha256,
        versions=project.versions,
        provenance={key: value for key, value in provenance.items() if value},
    )


def make_reference(project: Project, outputs: Arrays) -> Reference:
    """Return how inputs and outputs are distributed on the evaluation data, for drift on the board."""
    split = project.data.evaluation
    count = min(len(split), REFERENCE_SAMPLES)
    chosen = split.take(np.unique(np.linspace(0, len(split) - 1, count).astype(np.int64)))
    task = project.recipe.task
    with blaming(task, TASK_GROUP, where="task"):
        predicted = task.predicted(outputs, project.data.labels)
    return Reference(
        samples=len(chosen),
        inputs=distributions(lambda: (rows for _, rows in batches(chosen, REFERENCE_BATCH))),
        outputs=distributions(lambda: iter([outputs])),
        predicted=predicted,
    )


def distributions(read: Callable[[], Iterator[Arrays]]) -> dict[str, Distribution]:
    """Return mean, spread and a histogram of all values of each tensor, finer where there are more of them.

    Of bins of one width, a signal with rare peaks would fill one or two, and drift of the rest would not be seen.

    Args:
        read: Starts over each time it is called: the values are read twice, since a histogram needs their range
            first, and are never all in memory.
    """
    found: dict[str, _Range] = {}
    for rows in read():
        for name, values in rows.items():
            found.setdefault(name, _Range()).add(values)
    counts = {name: np.zeros(_FINE_BINS, np.int64) for name in found}
    squares = dict.fromkeys(found, 0.0)
    for rows in read():
        for name, values in rows.items():
            flat = values.astype(np.float64).ravel()
            counts[name] += np.histogram(flat, bins=_FINE_BINS, range=found[name].ends())[0]
            squares[name] += float(((flat - found[name].mean) ** 2).sum())
    return {
        name: Distribution(
            n=seen.n,
            mean=seen.mean,
            std=math.sqrt(squares[name] / seen.n),
            low=seen.low,
            high=seen.high,
            histogram=_even_bins(np.linspace(*seen.ends(), _FINE_BINS + 1), counts[name]),
        )
        for name, seen in found.items()
    }


def _even_bins(edges: np.ndarray, counts: np.ndarray) -> Histogram:
    """Put neighbouring bins together until each holds its share; one that holds more by itself stays by itself."""
    due = counts.sum() / HISTOGRAM_BINS
    cuts, held = [0], 0
    for index, count in enumerate(counts.tolist()):
        if count >= due and index > cuts[-1]:
            cuts.append(index)
            held = 0
        held += count
        if held >= due and index + 1 < len(counts):
            cuts.append(index + 1)
            held = 0
    together = np.add.reduceat(counts, cuts)
    return Histogram((*map(float, edges[cuts]), float(edges[-1])), tuple(map(int, together)))


@dataclass
class _Range:
    n: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, values: np.ndarray) -> None:
        self.n += values.size
        self.total += float(values.sum(dtype=np.float64))
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    @property
    def mean(self) -> float:
        return self.total / self.n

    def ends(self) -> tuple[float, float]:
        return self.low, self.high if self.high > self.low else self.low + 1.0
