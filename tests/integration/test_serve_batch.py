"""What is judged is what will be served: under dynamic INT8 the rows of a batch share one scale a tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from edgeglm import compress
from edgeglm.cache import Cache
from edgeglm.inspection import inspect_path
from edgeglm.measure.worker import Runner

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.pipeline.run import Result

BATCH = 4


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A linear network under dynamic INT8, on rows of very different size, served four at a time."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    splits = {}
    for name, count in (("train", 16), ("calibration", 16), ("eval", 30)):
        rows = rng.normal(size=(count, 16)) * 10.0 ** rng.integers(-1, 2, size=(count, 1))
        splits[name] = (rows.astype(np.float32), rng.integers(0, 3, count))
    folder = tmp_path_factory.mktemp("served")
    recipe = {
        "name": "served",
        "task": {"kind": "classification"},
        "serve": {"batch": BATCH},
        "artifacts": [{"format": "onnx", "quantize": "dynamic-int8"}],
    }
    network = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))
    return compress(recipe, model=network, data=splits, output=folder / "out", cache=Cache(folder / "cache"))


def answers(path: Path, inputs: np.ndarray, batch: int) -> np.ndarray:
    with Runner(path, format="onnx") as runner:
        parts = [
            next(iter(runner.run({runner.inputs[0].name: inputs[at : at + batch]}).values()))
            for at in range(0, len(inputs), batch)
        ]
    return np.concatenate(parts)


def test_golden_samples_are_answered_as_they_will_be_served(served: Result) -> None:
    assert served.manifest is not None
    assert served.manifest.serve_batch == BATCH
    golden = load_file(served.folder / served.manifest.artifacts[0].golden)
    (inputs,) = (value for name, value in golden.items() if name.startswith("input."))
    (outputs,) = (value for name, value in golden.items() if name.startswith("output."))
    path = served.folder / "model.onnx"
    np.testing.assert_array_equal(outputs, answers(path, inputs, BATCH))
    assert np.abs(outputs - answers(path, inputs, 1)).max() > 1e-3  # one row at a time it answers otherwise
    assert inspect_path(served.folder)[0].golden == "passed"


def test_latency_is_that_of_a_whole_batch(served: Result) -> None:
    sides = [served.report.baseline, *served.report.artifacts]
    assert {side.latency_ms.batch for side in sides if side.latency_ms} == {BATCH}
    assert served.report.recipe["serve"] == {"batch": BATCH}
