from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from edgeglm.errors import ModelError, StorageError
from edgeglm.nn.loading import state_sha256
from edgeglm.nn.structure import load_weights, replay, save_weights
from tests.support.nets import Plain, make_model

EDIT = {
    "edit": "prune",
    "layers": [["first.0", "out", [1, 4]], ["first.1", "out", [1, 4]], ["second.0", "in", [1, 4]]],
}


def test_an_edit_takes_the_named_channels_out_and_leaves_the_original() -> None:
    original = make_model(Plain())
    before = state_sha256(original.module)
    edited = replay(original, json.loads(json.dumps([EDIT])))
    kept = [0, 2, 3, *range(5, 16)]
    assert torch.equal(edited.module.first[0].weight, original.module.first[0].weight[kept])
    assert torch.equal(edited.module.first[1].running_var, original.module.first[1].running_var[kept])
    assert torch.equal(edited.module.second[0].weight, original.module.second[0].weight[:, kept])
    assert edited.edits == (EDIT,)
    assert state_sha256(original.module) == before


def test_edits_of_another_network_are_refused() -> None:
    with pytest.raises(ModelError) as caught:
        replay(make_model(nn.Sequential(nn.Flatten(), nn.Linear(64, 2))), [EDIT])
    assert caught.value.code == "structure-mismatch"


def test_weights_come_back_bit_for_bit_and_the_file_has_the_same_bytes(tmp_path: Path) -> None:
    model, other = make_model(Plain(), seed=1), make_model(Plain(), seed=2)
    save_weights(model, tmp_path / "a.safetensors")
    save_weights(model, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    loaded = load_weights(other, tmp_path / "a.safetensors")
    assert state_sha256(loaded.module) == state_sha256(model.module) != state_sha256(other.module)


def test_tied_weights_are_written_once_and_stay_tied(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        module = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
        module[1].weight = module[0].weight
        return module

    model, other = (make_model(tied(), np.ones((2, 8))) for _ in range(2))
    save_weights(model, tmp_path / "w.safetensors")
    assert list(load_file(tmp_path / "w.safetensors")) == ["0.weight"]
    loaded = load_weights(other, tmp_path / "w.safetensors").module
    assert loaded[0].weight is loaded[1].weight
    assert state_sha256(loaded) == state_sha256(model.module)


def test_weights_that_are_not_contiguous_are_written_as_they_read(tmp_path: Path) -> None:
    module = Plain()
    module.hidden.weight = nn.Parameter(torch.randn(64, 24).t())
    model = make_model(module)
    save_weights(model, tmp_path / "w.safetensors")
    assert torch.equal(load_file(tmp_path / "w.safetensors")["hidden.weight"], module.hidden.weight)


def test_a_full_disk_is_an_environment_error_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(make_model(Plain(), seed=1), path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError) as caught:
        save_weights(make_model(Plain(), seed=2), path)
    assert caught.value.exit_code == 4
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
