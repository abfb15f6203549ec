"""The Python API: recipe, model and data as objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from edgeglm import compress, load_recipe
from edgeglm.cache import Cache
from edgeglm.choice.preference import speed_beyond_doubt
from edgeglm.errors import UserError
from edgeglm.host import describe_host
from edgeglm.log import SilentLog

RECIPE: dict[str, Any] = {
    "name": "stripes",
    "task": {"kind": "classification"},
    "steps": [{"finetune": {"epochs": 1, "learning_rate": 1e-2}}],
    "artifacts": [{"format": "onnx"}],
}


def stripes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy images of horizontal (0) or vertical (1) stripes, (N, 1, 8, 8) float32."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, count)
    wave = np.sin(np.arange(8))[None, :] * np.ones((8, 1))
    images = np.where(targets[:, None, None] == 1, wave, wave.T) + rng.normal(0, 0.3, (count, 8, 8))
    return images[:, None].astype(np.float32), targets


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 2))


DATA = {"train": stripes(300, 1), "calibration": stripes(50, 2), "eval": stripes(200, 3), "night": stripes(100, 4)}


def test_a_model_and_data_given_as_objects_are_compressed_and_left_as_they_were(tmp_path: Path) -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    result = compress(RECIPE, model=net, data=DATA, output=tmp_path / "out", cache=Cache(tmp_path / "cache"))
    (artifact,) = result.report.artifacts
    assert artifact.metric is not None
    assert artifact.metric.value > 0.9
    assert artifact.metric.n == 200
    assert artifact.splits["night"].metric.n == 100
    assert result.manifest is not None
    assert (tmp_path / "out" / "model.onnx").is_file()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training


def test_the_report_says_where_bytes_and_time_are_and_shows_answers_that_changed(tmp_path: Path) -> None:
    made = [{"format": "onnx", "quantize": scheme} for scheme in ("none", "weight-only-int4")]
    recipe = RECIPE | {"artifacts": made, "golden": {"source": "eval"}}
    cache = Cache(tmp_path / "cache")
    report = compress(recipe, model=network(), data=DATA, output=tmp_path / "out", cache=cache).report
    for side in (report.baseline, *report.artifacts):
        assert sum(sum(row.dtypes.values()) for row in side.layer_bytes) <= (side.size_bytes or 0)
        assert {row.layer for row in side.layer_bytes} >= {"0", "4"}  # the two layers with weights
        assert any("Conv" in row.operator for row in side.operator_ms)
    trained = report.artifacts[0]  # against the untrained original: many answers changed, most for the better
    assert trained.changed_count is not None
    assert 12 <= trained.changed_count <= 200
    assert len(trained.changed) == 12
    assert all(change.before != change.after for change in trained.changed)
    assert set(report.samples) == {str(change.row) for side in report.artifacts for change in side.changed}
    assert all(sample.kind == "image" and sample.image.startswith("data:image/") for sample in report.samples.values())
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "<img " in page
    private = recipe | {"golden": {"source": "synthetic"}}
    hidden = compress(private, model=network(), data=DATA, output=tmp_path / "private", cache=cache).report
    assert hidden.samples == {}
    assert all(side.changed == [] for side in hidden.artifacts)
    page = (tmp_path / "private" / "report.html").read_text("utf-8")
    assert "<img " not in page
    assert "No samples are shown" in page


@pytest.mark.full
def test_other_weights_of_the_same_network_are_another_run(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    compress(RECIPE, model=network(), data=DATA, output=tmp_path / "a", cache=cache)
    again = compress(RECIPE, model=network(), data=DATA, output=tmp_path / "b", cache=cache)
    assert again.report.steps[0].cached
    other = network()
    nn.init.zeros_(other[0].weight)
    assert not compress(RECIPE, model=other, data=DATA, output=tmp_path / "c", cache=cache).report.steps[0].cached


def test_a_torch_dataset_serves_as_a_split(tmp_path: Path) -> None:
    def dataset(split: str) -> torch.utils.data.TensorDataset:
        inputs, targets = DATA[split]
        return torch.utils.data.TensorDataset(torch.from_numpy(inputs), torch.from_numpy(targets))

    data = {"train": dataset("train"), "calibration": dataset("calibration"), "eval": dataset("eval")}
    result = compress(RECIPE, model=network(), data=data, output=tmp_path / "out", cache=Cache(tmp_path / "cache"))
    assert result.report.baseline.metric is not None
    assert result.report.baseline.metric.n == 200


def test_a_recipe_for_objects_without_them_is_refused(tmp_path: Path) -> None:
    recipe = RECIPE | {"model": {"source": "object"}, "data": {"source": "object"}, "version": 1}
    with pytest.raises(UserError, match="given in Python, by"):
        compress(load_recipe(recipe), output=tmp_path / "out", cache=Cache(tmp_path / "cache"))


def test_overrides_reach_a_recipe_given_as_data(tmp_path: Path) -> None:
    result = compress(
        RECIPE,
        model=network(),
        data=DATA,
        output=tmp_path / "out",
        cache=Cache(tmp_path / "cache"),
        overrides=("steps[0].finetune.epochs=2", "seed=3"),
    )
    assert result.report.recipe["seed"] == 3
    assert result.report.steps[0].settings["epochs"] == 2


@pytest.mark.full
def test_the_number_type_that_auto_chose_for_training_is_in_the_report(tmp_path: Path) -> None:
    said: list[str] = []

    class Told(SilentLog):
        def note(self, text: str) -> None:
            said.append(text)

    steps = [{"prune": {"channel_ratio": 0.5, "round_to": 1}}, *RECIPE["steps"]]
    cache = Cache(tmp_path / "cache")
    for _ in range(2):  # the second time from the cache
        report = compress(
            RECIPE | {"steps": steps}, model=network(), data=DATA, output=tmp_path / "out", cache=cache, log=Told()
        ).report
        pruned, trained = report.steps
        assert pruned.precision == ""
        assert trained.precision in ("float32", "bfloat16")
        assert f"; `precision: {trained.precision}` makes this run repeatable" in " ".join(said)
        said.clear()
    named = {"finetune": {"epochs": 1, "precision": "bfloat16"}}
    report = compress(
        RECIPE | {"steps": [named]}, model=network(), data=DATA, output=tmp_path / "out", cache=cache, log=Told()
    ).report
    assert report.steps[0].precision == "bfloat16"
    assert not any("repeatable" in text for text in said)


@pytest.mark.full
def test_bfloat16_on_a_processor_without_it_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Told(SilentLog):
        def warn(self, text: str) -> None:
            said.append(text)

    recipe = RECIPE | {"steps": [{"finetune": {"epochs": 1, "precision": "bfloat16"}}]}
    for supported in (True, False):
        monkeypatch.setattr("edgeglm.nn.precision.bfloat16_supported", lambda _, supported=supported: supported)
        cache = Cache(tmp_path / "cache")
        compress(recipe, model=network(), data=DATA, output=tmp_path / "out", cache=cache, log=Told())
        told = [text for text in said if "--set steps[0].finetune.precision=float32" in text]
        assert bool(told) is not supported


def test_a_host_that_calls_its_processors_otherwise_is_the_targets_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = msgspec.structs.replace(describe_host(), machine="arm64")
    monkeypatch.setattr("edgeglm.pipeline.run.describe_host", lambda: host)
    made = [{"format": "onnx", "quantize": scheme} for scheme in ("none", "fp16")]
    recipe = RECIPE | {"steps": [], "artifacts": made, "target": "rpi5"}
    cache, page = Cache(tmp_path / "cache"), tmp_path / "out" / "report.html"
    first, second = compress(recipe, model=network(), data=DATA, output=page.parent, cache=cache).report.artifacts
    assert speed_beyond_doubt(first) >= speed_beyond_doubt(second)
    recipe["budget"] = {"min_speedup": 1000}
    report = compress(recipe, model=network(), data=DATA, output=page.parent, cache=cache).report
    assert {line.key for line in report.budget.violations} == {"budget.min_speedup"}
    assert "this host is not what the target is" not in page.read_text("utf-8")
