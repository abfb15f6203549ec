"""A model that is loaded: samples in, its outputs and what they mean out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeglm_agent.engines import Engine, EngineError
from edgeglm_agent.golden import GoldenError
from edgeglm_agent.processing import Postprocess, Preprocess, ProcessingError, Result, Sample
from edgeglm_agent.processing.arrays import Layout, Normalise
from edgeglm_agent.processing.boxes import DecodeBoxes
from edgeglm_agent.worker.folder import FolderError, ModelFolder
from edgeglm_agent.worker.soundness import golden_of, missed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeglm_agent.wire import Artifact, TensorSpec
    from edgeglm_agent.wire.telemetry import Scalar
    from edgeglm_agent.worker.arrangement import Arrangement

Arrays = dict[str, np.ndarray]

_SHORT = 8192  # values; of more, BLAS would start threads
# schemes whose answer to a row does not depend on the rows beside it; of a package's scheme that is not known
_BY_ROW = frozenset({"none", "fp16", "static-int8", "weight-only-int8", "weight-only-int4"})


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

    def channel_errors(self, outputs: Arrays, inputs: Arrays, row: int) -> tuple[float, ...]:
        """Return how badly each channel of one sample was given back; empty: postprocessing measures no such error."""
        return self.postprocess.channel_errors(
            {name: values[row : row + 1] for name, values in outputs.items()},
            {name: values[row : row + 1] for name, values in inputs.items()},
            {spec.name: spec.layout for spec in self.manifest.inputs},
        )

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
