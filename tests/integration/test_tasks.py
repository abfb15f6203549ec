"""Every kind of task, from recipe to report, with a network of its kind that is small and real."""

from __future__ import annotations

import json
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from edgeglm_agent.processing import Postprocess
from rich.console import Console
from torch import nn

from edgeglm import compress
from edgeglm.cache import Cache
from edgeglm.errors import RecipeError, UserError
from edgeglm.report.json import decode_report
from edgeglm.report.terminal import render_summary
from edgeglm.tasks.roc import threshold_at

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.pipeline.run import Result


def run(tmp_path: Path, network: nn.Module, data: dict[str, Any], **recipe: Any) -> Result:
    """Compress a network with these keys of a recipe; everything on one thread and the CPU."""
    artifacts = [{"format": "onnx"}, {"format": "onnx", "quantize": "static-int8"}]
    keys = {"name": "tiny", "artifacts": artifacts, "threads": 1, "device": "cpu", **recipe}
    return compress(keys, model=network, data=data, output=tmp_path / "out", cache=Cache(tmp_path / "cache"))


def run_beside(tmp_path: Path, code: str, network: nn.Module, data: dict[str, Any], **recipe: Any) -> Result:
    """Compress a network by a recipe that lies beside a file `own.py` with this code."""
    (tmp_path / "own.py").write_text(code)
    keys = {"version": 1, "name": "tiny", "model": {"source": "object"}, "data": {"source": "object"}, "threads": 1}
    keys |= {"artifacts": [{"format": "onnx", "quantize": "static-int8"}], "device": "cpu", **recipe}
    (tmp_path / "recipe.yaml").write_text(json.dumps(keys))
    where = {"output": tmp_path / "out", "cache": Cache(tmp_path / "cache")}
    return compress(tmp_path / "recipe.yaml", model=network, data=data, **where)


def vibration(count: int, seed: int, *, faulty: bool) -> np.ndarray:
    """Return windows (N, 16) that lie in a plane, or a little beside it."""
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(0).normal(size=(2, 16))
    made = rng.normal(size=(count, 2)) @ basis + 0.05 * rng.normal(size=(count, 16))
    return (made + faulty * 0.5 * rng.normal(size=(count, 16))).astype(np.float32)


def test_an_autoencoder_is_trained_quantized_and_judged_by_what_it_finds(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2), nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 16))
    normal, faulty = vibration(240, 3, faulty=False), vibration(60, 4, faulty=True)
    runs = np.arange(300) % 6
    marks = np.repeat([0, 1], [240, 60])
    data = {
        "train": (vibration(512, 1, faulty=False), None),
        "calibration": (vibration(64, 2, faulty=False), None),
        "eval": (np.concatenate([normal, faulty]), np.stack([marks, runs], axis=1)),
    }
    result = run(
        tmp_path,
        network,
        data,
        task={"kind": "anomaly", "score": "squared-error", "false_alarm_rate": 0.05},
        steps=[{"finetune": {"epochs": 30, "learning_rate": 0.01}}],
        postprocess=["reconstruction-error", {"threshold": {"limit": 0.0001}}],
        budget={"metric_drop": 0.2},
    )
    report = result.report
    assert report.baseline.metric is not None
    assert report.baseline.metric.name == "auc"
    unseen = data["calibration"][0]
    with torch.no_grad():
        errors = ((network(torch.from_numpy(unseen)).numpy() - unseen) ** 2).mean(axis=1)
    assert report.baseline.metrics_extra["threshold"] == pytest.approx(threshold_at(errors, 0.05), rel=1e-4)
    step = report.steps[0]
    assert step.metric is not None
    assert step.metric.value > 0.95  # it learnt without labels
    assert "loss" in step.notes[0]
    for side in report.artifacts:
        assert side.metric is not None
        assert side.drop is not None
        assert side.metric.value > 0.9
        assert side.drop.method == "delong"
        assert set(side.metrics_extra) >= {"threshold", "detection_rate", "runs_noticed", "lead_time_samples"}
        assert side.alarms is not None
        assert (side.alarms.limit, side.alarms.wanted, side.alarms.normal) == (pytest.approx(0.0001), 0.05, 240)
        assert side.alarms.rate > 0.5
        assert any(text.startswith("too many false alarms: the limit 0.0001") for text in side.warnings)
        assert side.parity is not None
        assert side.parity.passed
        assert side.changed_what == "samples crossed the limit"
    assert report.budget.met is True
    assert result.manifest is not None
    assert [op.op for op in result.manifest.postprocess] == ["reconstruction-error", "threshold"]


def test_a_network_that_puts_out_a_score_learns_the_originals(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))
    inputs = np.concatenate([vibration(100, 3, faulty=False), vibration(100, 4, faulty=True)])
    data = {"train": (vibration(256, 1, faulty=False), None), "eval": (inputs, np.repeat([0, 1], 100))}
    result = run(
        tmp_path,
        network,
        data,
        task={"kind": "anomaly"},
        steps=[{"prune": {"channel_ratio": 0.25}}, {"distill": {"epochs": 5, "alpha": 1.0}}],
        budget={"metric_drop": 0.3},
    )
    assert [step.step for step in result.report.steps] == ["steps[0].prune", "steps[1].distill"]
    assert all(side.drop is not None for side in result.report.artifacts)


def shapes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy images (N, 1, 16, 16) of a bright square and a dark bar, and which pixel is which."""
    rng = np.random.default_rng(seed)
    maps = np.zeros((count, 16, 16), np.uint8)
    for one in maps:
        x, y, bar = rng.integers(0, 10, 3)
        one[:, bar : bar + 2] = 2
        one[y : y + 6, x : x + 6] = 1
    images = np.array([0.0, 1.0, -1.0])[maps] + 0.6 * rng.normal(size=maps.shape)
    maps[:, 0] = 255  # counts nowhere
    return images[:, None].astype(np.float32), maps


def test_a_segmenter_is_trained_pruned_quantized_and_judged_by_overlap(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 3, 1),
    ]
    result = run(
        tmp_path,
        nn.Sequential(*layers),
        {"train": shapes(96, 1), "calibration": shapes(32, 2), "eval": shapes(48, 3)},
        task={"kind": "segmentation"},
        labels=["floor", "square", "bar"],
        steps=[
            {"finetune": {"epochs": 6, "learning_rate": 0.02, "batch_size": 16}},
            {"prune": {"channel_ratio": 0.5}},
            {"finetune": {"epochs": 4, "learning_rate": 0.02, "batch_size": 16}},
        ],
        artifacts=[{"format": "onnx", "quantize": "static-int8"}, {"format": "tflite"}],
        postprocess=["argmax-map"],
        budget={"metric_drop": 0.1, "per_class_drop": 0.1},
    )
    report = result.report
    assert report.baseline.metric is not None
    assert report.steps[-1].metric is not None
    assert report.steps[-1].metric.name == "mean_iou"
    assert report.steps[-1].metric.value > 0.6 > report.baseline.metric.value + 0.2
    for side in report.artifacts:
        assert side.drop is not None
        assert side.drop.ci95[1] < 0  # the original had learnt nothing
        assert [(one.label, one.metric, one.n) for one in side.per_class][1:] == [
            ("square", "iou", 48),
            ("bar", "iou", 48),
        ]
        assert side.changed_what == "maps changed"
        assert side.changed_count == 48
        assert all(change.picture_before != change.picture_after for change in side.changed)
        assert side.parity is not None
        assert (side.parity.answers, side.parity.passed) == ("pixels", True)
    assert report.budget.met is True
    assert set(result.manifest.reference.predicted) == {"floor", "square", "bar"}  # type: ignore[union-attr]
    again = decode_report((tmp_path / "out" / "report.json").read_bytes(), where="")
    assert again.artifacts[0].per_class == report.artifacts[0].per_class


class Detector(nn.Module):
    """Finds bright (0) and dark (1) squares of 8 pixels in a grid of such; made by hand, so it need not learn."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.see = nn.Conv2d(1, 8, 3, padding=1)
        self.decide = nn.Conv2d(8, 2, 8, stride=8)
        with torch.no_grad():
            self.see.weight.mul_(0.01)
            self.see.weight[0, 0, 1, 1], self.see.weight[1, 0, 1, 1] = 1.0, -1.0
            self.decide.weight.mul_(0.1)
            for number in (0, 1):
                self.decide.weight[number, number] += 1 / 64
            self.decide.bias.fill_(-0.5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        score = torch.sigmoid(8 * self.decide(torch.relu(self.see(image))))  # (B, 2, 4, 4)
        middle, size = torch.full_like(score, 0.5), torch.zeros_like(score)
        return torch.cat([middle, size, score], dim=1)  # (B, 6, 4, 4)


def squares(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, 1, 32, 32) of up to four squares, and their boxes (N, 4, 5)."""
    rng = np.random.default_rng(seed)
    images = 0.3 * rng.normal(size=(count, 1, 32, 32))
    targets = np.full((count, 4, 5), -1.0)
    for image, things in zip(images, targets, strict=True):
        for place, cell in enumerate(rng.permutation(16)[: rng.integers(1, 5)]):
            x, y, number = 8 * (cell % 4), 8 * (cell // 4), rng.integers(0, 2)
            image[0, y : y + 8, x : x + 8] += 1 - 2 * number
            things[place] = (number, x, y, x + 8, y + 8)
    return images.astype(np.float32), targets


def test_a_detector_is_judged_by_what_its_postprocessing_finds_and_learns_from_its_teacher(tmp_path: Path) -> None:
    grid = {"format": "grid-exp", "axis": 0, "strides": [8], "min_score": 0.4}
    result = run(
        tmp_path,
        Detector(),
        {"train": squares(128, 1), "calibration": squares(32, 2), "eval": squares(60, 3)},
        task={"kind": "detection"},
        labels=["bright", "dark"],
        postprocess=[{"boxes": grid}, {"nms": {"iou": 0.5}}, {"threshold": {"limit": 0.6}}, "labels"],
        steps=[
            {"prune": {"channel_ratio": 0.25, "round_to": 1}},
            {"distill": {"epochs": 3, "learning_rate": 0.003, "alpha": 1.0}},
        ],
        budget={"metric_drop": 0.05, "per_class_drop": 0.08},
    )
    report = result.report
    assert not [text for text in report.warnings if "classes" in text]
    assert report.baseline.metric is not None
    assert report.baseline.metric.name == "map"
    assert report.baseline.metric.value > 0.95
    for side in report.artifacts:
        assert side.drop is not None
        assert side.drop.method == "bootstrap"
        assert [(one.label, one.metric) for one in side.per_class] == [
            ("bright", "average_precision"),
            ("dark", "average_precision"),
        ]
        assert side.changed_what == "images gained or lost a box"
        assert side.changed_count == len([change for change in side.changed if change.note]) or side.changed_count > 12
    assert report.budget.met is True
    assert result.manifest is not None
    shown = Postprocess(result.manifest.postprocess, result.manifest.labels)
    images, targets = squares(1, 9)
    outputs = Detector()(torch.from_numpy(images)).detach().numpy()
    found = shown.one({result.manifest.artifacts[0].outputs[0].name: outputs})
    assert sorted(one.box for one in found) == sorted(tuple(t[1:]) for t in targets[0] if t[0] >= 0)  # type: ignore[union-attr]


METRIC = """\
import numpy as np


def worst_row(outputs, targets, labels):
    assert labels == ["a", "b"]
    return float(np.abs(outputs["logits"] - targets).max())


def close(outputs, targets, labels):
    return np.abs(outputs["logits"] - targets).max(axis=1) < 0.5


def broken(outputs, targets, labels):
    return outputs["nothing"]


def wide(outputs, targets, labels):
    return outputs["logits"]


def other(outputs, truth):
    return 0.0
"""


def sums(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (N, 16) and two sums of each, which `nn.Linear` below computes nearly."""
    inputs = np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32)
    return inputs, np.stack([inputs[:, :8].sum(axis=1), inputs[:, 8:].sum(axis=1)], axis=1)


def adder() -> nn.Module:
    network = nn.Linear(16, 2)
    with torch.no_grad():
        network.weight.copy_(torch.kron(torch.eye(2), torch.ones(1, 8)))
        network.bias.zero_()
    return nn.Sequential(network, nn.Identity())


SUMS = {"train": sums(64, 1), "calibration": sums(64, 2), "eval": sums(150, 3)}
OWN: dict[str, Any] = {"labels": ["a", "b"]}


def test_a_metric_of_ones_own_judges_as_a_whole_and_by_sample(tmp_path: Path) -> None:
    whole = {"kind": "metric", "entry": "./own.py:worst_row", "name": "worst", "higher_is_better": False}
    task = {**whole, "output": "logits", "resamples": 100}
    result = run_beside(tmp_path, METRIC, adder(), SUMS, task=task, budget={"metric_drop": 5}, **OWN)
    (side,) = result.report.artifacts
    assert result.report.baseline.metric is not None
    assert (result.report.baseline.metric.name, result.report.baseline.metric.value < 1e-4) == ("worst", True)
    assert side.drop is not None
    assert (side.drop.method, side.drop.value > 0) == ("bootstrap", True)
    assert side.changed_what == "answers moved by more than a tenth of what they vary by"
    assert result.report.budget.met is True
    task = {"kind": "metric", "entry": "./own.py:close", "name": "close", "per_sample": True}
    result = run_beside(tmp_path, METRIC, adder(), SUMS, task=task, budget={"metric_drop": 0.1}, **OWN)
    assert result.report.artifacts[0].drop is not None
    assert result.report.artifacts[0].drop.method == "counts"
    assert result.report.budget.met is True


@pytest.mark.parametrize(
    ("entry", "keys", "code", "says"),
    [
        ("broken", {}, "entry-failed", "own.py:14: `./own.py:broken` (task.entry) raised KeyError"),
        ("wide", {}, "entry-result", "a ndarray, not one number"),
        ("wide", {"per_sample": True}, "entry-result", "shape (150, 2)"),
        ("other", {}, "entry-arguments", "argument `"),
        ("absent", {}, "entry-missing", "has no `absent`"),
    ],
)
def test_a_metric_that_cannot_judge_is_the_users_fault_at_its_line(
    tmp_path: Path, entry: str, keys: dict[str, Any], code: str, says: str
) -> None:
    task = {"kind": "metric", "entry": f"./own.py:{entry}", **keys}
    with pytest.raises(UserError) as raised:
        run_beside(tmp_path, METRIC, adder(), SUMS, task=task, **OWN)
    assert raised.value.code == code
    assert says in str(raised.value.problems[0])


def test_the_metric_is_measured_again_on_changed_samples_for_every_file(tmp_path: Path) -> None:
    code = "def dim(inputs, generator):\n    return inputs * generator.uniform(0.5, 0.9)\n"
    inputs, targets = sums(400, 5)
    labels = (targets[:, 0] < targets[:, 1]).astype(int)
    data = {"train": (sums(64, 1)[0], None), "calibration": (sums(64, 2)[0], None), "eval": (inputs, labels)}
    changes = [{"noise": {"std": 1.0}}, {"blur": {"sigma": 3.0, "axes": [0]}}, {"entry": "./own.py:dim"}]
    keys: dict[str, Any] = {"task": {"kind": "classification"}, "robustness": changes}
    result = run_beside(tmp_path, code, adder(), data, **keys)
    report = result.report
    assert report.baseline.metric is not None
    names = ["noise std=1", "blur sigma=3 axes=[0]", "entry ./own.py:dim"]
    (side,) = report.artifacts
    for found in (report.baseline, side):
        assert [one.name for one in found.robustness] == names
        assert {one.metric.n for one in found.robustness} == {400}
    noisy, blurred, dimmed = report.baseline.robustness
    assert noisy.unchanged == report.baseline.metric.value > 0.99
    assert (noisy.metric.value < 0.85, blurred.metric.value < 0.9) == (True, True)
    assert dimmed.metric.value > 0.99  # half of both sums is as large as the other half
    assert noisy.drop is None
    for before, after in zip(report.baseline.robustness, side.robustness, strict=True):
        assert after.drop is not None
        assert after.drop.value == pytest.approx(before.metric.value - after.metric.value)
    again = run_beside(tmp_path, code, adder(), data, **keys).report
    assert again.artifacts[0].robustness == side.robustness
    decoded = decode_report((tmp_path / "out" / "report.json").read_bytes(), where="")
    assert decoded.baseline.robustness == report.baseline.robustness
    shown = Console(width=120, record=True, file=StringIO())
    shown.print(render_summary(report))
    assert "under" in (text := shown.export_text())
    assert all(name in text for name in names)


def test_a_change_that_does_not_suit_the_inputs_is_refused_before_anything_long(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"task": {"kind": "regression"}, "robustness": [{"blur": {"sigma": 1.0}}]}
    with pytest.raises(RecipeError, match="is no image") as raised:
        run(tmp_path, adder(), SUMS, steps=[{"finetune": {"epochs": 10000}}], **keys)
    assert raised.value.problems[0].where == "robustness[0].blur"


@pytest.mark.parametrize(
    ("change", "where", "says"),
    [
        ({"entry": "./own.py:same"}, "robustness[0].entry", "`./own.py:same` changes nothing in any of 150 samples"),
        ({"entry": "./own.py:torn"}, "robustness[0].entry", "`./own.py:torn` returned NaN or infinity for input"),
        ({"blur": {"sigma": 0.01, "axes": [0]}}, "robustness[0].blur", "this changes nothing in any of 150 samples"),
    ],
)
def test_a_change_that_changes_nothing_or_spoils_is_refused_before_anything_long(
    tmp_path: Path, change: Any, where: str, says: str
) -> None:
    code = "def same(inputs, generator):\n    return inputs\n"
    code += "def torn(inputs, generator):\n    return inputs * float('nan')\n"
    keys: dict[str, Any] = {"task": {"kind": "regression"}, "robustness": [change]}
    with pytest.raises(UserError) as raised:
        run_beside(tmp_path, code, adder(), SUMS, steps=[{"finetune": {"epochs": 10000}}], **keys)
    (problem,) = raised.value.problems
    assert problem.where.endswith(f"recipe.yaml:1 {where}")
    assert says in problem.message


def test_classes_of_a_detector_without_labels_go_by_their_numbers(tmp_path: Path) -> None:
    images, targets = squares(30, 3)
    targets[targets[..., 0] == 0] = -1  # nothing bright is labelled, so that numbers and places differ
    data = {"train": squares(16, 1), "calibration": squares(8, 2), "eval": (images, targets)}
    keys: dict[str, Any] = {"task": {"kind": "detection"}, "artifacts": [{"format": "onnx"}]}
    grid = {"format": "grid-exp", "axis": 0, "strides": [8], "min_score": 0.4}
    report = run(tmp_path, Detector(), data, postprocess=[{"boxes": grid}], **keys).report
    assert [one.label for one in report.baseline.per_class] == ["1"]
    assert not [text for text in report.warnings if "classes" in text]


@pytest.mark.parametrize(
    ("kind", "width"), [("regression", 1), pytest.param("classification", 2, marks=pytest.mark.full)]
)
def test_good_int8_of_one_number_or_two_logits_agrees_and_a_broken_one_does_not(
    tmp_path: Path, kind: str, width: int
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, width))
    inputs = sums(600, 5)[0]
    with torch.no_grad():
        answers = network(torch.from_numpy(inputs)).numpy()
    targets = answers[:, 0] + 0.01 if kind == "regression" else answers.argmax(axis=1)
    order = np.argsort(targets, kind="stable")  # the first samples are of one class, the numbers rise
    inputs, targets = inputs[order], targets[order]
    for factor, agrees in ((1.0, True), (0.001, False)):  # ranges that are a thousandth of what comes
        data = {"calibration": (factor * sums(64, 2)[0], None), "eval": (inputs, targets)}
        (_, side) = run(tmp_path / str(factor), network, data, task={"kind": kind}).report.artifacts
        assert side.parity is not None
        assert (side.scheme, side.parity.samples, side.parity.passed) == ("static-int8", 256, agrees)
        assert side.parity.cosine is None
        assert any(text.startswith("its outputs differ") for text in side.warnings) is not agrees
