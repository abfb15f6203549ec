"""Trains a small network, a checkpoint after every step, and dies by SIGKILL when told to (run by test_training.py).

python killed_training.py CHECKPOINT WEIGHTS KILL_AT_STEP|never
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from edgeglm.data.splits import ArraySplit
from edgeglm.nn import training
from edgeglm.nn.structure import save_weights
from edgeglm.steps import Distill
from tests.support.nets import Residual, blobs, make_context, make_model


class Drawing(Residual):
    """Draws at random while it learns, as dropout does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(super().forward(x), 0.1, self.training)


class NoisySplit(ArraySplit):
    """Draws from NumPy's global generator on every read, as many users' data sets do."""

    def rows(self, indices):
        import numpy as np

        read = super().rows(indices)
        return {
            name: (rows + np.random.normal(scale=0.01, size=rows.shape)).astype("float32")
            for name, rows in read.items()
        }


def main(checkpoint: Path, weights: Path, kill_at: str) -> None:
    torch.manual_seed(0)
    teacher, student = make_model(Residual(), seed=1), make_model(Drawing(width=8), seed=2)
    split = blobs(100)
    data = NoisySplit(split.inputs, split.targets)
    (checkpoint.parent / "augment.py").write_text(
        "import torch\ndef flip(inputs, generator):\n"
        "    return inputs.flip(-1) if torch.rand(1, generator=generator) < 0.5 else inputs\n"
    )
    training._CHECKPOINT_SECONDS = -1.0  # after every step
    written = training.write_checkpoint
    steps = 0

    def write_then_die(*args: object) -> None:
        nonlocal steps
        steps += 1
        if kill_at != "never" and steps == int(kill_at):
            (checkpoint.with_name(".torn")).write_bytes(b"torn")
            os.kill(os.getpid(), signal.SIGKILL)
        written(*args)  # type: ignore[arg-type]

    training.write_checkpoint = write_then_die
    ctx = make_context(teacher, data, folder=checkpoint.parent, checkpoint=checkpoint)
    config = Distill(epochs=4, batch_size=16, learning_rate=0.01, augment="augment.py:flip", early_stop_epochs=3)
    result = config.apply(student, ctx)
    save_weights(result, weights)
    print(ctx.notes[0], steps)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
