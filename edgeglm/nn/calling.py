"""Calling a network by the names of its inputs, whatever it returns."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from edgeglm.data.splits import Arrays
    from edgeglm.model import Model

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def forward_parameters(module: nn.Module) -> list[str]:
    """Return the names that ``forward`` takes, in order, without ``*args`` and ``**kwargs``."""
    return [
        name
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.kind in (*_POSITIONAL, inspect.Parameter.KEYWORD_ONLY)
    ]


def call(module: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Run the network and return its outputs by name.

    Inputs that are the first parameters of ``forward``, in their order, are given by position, the rest by name: where
    ``forward(a, mask=None, b=None)`` is given a and b, b is no mask. Names that ``forward`` does not have, as those of
    ``*args``, go by position.

    Args:
        module: The network.
        inputs: Input name -> tensor, first axis samples.

    Returns:
        Output name -> tensor. A single tensor is called ``logits`` when it has two axes, else ``output``; a tuple's
        are ``output0``, ``output1``, ...; those of a dict (or of a dataclass-like mapping) keep their keys.
    """
    given, parameters = list(inputs.items()), inspect.signature(module.forward).parameters
    if not set(inputs) <= set(parameters):
        return name_outputs(module(*inputs.values()), inputs)
    positional = [name for name, parameter in parameters.items() if parameter.kind in _POSITIONAL]
    first = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(inputs, positional, strict=False))))
    return name_outputs(module(*(tensor for _, tensor in given[:first]), **dict(given[first:])), inputs)


def name_outputs(output: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what a network returned as name -> tensor; what is no tensor is left out.

    A name that an input has too gets ``_output`` added, since a file cannot hold it twice.
    """
    named: dict[str, Any]
    if isinstance(output, Tensor):
        named = {"logits" if output.ndim == 2 else "output": output}
    elif isinstance(output, Mapping):
        named = {str(name): value for name, value in output.items()}
    elif hasattr(output, "_asdict"):  # a NamedTuple
        named = dict(output._asdict())
    elif isinstance(output, list | tuple):
        named = {f"output{index}": value for index, value in enumerate(output)}
    else:
        named = {}
    tensors: dict[str, Tensor] = {}
    for name, value in named.items():
        if isinstance(value, Tensor):
            while name in inputs or name in tensors:
                name += "_output"
            tensors[name] = value
    return tensors


def to_tensor(values: np.ndarray) -> Tensor:
    """Return an array as a tensor: int32 and int64 (tokens) as they are, every other type as float32."""
    if values.dtype in (np.int32, np.int64):
        return torch.from_numpy(np.ascontiguousarray(values))
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def to_tensors(model: Model, inputs: Arrays, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """Return the arrays as tensors under the model's own input names, in the model's order.

    One array for a model of one input may have any name.

    Raises:
        KeyError: A model of several inputs lacks one of them.
    """
    if len(model.inputs) == 1 and len(inputs) == 1:
        return {model.inputs[0].name: to_tensor(next(iter(inputs.values()))).to(device)}
    return {spec.name: to_tensor(inputs[spec.name]).to(device) for spec in model.inputs}


def named_for(model: Model, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the model's own names: those of a single input are only names."""
    names = [spec.name for spec in model.inputs]
    if len(names) == 1 and len(inputs) == 1:
        return {names[0]: next(iter(inputs.values()))}
    return {name: inputs[name] for name in names}
