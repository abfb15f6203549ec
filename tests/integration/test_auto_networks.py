"""`auto` on every kind of network and source, for this host's architecture and for another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeglm import compress
from edgeglm.artifacts import onnx, tflite
from edgeglm.boards import BOARDS
from edgeglm.cache import Cache
from edgeglm.errors import UserError
from edgeglm.report.findings import artifact_name
from tests.support import export_nets

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.model import Model
    from edgeglm.pipeline.run import Result


def splits(model: Model, count: int = 60) -> dict[str, Any]:
    """Return seeded samples, and as their targets what the network itself answers."""
    found = {}
    for number, name in enumerate(("train", "calibration", "eval")):
        inputs = export_nets.rows(model, count, seed=number)
        outputs = export_nets.torch_outputs(model, inputs)
        found[name] = (next(iter(inputs.values())), np.argmax(next(iter(outputs.values())), axis=1))
    return found


def searched(folder: Path, data: dict[str, Any], *, target: str, model: Any = None, **more: Any) -> Result:
    recipe = {
        "name": "searched",
        "task": {"kind": "classification"},
        "target": target,
        "artifacts": [{"format": "auto", "search": {"trials": 4, "samples": 16}}],
        **more,
    }
    return compress(recipe, model=model, data=data, output=folder / "out", cache=Cache(folder / "cache"))


def tried(result: Result) -> set[str]:
    return {artifact_name(side) for side in result.report.artifacts} | {
        f"{skipped.format} {skipped.scheme}" for skipped in result.report.skipped
    }


def check_whole(result: Result) -> None:
    """See that the result stands by itself, and that every row of the report is whole."""
    report = result.report
    assert result.manifest is not None
    assert [artifact.path for artifact in result.manifest.artifacts] == [a.path for a in report.artifacts if a.chosen]
    formats = [artifact.format for artifact in result.manifest.artifacts]
    assert len(formats) == len(set(formats))  # one file of each
    assert all(a.latency_ms and a.size_bytes and a.parity and a.metric for a in report.artifacts)
    front = [a for a in report.artifacts if a.pareto]
    assert front
    assert all(a.pareto is not None and a.pareto == (not a.dominated_by) for a in report.artifacts)


@pytest.mark.full
def test_a_transformer_with_a_table_is_tried_in_dynamic_and_weight_only_schemes(tmp_path: Path) -> None:
    model = export_nets.words()
    result = searched(tmp_path, splits(model), target="x86-64", model=model.module)
    check_whole(result)
    assert {"ONNX dynamic-int8", "TFLite dynamic-int8", "ONNX float32", "ONNX weight-only-int8"} <= tried(result)
    assert "ONNX static-int8" not in tried(result)


@pytest.mark.full
def test_a_recurrent_network_for_a_pi_comes_first_in_its_one_operator(tmp_path: Path) -> None:
    model = export_nets.lstm()
    result = searched(tmp_path, splits(model), target="rpi5", model=model.module)
    check_whole(result)
    assert {"ONNX dynamic-int8", "TFLite dynamic-int8"} <= tried(result)
    assert not any(name.startswith("OpenVINO") for name in tried(result))
    assert any("rpi5" in skipped.reason for skipped in result.report.skipped if skipped.format == "openvino")
    good = {a.path for a in result.report.artifacts} - {v.artifact for v in result.report.budget.passed_over}
    assert result.report.artifacts[0].path in good


@pytest.mark.full
def test_a_gru_for_a_pi_comes_first_in_the_one_format_that_computes_it_in_integers(tmp_path: Path) -> None:
    model = export_nets.gru()
    result = searched(tmp_path, splits(model), target="rpi5", model=model.module)
    check_whole(result)
    assert artifact_name(result.report.artifacts[0]) == "TFLite dynamic-int8"
    assert "ONNX dynamic-int8" not in tried(result)


@pytest.mark.full
def test_a_candidate_that_stayed_float_is_left_out_with_the_reason(tmp_path: Path) -> None:
    model = export_nets.gru()
    wanted = [{"format": "auto", "quantize": "dynamic-int8"}]
    result = searched(tmp_path, splits(model), target="rpi5", model=model.module, artifacts=wanted)
    assert {artifact_name(side) for side in result.report.artifacts} == {"TFLite dynamic-int8"}
    (reason,) = [skipped.reason for skipped in result.report.skipped if skipped.format == "onnx"]
    assert "of its weights stayed float32 (weights still float32 after dynamic-int8: gru/GRU)" in reason


@pytest.mark.parametrize(
    ("file_format", "target", "first"),
    [
        pytest.param("onnx", "rpi5", "ONNX static-int8", id="onnx for a pi"),
        pytest.param("tflite", "x86-64", "TFLite", id="tflite for this host"),
    ],
)
def test_a_model_that_is_a_file_is_tried_in_what_it_gives(
    tmp_path: Path, file_format: str, target: str, first: str
) -> None:
    model = export_nets.cnn()
    writer = onnx if file_format == "onnx" else tflite
    path = tmp_path / f"given.{file_format}"
    writer.export_float(model, export_nets.rows(model, 4), path, board=BOARDS[target])
    data = splits(model)
    if file_format == "tflite":  # a file's rows lie as the file takes them
        data = {name: (np.moveaxis(inputs, 1, -1), targets) for name, (inputs, targets) in data.items()}
    result = _of_file(tmp_path, data, path, file_format, target)
    check_whole(result)
    assert {artifact.format for artifact in result.report.artifacts} <= {file_format, "openvino"}
    assert artifact_name(result.report.artifacts[0]).startswith(first)
    assert {skipped.format for skipped in result.report.skipped} >= {"tflite" if file_format == "onnx" else "onnx"}


def _of_file(folder: Path, data: dict[str, Any], path: Path, file_format: str, target: str) -> Result:
    recipe = {
        "name": "file",
        "model": {"source": file_format, "path": str(path)},
        "task": {"kind": "classification"},
        "target": target,
        "artifacts": "auto",
    }
    return compress(recipe, data=data, output=folder / "out", cache=Cache(folder / "cache"))


class Finder(nn.Module):
    """Finds two kinds of boxes, one guess for each of the 16 cells of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 7, 3, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.last(torch.relu(self.first(image))).sigmoid().flatten(2).transpose(1, 2)
        return found * torch.tensor([16.0, 16.0, 16.0, 16.0, 1.0, 1.0, 1.0])


COLUMNS = {"format": "cxcywh", "columns": ["box", "objectness", "scores"], "min_score": 0.05}


def found_boxes() -> dict[str, Any]:
    images, boxes = np.random.default_rng(0).normal(size=(80, 3, 16, 16)), [[0, 2, 2, 9, 9], [1, 5, 5, 12, 14]]
    return {"train": (images[:40], None), "eval": (images[40:], np.tile(np.array([boxes], "f4"), (40, 1, 1)))}


def test_a_detector_that_is_calibrated_on_images_without_boxes_is_searched_like_any_other(tmp_path: Path) -> None:
    result = searched(
        tmp_path,
        found_boxes(),
        target="x86-64",
        model=export_nets.settled(Finder()),
        task={"kind": "detection"},
        postprocess=[{"boxes": COLUMNS}, "nms", "labels"],
        labels=["hare", "fox"],
        artifacts=[{"format": "onnx", "quantize": "auto"}],
        budget={"metric_drop": 0.0001},  # so little that layers left in float are tried
    )
    check_whole(result)
    assert {"ONNX float32", "ONNX static-int8 mixed"} & tried(result)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"labels": ["hare", "fox", "owl"]}, "labels"),
        ({"labels": ["hare"]}, "labels"),
        ({"postprocess": [{"boxes": COLUMNS}, "nms", {"labels": {"names": ["hare"]}}]}, "postprocess[2].labels.names"),
    ],
)
def test_names_of_more_or_fewer_classes_than_a_detector_has_are_refused(
    tmp_path: Path, changes: dict[str, Any], where: str
) -> None:
    data = found_boxes()
    data["eval"] = (data["eval"][0], data["eval"][1][:, :1])  # things of the first class alone
    settings = {"task": {"kind": "detection"}, "postprocess": [{"boxes": COLUMNS}, "nms"], **changes}
    with pytest.raises(UserError) as caught:
        searched(tmp_path, data, target="x86-64", model=export_nets.settled(Finder()), **settings)
    assert [(problem.where, problem.code) for problem in caught.value.problems] == [(where, "labels-mismatch")]


class FinderOfTwoOutputs(Finder):
    """The same with its boxes and scores in outputs of their own."""

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
        found = super().forward(image)
        return {"where": found[..., :4], "what": found[..., 5:]}


@pytest.mark.parametrize("labels", [["hare", "fox", "owl"], ["hare"]])
def test_classes_are_counted_where_scores_have_an_output_of_their_own(tmp_path: Path, labels: list[str]) -> None:
    data = found_boxes()
    data["eval"] = (data["eval"][0], data["eval"][1][:, :1])
    boxes = {"format": "cxcywh", "columns": ["box"], "output": "where", "scores": "what"}
    settings = {"task": {"kind": "detection"}, "postprocess": [{"boxes": boxes}, "nms"], "labels": labels}
    with pytest.raises(UserError, match="the model has 2 classes") as caught:
        searched(tmp_path, data, target="x86-64", model=export_nets.settled(FinderOfTwoOutputs()), **settings)
    assert [(problem.where, problem.code) for problem in caught.value.problems] == [("labels", "labels-mismatch")]
