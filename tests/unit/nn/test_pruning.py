from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeglm.data.splits import ArraySplit
from edgeglm.errors import StepError
from edgeglm.nn import channel_groups
from edgeglm.nn.loading import state_sha256
from edgeglm.nn.macs import count_macs, count_params
from edgeglm.nn.structure import load_weights, replay, save_weights
from edgeglm.nn.training import train
from edgeglm.steps import Finetune, Prune
from tests.support.nets import (
    Concat,
    Depthwise,
    Grouped,
    Plain,
    Recurrent,
    Residual,
    blobs,
    images,
    make_context,
    make_model,
)
from tests.support.pruning import pruned, refused

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.model import Model

SHAPES = [Plain, Residual, Depthwise, Grouped, Concat]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("method", ["magnitude", "taylor"])
def test_networks_of_every_shape_lose_channels_and_still_run(shape: type[nn.Module], scope: str, method: str) -> None:
    model = make_model(shape())
    before = state_sha256(model.module)
    ctx = make_context(model)
    result = pruned(model, ctx, channel_ratio=0.5, scope=scope, method=method)
    assert count_params(result) < 0.6 * count_params(model)
    assert result.module(torch.from_numpy(images())).shape == (4, 4)
    assert state_sha256(model.module) == before
    assert "fewer" in ctx.notes[0]
    assert len(ctx.notes) == 1  # nothing had to be left out


@pytest.mark.parametrize("shape", SHAPES)
def test_a_pruned_network_answers_as_the_original_with_those_channels_at_zero(shape: type[nn.Module]) -> None:
    model = make_model(shape())
    result = pruned(model, channel_ratio=0.5)
    masked = make_model(shape()).module
    masked.load_state_dict(model.module.state_dict())
    (edit,) = result.edits
    with torch.no_grad():
        for name, side, channels in edit["layers"]:
            layer = masked.get_submodule(name)
            if side == "in":
                per_group = layer.weight.shape[1]
                layer.weight[:, sorted({channel % per_group for channel in channels})] = 0
        x = torch.from_numpy(images())
        torch.testing.assert_close(result.module(x), masked(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_replayed_edits_give_the_pruned_network_again(shape: type[nn.Module], tmp_path: Path) -> None:
    model = make_model(shape())
    result = pruned(model, channel_ratio=0.5, iterations=3, scope="global", max_ratio=0.7)
    edits = json.loads(json.dumps(result.edits))
    assert len(edits) == 3
    assert state_sha256(replay(model, edits).module) == state_sha256(result.module)
    save_weights(result, tmp_path / "w.safetensors")
    fresh = make_model(shape(), seed=9)
    again = load_weights(replay(fresh, edits), tmp_path / "w.safetensors")
    assert state_sha256(again.module) == state_sha256(result.module)


def test_the_same_seed_gives_the_same_network() -> None:
    model = make_model(Residual())
    hashes = {state_sha256(pruned(model, channel_ratio=0.5, method="taylor").module) for _ in range(2)}
    assert len(hashes) == 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("key", ["macs_ratio", "params_ratio"])
@pytest.mark.parametrize("scope", ["local", "global"])
def test_a_target_is_met_and_not_by_far(shape: type[nn.Module], key: str, scope: str) -> None:
    model = make_model(shape())
    count = count_macs if key == "macs_ratio" else count_params
    result = pruned(model, **{key: 0.5}, scope=scope)
    assert 0.4 * count(model) < count(result) <= 0.5 * count(model)


def test_a_target_reached_in_rounds_is_still_met() -> None:
    model = make_model(Residual())
    result = pruned(model, macs_ratio=0.4, iterations=4, method="taylor", scope="global")
    assert count_macs(result) <= 0.4 * count_macs(model)
    assert len(result.edits) == 4


def test_a_dry_run_takes_one_round() -> None:
    model = make_model(Residual())
    result = pruned(model, make_context(model, dry_run=True), macs_ratio=0.4, iterations=20, method="taylor")
    assert count_macs(result) <= 0.4 * count_macs(model)
    assert len(result.edits) == 1


def test_an_unreachable_target_says_how_far_it_got() -> None:
    text = refused("prune-target-unreachable", make_model(Plain()), macs_ratio=0.01, max_ratio=0.5)
    assert "is the least that" in text
    assert "max_ratio 0.5" in text


@pytest.mark.parametrize("scope", ["local", "global"])
def test_channel_counts_stay_multiples_of_round_to_and_none_loses_more_than_max_ratio(scope: str) -> None:
    result = pruned(make_model(Residual(width=32)), channel_ratio=0.6, round_to=8, max_ratio=0.75, scope=scope)
    widths = {name: layer.out_channels for name, layer in result.module.named_modules() if isinstance(layer, nn.Conv2d)}
    assert all(width % 8 == 0 for width in widths.values())
    assert min(widths.values()) >= 8
    assert widths["stem.0"] >= 8


def test_taylor_and_magnitude_choose_other_channels() -> None:
    model = make_model(Plain())
    with torch.no_grad():  # large weights that no answer depends on: magnitude keeps them, Taylor does not
        model.module.hidden.weight[:6] *= 10
        model.module.head.weight[:, :6] = 0
    by_magnitude = dict_of(pruned(model, channel_ratio=0.25))["hidden", "out"]
    by_taylor = dict_of(pruned(model, channel_ratio=0.25, method="taylor"))["hidden", "out"]
    assert not set(by_magnitude) & set(range(6))
    assert by_taylor == list(range(6))


def dict_of(model: Model) -> dict[tuple[str, str], list[int]]:
    return {(name, side): channels for edit in model.edits for name, side, channels in edit["layers"]}


def test_taylor_without_targets_uses_the_networks_own_answers() -> None:
    model = make_model(Plain())
    ctx = make_context(model, ArraySplit(blobs(64).inputs, None))
    assert count_params(pruned(model, ctx, channel_ratio=0.5, method="taylor")) < count_params(model)


def test_a_trained_network_keeps_more_with_taylor_than_by_losing_its_best_channels() -> None:
    model = make_model(Plain())
    ctx = make_context(model, blobs(256))
    trained = train(model, Finetune(epochs=4, learning_rate=0.01), ctx)
    result = pruned(trained, ctx, channel_ratio=0.25, method="taylor", scope="global", iterations=4)
    test = blobs(200, seed=5)
    x, y = torch.from_numpy(test.inputs["input"]), test.targets
    accuracy = (result.module(x).argmax(1).numpy() == y).mean()
    assert (trained.module(x).argmax(1).numpy() == y).mean() > 0.95
    assert accuracy > 0.8


def test_tokens_normed_over_two_axes_lose_features() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.norm, self.head = nn.Linear(8, 32), nn.LayerNorm((8, 32)), nn.Linear(32, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.embed(x.squeeze(1))).mean(1))

    result = pruned(make_model(Tokens()), channel_ratio=0.5).module
    assert result.norm.normalized_shape == (8, 16)


def test_a_forward_that_makes_float32_tensors_of_its_own_is_tried_in_float32() -> None:
    class Own(Plain):
        def forward(self, image: Tensor) -> Tensor:
            mixed = image.float() @ torch.eye(image.shape[-1])  # float64 has no product with float32
            return super().forward(mixed.to(self.head.weight.dtype)) @ torch.eye(4)

    result = pruned(make_model(Own()), channel_ratio=0.5)
    assert result.module.first[0].out_channels == 8


def test_a_forward_that_records_no_gradients_is_refused_as_having_nothing_to_prune() -> None:
    class Detached(Plain):
        def forward(self, image: Tensor) -> Tensor:
            with torch.no_grad():
                return super().forward(image)

    assert "no layer that can be pruned" in refused("step-changed-nothing", make_model(Detached()), channel_ratio=0.5)


def test_a_network_that_the_trace_breaks_on_is_refused_with_a_hint() -> None:
    class Once(Plain):
        def forward(self, image: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                raise RuntimeError("for inference only")
            return super().forward(image)

    assert "for inference only" in refused("prune-cannot-follow", make_model(Once()), channel_ratio=0.5)


def test_an_lstm_loses_units_and_what_feeds_and_reads_it_follows() -> None:
    model = make_model(Recurrent(), np.random.default_rng(0).normal(size=(4, 8, 10)))
    data = ArraySplit({"x": np.random.default_rng(0).normal(size=(16, 8, 10))}, np.arange(16) % 4)
    result = pruned(model, make_context(model, data), channel_ratio=0.5).module
    assert (result.conv.out_channels, result.rnn.input_size) == (8, 8)
    assert (result.rnn.hidden_size, result.hidden.in_features, result.hidden.out_features) == (8, 8, 16)


def test_when_all_else_is_ignored_the_lstm_is_named_as_what_cannot_go() -> None:
    class Outer(Recurrent):
        def forward(self, x: Tensor) -> Tensor:
            states, _ = self.rnn(F.relu(self.conv(x)).transpose(1, 2))
            return states[:, -1]

    model = make_model(Outer(), np.random.default_rng(0).normal(size=(4, 8, 10)))
    data = ArraySplit({"x": np.random.default_rng(0).normal(size=(16, 8, 10))}, np.arange(16) % 4)
    with pytest.raises(StepError, match=r"network's outputs.*: rnn") as caught:
        pruned(model, make_context(model, data), channel_ratio=0.5, ignore=["conv"])
    assert caught.value.code == "step-changed-nothing"


def test_groups_are_tried_once_for_the_same_network_and_again_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[nn.Module] = []
    trial = channel_groups.Trial.__init__
    monkeypatch.setattr(channel_groups.Trial, "__init__", lambda *given: [tried.append(given[1]), trial(*given)][1])
    model = make_model(Plain())
    chosen = [pruned(model, channel_ratio=0.5) for _ in range(2)]
    assert len(tried) == 1
    assert state_sha256(chosen[0].module) == state_sha256(chosen[1].module)
    with torch.no_grad():
        next(model.module.parameters()).add_(1.0)
    pruned(model, channel_ratio=0.5)
    pruned(model, channel_ratio=0.5, ignore=["hidden"])
    assert len(tried) == 3


def test_parameters_that_belong_to_no_layer_lose_the_channels_too() -> None:
    class Scaled(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(24))

        def forward(self, image: Tensor) -> Tensor:
            x = self.second(F.max_pool2d(self.first(image), 2))
            return self.head(self.gain * F.relu(self.hidden(F.adaptive_avg_pool2d(x, 2).flatten(1))))

    model = make_model(Scaled())
    result = pruned(model, channel_ratio=0.5)
    assert result.module.gain.shape == (12,)
    assert state_sha256(replay(make_model(Scaled()), result.edits).module)


def test_frozen_layers_stay_frozen() -> None:
    model = make_model(Plain())
    model.module.first.requires_grad_(False)
    result = pruned(model, channel_ratio=0.5)
    assert not any(parameter.requires_grad for parameter in result.module.first.parameters())
    assert all(parameter.requires_grad for parameter in result.module.hidden.parameters())


def test_a_ratio_that_round_to_swallows_is_refused_with_the_reason() -> None:
    text = refused("step-changed-nothing", make_model(Plain(width=8)), channel_ratio=0.2, round_to=32)
    assert "round_to 32" in text
    assert "first.0" in text


def test_ignoring_everything_is_refused() -> None:
    assert "ignored" in refused("step-changed-nothing", make_model(Plain()), channel_ratio=0.5, ignore=["re:.*"])


def test_a_ratio_that_takes_everything_is_refused_and_names_the_layer() -> None:
    model = make_model(Plain(width=4))
    text = refused("prune-removes-everything", model, channel_ratio=0.9)
    assert "`second.0`" in text or "`first.0`" in text


def test_a_network_without_prunable_layers_is_refused() -> None:
    model = make_model(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    refused("step-changed-nothing", model, channel_ratio=0.5)


def test_group_and_layer_norm_lose_channels_with_what_they_normalise() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 16, 3)
            self.norm = nn.GroupNorm(4, 16)
            self.hidden = nn.Linear(16, 32)
            self.layer = nn.LayerNorm(32)
            self.head = nn.Linear(32, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(self.hidden(F.relu(self.norm(self.conv(x))).mean((2, 3)))))

    result = pruned(make_model(Normed()), channel_ratio=0.5)
    assert (result.module.norm.num_channels, result.module.layer.normalized_shape) == (8, (16,))


def test_transposed_convolutions_are_followed() -> None:
    class Up(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.Conv2d(1, 16, 3, stride=2)
            self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.relu(self.up(F.relu(self.down(x)))).mean((2, 3)))

    result = pruned(make_model(Up()), channel_ratio=0.5)
    assert (result.module.up.in_channels, result.module.up.out_channels) == (8, 4)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({}, "channel_ratio"),
        ({"channel_ratio": 0.5, "macs_ratio": 0.5}, "macs_ratio"),
        ({"channel_ratio": 0.95}, "channel_ratio"),
        ({"params_ratio": 0.5, "ignore": ["re:("]}, "ignore"),
        ({"head_ratio": 0.5, "params_ratio": 0.5}, "params_ratio"),
        ({"head_ratio": 0.95}, "head_ratio"),
        ({"ffn_ratio": 0.5, "structures": ["ffn"]}, "structures"),
        ({"macs_ratio": 0.5, "structures": []}, "structures"),
    ],
)
def test_settings_that_contradict_each_other_are_told_by_field(settings: dict[str, Any], field: str) -> None:
    ((named, message, hint),) = Prune(**settings).problems()
    assert named == field
    assert message
    assert hint


def test_settings_that_fit_have_no_problems() -> None:
    assert Prune(macs_ratio=0.5, ignore=["re:.*head"]).problems() == []
    assert Prune(ffn_ratio=0.25, head_ratio=0.5, head_dim_ratio=0.25).problems() == []
    assert Prune(params_ratio=0.5, structures=["ffn", "heads"]).problems() == []
    assert Finetune(epochs=1).problems() == []
