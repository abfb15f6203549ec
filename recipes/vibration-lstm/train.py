"""Train the network that the recipe compresses: `python train.py` writes vibration-lstm.safetensors (some minutes)."""

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
from edgeglm.tasks.roc import auc

HERE = Path(__file__).resolve().parent
EPOCHS, BATCH = 30, 64


def main() -> None:
    """Train on healthy windows alone; print the area under the ROC curve on `eval`; write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "vibration-lstm.safetensors")
    out = parser.parse_args().out
    torch.manual_seed(0)
    preprocess = Preprocess(load_recipe(HERE / "recipe.yaml").recipe.preprocess)
    windows, _ = prepared(preprocess, "train")
    model = build()
    steps = EPOCHS * (len(windows) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        model.train()
        for rows in torch.randperm(len(windows)).split(BATCH)[: len(windows) // BATCH]:
            loss = F.mse_loss(model(windows[rows]), windows[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{EPOCHS}  loss {loss.item():.4f}", flush=True)
    model.eval()
    windows, targets = prepared(preprocess, "eval")
    with torch.no_grad():
        scores = (model(windows) - windows).square().mean(dim=1)
    print(f"area under the ROC curve on eval: {auc(scores.numpy(), targets[:, 0].numpy() == 1):.4f}")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, out)


def prepared(preprocess: Preprocess, split: str) -> tuple[Tensor, Tensor]:
    """Return a split as the network takes it: float32 (N, 512), int64 (N, 2)."""
    windows, targets = load(split)
    return torch.from_numpy(preprocess.batch(windows)), torch.from_numpy(targets)


if __name__ == "__main__":
    main()
