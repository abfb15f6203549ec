"""The torch side of an export: example inputs, the network's own outputs, and what to say when it cannot be traced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edgeglm.artifacts.failures import find_failure
from edgeglm.errors import ExportError
from edgeglm.nn.calling import call

if TYPE_CHECKING:
    from edgeglm.data.splits import Arrays
    from edgeglm.model import Model

PREFIX = "module."


class Flat(nn.Module):
    """The network as exporters want it: inputs by position, outputs as a tuple, both in the order of the model."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.module = model.module
        self.inputs = tuple(spec.name for spec in model.inputs)
        self.outputs = tuple(spec.name for spec in model.outputs)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs as a tuple."""
        outputs = call(self.module, dict(zip(self.inputs, inputs, strict=True)))
        return tuple(outputs[name] for name in self.outputs)


def example_inputs(model: Model, sample: Arrays, rows: int) -> Arrays:
    """Return ``rows`` rows of the sample, repeated when there are fewer, as the network takes them."""
    inputs = {}
    for spec in model.inputs:
        values = np.asarray(sample[spec.name])
        inputs[spec.name] = np.ascontiguousarray(values[np.arange(rows) % len(values)], dtype=spec.dtype)
    return inputs


def run_torch(model: Model, inputs: Arrays) -> Arrays:
    """Return the network's own outputs by name; called as in training and evaluation."""
    with torch.no_grad():
        outputs = call(model.module.eval(), {name: torch.from_numpy(values) for name, values in inputs.items()})
    return {spec.name: outputs[spec.name].cpu().numpy() for spec in model.outputs}


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
