"""A network that lost heads, features or hidden units answers the same as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeglm.boards import BOARDS
from edgeglm.measure.worker import Runner
from edgeglm.nn.inference import predict
from edgeglm.nn.pruning import prune_channels
from edgeglm.pipeline.build import export_float
from edgeglm.steps import Prune
from tests.support.nets import make_context
from tests.support.sequence_nets import SERIES, TOKENS, Autoencoder, Bidirectional, Torch, encoder_of, model_of

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.data.splits import ArraySplit

TRANSFORMER = {"head_ratio": 0.5, "head_dim_ratio": 0.5, "ffn_ratio": 0.25}
NETS = {
    "bert": (lambda: encoder_of("BertModel"), TOKENS, TRANSFORMER),
    "torch": (Torch, SERIES, TRANSFORMER),
    "lstm": (Autoencoder, SERIES, {"channel_ratio": 0.5}),
    "gru": (Bidirectional, SERIES, {"channel_ratio": 0.5}),
}


@pytest.mark.parametrize(
    ("name", "file_format"),
    # each network and each format in turn, the rest among the long tests
    [
        pytest.param(name, kind, marks=[pytest.mark.full] if (place + turn) % 2 else [])
        for place, name in enumerate(NETS)
        for turn, kind in enumerate(("onnx", "tflite"))
    ],
)
def test_a_pruned_network_is_the_same_as_a_file(name: str, file_format: str, tmp_path: Path) -> None:
    make, split, settings = NETS[name]
    model = model_of(make(), split)
    result = prune_channels(model, Prune(round_to=4, **settings), make_context(model, split))
    sample = first(split, 4)
    built = export_float(result, sample, tmp_path / f"m.{file_format}", file_format, board=BOARDS["x86-64"])
    whole = export_float(model, sample, tmp_path / f"w.{file_format}", file_format, board=BOARDS["x86-64"])
    assert built.path.stat().st_size < whole.path.stat().st_size
    expected = predict(result, split, threads=1)
    with Runner(built.path, format=file_format) as runner:
        for row in range(3):
            inputs = {spec.name: sample[spec.name][row : row + 1].astype(spec.dtype) for spec in built.inputs}
            for output, values in runner.run(inputs).items():
                np.testing.assert_allclose(values, expected[output][row : row + 1], atol=1e-5)


def first(split: ArraySplit, rows: int) -> dict[str, Any]:
    return split.rows(np.arange(rows))
