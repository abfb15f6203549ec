"""What is wrong with the original is said before the artifacts are made, and stands in the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgeglm import compress
from edgeglm.cache import Cache
from edgeglm.checks.doubts import are_probabilities
from edgeglm.errors import UserError
from edgeglm.log import SilentLog
from edgeglm.report.html import render_html

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.pipeline.run import Result
    from edgeglm.report.types import Report

EVALUATED = 400


def samples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points (N, 4) of four classes, each with a mean of its own."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 4, count)
    return (2 * np.eye(4)[targets] + rng.normal(0, 0.5, (count, 4))).astype(np.float32), targets


DATA = {"train": samples(256, 1), "calibration": samples(32, 2), "eval": samples(EVALUATED, 3)}


class Net(nn.Module):
    """Knows the classes, unless it is blind; its outputs are logits unless it ends in a softmax."""

    def __init__(self, *, blind: bool = False, classes: int = 4, softmax: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(4, classes)
        self.softmax = softmax
        with torch.no_grad():
            self.linear.weight.copy_(torch.zeros(classes, 4) if blind else 3 * torch.eye(classes, 4))
            self.linear.bias.zero_()
            self.linear.bias[0] = 0.1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.linear(x)
        return logits.softmax(dim=1) if self.softmax else logits


class Heard(SilentLog):
    """Keeps what was said, in order."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def stage(self, text: str) -> None:
        self.said.append(("stage", text))

    def note(self, text: str) -> None:
        self.said.append(("note", text))

    def warn(self, text: str) -> None:
        self.said.append(("warn", text))

    def before(self, stage: str) -> list[tuple[str, str]]:
        return self.said[
            : next(i for i, said in enumerate(self.said) if said[0] == "stage" and said[1].startswith(stage))
        ]


def run(tmp_path: Path, net: nn.Module, *, data: Any = DATA, **changes: Any) -> tuple[Result, Heard]:
    heard = Heard()
    recipe = {"name": "points", "task": {"kind": "classification"}, "artifacts": [{"format": "onnx"}], **changes}
    result = compress(recipe, model=net, data=data, output=tmp_path / "out", log=heard, cache=Cache(tmp_path / "cache"))
    return result, heard


def warned_of(report: Report, start: str) -> str:
    (text,) = [text for text in report.warnings if text.startswith(start)]
    return text


def test_a_baseline_at_chance_is_warned_of_before_the_artifacts_and_meets_no_budget(tmp_path: Path) -> None:
    result, heard = run(tmp_path, Net(blind=True), budget={"metric_drop": 0.02, "size_mb": 5})
    text = warned_of(result.report, "the baseline is no better than chance (accuracy ")
    assert "on 400 samples of 4 classes; chance " in text
    assert text.endswith("look at `preprocess`, the order of `labels`, the weights")
    assert ("warn", text) in heard.before("artifacts[0]")
    assert result.report.budget.met is None
    assert [verdict.key for verdict in result.report.budget.undecided] == ["budget.metric_drop"]
    page = render_html(result.report)
    assert page.index("no better than chance") < page.index('id="artifacts"')


def test_an_untrained_network_that_the_recipe_trains_is_told_of_without_alarm(tmp_path: Path) -> None:
    steps = [{"finetune": {"epochs": 6, "learning_rate": 0.05}}]
    result, heard = run(tmp_path, Net(blind=True), steps=steps, budget={"metric_drop": 0.02})
    text = warned_of(result.report, "the baseline is no better than chance")
    assert "the recipe trains it" in text
    assert ("note", text) in heard.before("steps[0].finetune")
    assert result.report.budget.met is True


def test_a_teacher_that_knows_nothing_is_warned_of_before_it_teaches(tmp_path: Path) -> None:
    steps: list[Any] = [{"finetune": {"epochs": 1}}, {"distill": {"epochs": 1}}]
    result, heard = run(tmp_path, Net(blind=True), steps=steps)
    text = warned_of(result.report, "steps[1].distill: its teacher is the original")
    assert ("warn", text) in heard.before("steps[0].finetune")
    alone, _ = run(tmp_path, Net(blind=True), steps=[{"distill": {"epochs": 1, "alpha": 0}}])
    assert not [text for text in alone.report.warnings if "teacher" in text]


TEACHER = """
import torch


def build(known: bool) -> torch.nn.Module:
    linear = torch.nn.Linear(4, 4)
    with torch.no_grad():
        linear.weight.copy_(3 * torch.eye(4) if known else torch.zeros(4, 4))
        linear.bias.copy_(torch.tensor([0.1, 0.0, 0.0, 0.0]))
    return linear
"""


@pytest.mark.parametrize(
    ("known", "weights"), [pytest.param(True, False, marks=pytest.mark.full), (False, False), (False, True)]
)
def test_a_teacher_from_elsewhere_that_knows_nothing_is_warned_of_before_it_teaches(
    tmp_path: Path, known: bool, weights: bool
) -> None:
    (tmp_path / "teacher.py").write_text(TEACHER)
    teacher = {"source": "python", "entry": f"{tmp_path / 'teacher.py'}:build", "args": {"known": known}}
    if weights:
        save_file({"weight": torch.zeros(4, 4), "bias": torch.tensor([0.1, 0, 0, 0])}, tmp_path / "t.safetensors")
        teacher["weights"] = str(tmp_path / "t.safetensors")
    steps = [{"distill": {"epochs": 1, "alpha": 1.0, "teacher": teacher}}]
    result, heard = run(tmp_path, Net(classes=4), steps=steps)
    said = [text for text in result.report.warnings if "its teacher" in text]
    if known:
        assert not said
        return
    (text,) = said
    assert text.startswith("steps[0].distill: its teacher is no better than chance (accuracy ")
    assert text.endswith("the weights" if weights else "name those that it was trained to as `teacher.weights`")
    assert ("warn", text) in heard.before("steps[0].distill")


@pytest.mark.parametrize(
    ("count", "quantize", "said"),
    [
        (1, "static-int8", "artifacts[0]: of the 256 calibration samples asked for there is 1:"),
        (
            31,
            {"scheme": "static-int8", "calibration": 40},
            "artifacts[0]: of the 40 calibration samples asked for there are",
        ),
        (31, {"scheme": "static-int8", "calibration": 31}, ""),
        (1, "dynamic-int8", ""),
        (32, "static-int8", ""),
    ],
)
def test_ranges_on_far_fewer_samples_than_asked_for_are_told_of(
    tmp_path: Path, count: int, quantize: Any, said: str
) -> None:
    data = {**DATA, "calibration": samples(count, 2)}
    result, heard = run(tmp_path, Net(), data=data, artifacts=[{"format": "onnx", "quantize": quantize}])
    found = [text for text in result.report.warnings if "calibration samples asked for" in text]
    assert len(found) == bool(said)
    if said:
        assert found[0].startswith(said)
        assert ("warn", found[0]) in heard.before("artifacts[0]")


def test_a_network_that_finds_no_anomalies_is_not_told_of_labels(tmp_path: Path) -> None:
    data = {name: (points, (targets == 0).astype(np.int64)) for name, (points, targets) in DATA.items()}
    recipe = {"name": "points", "task": {"kind": "anomaly", "score": "output"}, "artifacts": [{"format": "onnx"}]}
    recipe["budget"] = {"metric_drop": 0.05}
    result = compress(
        recipe, model=Net(blind=True, classes=1), data=data, output=tmp_path / "out", log=Heard(),
        cache=Cache(tmp_path / "cache"),
    )  # fmt: skip
    said = [warned_of(result.report, "the baseline"), result.report.budget.undecided[0].message]
    assert all("which targets are anomalous" in text and "labels" not in text for text in said), said


def test_a_good_baseline_is_not_doubted_and_no_budget_is_judged_as_nothing(tmp_path: Path) -> None:
    result, heard = run(tmp_path, Net(), postprocess=["softmax"])
    assert not result.report.warnings
    assert not [text for kind, text in heard.said if kind == "warn"]
    assert result.report.budget.met is None
    assert not result.report.budget.undecided
    assert '"met": null' in (tmp_path / "out" / "report.json").read_text()


def test_a_second_softmax_and_training_on_probabilities_are_warned_of_before_they_run(tmp_path: Path) -> None:
    result, heard = run(tmp_path, Net(softmax=True), postprocess=["softmax"], steps=[{"distill": {"epochs": 1}}])
    twice = warned_of(result.report, "postprocess[0].softmax: ")
    assert "remove `softmax` from `postprocess`" in twice
    teacher = warned_of(result.report, "steps[0].distill: ")
    assert "drop the softmax" in teacher
    assert {("warn", twice), ("warn", teacher)} <= set(heard.before("steps[0].distill"))


def test_classes_that_cannot_be_judged_are_named(tmp_path: Path) -> None:
    result, _ = run(tmp_path, Net(classes=6), budget={"per_class_drop": 0.05})
    assert "no sample of `4`, `5`" in warned_of(result.report, "the network has 6 classes")
    assert "fewer than 30 samples of `4` (0), `5` (0)" in warned_of(result.report, "split `eval` has")
    assert [found.recall for found in result.report.baseline.per_class[4:]] == [None, None]
    assert result.report.budget.met is None


@pytest.mark.parametrize(
    ("changes", "where", "code"),
    [
        ({"postprocess": [{"top-k": {"k": 9}}]}, "postprocess[0].top-k.k", "recipe-out-of-range"),
        ({"postprocess": [{"softmax": {"output": "probs"}}]}, "postprocess[0].softmax", "recipe-conflict"),
        ({"postprocess": ["argmax-map"]}, "postprocess[0].argmax-map", "recipe-conflict"),
        ({"task": {"kind": "classification", "top_k": 9}}, "task.top_k", "recipe-out-of-range"),
        ({"labels": ["a", "b", "c"]}, "labels", "labels-mismatch"),
        (
            {"postprocess": ["softmax", {"top-k": {"k": 1}}, {"labels": {"names": ["a", "b", "c"]}}]},
            "postprocess[2].labels.names",
            "labels-mismatch",
        ),
    ],
)
def test_what_does_not_fit_the_models_classes_is_refused_at_its_key(
    tmp_path: Path, changes: dict[str, Any], where: str, code: str
) -> None:
    with pytest.raises(UserError) as caught:
        run(tmp_path, Net(), **changes)
    assert [(problem.where, problem.code) for problem in caught.value.problems] == [(where, code)]


def test_a_top_k_that_is_left_at_its_default_takes_what_classes_there_are(tmp_path: Path) -> None:
    assert run(tmp_path, Net(), postprocess=["top-k"])[0].manifest is not None


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        pytest.param([[0.25, 0.75], [1.0, 0.0]], True, id="probabilities"),
        pytest.param([[0.25, 0.75], [1.5, -0.5]], False, id="a negative one"),
        pytest.param([[0.25, 0.75], [0.5, 0.6]], False, id="a sum that is not 1"),
        pytest.param([[1.0], [1.0]], False, id="one value"),
        pytest.param([[float("nan"), 1.0], [0.5, 0.5]], False, id="not a number"),
    ],
)
def test_outputs_are_probabilities_when(rows: list[list[float]], said: bool) -> None:
    good = np.array([[0.5, 0.5]], np.float32)
    assert are_probabilities({"eval": {"y": good}, "night": {"y": np.array(rows, np.float32)}}, None) is said
