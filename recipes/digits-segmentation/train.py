"""Train the network that the recipe compresses: `python train.py` writes digits-segmentation.safetensors (minutes)."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from data import load
from edgeglm_agent.processing import Preprocess
from model import build
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from edgeglm.recipe import load_recipe

HERE = Path(__file__).resolve().parent
EPOCHS, BATCH = 20, 16


def main() -> None:
    """Train on the split `train` alone; print the share of pixels told right on `eval`; write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "digits-segmentation.safetensors")
    out = parser.parse_args().out
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the same weights on every machine of a kind
    preprocess = Preprocess(load_recipe(HERE / "recipe.yaml").recipe.preprocess)
    images, targets = prepared(preprocess, "train")
    model = build().to(memory_format=torch.channels_last)
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        model.train()
        for rows in torch.randperm(len(images)).split(BATCH)[: len(images) // BATCH]:
            loss = F.cross_entropy(model(images[rows]), targets[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{EPOCHS}  loss {loss.item():.4f}", flush=True)
    model.eval()
    images, targets = prepared(preprocess, "eval")
    with torch.no_grad():
        right = torch.cat([model(part).argmax(dim=1) for part in images.split(100)]) == targets
    inked = targets > 0
    print(f"right on eval: {right.float().mean():.4f} of all pixels, {right[inked].float().mean():.4f} of the digits'")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, out)


def prepared(preprocess: Preprocess, split: str) -> tuple[Tensor, Tensor]:
    """Return a split as the network takes it: float32 (N, 1, 32, 32), int64 (N, 32, 32)."""
    images, targets = load(split)
    return torch.from_numpy(preprocess.batch(images)), torch.from_numpy(targets)


if __name__ == "__main__":
    main()
