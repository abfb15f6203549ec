"""Ranges of static INT8 with and without what is rare: a few calibration samples that are far from all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeglm import compress
from edgeglm.artifacts import onnx as onnx_artifacts
from edgeglm.artifacts import tflite as tflite_artifacts
from edgeglm.artifacts.tflite_layout import to_file_layout
from edgeglm.boards import BOARDS
from edgeglm.cache import Cache
from edgeglm.errors import RecipeError
from edgeglm.log import SilentLog
from edgeglm.measure.worker import Runner
from edgeglm.recipe import load_recipe
from edgeglm.recipe.types import Quantize
from edgeglm.report.findings import artifact_name
from tests.support import export_nets as nets

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.model import Model

BOARD = BOARDS["x86-64"]
RARE = 3  # of the calibration samples


@pytest.fixture(scope="module")
def trained() -> tuple[Model, np.ndarray, np.ndarray, np.ndarray]:
    """Return a network, images, classes, and calibration images of which a few are a hundred times as bright."""
    model, inputs, targets, calibration = nets.trained_on_digits()
    (name,) = inputs
    odd = calibration[name].copy()
    odd[:RARE] *= 100
    return model, inputs[name], targets, odd


def accuracy(path: Path, kind: str, model: Model, images: np.ndarray, targets: np.ndarray) -> float:
    rows = {model.inputs[0].name: images}
    with Runner(path, format=kind) as runner:
        fed = rows if kind == "onnx" else to_file_layout(rows, list(rows))
        return float(np.mean(next(iter(runner.run(fed).values())).argmax(-1) == targets))


@pytest.mark.parametrize("kind", ["onnx", pytest.param("tflite", marks=pytest.mark.full)])
def test_the_mean_of_ranges_leaves_out_what_is_rare(kind: str, trained, tmp_path: Path) -> None:
    model, images, targets, odd = trained
    artifacts = {"onnx": onnx_artifacts, "tflite": tflite_artifacts}[kind]
    name = model.inputs[0].name
    source = tmp_path / f"m.{kind}"
    artifacts.export_float(model, {name: images[:4]}, source, board=BOARD)
    found = {}
    for ranges in (None, "mean"):
        path = tmp_path / f"{ranges or 'extremes'}.{kind}"
        settings = Quantize(scheme="static-int8", ranges=ranges)
        artifacts.quantize(source, path, settings, iter([{name: odd}]), board=BOARD)
        found[ranges or "extremes"] = accuracy(path, kind, model, images, targets)
    before = accuracy(source, kind, model, images, targets)
    assert found["extremes"] < before - 0.2
    assert found["mean"] > before - 0.02


@pytest.mark.full
def test_auto_narrows_ranges_before_it_leaves_layers_in_float(trained, tmp_path: Path) -> None:
    model, images, targets, odd = trained
    recipe = {
        "name": "rare",
        "task": {"kind": "classification"},
        "artifacts": [{"format": "onnx", "quantize": "auto"}],
        "budget": {"metric_drop": 0.05},
    }
    data = {"calibration": (odd, None), "eval": (images, targets)}
    result = compress(
        recipe, model=model.module, data=data, output=tmp_path / "out", cache=Cache(tmp_path / "c"), log=SilentLog()
    )
    sides = {artifact_name(side): side for side in result.report.artifacts}
    clipped = sides["ONNX static-int8 clipped"]
    assert "ranges without what is rare lower the error" in clipped.reason
    assert clipped.ignored == []
    assert "ONNX static-int8 mixed" not in sides  # it is good enough: no layer needs to stay in float
    missed = {verdict.artifact for verdict in result.report.budget.passed_over}
    assert missed == {sides["ONNX static-int8"].path}
    assert result.report.budget.met


@pytest.mark.parametrize(
    ("artifact", "said"),
    [
        ("{format: onnx, quantize: {scheme: dynamic-int8, ranges: mean}}", "`scheme: dynamic-int8` measures no ranges"),
        ("{format: tflite, quantize: {scheme: weight-only-int8, ranges: extremes}}", "measures no ranges"),
    ],
)
def test_ranges_that_nothing_would_read_are_refused(artifact: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        "version: 1\nname: a\nmodel: {source: python, entry: m.py:build}\ndata: {source: npz, path: d.npz}\n"
        f"task: {{kind: classification}}\nartifacts:\n  - {artifact}\n"
    )
    with pytest.raises(RecipeError, match=said) as caught:
        load_recipe(tmp_path / "recipe.yaml")
    assert caught.value.problems[0].where.endswith("recipe.yaml:7 artifacts[0].quantize.ranges")
