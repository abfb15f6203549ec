"""The torch side of an export: example inputs, the network's own outputs, and what to say when it cannot be traced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edgeglm.artifacts.failures import find_failure
from edgeglm.errors import ExportError

if TYPE_CHECKING:
    from edgeglm.data import Arrays
    from edgeglm.model import Model

PREFIX = "module."


class Flat(nn.Module):
    """The network with its inputs in order and its outputs as a tuple, in the order of ``Model.outputs``."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.module = model.module
        self.names = tuple(spec.name for spec in model.outputs)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs as a tuple."""
        outputs = self.module(*inputs)
        if isinstance(outputs, dict):
            return tuple(outputs[name] for name in self.names)
        return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)


def example_inputs(model: Model, sample: Arrays, rows: int) -> Arrays:
    """Return ``rows`` rows of the sample, repeated when there are fewer, as the network takes them."""
    inputs = {}
    for spec in model.inputs:
        values = np.asarray(sample[spec.name])
        inputs[spec.name] = np.ascontiguousarray(values[np.arange(rows) % len(values)], dtype=spec.dtype)
    return inputs


def run_torch(model: Model, inputs: Arrays) -> Arrays:
    """Return the network's own outputs by name."""
    with torch.no_grad():
        outputs = Flat(model).eval()(*(torch.from_numpy(values) for values in inputs.values()))
    return {spec.name: value.detach().cpu().numpy() for spec, value in zip(model.outputs, outputs, strict=True)}


def trace_error(error: Exception, wrapper: nn.Module, *, prefixes: tuple[str, ...] = (PREFIX,)) -> ExportError:
    """Return what to tell a user whose network torch.export cannot follow."""
    failure = find_failure(error, wrapper, prefixes=prefixes)
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    at = f" at {failure.line}" if failure.line else ""
    return ExportError(
        f"the network cannot be traced: {reason.strip()}",
        where=failure.layer,
        hint=f"look at forward(){at}: `if` and loops over values of tensors cannot be exported; use torch.where, or "
        "shapes alone",
        code="export-trace",
    )
