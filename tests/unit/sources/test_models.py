"""Models from a recipe: the user's function and weights, or a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from edgeglm.errors import EntryError, ModelError
from edgeglm.model import Model
from edgeglm.sources import OnnxModel, PythonModel, TfliteModel
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
    return PythonModel(entry="./model.py:build", **kwargs).load(Entries(folder), SAMPLE)


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
    with pytest.raises(ModelError) as caught:
        python_model(tmp_path, weights="none.safetensors")
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("weights-missing", "model.weights none.safetensors")
    assert problem.message == "no such file"  # which one, the place says


@pytest.mark.parametrize("config", [OnnxModel(path="m.onnx"), TfliteModel(path="m.tflite")])
def test_a_model_file_that_is_not_there_is_an_error(tmp_path: Path, config: Any) -> None:
    with pytest.raises(ModelError, match="no such file") as caught:
        config.load(Entries(tmp_path), SAMPLE)
    assert caught.value.code == "model-file-missing"
    assert caught.value.problems[0].where == str(tmp_path / config.path)


def test_weights_that_cannot_be_read_are_not_blamed_on_the_users_function(tmp_path: Path) -> None:
    (tmp_path / "w.pt").symlink_to("/proc/self/mem")  # opens, and fails when it is read
    with pytest.raises(ModelError, match="cannot read: Input/output error") as caught:
        python_model(tmp_path, weights="w.pt")
    assert (caught.value.problems[0].where, caught.value.code) == ("model.weights w.pt", "file-unreadable")


def test_damaged_weights_that_torch_stumbles_over_are_the_files_fault(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    state = {"0.weight": torch.zeros(8, 6)}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    key = str(state["0.weight"].untyped_storage()._cdata).encode()
    before, found, after = path.read_bytes().rpartition(key)  # the last one stands in the list of storages
    assert found
    path.write_bytes(before + b"7" * len(key) + after)
    with pytest.raises(ModelError, match=r"w\.pt cannot be read as weights") as caught:
        python_model(tmp_path, weights="w.pt")
    assert (caught.value.problems[0].where, caught.value.code) == ("model.weights w.pt", "weights-corrupt")


def test_weights_that_do_not_fit_are_an_error_of_the_weights_and_a_refused_batch_one_of_the_entry(
    tmp_path: Path,
) -> None:
    torch.save({"other": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(ModelError) as caught:
        python_model(tmp_path, weights="w.pt")
    assert (caught.value.problems[0].where, caught.value.code) == ("model.weights w.pt", "weights-mismatch")
    with pytest.raises(ModelError) as caught:
        python_model(tmp_path, "from torch import nn\ndef build():\n    return nn.Linear(7, 3)\n")
    assert (caught.value.problems[0].where, caught.value.code) == ("model.entry", "model-refuses-input")
