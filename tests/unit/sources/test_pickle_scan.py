from __future__ import annotations

import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch._weights_only_unpickler import _get_allowed_globals

from edgeglm.errors import ModelError
from edgeglm.sources.pickle_scan import _ALLOWED, foreign_globals, refuse_full_pickle


class RanError(Exception):
    """Raised by a pickle that is unpickled."""


def _run() -> None:
    raise RanError


class Trap:
    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return _run, ()


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def code(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        refuse_full_pickle(path, "recipe.yaml:3 model.weights")
    assert caught.value.problems[0].where == "recipe.yaml:3 model.weights"
    assert caught.value.problems[0].hint
    return caught.value.code


def test_what_torch_allows_is_allowed_and_nothing_else_of_torch() -> None:
    allowed = set(_get_allowed_globals())
    assert [name for name in allowed if _ALLOWED.fullmatch(name) is None] == []
    others = {f"torch.{name}" for name in vars(torch)} | {f"torch._utils.{name}" for name in vars(torch._utils)}
    others |= {f"builtins.{name}" for name in vars(__import__("builtins"))}
    assert sorted(name for name in others - allowed if _ALLOWED.fullmatch(name)) == []


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_state_dict_passes(tmp_path: Path, zipped: bool, dtype: torch.dtype) -> None:
    path = tmp_path / "m.pt"
    state = {"epoch": 3, "state_dict": network().to(dtype).state_dict(), "name": "x"}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    refuse_full_pickle(path, "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_network_is_refused_with_the_names_of_its_classes(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "m.pt"
    torch.save(network(), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError) as caught:
        refuse_full_pickle(path, "recipe.yaml:3 model.weights")
    assert caught.value.code == "weights-pickle"
    assert "`torch.nn.modules.conv.Conv2d`" in caught.value.problems[0].message
    assert "torch.load('m.pt', weights_only=False" in caught.value.problems[0].hint


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["m.pkl", "m.pt"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path, protocol: int, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps({"a": [1], "b": Trap()}, protocol=protocol))
    assert code(path) == "weights-pickle"
    with pytest.raises(RanError):  # the trap works
        pickle.loads(path.read_bytes())


def test_code_in_the_archive_of_a_state_dict_is_found(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save({"w": torch.ones(2), "hook": Trap()}, path)
    assert code(path) == "weights-pickle"
    torch.save({"w": torch.ones(2), "counts": collections.defaultdict(int)}, path)
    assert foreign_globals(path) >= {"collections.defaultdict"}


def test_a_name_that_is_put_together_from_the_memo_is_found(tmp_path: Path) -> None:
    # "os", "system" memoized, then taken back: protocol 4 builds the name from the stack
    body = b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93."
    path = tmp_path / "m.pkl"
    path.write_bytes(body)
    assert foreign_globals(path) == {"os.system"}


def test_a_torchscript_archive_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.jit.script(nn.ReLU()).save(str(path))
    assert code(path) == "weights-torchscript"


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_a_file_that_is_cut_short_is_called_corrupt(tmp_path: Path, keep: float) -> None:
    buffer = io.BytesIO()
    torch.save(network().state_dict(), buffer)
    path = tmp_path / "m.pt"
    path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * keep)])
    assert code(path) == "weights-corrupt"
    path.write_bytes(pickle.dumps(list(range(1000)), protocol=2)[: int(3000 * keep)])
    assert code(path) == "weights-corrupt"


def test_a_zip_of_something_else_and_a_file_of_safetensors_pass(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "x")
    assert foreign_globals(tmp_path / "a.zip") == set()
    # a header of 640 bytes starts with the two bytes that a pickle starts with
    names = {f"{'n' * 20}{i}": torch.zeros(1) for i in range(7)}
    for padding in range(400):
        save_file(names, tmp_path / "m.safetensors", metadata={"p": "x" * padding})
        if (tmp_path / "m.safetensors").read_bytes()[:2] == b"\x80\x02":
            break
    else:
        pytest.fail("no header of 640 bytes was made")
    refuse_full_pickle(tmp_path / "m.safetensors", "w")
