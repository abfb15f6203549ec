"""Operation ``reconstruction-error``: how badly an autoencoder gives back what it was given."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from edgeglm_agent.processing._base import Answers, PostOperation, ProcessingError

SCORE = "anomaly_score"


class ReconstructionError(PostOperation, frozen=True, kw_only=True):
    """Make an anomaly score of an autoencoder: the mean error between an input and an output, as the first output."""

    needs_inputs: ClassVar[bool] = True

    input: str | None = None  # name of the model input; None: the first
    output: str | None = None  # name of the model output that gives it back; None: the first
    error: Literal["squared", "absolute"] = "squared"  # what is averaged over all values of a sample
    name: str = SCORE  # of the output (N,) that holds the score

    def apply(self, answers: Answers) -> Answers:
        """Return the outputs with the score (N,) float32 before them."""
        if answers.inputs is None:
            raise ProcessingError("needs the model's inputs, and they were not given along with its outputs")
        given = next(iter(answers.inputs)) if self.input is None else self.input
        if given not in answers.inputs:
            raise ProcessingError(f"the model has no input `{given}`; it has {', '.join(answers.inputs)}")
        output = answers.named(self.output)
        score = self.score(answers.inputs[given], answers.outputs[output], names=(given, output))
        rest = {name: values for name, values in answers.outputs.items() if name != self.name}
        return Answers({self.name: score, **rest}, answers.inputs)

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
        apart = made.astype(np.float64) - given
        errors = np.square(apart) if self.error == "squared" else np.abs(apart)
        return np.asarray(errors.reshape(len(errors), -1).mean(axis=1), np.float32)
