"""Which number type trains faster on this machine."""

from __future__ import annotations

import statistics
import time
from copy import deepcopy
from typing import TYPE_CHECKING, Literal

import torch

from edgeglm.nn.calling import call, to_tensors
from edgeglm.nn.determinism import reproducible

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm.data.splits import Arrays
    from edgeglm.model import Model

_ROWS = 32  # a batch like those of training
_ROUNDS = 5
_GAIN = 1.10  # bfloat16 costs accuracy: it has to be clearly faster


def cuda_available() -> bool:
    """Return whether torch sees a CUDA device."""
    return torch.cuda.is_available()


def bfloat16_supported(device: str) -> bool:
    """Return whether the device computes in bfloat16 at all, rather than by emulation in software."""
    if device != "cpu":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def measure_precision(
    model: Model, sample: Arrays, *, device: str, threads: int, rounds: int = _ROUNDS
) -> Literal["float32", "bfloat16"]:
    """Return the faster type for training on this machine, measured; float32 unless bfloat16 wins by over 10 %.

    Forward and backward passes are timed on the sample, repeated to 32 rows, in float32 and under bfloat16 autocast,
    in turns, so that other load on the machine meets both.

    Args:
        model: Network to time; left as it was.
        sample: A few preprocessed rows by input name.
        device: ``cpu`` or ``cuda``.
        threads: Threads that torch may use.
        rounds: Timed passes of each type; the medians are compared.
    """
    if not bfloat16_supported(device):
        return "float32"
    module = deepcopy(model.module).to(device).eval()  # eval: a last batch of one row must not fail here
    module.requires_grad_(True)
    rows = {name: values.repeat(-(-_ROWS // len(values)), axis=0)[:_ROWS] for name, values in sample.items()}
    tensors = to_tensors(model, rows, device)

    def once(enabled: bool) -> None:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=enabled):
            outputs = call(module, tensors)
        loss = torch.stack([tensor.float().square().mean() for tensor in outputs.values()]).sum()
        torch.autograd.backward(loss)
        module.zero_grad(set_to_none=True)

    seconds: dict[bool, list[float]] = {False: [], True: []}
    with reproducible(threads):
        try:
            for enabled in seconds:
                once(enabled)  # the first pass compiles kernels
        except RuntimeError:
            return "float32"  # an operator of this network has no bfloat16 kernel
        for _ in range(rounds):
            for enabled, times in seconds.items():
                times.append(_timed(once, enabled, device))
    faster = statistics.median(seconds[False]) > _GAIN * statistics.median(seconds[True])
    return "bfloat16" if faster else "float32"


def _timed(work: Callable[[bool], None], enabled: bool, device: str) -> float:
    start = time.perf_counter()
    work(enabled)
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start
