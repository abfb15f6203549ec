from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from edgeglm.errors import ModelError, StorageError
from edgeglm.nn.checkpoint import full_state, load_full_state
from edgeglm.nn.loading import state_sha256
from edgeglm.nn.structure import load_weights, replay, save_weights
from edgeglm.nn.weights import fit_weights
from tests.support.nets import Plain, make_model

if TYPE_CHECKING:
    from edgeglm.model import Model

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


class Remembering(nn.Module):
    """Keeps what training saw in buffers that are not persistent, one of which it makes itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.register_buffer("scale", torch.ones(8), persistent=False)
        self.register_buffer("mask", torch.full((8, 8), -torch.inf).triu(1), persistent=False)
        self.register_buffer("table", None, persistent=False)
        self.register_buffer("grown", torch.zeros(2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.scale, self.table, self.grown = self.scale * 2, torch.arange(3.0), torch.ones(5)
        return self.layer(x) * self.scale


def remembering(*, trained: bool) -> Model:
    model = make_model(Remembering(), np.ones((2, 8)))
    if trained:
        model.module.train()(torch.ones(2, 8))
        model.module.eval()
    return model


def test_buffers_that_are_not_persistent_come_back_whatever_shape_they_got(tmp_path: Path) -> None:
    model, fresh = remembering(trained=True), remembering(trained=False)
    assert state_sha256(model.module) != state_sha256(fresh.module)
    save_weights(model, tmp_path / "w.safetensors")
    loaded = load_weights(fresh, tmp_path / "w.safetensors").module
    assert state_sha256(loaded) == state_sha256(load_weights(model, tmp_path / "w.safetensors").module)
    assert loaded.scale.tolist() == [2.0] * 8
    assert loaded.table.tolist() == [0, 1, 2]
    assert loaded.grown.tolist() == [1] * 5
    assert "scale" not in loaded.state_dict()


def test_a_checkpoint_brings_them_back_too() -> None:
    model, fresh = remembering(trained=True).module, remembering(trained=False).module
    fresh.load_state_dict(model.state_dict())
    load_full_state(fresh, full_state(model))
    assert state_sha256(fresh) == state_sha256(model)


def test_a_file_of_a_step_serves_as_weights_of_the_users_network_with_and_without_such_buffers() -> None:
    model, fresh = remembering(trained=True).module, remembering(trained=False).module
    fit_weights(fresh, full_state(model), name="w", where="")
    assert fresh.scale.tolist() == [2.0] * 8
    assert fresh.grown.tolist() == [0, 0]  # of another shape: the network makes it for itself
    fit_weights(fresh, dict(model.state_dict()), name="w", where="")


def test_an_extra_state_that_is_no_tensor_is_passed_over(tmp_path: Path) -> None:
    class Counting(Remembering):
        def get_extra_state(self) -> dict[str, int]:
            return {"seen": 3}

        def set_extra_state(self, state: object) -> None:
            pytest.fail(f"{state} was never saved")

    model = make_model(Counting(), np.ones((2, 8)))
    load_full_state(model.module, full_state(model.module))
    save_weights(model, tmp_path / "w.safetensors")
    assert state_sha256(load_weights(model, tmp_path / "w.safetensors").module) == state_sha256(model.module)
