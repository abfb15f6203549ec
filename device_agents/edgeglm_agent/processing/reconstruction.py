"""Operation ``reconstruction-error``: how badly an autoencoder gives back what it was given."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from edgeglm_agent.processing._base import Answers, PostOperation, ProcessingError

if TYPE_CHECKING:
    from collections.abc import Mapping

SCORE = "anomaly_score"
_MOST_CHANNELS = 64


class ReconstructionError(PostOperation, frozen=True, kw_only=True):
    """Make an anomaly score of an autoencoder: the mean error between an input and an output, as the first output."""

    needs_inputs: ClassVar[bool] = True

    input: str | None = None  # name of the model input; None: the first
    output: str | None = None  # name of the model output that gives it back; None: the first
    error: Literal["squared", "absolute"] = "squared"  # what is averaged over all values of a sample
    name: str = SCORE  # of the output (N,) that holds the score

    def apply(self, answers: Answers) -> Answers:
        """Return the outputs with the score (N,) float32 before them."""
        inputs, given, output = self._meant(answers)
        score = self.score(inputs[given], answers.outputs[output], names=(given, output))
        rest = {name: values for name, values in answers.outputs.items() if name != self.name}
        return Answers({self.name: score, **rest}, answers.inputs)

    def by_channel(self, answers: Answers, layouts: Mapping[str, str]) -> tuple[float, ...]:
        """Return the mean error of each channel of the first sample, in six digits.

        Channels are what the input's layout says; of an input without one, they are the last axis: a series has the
        shape (time, channels). Nothing where there are more than 64: those are no channels, but points in time.
        """
        inputs, given, output = self._meant(answers)
        errors = self._errors(inputs[given], answers.outputs[output])[0]
        layout = layouts.get(given, "")
        axis = layout.index("C") - 1 if "C" in layout and len(layout) == errors.ndim + 1 else errors.ndim - 1
        if axis < 0 or not 0 < errors.shape[axis] <= _MOST_CHANNELS:
            return ()
        means = np.moveaxis(errors, axis, 0).reshape(errors.shape[axis], -1).mean(axis=1)
        return tuple(float(f"{mean:.6g}") for mean in means.tolist())

    def _meant(self, answers: Answers) -> tuple[Mapping[str, np.ndarray], str, str]:
        """Return the inputs, and the names of the input and the output that are compared. Raises: ProcessingError."""
        if answers.inputs is None:
            raise ProcessingError("needs the model's inputs, and they were not given along with its outputs")
        given = next(iter(answers.inputs)) if self.input is None else self.input
        if given not in answers.inputs:
            raise ProcessingError(f"the model has no input `{given}`; it has {', '.join(answers.inputs)}")
        return answers.inputs, given, answers.named(self.output)

    def score(self, given: np.ndarray, made: np.ndarray, *, names: tuple[str, str] = ("", "")) -> np.ndarray:
        """Return the mean error of each sample, (N,) float32; summed in float64, so that its order hardly matters.

        Raises:
            ProcessingError: The two are of different shapes.
        """
        if given.shape != made.shape:
            raise ProcessingError(
                f"output `{names[1]}` of shape {made.shape} does not give back input `{names[0]}` of shape "
                f"{given.shape}"
            )
        errors = self._errors(given, made)
        return np.asarray(errors.reshape(len(errors), -1).mean(axis=1), np.float32)

    def _errors(self, given: np.ndarray, made: np.ndarray) -> np.ndarray:
        apart = made.astype(np.float64) - given
        return np.asarray(np.square(apart) if self.error == "squared" else np.abs(apart))
