"""A student of a network from elsewhere is judged by that one's answers where there are no targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeglm import compress
from edgeglm.cache import Cache
from edgeglm.log import SilentLog

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.pipeline.run import Result

TEACHER = """\
import torch
from torch import nn


def build() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 8))
"""


def run(folder: Path, kind: str, *, target: bool = False, **more: Any) -> Result:
    (folder / "teacher.py").write_text(TEACHER)
    random = np.random.default_rng(0)
    inputs = random.normal(size=(700, 16)).astype(np.float32)
    targets = random.normal(size=(700, 8)).astype(np.float32) if target else None
    parts = {"train": slice(0, 500), "calibration": slice(500, 600), "eval": slice(600, None)}
    torch.manual_seed(0)
    recipe = {
        "name": "student",
        "task": {"kind": kind},
        "steps": [
            {
                "distill": {
                    "teacher": {"source": "python", "entry": f"{folder / 'teacher.py'}:build"},
                    "epochs": 40,
                    "learning_rate": 1e-2,
                    "alpha": 1.0,
                    "precision": "float32",
                }
            }
        ],
        "artifacts": [{"format": "onnx", "quantize": "dynamic-int8"}],
        "robustness": [{"noise": {"std": 0.2}}],
        "on_violation": "best-effort",
        **more,
    }
    data = {name: (inputs[part], None if targets is None else targets[part]) for name, part in parts.items()}
    student = nn.Sequential(nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 8))
    return compress(
        recipe, model=student, data=data, output=folder / "out", cache=Cache(folder / "cache"), log=SilentLog()
    )


def test_an_embedding_is_held_against_its_teachers_vectors(tmp_path: Path) -> None:
    report = run(tmp_path, "embedding", budget={"metric_drop": 0.2}).report
    (side,) = report.artifacts
    before, after = report.baseline.metric, side.metric
    assert before is not None
    assert after is not None
    assert (before.name, after.name) == ("cosine_to_teacher", "cosine_to_teacher")
    assert before.value < 0.5 < 0.9 < after.value
    assert side.drop is not None
    assert side.drop.value == pytest.approx(1 - after.value, abs=1e-6)
    assert report.budget.met is True
    assert [part.metric.name for part in side.robustness] == ["cosine_to_teacher"]
    assert side.robustness[0].unchanged == pytest.approx(after.value, abs=1e-6)
    assert 0.5 < side.robustness[0].metric.value <= 1
    assert report.baseline.robustness[0].metric.value < 0.5
    page = (tmp_path / "out" / "report.html").read_text()
    assert "short of the teacher" in page
    assert "proven worse" not in page
    assert any(
        "judged by those of the teacher of steps[0].distill" in text
        for text in [*report.warnings, *report.baseline.warnings]
    )


@pytest.mark.full
def test_numbers_without_targets_are_held_against_the_teachers(tmp_path: Path) -> None:
    report = run(tmp_path, "regression").report
    assert report.baseline.metric is not None
    assert report.artifacts[0].metric is not None
    assert report.baseline.metric.value > 2 * report.artifacts[0].metric.value > 0


@pytest.mark.full
def test_targets_judge_where_there_are_any(tmp_path: Path) -> None:
    report = run(tmp_path, "regression", target=True).report
    assert report.artifacts[0].metric is not None
    assert report.artifacts[0].metric.value > 0.9  # of random numbers nobody knows anything
    assert not any("judged by those of the teacher" in text for text in report.warnings)


@pytest.mark.full
def test_accuracy_control_asks_what_quantizing_costs(tmp_path: Path) -> None:
    artifacts = [{"format": "onnx", "quantize": {"scheme": "static-int8", "calibration": 50, "accuracy_control": True}}]
    report = run(tmp_path, "embedding", artifacts=artifacts, budget={"metric_drop": 0.2}).report
    assert report.artifacts[0].ignored == []  # against the untrained original all of it would stay in float
    assert not any("accuracy_control" in text for text in report.artifacts[0].warnings)
