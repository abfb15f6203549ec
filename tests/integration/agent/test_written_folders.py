"""What `edgeglm compress` writes, the agent serves: each artifact, on raw samples, with the host's own answers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from edgeglm_agent.processing import Preprocess
from torch import nn

from edgeglm import compress
from edgeglm.cache import Cache
from edgeglm.measure.evaluate import to_file_inputs
from edgeglm.measure.worker import Runner
from edgeglm.output.golden import golden_outputs
from tests.support.checkpoints import save_tiny
from tests.support.model_folders import load, read_manifest
from tests.support.texts import WORDS, save_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm_agent.wire import Artifact, Manifest

SPLITS = {"train": 48, "calibration": 48, "eval": 48}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A CNN on photos of one colour channel of any size, in three formats; and photos."""
    rng = np.random.default_rng(0)
    photos = {name: rng.integers(0, 256, (count, 12, 12), dtype=np.uint8) for name, count in SPLITS.items()}
    data = {name: (x, (x[:, :6].mean((1, 2)) > x[:, 6:].mean((1, 2))).astype(np.int64)) for name, x in photos.items()}
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2)).eval()
    recipe = {
        "name": "photos",
        "task": {"kind": "classification"},
        "preprocess": [
            {"resize": {"height": 8, "width": 8}},
            {"normalise": {"scale": "1/255", "mean": 0.5, "std": 0.25}},
            {"layout": {"from": "HW", "to": "CHW"}},
        ],
        "postprocess": ["softmax", "argmax", "labels"],
        "labels": ["bottom", "top"],
        "artifacts": [
            {"format": "onnx", "quantize": "static-int8"},
            {"format": "tflite", "quantize": "static-int8"},
            {"format": "openvino"},
        ],
    }
    return written(tmp_path_factory, recipe, network, data), list(photos["eval"])


class Mirror(nn.Module):
    """An autoencoder of a window of two sensors."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(32, 4), nn.Linear(4, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer(torch.tanh(self.inner(x.flatten(1)))).view(-1, 16, 2)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """An autoencoder that decides whether a series is odd; and series that are longer than its window."""
    rng = np.random.default_rng(0)
    rows = {name: rng.normal(size=(count, 20, 2)).astype(np.float32) for name, count in SPLITS.items()}
    data = {name: (x, (np.arange(len(x)) % 2).astype(np.int64)) for name, x in rows.items()}
    recipe = {
        "name": "sensors",
        "task": {"kind": "anomaly", "score": "squared-error"},
        "preprocess": [{"window": {"length": 16}}],
        "postprocess": ["reconstruction-error", {"threshold": {"limit": 1.0}}],
        "artifacts": [{"format": "onnx"}],
    }
    torch.manual_seed(0)
    return written(tmp_path_factory, recipe, Mirror().eval(), data), list(rows["eval"])


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """An encoder under dynamic INT8 with two lengths, served two at a time; and texts."""
    folder = tmp_path_factory.mktemp("texts")
    save_tiny(folder / "encoder")
    save_tokenizer(folder / "encoder" / "tokenizer.json")
    lines = [" ".join(WORDS[int(digit)] for digit in str(number)) for number in range(1, 400, 3)]
    (folder / "train.txt").write_text("\n".join(lines[60:]))
    pairs = [f"{a}\t{b}\t{number % 5}" for number, (a, b) in enumerate(itertools.pairwise(lines[:60]))]
    (folder / "eval.tsv").write_text("\n".join(["a\tb\tnear", *pairs]))
    (folder / "recipe.yaml").write_text(
        """\
version: 1
name: reports
model: {source: hf, path: encoder, task: embedding}
data: {source: text, path: ., tsv: pairs, header: true, text: [a, b], target: near}
task: {kind: embedding}
preprocess:
  - tokenize: {tokenizer: encoder/tokenizer.json, length: 8}
serve: {batch: 2}
artifacts:
  - {format: onnx, quantize: dynamic-int8, buckets: [4]}
"""
    )
    result = compress(folder / "recipe.yaml", output=folder / "out", cache=Cache(folder / "cache"))
    return result.folder, lines[:20]


def written(factory: pytest.TempPathFactory, recipe: dict[str, Any], network: nn.Module, data: Any) -> Path:
    folder = factory.mktemp(recipe["name"])
    result = compress(recipe, model=network, data=data, output=folder / "out", cache=Cache(folder / "cache"))
    assert result.manifest is not None
    return result.folder


def by_the_host(folder: Path, manifest: Manifest, artifact: Artifact, samples: list[Any]) -> dict[str, np.ndarray]:
    """Return what the host evaluates: rows prepared there, in the file's layout, in batches as served."""
    made = Preprocess(manifest.preprocess, folder=folder).batch(np.array(samples))
    rows = made if isinstance(made, dict) else {manifest.inputs[0].name: made}
    with Runner(folder / artifact.path, format=artifact.format) as runner:
        given = to_file_inputs(rows, manifest.inputs, runner.inputs)
    return golden_outputs(
        given, folder / artifact.path, artifact.format, batch=manifest.serve_batch, buckets=artifact.buckets
    )


@pytest.mark.parametrize("kind", ["images", "series", pytest.param("texts", marks=pytest.mark.full)])
def test_each_artifact_answers_raw_samples_as_the_host_evaluates_them(
    kind: str, request: pytest.FixtureRequest
) -> None:
    folder, samples = request.getfixturevalue(kind)
    manifest = read_manifest(folder)
    for artifact in manifest.artifacts:
        model = load(folder, artifacts=[artifact.path])
        assert (model.artifact, model.passed_over) == (artifact, ())
        expected = by_the_host(folder, manifest, artifact, samples)
        together, inputs = model.infer_batch(samples)
        assert set(together) == set(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(together[name], values, rtol=1e-5, atol=1e-5, err_msg=artifact.path)
        if not model.batch_changes_answers:
            for row, sample in enumerate(samples[:8]):
                outputs, _ = model.infer(sample)
                for name, values in expected.items():
                    np.testing.assert_allclose(outputs[name][0], values[row], rtol=1e-5, atol=1e-5)
        results = model.judge_all(together, inputs, samples)
        assert len(results) == len(samples)


def test_the_agent_serves_the_first_artifact_of_the_manifest(images: tuple[Path, list[Any]]) -> None:
    folder, (photo, *_) = images
    model = load(folder)
    assert model.artifact == read_manifest(folder).artifacts[0]
    (best,) = model.judge(*model.infer(photo), photo)
    assert best.label in ("bottom", "top")
