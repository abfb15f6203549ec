"""Train the network that the recipe compresses: `python train.py` writes tabular-tabnet.safetensors (seconds)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from data import load
from edgeglm_agent.processing import Preprocess
from model import build
from safetensors.torch import save_file
from torch.nn import functional as F

from edgeglm.recipe import load_recipe

if TYPE_CHECKING:
    import numpy as np

HERE = Path(__file__).resolve().parent
EPOCHS, BATCH = 100, 32


def main() -> None:
    """Train on the split `train` alone; print accuracy on `eval`; write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "tabular-tabnet.safetensors")
    out = parser.parse_args().out
    torch.manual_seed(0)
    torch.set_num_threads(1)  # so small a network is no faster on several
    preprocess = Preprocess(load_recipe(HERE / "recipe.yaml").recipe.preprocess)
    features, targets = (torch.from_numpy(part) for part in prepared(preprocess, "train"))
    model = build()
    steps = EPOCHS * (len(features) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=5e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        model.train()
        for rows in torch.randperm(len(features)).split(BATCH)[: len(features) // BATCH]:
            noisy = features[rows] + 0.2 * torch.randn(len(rows), features.shape[1])
            loss = F.cross_entropy(model(noisy), targets[rows], label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}/{EPOCHS}  loss {loss.item():.3f}", flush=True)
    model.eval()
    features, targets = (torch.from_numpy(part) for part in prepared(preprocess, "eval"))
    with torch.no_grad():
        right = (model(features).argmax(dim=1) == targets).sum().item()
    print(f"accuracy on eval: {right}/{len(targets)} = {right / len(targets):.4f}")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, out)


def prepared(preprocess: Preprocess, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a split as the network takes it: float32 (N, 30), int64 (N,)."""
    features, targets = load(split)
    return preprocess.batch(features), targets


if __name__ == "__main__":
    main()
