"""Tables and series, from the recipe to data that steps and artifacts can use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeglm.errors import DataError
from edgeglm.log import SilentLog
from edgeglm.pipeline.project import Project, open_project
from edgeglm.recipe import load_recipe

RECIPE = """\
version: 1
name: pumps
model: {source: python, entry: "./model.py:build"}
data: DATA
task: {kind: TASK}
artifacts:
  - {format: onnx, quantize: static-int8}
slices: [site, "./model.py:load"]
"""
MODEL = """\
from torch import nn

def build():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(2))

def load(inputs, targets, split):
    assert len(inputs) == len(targets)
    return inputs.reshape(len(inputs), -1)[:, 0] > 0.5
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = ["pump,at,site,fluid,load,heat,state"]
    for pump in range(20):
        for hour in range(40):
            load, heat = rng.random(2)
            state = "bad" if heat > 0.7 else "good"
            rows.append(
                f"p{pump},2026-01-{hour // 24 + 1:02d} {hour % 24:02d}:00,{'ab'[pump % 2]},oil,{load},{heat},{state}"
            )
    (tmp_path / "pumps.csv").write_text("\n".join(rows))
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    projects.clear()
    yield
    for project in projects:
        project.entries.close()


projects: list[Project] = []


def opened(folder: Path, task: str, data: str) -> Project:
    (folder / "recipe.yaml").write_text(RECIPE.replace("DATA", data).replace("TASK", task))
    projects.append(open_project(load_recipe(folder / "recipe.yaml"), log=SilentLog()))
    return projects[-1]


def test_a_table_is_read_with_classes_categories_and_slices(folder: Path) -> None:
    project = opened(
        folder,
        "classification",
        "{source: csv, path: pumps.csv, target: state, group: pump, features: [load, heat, fluid],"
        " categorical: {fluid: [oil]}}",
    )
    data = project.data
    assert data.labels == ("bad", "good")
    assert project.original.inputs[0].shape == (3,)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 560, "calibration": 80, "eval": 160}
    masks = data.slices["eval"]
    assert set(masks) == {"site=a", "site=b", "load=true", "load=false"}
    assert all(len(mask) == 160 for mask in masks.values())
    assert sum(mask.sum() for mask in masks.values()) == 320


def test_a_series_is_forecast_from_windows_of_each_pump(folder: Path) -> None:
    project = opened(
        folder,
        "forecasting",
        "{source: csv, path: pumps.csv, time: at, group: pump, split: time, window: 6, horizon: 2, target: heat,"
        " features: [load, heat]}",
    )
    assert project.original.inputs[0].shape == (6, 2)
    sizes = {name: len(split) for name, split in project.data.splits.items()}
    assert sizes["eval"] == 20 * (8 - 7)  # of 8 hours each, 8 in a row
    assert sizes["train"] + sizes["calibration"] == 20 * (28 - 7)  # the 4 hours of calibration are too few
    assert any("too short for a window" in warning for warning in project.data.warnings)


def test_a_split_too_short_for_a_window_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="no window fits") as caught:
        opened(folder, "forecasting", "{source: csv, path: pumps.csv, group: pump, split: time, window: 30,"
               " features: [load], target: heat}")  # fmt: skip
    assert caught.value.code == "data-too-few"
