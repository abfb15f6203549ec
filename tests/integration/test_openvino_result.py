"""An OpenVINO artifact is two files, everywhere: output folder, manifest, cache, inspection, rejection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edgeglm_agent.wire import decode_manifest
from torch import nn

from edgeglm import compress
from edgeglm.cache import Cache
from edgeglm.errors import ModelError
from edgeglm.files import sha256_file
from edgeglm.inspection import inspect_path

SPLITS = {"train": 60, "calibration": 60, "eval": 60}


def data() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return noise, with the half that is brighter as its class."""
    random = np.random.default_rng(0)
    images = {name: random.normal(size=(count, 1, 8, 8)).astype(np.float32) for name, count in SPLITS.items()}
    return {
        name: (x, (x[:, 0, :4].sum((1, 2)) > x[:, 0, 4:].sum((1, 2))).astype(np.int64)) for name, x in images.items()
    }


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2)).eval()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


def compressed(output: Path, cache: Cache, **more: Any) -> Any:
    recipe = {
        "name": "pair",
        "task": {"kind": "classification"},
        "artifacts": [{"format": "openvino"}, {"format": "openvino", "quantize": "static-int8"}],
        **more,
    }
    return compress(recipe, model=network(), data=data(), output=output, cache=cache)


def test_both_files_are_written_listed_and_looked_at(tmp_path: Path, cache: Cache) -> None:
    result = compressed(tmp_path, cache)
    manifest = decode_manifest((tmp_path / "manifest.json").read_bytes())
    assert sorted(a.path for a in manifest.artifacts) == ["model.none.xml", "model.static-int8.xml"]
    for artifact, side in zip(manifest.artifacts, result.report.artifacts, strict=True):
        graph, weights = tmp_path / artifact.path, (tmp_path / artifact.path).with_suffix(".bin")
        assert (artifact.sha256, side.sha256) == (sha256_file(graph), sha256_file(graph))
        assert manifest.files[weights.name] == sha256_file(weights)
        assert artifact.size_bytes == side.size_bytes == graph.stat().st_size + weights.stat().st_size
        assert (artifact.runtime.name, artifact.runtime.least_version) == ("openvino", "2025.0.0")
    facts = inspect_path(tmp_path)
    assert [fact.golden for fact in facts] == ["passed", "passed"]
    assert [fact.size_bytes for fact in facts] == [artifact.size_bytes for artifact in manifest.artifacts]
    weights = tmp_path / "model.static-int8.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(ModelError, match="its sha256 differs") as raised:
        inspect_path(tmp_path)
    assert raised.value.problems[0].where.endswith("model.static-int8.bin")


def test_a_rejected_result_and_an_old_one_leave_no_half_behind(tmp_path: Path, cache: Cache) -> None:
    compressed(tmp_path, cache)
    result = compressed(tmp_path, cache, budget={"size_mb": 1e-6})
    assert result.manifest is None
    kept = sorted(path.name for path in tmp_path.rglob("model.*"))
    assert kept == ["model.none.bin", "model.none.xml", "model.static-int8.bin", "model.static-int8.xml"]
    assert {path.parent.name for path in tmp_path.rglob("model.*")} == {"rejected"}


def test_a_damaged_bin_in_the_cache_is_made_again(tmp_path: Path, cache: Cache) -> None:
    first = compressed(tmp_path / "first", cache)
    for weights in cache.folder.rglob("*.bin"):
        weights.write_bytes(b"damaged")
    again = compressed(tmp_path / "again", cache)
    assert again.manifest.version == first.manifest.version
    assert sha256_file(tmp_path / "again/model.none.bin") == sha256_file(tmp_path / "first/model.none.bin")
