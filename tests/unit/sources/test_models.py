"""Models from a recipe: the user's function and weights, or a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from edgeglm.errors import EntryError, ModelError
from edgeglm.model import Model
from edgeglm.sources import OnnxModel, PythonModel, TfliteModel, load_model
from edgeglm.sources.entry import Entries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SAMPLE = {"input": np.zeros((4, 6), np.float32)}
MODEL_PY = """
from torch import nn
def build(width=8):
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))
"""


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    if Entries._active is not None:
        Entries._active.close()


def python_model(folder: Path, text: str = MODEL_PY, **kwargs: Any) -> Any:
    (folder / "model.py").write_text(text)
    return load_model(PythonModel(entry="./model.py:build", **kwargs), Entries(folder), SAMPLE)


def test_a_network_is_built_with_its_arguments_and_weights(tmp_path: Path) -> None:
    source = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    torch.save(source.state_dict(), tmp_path / "m.pt")
    model = python_model(tmp_path, args={"width": 5}, weights="m.pt")
    assert isinstance(model, Model)
    assert [spec.shape for spec in (*model.inputs, *model.outputs)] == [(6,), (3,)]
    assert torch.equal(model.module[0].weight, source[0].weight)


def test_weights_that_a_network_draws_itself_are_the_same_in_every_run(tmp_path: Path) -> None:
    first, second = python_model(tmp_path), python_model(tmp_path)
    assert torch.equal(first.module[0].weight, second.module[0].weight)


def test_what_the_function_raises_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(EntryError, match="RuntimeError: no") as caught:
        python_model(tmp_path, "def build():\n    raise RuntimeError('no')\n")
    assert caught.value.problems[0].where == f"{tmp_path}/model.py:2"


def test_weights_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.safetensors") as caught:
        python_model(tmp_path, weights="none.safetensors")
    assert caught.value.code == "weights-missing"


@pytest.mark.parametrize("config", [OnnxModel(path="m.onnx"), TfliteModel(path="m.tflite")])
def test_a_model_file_that_is_not_there_is_an_error(tmp_path: Path, config: Any) -> None:
    with pytest.raises(ModelError, match="no such file") as caught:
        load_model(config, Entries(tmp_path), SAMPLE)
    assert caught.value.code == "model-file-missing"
    assert caught.value.problems[0].where == str(tmp_path / config.path)
