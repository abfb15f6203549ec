"""Operation ``dequantize``: integers that a model puts out, as the real numbers they stand for."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta

from edgeglm_agent.processing._base import Answers, PostOperation, ProcessingError

_Scale = Annotated[float, Meta(gt=0)]


class Dequantize(PostOperation, frozen=True, kw_only=True):
    """Turn the integers of a quantized output into real numbers: ``scale * (q - zero_point)``, float32."""

    scale: _Scale | Annotated[list[_Scale], Meta(min_length=1)]  # of the output's type; one, or one a channel
    zero_point: int | list[int] = 0  # the integer that stands for 0.0; one, or one a channel
    axis: int = -1  # of the channels, in one sample, where there are several scales
    output: str | None = None  # name of the model output; None: the first

    def apply(self, answers: Answers) -> Answers:
        """Return the output as float32.

        Source: Jacob et al. 2018, arXiv:1712.05877, section 2.1.
        """
        name = answers.named(self.output)
        values = answers.outputs[name]
        if values.dtype.kind not in "iu":
            raise ProcessingError(f"output `{name}` is {values.dtype}: only integers are dequantized")
        shape = values.shape[1:]
        scale = self._along(self.scale, "scale", shape, np.float32)
        shifted = values.astype(np.int64) - self._along(self.zero_point, "zero_point", shape, np.int64)
        return answers.with_output(name, shifted.astype(np.float32) * scale)

    def _along(
        self, value: float | list[float] | list[int], key: str, shape: tuple[int, ...], kind: type
    ) -> np.ndarray:
        numbers: np.ndarray = np.atleast_1d(np.asarray(value, dtype=kind))
        if len(numbers) == 1:
            return numbers
        if not -len(shape) <= self.axis < len(shape):
            raise ProcessingError(f"axis {self.axis} does not exist in a sample of shape {shape}")
        if len(numbers) != shape[self.axis]:
            raise ProcessingError(
                f"`{key}` has {len(numbers)} values, the output {shape[self.axis]} channels "
                f"(axis {self.axis} of shape {shape})"
            )
        along = [1] * len(shape)
        along[self.axis] = len(numbers)
        return numbers.reshape(along)
