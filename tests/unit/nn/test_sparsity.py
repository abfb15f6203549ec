from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from edgeglm.boards import BOARDS
from edgeglm.errors import StepError
from edgeglm.nn.loading import state_sha256
from edgeglm.nn.sparsity import two_of_four
from edgeglm.nn.structure import load_weights, replay, save_weights
from edgeglm.steps import Distill, Finetune, Sparsify
from tests.support.nets import Depthwise, Plain, blobs, make_context, make_model
from tests.support.sequence_nets import TOKENS, encoder_of, model_of

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.model import Model

HALF: dict[str, Any] = {"pattern": "2:4"}
MOST: dict[str, Any] = {"pattern": "unstructured", "ratio": 0.8}


def zeros(model: Model) -> dict[str, float]:
    """Return the share of zeros in each convolution and linear layer."""
    layers = {n: m for n, m in model.module.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    return {name: float((layer.weight == 0).float().mean()) for name, layer in layers.items()}


def fours(weight: Tensor) -> Tensor:
    """Return how many of each four weights along the inputs are not zero."""
    return (weight.movedim(1, -1).reshape(-1, 4) != 0).sum(1)


def test_two_of_each_four_inputs_stay_the_larger_ones() -> None:
    weight = torch.tensor([[1.0, -4.0, 3.0, 2.0, 5.0, 5.0, 5.0, 5.0]])
    assert two_of_four(weight).int().tolist() == [[0, 1, 1, 0, 1, 1, 0, 0]]
    kernel = torch.randn(6, 8, 3, 3)
    mask = two_of_four(kernel)
    assert (fours(kernel * mask) == 2).all()
    assert float((kernel * mask).abs().sum()) > 0.7 * float(kernel.abs().sum())


def test_layers_that_can_take_it_become_sparse_and_the_report_says_what_it_is_worth() -> None:
    model = make_model(Plain())
    before = state_sha256(model.module)
    ctx = make_context(model)
    result = Sparsify(**HALF).apply(model, ctx)
    found = zeros(result)
    assert found.pop("first.0") == 0  # one channel in
    assert set(found.values()) == {0.5}
    assert "zero (50.0%)" in ctx.notes[0]
    assert "first.0" in ctx.notes[2]
    assert "no faster on x86-64" in ctx.warnings[0]
    assert state_sha256(model.module) == before


def test_compressed_weights_get_smaller() -> None:
    model = model_of(encoder_of("BertModel"), TOKENS)
    ctx = make_context(model, TOKENS)
    Sparsify(**MOST).apply(model, ctx)
    before, after = (float(word.replace(",", "")) for word in ctx.notes[1].split() if word[0].isdigit())
    assert after < 0.8 * before


@pytest.mark.parametrize("target", BOARDS)
@pytest.mark.parametrize("settings", [HALF, MOST])
def test_every_target_says_whether_anything_there_gains(target: str, settings: dict[str, Any]) -> None:
    model = make_model(Plain())
    ctx = make_context(model, target=target)
    Sparsify(**settings, for_size=True).apply(model, ctx)
    gains = target.startswith("jetson") and settings is HALF
    assert ("TensorRT" in ctx.warnings[0]) == gains
    assert target in ctx.warnings[0]
    quiet = make_context(model, target=target)
    Sparsify(**settings).apply(model, quiet)
    assert bool(quiet.warnings) != gains  # what gains is said before the run


def test_a_share_goes_from_each_layer_or_from_all_together() -> None:
    model = make_model(Depthwise())
    with torch.no_grad():
        model.module.head.weight.mul_(100)
    local = zeros(Sparsify(**MOST).apply(model, make_context(model)))
    assert all(0.75 < share <= 0.8 for share in local.values())
    together = zeros(Sparsify(**MOST, scope="global").apply(model, make_context(model)))
    assert together["head"] == 0
    assert max(together.values()) > 0.8


@pytest.mark.parametrize("step", [Finetune(epochs=2, learning_rate=5e-3), Distill(epochs=2, optimizer="sgd")])
@pytest.mark.parametrize("settings", [HALF, MOST])
def test_training_holds_the_zeros_and_moves_the_rest(step: Any, settings: dict[str, Any]) -> None:
    model = make_model(Plain())
    ctx = make_context(model, blobs(128))
    sparse = Sparsify(**settings, ignore=["head"]).apply(model, ctx)
    trained = step.apply(sparse, ctx)
    assert zeros(trained) == zeros(sparse)
    assert zeros(trained)["head"] == 0
    for name, tensor in trained.module.state_dict().items():
        if name.endswith("0.weight"):
            assert torch.equal(tensor == 0, sparse.module.state_dict()[name] == 0)
            assert not torch.equal(tensor, sparse.module.state_dict()[name])


def test_zeros_are_held_after_a_resume_and_come_back_with_replay(tmp_path: Path) -> None:
    model = make_model(Plain())
    sparse = Sparsify(**MOST).apply(model, make_context(model))
    edits = json.loads(json.dumps(sparse.edits))
    save_weights(sparse, tmp_path / "w.safetensors")
    again = load_weights(replay(make_model(Plain(), seed=4), edits), tmp_path / "w.safetensors")
    assert state_sha256(again.module) == state_sha256(sparse.module)
    step = Finetune(epochs=2)
    runs = [step.apply(network, make_context(model, blobs(96))) for network in (sparse, again)]
    assert state_sha256(runs[0].module) == state_sha256(runs[1].module)
    assert zeros(runs[0]) == zeros(sparse)


def test_what_changes_nothing_is_refused() -> None:
    model = make_model(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    with pytest.raises(StepError) as caught:
        Sparsify(**HALF, ignore=["1"]).apply(model, make_context(model))
    assert caught.value.code == "step-changed-nothing"
    with pytest.raises(StepError) as caught:
        Sparsify(**HALF, ignore=["nowhere"]).apply(model, make_context(model))
    assert caught.value.code == "pattern-matches-nothing"


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_share_of_less_than_one_weight_is_refused_when_it_is_tried(dry_run: bool) -> None:
    model = make_model(Plain())
    ctx = replace(make_context(model), dry_run=dry_run)
    with pytest.raises(StepError) as caught:
        Sparsify(pattern="unstructured", ratio=1e-5).apply(model, ctx)
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("step-changed-nothing", f"{ctx.key}.ratio")
    assert problem.message.startswith("0 of ")
    assert "`ratio: 1e-05` of " in problem.message
    assert "raise `ratio`" in problem.hint


@pytest.mark.parametrize("settings", [HALF, MOST])
def test_zeros_that_are_there_already_are_no_change(settings: dict[str, Any]) -> None:
    model = make_model(Plain())
    sparse = Sparsify(**settings).apply(model, make_context(model))
    with pytest.raises(StepError, match="are zero already") as caught:
        Sparsify(**settings).apply(sparse, make_context(model))
    assert caught.value.code == "step-changed-nothing"


@pytest.mark.parametrize("settings", [{"pattern": "2:4", "ratio": 0.5}, {"pattern": "unstructured"}])
def test_a_ratio_belongs_to_unstructured_alone(settings: dict[str, Any]) -> None:
    ((field, message, hint),) = Sparsify(**settings).problems()
    assert field == "ratio"
    assert message
    assert hint
    assert Sparsify(**HALF).problems() == Sparsify(**MOST).problems() == []
