"""The model of a slot: the first artifact of a manifest that this machine loads, and that answers as it should."""

from __future__ import annotations

import math
import re
import time
from typing import TYPE_CHECKING

import numpy as np

from edgeglm_agent.engines import OURS, Engine, EngineError, load_engine, runtime_of
from edgeglm_agent.engines._base import plain
from edgeglm_agent.golden import GoldenError
from edgeglm_agent.processing import Postprocess, Preprocess, ProcessingError, Result, Sample
from edgeglm_agent.processing.arrays import Layout, Normalise
from edgeglm_agent.processing.boxes import DecodeBoxes
from edgeglm_agent.processing.tokenize import Tokenize
from edgeglm_agent.worker.arrangement import Arrangement, MismatchError
from edgeglm_agent.worker.deaths import LIMIT, Deaths
from edgeglm_agent.worker.folder import FolderError, ModelFolder, open_folder
from edgeglm_agent.worker.memory import settle
from edgeglm_agent.worker.soundness import golden_of, missed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgeglm_agent.settings.types import Slot
    from edgeglm_agent.wire import Artifact, Manifest, TensorSpec
    from edgeglm_agent.wire.telemetry import Scalar

Arrays = dict[str, np.ndarray]

_SHORT = 8192  # values; of more, BLAS would start threads
# schemes whose answer to a row does not depend on the rows beside it; of a package's scheme that is not known
_BY_ROW = frozenset({"none", "fp16", "static-int8", "weight-only-int8", "weight-only-int4"})


class ModelRefusedError(ValueError):
    """No artifact of a model can be served here; trying again changes nothing.

    Attributes:
        lines: One for each artifact (of ONNX: and provider) that was tried, and why not; or why none was.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


class Model:
    """A model that passed its golden samples; one thread uses it.

    Inputs are by the model's names, in its layout, with a batch axis first, as preprocessing gives them; how the
    artifact takes them is nobody else's business. Outputs have a batch axis, too.

    Attributes:
        passed_over: Artifacts before this one that cannot be served here, one line each: which, and why not.
        takes_texts: Preprocessing begins with ``tokenize``.
        most_values: Numbers that one sample holds at most, all inputs together; None: no shape tells.
        batch_changes_answers: Of the scheme: a row's answer depends on the rows beside it.
        answers_are_outputs: There is no postprocessing.
    """

    def __init__(
        self,
        folder: ModelFolder,
        artifact: Artifact,
        engine: Engine,
        arrangement: Arrangement,
        *,
        passed_over: Sequence[str] = (),
    ) -> None:
        """Put a model together. Raises: ProcessingError."""
        manifest = folder.manifest
        self._folder = folder
        self.manifest = manifest
        self.manifest_sha256 = folder.manifest_sha256
        self.artifact = artifact
        self.engine = engine
        self.passed_over = tuple(passed_over)
        self.load_ms = 0.0
        self.labels = manifest.labels
        self.runtime = engine.runtime
        self.provider = engine.provider
        self.preprocess = Preprocess(manifest.preprocess, folder=folder.path)
        self.postprocess = Postprocess(manifest.postprocess, manifest.labels)
        self.input_names = tuple(spec.name for spec in manifest.inputs)
        self.takes_texts = self.preprocess.takes_texts
        self.most_values = _most_values(manifest.inputs, self.preprocess)
        self.batch_changes_answers = artifact.scheme not in _BY_ROW
        self.answers_are_outputs = not self.postprocess.ops
        self.serve_batch = max(1, manifest.serve_batch)
        self._framed = any(isinstance(op, DecodeBoxes) for op in self.postprocess.ops)
        self._name = self.input_names[0] if self.input_names else ""
        self._arrange = arrangement
        self._as_it_is = not arrangement.needed
        self._run = engine.run

    def prepare(self, sample: Sample) -> Arrays:
        """Return one sample as a model's inputs, with a batch axis of 1. Raises: ProcessingError."""
        made = self.preprocess.one(sample)
        if isinstance(made, dict):
            return {name: values[np.newaxis] for name, values in made.items()}
        return {self._name: made[np.newaxis]}

    def together(self, prepared: Sequence[Arrays]) -> Arrays:
        """Return prepared samples as one batch. Raises: ProcessingError, where their shapes differ."""
        try:
            return {name: np.concatenate([one[name] for one in prepared]) for name in prepared[0]}
        except (ValueError, KeyError):
            shapes = {tuple(values.shape[1:] for values in one.values()) for one in prepared}
            raise ProcessingError(f"samples of different shapes cannot be one batch: {sorted(shapes)}") from None

    def run(self, inputs: Arrays) -> Arrays:
        """Run the artifact on any number of rows: as many at a time as it was judged at, where that matters.

        Raises:
            EngineError: The inputs do not fit, the runtime failed, or it gives NaN or infinity.
        """
        if self.batch_changes_answers and len(next(iter(inputs.values()))) > self.serve_batch:
            return self._run_in_parts(inputs)
        outputs = self._run(inputs if self._as_it_is else self._arrange(inputs))
        for name in outputs:
            values = outputs[name]
            if values.dtype.kind == "f" and not _finite(values):
                raise EngineError(f"output `{name}` is not finite (NaN or infinity)", fault="non-finite")
        return outputs

    def _run_in_parts(self, inputs: Arrays) -> Arrays:
        rows, step = len(next(iter(inputs.values()))), self.serve_batch
        parts = [
            self.run({name: values[row : row + step] for name, values in inputs.items()})
            for row in range(0, rows, step)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def judge(self, outputs: Arrays, inputs: Arrays, sample: Sample) -> Result:
        """Return what postprocessing makes of one sample's outputs. Raises: ProcessingError."""
        frame = self.preprocess.frame(sample) if self._framed else None
        return self.postprocess.one(outputs, inputs=inputs, frame=frame)

    def judge_all(self, outputs: Arrays, inputs: Arrays, samples: Sequence[Sample]) -> list[Result]:
        """Return what postprocessing makes of the outputs of several samples. Raises: ProcessingError."""
        frames = [self.preprocess.frame(sample) for sample in samples] if self._framed else None
        return self.postprocess.batch(outputs, inputs=inputs, frames=frames)

    def infer(self, sample: Sample) -> tuple[Arrays, Arrays]:
        """Return outputs and inputs of one sample. Raises: ProcessingError, EngineError."""
        inputs = self.prepare(sample)
        return self.run(inputs), inputs

    def infer_batch(self, samples: Sequence[Sample]) -> tuple[Arrays, Arrays]:
        """Return outputs and inputs of several samples, as ``infer``."""
        inputs = self.together([self.prepare(sample) for sample in samples])
        return self.run(inputs), inputs

    def unsound(self, begins: Callable[[], None]) -> str:
        """Run the golden samples again; return how they are missed now, or cannot be run; empty: the model is sound.

        Args:
            begins: Is called before each inference.
        """
        try:
            return missed(self.engine, golden_of(self._folder, self.artifact), self.artifact, self.serve_batch, begins)
        except (FolderError, GoldenError, EngineError) as error:
            return str(error)

    def describe(self) -> dict[str, Scalar]:
        """Return what was chosen, and why."""
        return {
            "model": f"{self.manifest.name} {self.manifest.version}",
            "made_for": self.manifest.target,
            "artifact": self.artifact.path,
            "format": self.artifact.format,
            "scheme": self.artifact.scheme,
            "runtime": self.runtime,
            "provider": self.provider,
            "load_ms": round(self.load_ms, 1),
            "passed_over": "\n".join(self.passed_over),
        }


def _most_values(inputs: Sequence[TensorSpec], preprocess: Preprocess) -> int | None:
    """Return how many numbers a sample holds at most; None: a length is free, or an operation changes how many."""
    if not all(isinstance(op, Normalise | Layout) for op in preprocess.ops):
        return None
    shapes = [spec.shape for spec in inputs]
    return None if any(-1 in shape for shape in shapes) else sum(math.prod(shape) for shape in shapes)


def _finite(values: np.ndarray) -> bool:
    """Return whether no value is NaN or infinite, without another array of their size where they are many."""
    if values.size > _SHORT:
        return math.isfinite(values.max()) and math.isfinite(values.min())
    # quickest of all for a few; squares may overflow where no value is infinite, so it is not the last word
    return math.isfinite(np.vdot(values, values)) or bool(np.isfinite(values).all())


def load_model(folder: Path, *, slot: Slot, state_dir: Path) -> Model:
    """Return the first artifact of a folder that this machine loads and that passes its golden samples.

    Every file is held against the manifest's sha256 before a runtime sees it. One model to a process: memory is set up
    for its serving.

    Args:
        folder: With a ``manifest.json``.
        slot: Its ``artifacts``, ``providers`` and ``threads`` are looked at.
        state_dir: The slot's: what it took to load is noted there, and engines that TensorRT builds here are kept.

    Raises:
        ModelRefusedError: None can be served.
    """
    try:
        opened = open_folder(folder)
        opened.check_preprocess_files()
        order = _in_order(opened.manifest, slot.artifacts)
        for op in Preprocess(opened.manifest.preprocess, folder=folder).ops:
            if isinstance(op, Tokenize):
                op.check(folder)
        Postprocess(opened.manifest.postprocess, opened.manifest.labels)
    except (FolderError, ProcessingError, MismatchError) as error:
        raise ModelRefusedError([str(error)]) from error
    deaths = Deaths(state_dir, opened.manifest_sha256)
    tries = [
        (artifact, provider)
        for artifact in order
        for provider in (slot.providers if artifact.format == "onnx" and slot.providers else ("cpu",))
    ]
    deadly = [one for one in tries if deaths.of(_called(*one)) >= LIMIT]
    passed_over = [f"{_called(*one)}: the process died of it {deaths.of(_called(*one))} times" for one in deadly]
    for artifact, provider in [*(one for one in tries if one not in deadly), *deadly]:
        called = _called(artifact, provider)
        try:
            with deaths.watching(called):
                model = _loaded(opened, artifact, slot.threads, provider, state_dir, passed_over)
        except (FolderError, GoldenError, EngineError, ProcessingError, MismatchError) as error:
            passed_over.append(f"{called}: {str(error).removeprefix(f'{artifact.path}: ')}")
        except Exception as error:
            if artifact.format in OURS:
                raise
            passed_over.append(f"{called}: the package's engine failed: {type(error).__name__}: {plain(error)}")
        else:
            settle()
            return model
    raise ModelRefusedError(passed_over)


def _called(artifact: Artifact, provider: str) -> str:
    on = f" on {provider}" if provider != "cpu" else ""
    return f"{artifact.path} ({artifact.format}, {artifact.scheme}){on}"


def _in_order(manifest: Manifest, paths: Sequence[str]) -> Sequence[Artifact]:
    """Return the artifacts in the order to try. Raises: MismatchError."""
    if not manifest.artifacts:
        raise MismatchError("the manifest lists no artifact")
    known = {artifact.path: artifact for artifact in manifest.artifacts}
    for path in paths:
        if path not in known:
            raise MismatchError(f"the manifest lists no artifact {path!r}; it lists {', '.join(known)}")
    return [known[path] for path in paths] or manifest.artifacts


def _loaded(
    folder: ModelFolder,
    artifact: Artifact,
    threads: int,
    provider: str,
    state_dir: Path,
    passed_over: Sequence[str],
) -> Model:
    start = time.perf_counter()
    file = folder.artifact_file(artifact)
    golden = golden_of(folder, artifact)
    _check_version(runtime_of(artifact.format), artifact)
    engine = load_engine(file, format=artifact.format, threads=threads, provider=provider, cache=state_dir / "tensorrt")
    _check_version(engine.runtime, artifact)
    _check_specs("input", artifact.inputs, engine.inputs)
    _check_specs("output", artifact.outputs, engine.outputs)
    arrangement = Arrangement(folder.manifest.inputs, artifact)
    said = missed(engine, golden, artifact, max(1, folder.manifest.serve_batch))
    if said:
        raise GoldenError(f"it does not give its golden outputs in {engine.runtime}: {said}")
    model = Model(folder, artifact, engine, arrangement, passed_over=passed_over)
    model.load_ms = 1000 * (time.perf_counter() - start)
    return model


def _check_version(runtime: str, artifact: Artifact) -> None:
    """Refuse a runtime that is older than the file needs; one of another name has only the golden samples to pass."""
    name, _, version = runtime.partition(" ")
    least = artifact.runtime.least_version
    if name == artifact.runtime.name and _numbers(version) < _numbers(least):
        raise EngineError(f"it needs {name} {least} or newer, here is {version}", fault="no-runtime")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[-+ ]", version)[0]))


def _check_specs(what: str, listed: Sequence[TensorSpec], found: Sequence[TensorSpec]) -> None:
    """Refuse a file that has not the inputs or outputs of its manifest. Raises: MismatchError."""

    def alike(one: TensorSpec, other: TensorSpec) -> bool:
        return (one.dtype, len(one.shape)) == (other.dtype, len(other.shape)) and all(
            -1 in (mine, its) or mine == its for mine, its in zip(one.shape, other.shape, strict=True)
        )

    there = {spec.name: spec for spec in found}
    if {spec.name for spec in listed} != set(there) or not all(alike(spec, there[spec.name]) for spec in listed):
        raise MismatchError(f"its {what}s are {_text(found)}, and by the manifest {_text(listed)}")


def _text(specs: Sequence[TensorSpec]) -> str:
    return (
        ", ".join(f"`{spec.name}` {spec.dtype} {'x'.join(map(str, spec.shape))}".rstrip() for spec in specs) or "none"
    )
