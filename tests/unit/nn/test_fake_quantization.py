from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeglm.nn.fake_quantization import FakeQuantization, rounded_weight
from edgeglm.nn.loading import state_sha256
from edgeglm.steps import Distill, Finetune, Sparsify, StepConfig
from tests.support.nets import Plain, Residual, blobs, images, make_context, make_model

if TYPE_CHECKING:
    from pathlib import Path


def levels(tensor: Tensor) -> int:
    return len(torch.unique(tensor.detach()))


def test_each_slice_of_a_weight_has_a_grid_of_its_own_and_gradients_pass() -> None:
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    with torch.no_grad():
        weight[2] *= 100
    rounded = rounded_weight(weight, 0)
    steps = weight.detach().abs().amax((1, 2, 3), keepdim=True) / 127
    assert ((rounded - weight).abs() <= steps / 2 * 1.001).all()
    torch.testing.assert_close(rounded / steps, (rounded / steps).round())
    rounded.sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))


def test_rounding_by_channel_is_the_same_before_and_after_a_batch_norm_is_folded_in() -> None:
    weight, gain = torch.randn(8, 4, 3, 3), torch.rand(8, 1, 1, 1) + 0.5
    torch.testing.assert_close(rounded_weight(weight, 0) * gain, rounded_weight(weight * gain, 0))


@pytest.mark.parametrize("symmetric", [True, False])
def test_layers_of_the_network_are_rounded_and_those_of_others_are_not(symmetric: bool) -> None:
    module, other = Residual().eval(), Residual().eval()
    x = torch.from_numpy(images(8))
    plain, elsewhere = module(x), other(x)
    rounding = FakeQuantization(module, symmetric=symmetric)
    assert rounding.layers == 7
    with rounding:
        rounded = module(x)
        assert torch.equal(other(x), elsewhere)
    assert not torch.equal(rounded, plain)
    torch.testing.assert_close(rounded, plain, rtol=0.2, atol=0.1)
    assert set(rounding.ranges) == {"stem.0", "one.0.0", "one.1", "two.0.0", "two.1", "shortcut", "head"}
    assert all(least <= 0 <= largest for least, largest in rounding.ranges.values())
    assert torch.equal(module(x), plain)


def test_ranges_follow_training_and_rest_while_nothing_is_learnt() -> None:
    layer = nn.Linear(4, 2)
    rounding = FakeQuantization(layer, symmetric=False)
    with rounding:
        layer(torch.full((2, 4), 1.0))
        first = rounding.ranges[""].clone()
        with torch.no_grad():
            layer(torch.full((2, 4), 9.0))
        assert torch.equal(rounding.ranges[""], first)
        layer(torch.full((2, 4), 9.0))
    assert first.tolist() == [0, 1]
    assert rounding.ranges[""][1] == pytest.approx(1 + 0.05 * 8)


def test_symmetric_inputs_have_no_zero_point() -> None:
    layer = nn.Linear(64, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    x = torch.linspace(-1, 3, 64)[None]
    with FakeQuantization(layer, symmetric=True):
        got = layer(x)
    step = 3 / 127
    torch.testing.assert_close(got, F.linear((x / step).round().clamp(-128, 127) * step, layer.weight))


@pytest.mark.parametrize("step", [Finetune, Distill])
def test_training_under_rounding_gives_another_network_of_float_weights(step: type[StepConfig]) -> None:
    model = make_model(Plain())
    ctx = make_context(model, blobs(128))
    settings = {"epochs": 2, "learning_rate": 5e-3}
    rounded, plain = (step(**settings, qat=qat).apply(model, ctx) for qat in (True, False))
    assert state_sha256(rounded.module) != state_sha256(plain.module)
    assert levels(rounded.module.hidden.weight) > 255
    assert rounded.edits == ()
    assert "4 layers computed as INT8 of x86-64" in ctx.notes[1]


def test_a_run_that_was_cut_short_ends_with_the_same_weights(tmp_path: Path) -> None:
    model, step = make_model(Plain()), Finetune(epochs=3, qat=True)
    whole = step.apply(model, make_context(model, blobs(96)))
    ended: list[int] = []

    class KilledError(Exception):
        pass

    def progress(done: int, total: int, **values: float) -> None:
        assert done <= total
        ended.extend([done] * ("held-out accuracy" in values))
        if len(ended) == 2:
            raise KilledError

    ctx = make_context(model, blobs(96), checkpoint=tmp_path / "c", progress=progress)
    with pytest.raises(KilledError):
        step.apply(model, ctx)
    result = step.apply(model, make_context(model, blobs(96), checkpoint=tmp_path / "c"))
    assert state_sha256(result.module) == state_sha256(whole.module)


def test_what_depends_on_the_board_says_so() -> None:
    assert Finetune(epochs=1, qat=True).follows_target
    assert Distill(epochs=1, qat=True).follows_target
    assert Sparsify(pattern="2:4").follows_target
    assert not Finetune(epochs=1).follows_target
    model = make_model(Plain())
    runs = {
        state_sha256(Finetune(epochs=1, qat=True).apply(model, make_context(model, target=target)).module)
        for target in ("x86-64", "rpi5")
    }
    assert len(runs) == 2
