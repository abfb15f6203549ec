"""How much a network computes and holds."""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edgeglm.nn.calling import call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeglm.model import Model


_known: WeakKeyDictionary[nn.Module, tuple[object, int]] = WeakKeyDictionary()


def blank_inputs(model: Model, rows: int = 1) -> dict[str, torch.Tensor]:
    """Return zeros of the model's input types and shapes, with this many rows."""
    return {spec.name: torch.zeros((rows, *spec.shape), dtype=getattr(torch, spec.dtype)) for spec in model.inputs}


def count_macs(model: Model) -> int:
    """Return the multiply-accumulates of one sample: those of convolutions, matrix products, attention and LSTMs.

    Element-wise work, normalisation and activations are not counted, as is the custom of the field.
    """
    shapes = tuple((name, parameter.shape) for name, parameter in model.module.named_parameters())
    key = (model.inputs, shapes)
    known = _known.get(model.module)
    if known is None or known[0] != key:
        known = _known[model.module] = (key, _count(model))
    return known[1]


def _count(model: Model) -> int:
    module = deepcopy(model.module).eval()  # copied, since a user's forward may keep what it computed
    lstm = {torch.ops.aten.mkldnn_rnn_layer: _lstm_flops}
    with torch.no_grad(), _unfused_attention(), FlopCounterMode(display=False, custom_mapping=lstm) as counter:
        call(module, blank_inputs(model))
    return int(counter.get_total_flops()) // 2  # torch counts a multiplication and an addition


@contextmanager
def _unfused_attention() -> Iterator[None]:
    """Compute attention by matrix products that the counter knows; it does not know the fused kernels of CPUs."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _lstm_flops(
    inputs: torch.Size, input_weights: torch.Size, hidden_weights: torch.Size, *_: object, out_shape: object = None
) -> int:
    """Return twice the products of one direction of one LSTM layer: inputs (T, B, F), weights (4H, F) and (4H, H)."""
    del out_shape  # part of the counter's calling convention
    return 2 * inputs[0] * inputs[1] * (input_weights.numel() + hidden_weights.numel())


def count_params(model: Model) -> int:
    """Return the number of trainable values; a tensor that two layers share counts once."""
    return sum(parameter.numel() for parameter in model.module.parameters())
