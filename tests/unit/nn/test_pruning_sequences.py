"""Heads, feed-forward features and hidden units: what pruning takes out of transformers and recurrent networks."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeglm.errors import ModelError, StepError
from edgeglm.nn.attention import OpenAttention, unpack_attention
from edgeglm.nn.calling import call, to_tensors
from edgeglm.nn.loading import state_sha256
from edgeglm.nn.macs import count_macs, count_params
from edgeglm.nn.pruning import prune_channels
from edgeglm.nn.slicing import places
from edgeglm.nn.structure import load_weights, replay, save_weights
from edgeglm.steps import Prune
from edgeglm.tasks import Anomaly, Classification
from tests.support.nets import make_context
from tests.support.sequence_nets import (
    SERIES,
    TOKENS,
    Autoencoder,
    Bidirectional,
    ByHand,
    Flattened,
    Fused,
    HandsStateOn,
    OwnState,
    Torch,
    encoder_of,
    model_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.data.splits import ArraySplit
    from edgeglm.model import Model
    from edgeglm.steps import Context

ENCODERS = ["BertModel", "RobertaModel", "DistilBertModel", "ElectraModel"]
ATTENTION = {
    **{kind: (lambda kind=kind: encoder_of(kind), TOKENS) for kind in ENCODERS},
    "torch": (Torch, SERIES),
    "torch, norm first, no biases": (lambda: Torch(norm_first=True, bias=False), SERIES),
    "fused": (Fused, SERIES),
    "by hand": (ByHand, SERIES),
}
RECURRENT = [Autoencoder, HandsStateOn, Bidirectional, OwnState, Flattened]
WAYS: list[dict[str, Any]] = [
    {"head_ratio": 0.5},
    {"head_dim_ratio": 0.5},
    {"head_ratio": 0.25, "head_dim_ratio": 0.5, "method": "taylor"},
]


def pruned(model: Model, split: ArraySplit = SERIES, ctx: Context | None = None, **settings: Any) -> Model:
    return prune_channels(model, Prune(**{"round_to": 4, **settings}), ctx or make_context(model, split))


def refused(code: str, model: Model, split: ArraySplit = SERIES, **settings: Any) -> StepError:
    with pytest.raises(StepError) as caught:
        pruned(model, split, **settings)
    assert caught.value.code == code
    return caught.value


def answers(model: Model, split: ArraySplit) -> dict[str, Tensor]:
    with torch.no_grad():
        return call(model.module.eval(), to_tensors(model, split.rows(np.arange(8))))


def without_those_channels(model: Model, result: Model) -> Model:
    """Return the original in which what pruning took out is set to zero; one round of pruning only."""
    *opening, edit = result.edits
    masked = replay(model, opening)
    for name, side, channels in edit["layers"]:
        layer = masked.module.get_submodule(name)
        for place in places(layer, side, channels):
            layer.get_parameter(place.leaf).data.index_fill_(place.axis, torch.tensor(place.indexes), 0.0)
    return masked


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("ways", WAYS)
def test_heads_and_their_columns_go_and_the_rest_answers_as_if_they_were_zero(name: str, ways: dict[str, Any]) -> None:
    make, split = ATTENTION[name]
    model = model_of(make(), split)
    before = state_sha256(model.module)
    result = pruned(model, split, **ways)
    assert count_params(result) < count_params(model)
    assert count_macs(result) < count_macs(model)
    torch.testing.assert_close(answers(result, split), answers(without_those_channels(model, result), split))
    assert state_sha256(model.module) == before


@pytest.mark.parametrize("kind", ENCODERS)
def test_feed_forward_layers_of_transformers_lose_their_inner_features(kind: str) -> None:
    model = model_of(encoder_of(kind), TOKENS)
    result = pruned(model, TOKENS, ffn_ratio=0.25)
    widths = sorted(layer.out_features for layer in result.module.modules() if isinstance(layer, nn.Linear))
    assert widths.count(36) == 2
    assert 48 not in widths
    torch.testing.assert_close(answers(result, TOKENS), answers(without_those_channels(model, result), TOKENS))


@pytest.mark.parametrize("shape", RECURRENT)
def test_recurrent_layers_lose_hidden_units_and_answer_as_if_they_were_zero(shape: type[nn.Module]) -> None:
    model = model_of(shape())
    task = Anomaly() if hasattr(model.module, "out") else Classification()
    result = pruned(model, ctx=make_context(model, SERIES, task=task), channel_ratio=0.5, method="taylor")
    layers = [layer for layer in result.module.modules() if isinstance(layer, nn.RNNBase)]
    assert {layer.hidden_size for layer in layers} == {8}
    assert {layer.weight_hh_l0.shape[1] for layer in layers} == {8}
    if not isinstance(result.module, Bidirectional):  # a norm would count the zeros
        torch.testing.assert_close(answers(result, SERIES), answers(without_those_channels(model, result), SERIES))


def test_every_direction_and_layer_keeps_the_units_that_matter_there() -> None:
    model = model_of(Bidirectional())
    rnn = model.module.rnn
    with torch.no_grad():
        model.module.head.weight.fill_(1.0)  # what reads them speaks for none
        for part, units in {"l0": range(8), "l0_reverse": range(8, 16), "l1": range(4, 12)}.items():
            rnn.get_parameter(f"weight_ih_{part}").view(3, 16, -1)[:, list(units)] *= 20
    edit = pruned(model, channel_ratio=0.5).edits[-1]
    gone = next(channels for name, side, channels in edit["layers"] if (name, side) == ("rnn", "hidden"))
    assert [unit for unit in gone if unit < 48] == [*range(8, 16), *range(16, 24), *range(32, 36), *range(44, 48)]


@pytest.mark.parametrize("name", ATTENTION)
def test_replayed_edits_give_the_same_heads_again(name: str, tmp_path: Path) -> None:
    make, split = ATTENTION[name]
    model = model_of(make(), split)
    result = pruned(model, split, head_ratio=0.5, head_dim_ratio=0.5, iterations=2)
    edits = json.loads(json.dumps(result.edits))
    assert state_sha256(replay(model, edits).module) == state_sha256(result.module)
    save_weights(result, tmp_path / "w.safetensors")
    fresh = model_of(make(), split)
    with torch.no_grad():
        for parameter in fresh.module.parameters():
            parameter.add_(1.0)
    again = load_weights(replay(fresh, edits), tmp_path / "w.safetensors")
    torch.testing.assert_close(answers(again, split), answers(result, split), rtol=0, atol=0)


@pytest.mark.parametrize("shape", RECURRENT)
def test_replayed_edits_give_the_same_hidden_units_again(shape: type[nn.Module], tmp_path: Path) -> None:
    model = model_of(shape())
    result = pruned(model, channel_ratio=0.6, iterations=2, scope="global")
    edits = json.loads(json.dumps(result.edits))
    assert state_sha256(replay(model, edits).module) == state_sha256(result.module)
    save_weights(result, tmp_path / "w.safetensors")
    again = load_weights(replay(model_of(shape()), edits), tmp_path / "w.safetensors")
    torch.testing.assert_close(answers(again, SERIES), answers(result, SERIES), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("structures", "scope"), [(["ffn", "heads"], "local"), (["heads", "head-dim", "ffn"], "global"), (["ffn"], "local")]
)
def test_a_target_for_the_whole_network_is_met_by_the_structures_that_are_named(
    structures: list[str], scope: str
) -> None:
    model = model_of(encoder_of("BertModel"), TOKENS)
    ctx = make_context(model, TOKENS)
    result = pruned(model, TOKENS, ctx, macs_ratio=0.8, structures=structures, scope=scope)
    assert count_macs(result) <= 0.8 * count_macs(model)
    assert ("heads" in ctx.notes[0]) == ("heads" in structures)


def test_attributes_that_count_heads_follow() -> None:
    result = pruned(model_of(encoder_of("BertModel"), TOKENS), TOKENS, head_ratio=0.5, head_dim_ratio=0.5)
    block = result.module.encoder.encoder.layer[0].attention.self
    assert (block.num_attention_heads, block.attention_head_size, block.all_head_size) == (2, 4, 8)
    assert block.scaling == 8**-0.5  # of the original: the dot products stay what they were


def test_a_scale_that_forward_computes_from_the_size_of_heads_is_made_up_for() -> None:
    model = model_of(ByHand())
    edit = pruned(model, head_dim_ratio=0.5).edits[-1]
    assert edit["scaled"] == [["wq", pytest.approx(0.5**0.5)]]
    error = refused("prune-structure-missing", model_of(Fused(divides=True)), head_dim_ratio=0.5)
    assert "cannot be followed" in str(error)


def test_heads_that_share_a_bias_by_position_are_left() -> None:
    error = refused("prune-structure-missing", model_of(encoder_of("MPNetModel"), TOKENS), TOKENS, head_ratio=0.5)
    assert "forward() breaks" in str(error)
    assert error.problems[0].where == "steps[0].head_ratio"


def test_a_network_without_attention_has_no_heads() -> None:
    refused("prune-structure-missing", model_of(Autoencoder()), head_ratio=0.5)
    refused("prune-structure-missing", model_of(Autoencoder()), ffn_ratio=0.5, channel_ratio=0.5)


@pytest.mark.parametrize("ways", [{"head_ratio": 0.5}, {"ffn_ratio": 0.5}])
def test_ignored_blocks_keep_everything(ways: dict[str, float]) -> None:
    result = pruned(model_of(encoder_of("BertModel"), TOKENS), TOKENS, ignore=["re:.*layer\\.0"], **ways)
    first, second = result.module.encoder.encoder.layer
    assert (first.attention.self.query.out_features, first.intermediate.dense.out_features) == (32, 48)
    assert (second.attention.self.query.out_features, second.intermediate.dense.out_features) != (32, 48)


@pytest.mark.parametrize(
    ("ways", "key", "reason"),
    [
        pytest.param({"head_ratio": 0.1, "ffn_ratio": 0.5}, "head_ratio", "less than half a head", id="heads"),
        pytest.param(
            {"ffn_ratio": 0.01, "head_ratio": 0.5}, "ffn_ratio", "less than half of round_to 4", id="features"
        ),
        pytest.param(
            {"ffn_ratio": 0.5, "head_ratio": 0.5, "round_to": 64},
            "ffn_ratio",
            "round_to 64 is as much as these layers have",
            id="features that round_to holds",
        ),
        pytest.param(
            {"ffn_ratio": 0.01, "head_ratio": 0.5, "scope": "global"}, "ffn_ratio", "took no feed", id="global"
        ),
        pytest.param(
            {"ffn_ratio": 0.01, "head_ratio": 0.5, "iterations": 3}, "ffn_ratio", "took no feed", id="in rounds"
        ),
    ],
)
def test_one_of_several_ratios_that_takes_nothing_is_refused_by_name(
    ways: dict[str, Any], key: str, reason: str
) -> None:
    error = refused("step-changed-nothing", model_of(encoder_of("BertModel"), TOKENS), TOKENS, **ways)
    assert error.problems[0].where.endswith(f".{key}")
    assert reason in str(error)
    assert f"remove `{key}`" in error.problems[0].hint


def test_an_ignored_recurrent_layer_keeps_its_units() -> None:
    result = pruned(model_of(Autoencoder()), channel_ratio=0.5, ignore=["encoder"])
    assert (result.module.encoder.hidden_size, result.module.decoder.hidden_size) == (16, 8)
    error = refused("step-changed-nothing", model_of(HandsStateOn()), channel_ratio=0.5, ignore=["decoder"])
    assert "ignored" in str(error)  # the decoder begins with the encoder's state: one group


@pytest.mark.parametrize(
    ("rnn", "reason"),
    [
        (nn.LSTM(8, 16, batch_first=True, proj_size=4), "proj_size"),
        (nn.LSTM(8, 4, batch_first=True), "network's outputs"),
    ],
)
def test_a_recurrent_layer_that_cannot_be_followed_is_left_with_the_reason(rnn: nn.LSTM, reason: str) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.hidden, self.head = rnn, nn.Linear(8, 16), nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0][:, -1] + self.head(torch.relu(self.hidden(x[:, -1])))

    model = model_of(Last())
    ctx = make_context(model, SERIES)
    result = pruned(model, SERIES, ctx, channel_ratio=0.5)
    assert result.module.rnn.weight_hh_l0.shape == rnn.weight_hh_l0.shape
    assert result.module.hidden.out_features == 8
    assert any(reason in note for note in ctx.notes[1:]) or "outputs" in reason  # outputs are no news


def test_a_recurrent_layer_added_to_another_layer_is_left() -> None:
    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn = nn.Linear(8, 16), nn.LSTM(16, 16, batch_first=True)
            self.hidden, self.head = nn.Linear(16, 24), nn.Linear(24, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.embed(x)
            return self.head(torch.relu(self.hidden((x + self.rnn(x)[0]).mean(1))))

    model = model_of(Added())
    ctx = make_context(model, SERIES)
    result = pruned(model, SERIES, ctx, channel_ratio=0.5).module
    assert (result.rnn.hidden_size, result.embed.out_features, result.hidden.out_features) == (16, 16, 12)
    assert any("`rnn`" in note for note in ctx.notes)


def test_an_edit_that_takes_different_counts_from_the_directions_is_refused() -> None:
    edit = {"edit": "prune", "layers": [["rnn", "hidden", [0, 1, 16]]]}
    with pytest.raises(ModelError, match="one hidden size"):
        replay(model_of(Bidirectional()), [edit])


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("sizes", [{}, {"kdim": 24, "vdim": 12}])
def test_an_opened_attention_computes_what_torchs_does(
    need_weights: bool, batch_first: bool, sizes: dict[str, int]
) -> None:
    packed = nn.MultiheadAttention(16, 4, batch_first=batch_first, **sizes).eval()
    with torch.no_grad():
        for parameter in packed.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    opened = OpenAttention(packed)
    widths = (16, sizes.get("kdim", 16), sizes.get("vdim", 16))
    query, key, value = (torch.randn(3, length, width) for length, width in zip((5, 7, 7), widths, strict=True))
    if not batch_first:
        query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
    padding = torch.tensor([[False] * 7, [False] * 5 + [True] * 2, [False] * 6 + [True]])
    for mask in (None, torch.ones(5, 7).triu(1).bool(), torch.randn(12, 5, 7)):
        given = {"attn_mask": mask, "need_weights": need_weights}
        given["key_padding_mask"] = padding if mask is None or mask.dtype == torch.bool else None
        expected, got = packed(query, key, value, **given), opened(query, key, value, **given)
        torch.testing.assert_close(got, expected)


def test_an_opened_attention_stays_frozen_and_in_its_mode() -> None:
    module = Torch()
    module.encoder.requires_grad_(False)
    module.eval()
    opened = deepcopy(module)
    unpack_attention(opened, "encoder.layers.0.self_attn")
    block = opened.encoder.layers[0].self_attn
    assert not any(parameter.requires_grad for parameter in block.parameters())
    assert not block.training
    x = torch.randn(2, 10, 8)
    torch.testing.assert_close(opened(x), module(x))
