"""`auto`: candidates are made, measured and compared; layers that a scheme hurts most stay in float."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from edgeglm_agent.wire import decode_manifest
from torch import nn

from edgeglm import compress
from edgeglm.cache import Cache
from edgeglm.log import SilentLog
from edgeglm.report.findings import artifact_name
from tests.support.outlier import SENSITIVE, digits, outlier_network, uneven_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeglm.pipeline.run import Result
    from edgeglm.report.types import ArtifactSide


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """Compress the network with an outlier; every run shares one cache."""
    folder = tmp_path_factory.mktemp("auto")
    data = digits()
    network: nn.Module = outlier_network(data)

    def compressed(output: str, artifacts: Any, **more: Any) -> Result:
        recipe = {
            "name": "outlier",
            "task": {"kind": "classification"},
            "artifacts": artifacts,
            "budget": {"metric_drop": 0.03},
            **more,
        }
        cache = Cache(folder / "cache")
        return compress(recipe, model=network, data=data, output=folder / output, cache=cache, log=SilentLog())

    return compressed


RIGHT = """\
def right(outputs, targets, labels):
    return outputs["logits"].argmax(axis=1) == targets
"""
HEADS = """\
version: 1
name: heads
model: {source: object}
data: {source: object}
task: {kind: metric, entry: "./own.py:right", name: accuracy, per_sample: true}
artifacts: [{format: onnx, quantize: auto}]
budget: {metric_drop: 0.03}
"""


class TwoHeads(nn.Module):
    """A number that no INT8 hurts, put out first, and the classes of the network with an outlier."""

    def __init__(self, classes: nn.Module) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"brightness": image.flatten(1).mean(dim=1, keepdim=True), "logits": self.classes(image)}


@pytest.mark.full
def test_layers_of_a_further_output_are_left_in_float_where_the_task_reads_it(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(RIGHT)
    (tmp_path / "recipe.yaml").write_text(HEADS)
    data = digits()
    network = TwoHeads(outlier_network(data))
    where = {"output": tmp_path / "out", "cache": Cache(tmp_path / "cache"), "log": SilentLog()}
    result = compress(tmp_path / "recipe.yaml", model=network, data=data, **where)
    mixed = by_name(result)["ONNX static-int8 mixed"]
    kept = [layer for part in mixed.sensitivity if part.kept for layer in part.layers]
    assert sorted(kept) == [f"classes.{layer}" for layer in SENSITIVE]
    assert mixed.metric is not None
    assert mixed.metric.value > 0.9


@pytest.fixture(scope="module")
def whole(run: Callable[..., Result]) -> Result:
    return run("whole", "auto")


def by_name(result: Result) -> dict[str, ArtifactSide]:
    return {artifact_name(side): side for side in result.report.artifacts}


@pytest.mark.parametrize("family", ["ONNX", "TFLite"])
def test_the_layers_that_share_an_outlier_are_found_and_left_in_float(whole: Result, family: str) -> None:
    sides = by_name(whole)
    full, mixed = sides[f"{family} static-int8"], sides[f"{family} static-int8 mixed"]
    assert sorted(layer for part in mixed.sensitivity if part.kept for layer in part.layers) == sorted(SENSITIVE)
    assert sorted(mixed.ignored) == sorted(SENSITIVE)
    assert [part.loss for part in mixed.sensitivity] == sorted((part.loss for part in mixed.sensitivity), reverse=True)
    assert full.metric is not None
    assert mixed.metric is not None
    assert full.metric.value < 0.5 < 0.9 < mixed.metric.value
    assert mixed.dtypes["int8"] > 4_000  # the three others are integers still


def test_candidates_that_miss_the_budget_do_not_fail_the_run(whole: Result) -> None:
    report = whole.report
    assert report.budget.met is True
    assert report.budget.violations == []
    missed = {verdict.artifact for verdict in report.budget.passed_over}
    assert missed >= {by_name(whole)[f"{family} static-int8"].path for family in ("ONNX", "TFLite")}
    assert not any(side.chosen for side in report.artifacts if side.path in missed)


def test_one_file_of_each_format_is_written_the_best_first_and_all_have_a_row(whole: Result) -> None:
    assert whole.manifest is not None
    written = [artifact.path for artifact in whole.manifest.artifacts]
    assert sorted(written) == ["model.onnx", "model.tflite", "model.xml"]
    chosen = [side.path for side in whole.report.artifacts if side.chosen]
    assert chosen == written == [side.path for side in whole.report.artifacts[: len(chosen)]]
    assert sorted(path.name for path in whole.folder.glob("model*")) == sorted([*written, "model.bin"])
    assert len(whole.report.artifacts) >= 7
    assert all(side.reason and side.candidate and side.latency_ms for side in whole.report.artifacts)
    assert {side.dominated_by for side in whole.report.artifacts} <= {
        "",
        *(side.path for side in whole.report.artifacts),
    }


def test_only_candidates_that_were_not_taken_are_timed_in_fewer_runs(whole: Result) -> None:
    runs = {side.path: side.latency_ms.runs for side in whole.report.artifacts if side.latency_ms is not None}
    most = max(runs.values())
    for side in whole.report.artifacts:
        assert (runs[side.path] < most) == side.outpaced
        assert not (side.outpaced and side.chosen)
        assert bool(side.latency_ms_extra) != side.outpaced


@pytest.mark.full
def test_the_same_recipe_gives_the_same_files_again(whole: Result, run: Callable[..., Result]) -> None:
    again = run("again", "auto")
    assert [(side.path, side.sha256, side.chosen) for side in again.report.artifacts] == [
        (side.path, side.sha256, side.chosen) for side in whole.report.artifacts
    ]
    before, after = ({side.path: side.sensitivity for side in result.report.artifacts} for result in (whole, again))
    assert after == before
    assert again.manifest is not None
    assert whole.manifest is not None
    assert again.manifest.version == whole.manifest.version


def test_without_a_scan_nothing_is_rescued(run: Callable[..., Result]) -> None:
    result = run("unscanned", [{"format": "onnx", "quantize": "auto", "search": {"trials": 0}}])
    assert set(by_name(result)) == {"ONNX static-int8", "ONNX float32"}
    assert [artifact_name(side) for side in result.report.artifacts if side.chosen] == ["ONNX float32"]


@pytest.mark.full
def test_each_auto_is_searched_on_as_many_calibration_samples_as_it_names(run: Callable[..., Result]) -> None:
    auto = [
        {"format": name, "quantize": {"scheme": "auto", "calibration": samples}}
        for name, samples in (("onnx", 64), ("tflite", 128))
    ]
    result = run("two searches", auto)
    sides = by_name(result)
    for family in ("ONNX", "TFLite"):
        kept = [
            layer for part in sides[f"{family} static-int8 mixed"].sensitivity if part.kept for layer in part.layers
        ]
        assert sorted(kept) == sorted(SENSITIVE)
    assert result.report.budget.met is True


def test_when_no_candidate_meets_the_budget_the_run_fails(run: Callable[..., Result]) -> None:
    recipe = [{"format": "onnx", "quantize": "auto", "search": {"trials": 0}}]
    result = run("missed", recipe, budget={"metric_drop": 0.03, "size_mb": 0.001})
    assert result.manifest is None
    assert {verdict.artifact for verdict in result.report.budget.violations} == {"model.onnx"}
    assert [path.name for path in (result.folder / "rejected").iterdir()] == ["model.onnx"]


@pytest.mark.full
def test_the_whole_front_is_written_when_asked_for(run: Callable[..., Result]) -> None:
    result = run("front", [{"format": "auto", "search": {"keep": "pareto"}}])
    front = {side.path for side in result.report.artifacts if side.pareto}
    missed = {verdict.artifact for verdict in result.report.budget.passed_over}
    assert front - missed <= {side.path for side in result.report.artifacts if side.chosen}
    manifest = decode_manifest((result.folder / "manifest.json").read_bytes())
    assert len(manifest.artifacts) == sum(side.chosen for side in result.report.artifacts)


@pytest.mark.full
def test_for_a_board_the_front_has_what_the_rule_says_nothing_of(run: Callable[..., Result]) -> None:
    result = run("front of a board", [{"format": "auto", "search": {"keep": "pareto", "trials": 0}}], target="rpi5")
    missed = {verdict.artifact for verdict in result.report.budget.passed_over}
    chosen = {artifact_name(side) for side in result.report.artifacts if side.chosen}
    assert {"ONNX float32", "TFLite float32"} <= chosen  # one is smaller; which is faster on the board nobody knows
    assert chosen == {artifact_name(s) for s in result.report.artifacts if s.pareto and s.path not in missed}


def test_the_rule_of_a_board_holds_for_files_that_are_named_too(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(0, 0.1, (400, 1, 16, 16)).astype(np.float32)
    quadrants = np.arange(400) % 4
    for image, quadrant in zip(images, quadrants, strict=True):
        image[0, 8 * (quadrant // 2) :, 8 * (quadrant % 2) :][:8, :8] += 1
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 4),
    )  # fmt: skip
    parts = {"train": slice(0, 200), "calibration": slice(200, 300), "eval": slice(300, None)}
    recipe = {
        "name": "named",
        "task": {"kind": "classification"},
        "target": "rpi5",
        "steps": [{"finetune": {"epochs": 3, "learning_rate": 5e-3}}],
        "artifacts": [{"format": "tflite", "quantize": "none"}, {"format": "tflite", "quantize": "static-int8"}],
    }
    data = {name: (images[part], quadrants[part]) for name, part in parts.items()}
    report = compress(recipe, model=network, data=data, output=tmp_path / "out", log=SilentLog()).report
    found = {side.scheme: (side.metric and side.metric.value, side.pareto) for side in report.artifacts}
    assert found == {"none": (1.0, False), "static-int8": (1.0, True)}


def test_the_resolved_recipe_still_says_auto(whole: Result) -> None:
    report = json.loads((whole.folder / "report.json").read_text())
    (artifact,) = report["recipe"]["artifacts"]
    assert (artifact["format"], artifact["quantize"]["scheme"]) == ("auto", "auto")
    assert artifact["search"] == {"trials": 32, "samples": 64, "keep": "chosen"}


@pytest.mark.full
def test_under_4_bits_sensitive_layers_get_8_instead_of_float(tmp_path: Path) -> None:
    data = {name: (inputs.reshape(len(inputs), -1), targets) for name, (inputs, targets) in digits().items()}
    recipe = {
        "name": "narrow",
        "task": {"kind": "classification"},
        "target": "rpi5",
        "artifacts": [{"format": "auto", "quantize": "weight-only-int4"}],
        "budget": {"metric_drop": 0.02},
    }
    result = compress(recipe, model=uneven_network(data), data=data, output=tmp_path, cache=Cache(tmp_path / "cache"))
    for family in ("ONNX", "TFLite"):
        full, mixed = (by_name(result)[f"{family} weight-only-int4{word}"] for word in ("", " mixed"))
        assert [part.layers for part in mixed.sensitivity if part.kept] == [["2"]]
        assert {part.scheme for part in mixed.sensitivity if part.kept} == {"weight-only-int8"}
        assert full.metric is not None
        assert mixed.metric is not None
        assert full.metric.value < mixed.metric.value - 0.02
        assert mixed.chosen
        assert mixed.size_ratio is not None
        assert mixed.size_ratio > 3.5  # in float that layer alone would take as much as all others
