"""Running a network over a whole split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeglm.data.splits import batches
from edgeglm.nn.calling import call, named_for, to_tensors
from edgeglm.nn.determinism import reproducible, seed_all

if TYPE_CHECKING:
    from edgeglm.data.splits import Split
    from edgeglm.model import Model


def predict(model: Model, split: Split, *, batch: int = 64, threads: int, device: str = "cpu") -> dict[str, np.ndarray]:
    """Return the network's outputs over the whole split, by name, in the order of the samples.

    Args:
        model: The network; put into eval mode.
        split: Samples to run.
        batch: Rows given at once.
        threads: Threads that torch may use.
        device: ``cpu`` or ``cuda``; the network is back on the CPU afterwards.

    Returns:
        Output name -> float32 array (N, ...).
    """
    module = model.module.eval().to(device)
    collected: dict[str, list[np.ndarray]] = {spec.name: [] for spec in model.outputs}
    try:
        with reproducible(threads), torch.no_grad():
            seed_all(0)  # a data set that draws at random gives the same rows every time
            for _, inputs in batches(split, batch):
                outputs = call(module, named_for(model, to_tensors(model, inputs, device)))
                for name, parts in collected.items():
                    parts.append(outputs[name].float().cpu().numpy())
    finally:
        module.to("cpu")
    return {name: np.concatenate(parts) for name, parts in collected.items()}
