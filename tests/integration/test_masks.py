"""A mask of attention is no part of a range, and no overflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from edgeglm.artifacts import onnx as onnx_artifacts
from edgeglm.artifacts import tflite
from edgeglm.artifacts.masking import masking_operators
from edgeglm.artifacts.tflite_layout import to_file_layout
from edgeglm.boards import BOARDS
from edgeglm.measure.worker import Runner
from edgeglm.recipe.types import Quantize
from tests.support import export_nets as nets

if TYPE_CHECKING:
    from pathlib import Path

FORMATS = {"onnx": onnx_artifacts, "tflite": tflite}


class Masked(nn.Module):
    """Single-head attention over the tokens that a mask lets through."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 32)
        self.query, self.key, self.head = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 4)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        scores = self.query(x) @ self.key(x).transpose(1, 2) * 4
        lowest = torch.finfo(torch.float32).min
        scores = scores + torch.where(mask[:, None] > 0, 0.0, lowest)
        return self.head((scores.softmax(-1) @ x)[:, 0])


def rows(count: int, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "ids": random.integers(0, 50, (count, 8)),
        "mask": (np.arange(8) < random.integers(2, 9, (count, 1))).astype(np.int64),
    }


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_masked_attention_keeps_its_answers_under_float16_and_static_int8(kind: str, tmp_path: Path) -> None:
    model = nets.make(Masked(), {"logits": 4}, ids=((8,), "int64"), mask=((8,), "int64"))
    source = tmp_path / f"f.{kind}"
    FORMATS[kind].export_float(model, rows(2, 0), source, board=BOARDS["x86-64"])
    inputs = rows(16, 3)
    expected = nets.torch_outputs(model, inputs)["logits"]
    for scheme in ("fp16", "static-int8"):
        path = tmp_path / f"{scheme}.{kind}"
        batches = iter([rows(32, 1)])
        FORMATS[kind].quantize(source, path, Quantize(scheme=scheme), batches, board=BOARDS["x86-64"])
        with Runner(path, format=kind) as runner:
            got = runner.run(to_file_layout(inputs, []) if kind == "tflite" else inputs)["logits"]
        assert (got * expected).sum() / np.linalg.norm(got) / np.linalg.norm(expected) > 0.99


def test_a_number_that_stands_for_infinity_is_followed_to_the_softmax_and_a_bound_is_none() -> None:
    graph = [
        ("where", "Where", ["seen", "zero", "lowest"], ["mask"]),
        ("scores", "MatMul", ["q", "k"], ["s"]),
        ("add", "Add", ["s", "mask"], ["masked"]),
        ("softmax", "Softmax", ["masked"], ["p"]),
        ("values", "MatMul", ["p", "v"], ["y"]),
        ("clip", "Clip", ["y", "zero", "lowest"], ["z"]),
    ]
    assert masking_operators(graph, {"lowest"}) == {"where", "add", "softmax"}
