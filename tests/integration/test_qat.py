"""Training under rounding brings back what static INT8 costs, in the file that is really INT8."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from edgeglm.boards import BOARDS
from edgeglm.measure.evaluate import predict_file
from edgeglm.nn.fake_quantization import FakeQuantization
from edgeglm.nn.inference import predict
from edgeglm.pipeline.build import calibration_batches, export_float, quantize_file
from edgeglm.recipe.types import Quantize
from edgeglm.steps import Finetune
from tests.support.nets import ConvBlock, blobs, make_context, make_model

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.data.splits import ArraySplit
    from edgeglm.model import Model

BOARD = BOARDS["x86-64"]


class Unbalanced(nn.Module):
    """A trained CNN may have channels of very different size: one range for all of them rounds the small ones away."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = ConvBlock(1, 8), ConvBlock(8, 8), ConvBlock(8, 8)
        self.head = nn.Linear(8 * 4, 4)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # as the samples are named
        x = self.third(self.second(self.first(input)))
        return self.head(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))

    def unbalance(self, factor: float) -> None:
        """Enlarge some channels and shrink what reads them: in float, nothing changes."""
        with torch.no_grad():
            for block, reader in ((self.first, self.second), (self.second, self.third)):
                block[1].weight[:2] *= factor
                block[1].bias[:2] *= factor
                reader[0].weight[:, :2] /= factor


def accuracy(logits: np.ndarray, split: ArraySplit) -> float:
    assert split.targets is not None
    return float((logits.argmax(1) == split.targets).mean())


def int8_accuracy(model: Model, folder: Path, evaluation: ArraySplit) -> float:
    folder.mkdir()
    export_float(model, evaluation.rows(np.arange(4)), folder / "f.onnx", "onnx", board=BOARD)
    batches = calibration_batches(blobs(128, seed=3), 128)
    quantize_file(folder / "f.onnx", folder / "q.onnx", "onnx", Quantize(scheme="static-int8"), batches, board=BOARD)
    outputs = predict_file(folder / "q.onnx", format="onnx", split=evaluation, inputs=model.inputs, batch=64, threads=1)
    return accuracy(outputs["logits"], evaluation)


def test_int8_files_gain_by_it_and_answer_as_training_foresaw(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = make_model(Unbalanced())
    train, evaluation = blobs(512), blobs(400, seed=7)
    ctx = make_context(model, train)
    trained = Finetune(epochs=4, learning_rate=1e-2).apply(model, ctx)
    trained.module.unbalance(300.0)
    in_float = accuracy(predict(trained, evaluation, threads=1)["logits"], evaluation)
    before = int8_accuracy(trained, tmp_path / "before", evaluation)
    rounded = Finetune(epochs=6, learning_rate=5e-3, qat=True).apply(trained, ctx)
    after = int8_accuracy(rounded, tmp_path / "after", evaluation)
    assert before < in_float - 0.1
    assert after > before + 0.1
    with torch.no_grad(), FakeQuantization(rounded.module, symmetric=False):
        rounded.module(torch.from_numpy(blobs(128, seed=3).inputs["input"]))
        foreseen = rounded.module(torch.from_numpy(evaluation.inputs["input"])).numpy()
    assert abs(accuracy(foreseen, evaluation) - after) < 0.05
