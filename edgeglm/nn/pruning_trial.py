"""The trial of a pruned network: does taking channels out mean what it should.

With random weights in float64, a network whose channels were taken out must answer exactly as the same network in
which they were set to zero. Norms over several channels (LayerNorm, GroupNorm) would count those zeros in their mean,
and the smaller network's do not: in the network with zeros they are computed from the other channels alone. So their
groups are held to the same answers as everyone's, and a norm hides no fault before or behind it.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from edgeglm.nn.calling import call
from edgeglm.nn.slicing import places
from edgeglm.nn.structure import apply_edit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edgeglm.model import Edit

_NOT_FOLLOWED = "forward() moves or mixes their channels in a way that cannot be followed"


class Trial:
    """A copy of the network with random weights, in which taking out and setting to zero are compared."""

    @torch.no_grad()
    def __init__(self, module: nn.Module, inputs: dict[str, Tensor]) -> None:
        """Copy the network; ``inputs`` are two or more rows by input name, which give the shapes."""
        generator = torch.Generator().manual_seed(0)
        self.module = deepcopy(module).eval().requires_grad_(False)
        _randomise(self.module, generator)
        self.inputs = {
            name: torch.randn(rows.shape, generator=generator) if rows.is_floating_point() else rows
            for name, rows in inputs.items()
        }
        self.tolerance = 1e-8
        doubled = {name: rows.double() if rows.is_floating_point() else rows for name, rows in self.inputs.items()}
        try:
            self.module.double()
            call(self.module, doubled)
            self.inputs = doubled
        except RuntimeError:  # the user's forward() makes float32 tensors of its own
            self.module.float()
            self.tolerance = 1e-3
        self.shapes = {name: tensor.shape for name, tensor in call(self.module, self.inputs).items()}

    @torch.no_grad()
    def fault(self, edit: Edit) -> str | None:
        """Return what is wrong when these channels go; None when nothing is."""
        pruned = deepcopy(self.module)
        try:
            apply_edit(pruned, edit)
            got = call(pruned, self.inputs)
        except Exception:  # whatever the user's forward() does with shapes it did not expect
            return "forward() breaks when their channels go"
        if any(got[name].shape != shape for name, shape in self.shapes.items()):
            return "the network's outputs"
        masked = deepcopy(self.module)
        try:
            for name, side, channels in edit["layers"]:
                _set_to_zero(masked, name, side, channels)
        except IndexError:  # the trace counted channels that the layer does not have
            return _NOT_FOLLOWED
        with _NormsOfTheRest():
            wanted = call(masked, self.inputs)
        for name, reference in wanted.items():
            if not reference.is_floating_point() or not reference.isfinite().all():
                continue
            if (got[name] - reference).abs().max() > self.tolerance * reference.abs().max():
                return _NOT_FOLLOWED
        return None


class _NormsOfTheRest(TorchFunctionMode):
    """LayerNorm and GroupNorm as if channels whose weight is zero were not there; those answer zero.

    In a trial no weight is zero unless it was set to zero (``_randomise``). A norm without weights, called as a
    function, stays as it is: its channels then fail the trial.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        norms: dict[object, Callable[..., Tensor]] = {F.layer_norm: _layer_norm, F.group_norm: _group_norm}
        norm = norms.get(function)
        if norm is None or (kwargs or {}).get("weight") is None:
            return function(*args, **(kwargs or {}))
        return norm(*args, **kwargs)


def _layer_norm(x: Tensor, shape: list[int], weight: Tensor, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    axes = tuple(range(-len(shape), 0))
    answer = _standardised(x, (weight != 0).expand(x.shape), axes, eps) * weight
    return answer if bias is None else answer + bias


def _group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    per_channel = (1, -1, *[1] * (x.ndim - 2))
    there = (weight != 0).view(per_channel).expand(x.shape)
    grouped = (x.shape[0], groups, -1)
    answer = _standardised(x.reshape(grouped), there.reshape(grouped), (-1,), eps).view(x.shape)
    answer = answer * weight.view(per_channel)
    return answer if bias is None else answer + bias.view(per_channel)


def _standardised(x: Tensor, there: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """Return x with mean 0 and variance 1 over the axes, both of what is there alone."""
    count = there.sum(axes, keepdim=True)
    centred = x - (x * there).sum(axes, keepdim=True) / count
    return centred / ((centred.square() * there).sum(axes, keepdim=True) / count + eps).sqrt()


def _randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Give every weight a value that matters, since trained networks hold zeros that would hide a fault."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            fan_in = parameter[0].numel()
            parameter.data = torch.randn(parameter.shape, generator=generator) * math.sqrt(2 / fan_in)
        else:
            parameter.data = torch.rand(parameter.shape, generator=generator) + 0.5
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None:
            layer.running_mean = torch.randn(layer.running_mean.shape, generator=generator) * 0.1
            layer.running_var = torch.rand(layer.running_mean.shape, generator=generator) + 0.5


def _set_to_zero(module: nn.Module, name: str, side: str, channels: list[int]) -> None:
    if side.startswith("axis"):
        parameter = module.get_parameter(name)
        parameter.data.index_fill_(int(side.removeprefix("axis ")), torch.tensor(channels), 0.0)
        return
    layer = module.get_submodule(name)
    if getattr(layer, "weight", None) is None and isinstance(layer, nn.LayerNorm | nn.GroupNorm):
        shape = layer.normalized_shape if isinstance(layer, nn.LayerNorm) else (layer.num_channels,)
        layer.weight = nn.Parameter(torch.ones(shape), requires_grad=False)  # it has to say which channels are there
    for place in places(layer, side, channels):
        tensor = layer.get_parameter(place.leaf)
        if tensor.numel() > 1:  # one value: a PReLU that all channels share
            tensor.data.index_fill_(place.axis, torch.tensor(place.indexes, dtype=torch.long), 0.0)
