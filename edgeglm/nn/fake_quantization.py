"""Training under the rounding that INT8 will bring.

Only forward passes round; weights stay FP32 and are exported as such. The static quantizers then round in the same way:
weights by output channel, symmetric, which folding a batch norm into them does not change; what each layer reads by
one range for the tensor, of the type that the target computes with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from edgeglm.nn.slicing import weight_axis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
_ROUNDED = {
    *(F.linear, F.conv1d, F.conv2d, F.conv3d),
    *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
}
_FORGETTING = 0.05  # of the ranges, with each batch
_LEAST = 1e-8  # of a range: a layer that reads nothing but zeros


class FakeQuantization(TorchFunctionMode):
    """While it is entered, the layers of one network compute with rounded weights and inputs; gradients pass through.

    Ranges of inputs follow the batches that are trained on; while nothing is trained they stay.

    Source: Jacob et al. 2018, arXiv:1712.05877, section 3 (simulated quantization, moving ranges); Bengio et al. 2013,
    arXiv:1308.3432, section 2 (gradients as if nothing were rounded).
    """

    def __init__(self, module: nn.Module, *, symmetric: bool) -> None:
        """Take note of the layers.

        Args:
            module: The network, on its device.
            symmetric: Inputs are signed and have no zero point (ARM, TensorRT); else unsigned with one (x86).
        """
        super().__init__()
        self.symmetric = symmetric
        self.ranges: dict[str, Tensor] = {}  # layer -> (2,): least and largest value that it reads
        self._layers = {
            id(layer.weight): (name, weight_axis(layer, "out", [])[0])
            for name, layer in module.named_modules()
            if isinstance(layer, _LAYERS)
        }

    @property
    def layers(self) -> int:
        """How many layers round."""
        return len(self._layers)

    def __torch_function__(
        self, function: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Round what convolutions and linear layers of the network are given."""
        kwargs = kwargs or {}
        if function not in _ROUNDED or len(args) < 2 or (known := self._layers.get(id(args[1]))) is None:
            return function(*args, **kwargs)
        name, axis = known
        return function(self._rounded(name, args[0]), rounded_weight(args[1], axis), *args[2:], **kwargs)

    def _rounded(self, name: str, x: Tensor) -> Tensor:
        learning = torch.is_grad_enabled()
        with torch.no_grad():
            if learning or name not in self.ranges:
                seen = torch.stack([x.min().clamp(max=0), x.max().clamp(min=0)]).float()
                self.ranges[name] = torch.lerp(self.ranges.get(name, seen), seen, _FORGETTING)
            least, largest = self.ranges[name]
            if self.symmetric:
                scale = (torch.maximum(-least, largest) / 127).clamp(min=_LEAST)
                zero = torch.zeros((), dtype=torch.int32, device=x.device)
            else:
                scale = ((largest - least) / 255).clamp(min=_LEAST)
                zero = (-least / scale).round().clamp(0, 255).int()
        low, high = (-128, 127) if self.symmetric else (0, 255)
        return torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, low, high)


def rounded_weight(weight: Tensor, axis: int) -> Tensor:
    """Return the weight on a grid of 255 steps for each slice of an axis, zero in the middle."""
    others = [other for other in range(weight.ndim) if other != axis]
    scale = (weight.detach().abs().amax(others) / 127).clamp(min=_LEAST)
    zeros = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zeros, axis, -127, 127)
