"""Train the network that the recipe compresses: `python train.py` writes digits-dscnn.safetensors (a minute or two)."""

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
EPOCHS, BATCH = 30, 64


def main() -> None:
    """Train on the split `train` alone; print accuracy on `eval`; write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "digits-dscnn.safetensors")
    out = parser.parse_args().out
    torch.manual_seed(0)
    preprocess = Preprocess(load_recipe(HERE / "recipe.yaml").recipe.preprocess)
    images, targets = (torch.from_numpy(part) for part in prepared(preprocess, "train"))
    model = build()
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        model.train()
        for rows in torch.randperm(len(images)).split(BATCH)[: len(images) // BATCH]:
            loss = F.cross_entropy(model(shifted(images[rows])), targets[rows], label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{EPOCHS}  loss {loss.item():.3f}", flush=True)
    model.eval()
    images, targets = (torch.from_numpy(part) for part in prepared(preprocess, "eval"))
    with torch.no_grad():
        right = (model(images).argmax(dim=1) == targets).sum().item()
    print(f"accuracy on eval: {right}/{len(targets)} = {right / len(targets):.4f}")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, out)


def prepared(preprocess: Preprocess, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a split as the network takes it: float32 (N, 1, 32, 32), int64 (N,)."""
    images, targets = load(split)
    return preprocess.batch(images), targets


def shifted(images: torch.Tensor, most: int = 3) -> torch.Tensor:
    """Move every image of a batch by up to ``most`` pixels, black where nothing was."""
    size = images.shape[-1]
    padded = F.pad(images, (most, most, most, most))
    offsets = torch.randint(0, 2 * most + 1, (len(images), 2)).tolist()
    moved = [image[:, y : y + size, x : x + size] for image, (y, x) in zip(padded, offsets, strict=True)]
    return torch.stack(moved)


if __name__ == "__main__":
    main()
