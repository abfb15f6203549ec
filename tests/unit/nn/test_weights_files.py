"""Files of weights as training leaves them: what they hold is said, and the snippet that converts them works."""

from __future__ import annotations

import argparse
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from edgeglm.checks.check import check_recipe
from edgeglm.errors import EdgeglmError, ModelError, RecipeError, UserError
from edgeglm.nn.weights import read_weights
from edgeglm.scaffold import init
from edgeglm.sources.entry import Entries
from edgeglm.sources.loading import load_file as load_model_file
from edgeglm.sources.npz_arrays import _Archive

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def args() -> Any:
    return argparse.Namespace(lr=0.1)


def refused(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        read_weights(path, str(path))
    return caught.value


@pytest.mark.parametrize(
    "make",
    [
        lambda net: net,
        lambda net: {"state_dict": net.state_dict(), "args": args()},
        lambda net: {"epoch": torch.tensor(3), "args": args(), "model_state_dict": net.state_dict()},
        lambda net: {"model": net, "optimizer": torch.optim.Adam(net.parameters()).state_dict()},
        lambda net: {"model": "mlp", "args": args(), "net": {"state_dict": net.state_dict()}},
        lambda net: {**net.state_dict(), "note": args()},
        lambda net: nn.DataParallel(net),
    ],
    ids=["module", "state_dict", "model_state_dict", "model-module", "nested", "beside", "parallel"],
)
def test_the_snippet_that_is_printed_makes_weights_of_a_checkpoint(make: Any, tmp_path: Path) -> None:
    net = network()
    path = tmp_path / "ck pt's.pt"
    torch.save(make(net), path)
    error = refused(path)
    assert error.code == "weights-pickle"
    hint = error.problems[0].hint
    snippet = textwrap.dedent("\n".join(line for line in hint.splitlines() if line.startswith("    ")))
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    written = {name.removeprefix("module."): value for name, value in load_file(tmp_path / "model.safetensors").items()}
    expected = net.state_dict()
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[name], value) for name, value in expected.items())


def test_a_tensor_beside_the_weights_does_not_hide_them(tmp_path: Path) -> None:
    torch.save({"epoch": torch.tensor(3), "state_dict": network().state_dict()}, tmp_path / "m.pt")
    assert read_weights(tmp_path / "m.pt", "m.pt").keys() == network().state_dict().keys()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([torch.zeros(2)], "m.pt holds a list, not a state_dict"),
        (torch.zeros(2), "m.pt holds a Tensor, not a state_dict"),
        ({}, "m.pt holds an empty dict"),
        ({"epoch": 3, "best": 0.5}, "m.pt holds no weights but the keys epoch, best"),
    ],
)
def test_what_a_file_holds_in_place_of_weights_is_said(value: Any, said: str, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "m.pt")
    error = refused(tmp_path / "m.pt")
    assert (error.code, error.problems[0].message) == ("weights-no-state-dict", said)


def test_text_is_not_said_to_hold_objects(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_text("not weights")
    assert refused(tmp_path / "m.pt").code == "weights-corrupt"


@pytest.mark.parametrize("name", ["m.pt", "m.safetensors", "m.onnx", "m.tflite"])
def test_a_git_lfs_pointer_in_place_of_a_model_is_named_everywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(POINTER)
    source = f"python, entry: model.py:build, weights: {name}"
    if name.endswith(("onnx", "tflite")):
        source = f"{name.rpartition('.')[2]}, path: {name}"
    Path("model.py").write_text("def build(): ...\ndef load(split): ...\n")
    Path("recipe.yaml").write_text(
        f"version: 1\nname: tiny\nmodel: {{source: {source}}}\ndata: {{source: python, entry: model.py:load}}\n"
        f"task: {{kind: classification}}\nartifacts: [{{format: {'tflite' if 'tflite' in name else 'onnx'}}}]\n"
    )
    with pytest.raises(UserError) as at_init:
        init(Path("mine"), model=Path(name))
    with pytest.raises(RecipeError) as at_check:
        check_recipe("recipe.yaml")
    run: Any = read_weights
    arguments: tuple[Any, ...] = (Path(name), name)
    if name.endswith(("onnx", "tflite")):
        run, arguments = load_model_file, (name, name[2:], Entries(tmp_path))
    with pytest.raises(UserError) as at_run:
        run(*arguments)
    for caught in (at_init, at_check, at_run):
        assert caught.value.code == "file-lfs-pointer"
        assert "git lfs pull" in caught.value.problems[0].hint


def test_a_git_lfs_pointer_in_place_of_an_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "d.npz").write_text(POINTER)
    with pytest.raises(EdgeglmError) as caught, _Archive(tmp_path / "d.npz"):
        pass
    assert caught.value.code == "file-lfs-pointer"
