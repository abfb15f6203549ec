"""Files that can be called in several ways: batch sizes, and lengths that padded sequences are cut to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from edgeglm_agent.processing import cut, cut_to_bucket
from torch import nn

from edgeglm import compress
from edgeglm.artifacts import flatbuffer, tflite
from edgeglm.artifacts import onnx as onnx_artifacts
from edgeglm.artifacts.built import Calls
from edgeglm.artifacts.sequences import make_buckets
from edgeglm.artifacts.tflite_layout import to_file_layout
from edgeglm.boards import BOARDS
from edgeglm.cache import Cache
from edgeglm.errors import ExportError
from edgeglm.measure.worker import Runner
from edgeglm.recipe.types import LayerRule, Quantize
from tests.support import export_nets as nets

if TYPE_CHECKING:
    from edgeglm.artifacts.built import Built
    from edgeglm.model import Model

BOARD = BOARDS["x86-64"]
FORMATS = {"onnx": onnx_artifacts, "tflite": tflite}
LENGTH = 16


class Encoder(nn.Module):
    """One attention layer over the tokens that a mask lets through, and their mean."""

    def __init__(self, *, pooled: bool = True, masked: bool = True) -> None:
        super().__init__()
        self.pooled, self.masked = pooled, masked
        self.table = nn.Embedding(100, 64)
        self.query, self.key, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 32)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.table(input_ids)
        seen = attention_mask[:, None] > 0 if self.masked else attention_mask[:, None] >= 0
        scores = self.query(x) @ self.key(x).transpose(1, 2)
        x = scores.masked_fill(~seen, torch.finfo(torch.float32).min).softmax(-1) @ x
        weights = attention_mask[..., None].to(x.dtype)
        return {"output": self.head((x * weights).sum(1) / weights.sum(1) if self.pooled else x)}


def encoder(**settings: bool) -> Model:
    sequence = ((LENGTH,), "int64")
    return nets.make(Encoder(**settings), {"output": 32}, input_ids=sequence, attention_mask=sequence)


def rows(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    mask = (np.arange(LENGTH) < random.integers(1, LENGTH + 1, (count, 1))).astype(np.int64)
    return {"input_ids": random.integers(0, 100, (count, LENGTH)) * mask, "attention_mask": mask}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("buckets")


@pytest.fixture(scope="session", params=["onnx", "tflite"])
def built(folder: Path, request: pytest.FixtureRequest) -> Built:
    kind = request.param
    model = encoder()
    calls = Calls((1, 4), make_buckets(model, [4, 8], mask="attention_mask"))
    return FORMATS[kind].export_float(model, rows(4), folder / f"many.{kind}", board=BOARD, calls=calls)


def answers(built: Built, inputs: dict[str, np.ndarray]) -> np.ndarray:
    with Runner(built.path, format=built.format) as runner:
        given = to_file_layout(inputs, []) if built.format == "tflite" else inputs
        return runner.run(cut_to_bucket(given, built.buckets))["output"]


def test_a_file_answers_alike_at_every_length_and_batch_size(built: Built) -> None:
    inputs = rows(11, seed=3)
    expected = nets.torch_outputs(encoder(), inputs)["output"]
    np.testing.assert_allclose(answers(built, inputs), expected, atol=1e-5)
    for row in range(11):
        one = {name: values[row : row + 1] for name, values in inputs.items()}
        np.testing.assert_allclose(answers(built, one), expected[row : row + 1], atol=1e-5)
    assert [spec.shape for spec in built.inputs] == [(-1,), (-1,)]
    assert built.buckets is not None
    assert built.buckets.lengths == (4, 8, LENGTH)


@pytest.mark.parametrize(
    "settings",
    [
        Quantize(scheme="dynamic-int8"),
        Quantize(scheme="static-int8"),
        Quantize(scheme="weight-only-int4"),
        Quantize(scheme="dynamic-int8", layers=[LayerRule(match="table", scheme="weight-only-int4")]),
    ],
    ids=["dynamic", "static", "int4", "mixed"],
)
def test_quantized_files_keep_every_way_to_call_them(built: Built, settings: Quantize) -> None:
    path = built.path.with_name(f"small.{built.format}")
    small = FORMATS[built.format].quantize(built.path, path, settings, [rows(32, seed=1)], board=BOARD)
    inputs = rows(11, seed=3)
    expected = nets.torch_outputs(encoder(), inputs)["output"]
    for start, stop in ((0, 11), (0, 1), (4, 8)):
        part = {name: values[start:stop] for name, values in inputs.items()}
        with Runner(small.path, format=small.format) as runner:
            given = to_file_layout(part, []) if small.format == "tflite" else part
            got = runner.run(cut_to_bucket(given, built.buckets))["output"]
        cosine = (got * expected[start:stop]).sum() / np.linalg.norm(got) / np.linalg.norm(expected[start:stop])
        assert cosine > 0.98
    if small.format == "tflite":  # weights are shared: they outweigh what each signature adds
        assert {entry.type for entry in flatbuffer.weights(flatbuffer.read(path))} <= {"INT8", "INT4"}
        held = {entry.scope.rpartition("/")[0]: entry.size_bytes for entry in flatbuffer.weights(flatbuffer.read(path))}
        assert path.stat().st_size < sum(held.values()) + 6 * 20_000


def test_onnx_takes_any_length_and_tflite_says_which_there_are(built: Built) -> None:
    inputs = rows(1)
    assert built.buckets is not None
    with Runner(built.path, format=built.format) as runner:
        if built.format == "onnx":
            assert runner.run(cut(inputs, 5, built.buckets))["output"].shape == (1, 32)
            return
        with pytest.raises(ExportError, match="no signature takes") as caught:
            runner.run(cut(to_file_layout(inputs, []), 5, built.buckets))
    assert "`attention_mask` 8" in caught.value.problems[0].message


def test_weights_are_stored_once_however_many_signatures_there_are(folder: Path) -> None:
    model = encoder()
    one = tflite.export_float(model, rows(4), folder / "one.tflite", board=BOARD)
    calls = Calls((1, 8))
    two = tflite.export_float(model, rows(4), folder / "two.tflite", board=BOARD, calls=calls)
    assert (one.batch, two.batch) == (1, None)
    assert two.path.stat().st_size < 1.15 * one.path.stat().st_size
    inputs = rows(19, seed=2)
    np.testing.assert_allclose(answers(two, inputs), answers(one, inputs), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"pooled": False}, "output output is as long as the sequence"), ({"masked": False}, "changes by")],
)
def test_a_network_that_cutting_would_change_is_refused(folder: Path, settings: dict[str, bool], message: str) -> None:
    model = encoder(**settings)
    calls = Calls(buckets=make_buckets(model, [4], mask="attention_mask"))
    for kind, artifacts in FORMATS.items():
        with pytest.raises(ExportError, match=message) as caught:
            artifacts.export_float(model, rows(2), folder / f"no.{kind}", board=BOARD, calls=calls)
        assert caught.value.code == "buckets-unusable"


@pytest.mark.parametrize(("lengths", "mask"), [([4], "mask"), ([40], "attention_mask")])
def test_buckets_need_a_mask_and_a_length_within_it(lengths: list[int], mask: str) -> None:
    with pytest.raises(ExportError) as caught:
        make_buckets(encoder(), lengths, mask=mask)
    assert caught.value.code == "buckets-unusable"


@pytest.mark.full
def test_the_files_that_auto_writes_can_be_called_at_every_length(tmp_path: Path) -> None:
    recipe = {
        "name": "short",
        "task": {"kind": "embedding"},
        "artifacts": [{"format": "auto", "buckets": [4, 8], "search": {"trials": 4}}],
        "budget": {"metric_drop": 0.1},
    }
    torch.manual_seed(0)
    data = {"calibration": (rows(40, 1), None), "eval": (rows(60, 2), None)}
    result = compress(recipe, model=Encoder(), data=data, output=tmp_path / "out", cache=Cache(tmp_path / "cache"))
    assert result.manifest is not None
    assert {artifact.format for artifact in result.manifest.artifacts} == {"onnx", "tflite"}
    for artifact in result.manifest.artifacts:
        assert artifact.buckets is not None
        assert artifact.buckets.lengths == (4, 8, LENGTH)
    assert any(one.format == "openvino" and "`buckets`" in one.reason for one in result.report.skipped)
    for side in result.report.artifacts:
        assert [cut.length for cut in side.buckets] == [4, 8]
