"""What pruning leaves alone: ignored layers, outputs, channels that are moved about or shared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeglm.errors import StepError
from edgeglm.nn.patterns import match_layers
from tests.support.nets import (
    OptionA,
    Plain,
    Residual,
    images,
    make_context,
    make_model,
)
from tests.support.pruning import image_data, pruned, refused

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("pattern", ["one.0.0", "re:one\\.0.*", "one"])
def test_an_ignored_layer_keeps_every_channel(pattern: str) -> None:
    result = pruned(make_model(Residual()), channel_ratio=0.5, ignore=[pattern])
    assert result.module.one[0][0].out_channels == 16
    assert result.module.two[0][0].out_channels == 16


def test_ignoring_one_layer_protects_all_that_are_added_to_it() -> None:
    result = pruned(make_model(Residual()), channel_ratio=0.5, ignore=["shortcut"])
    assert result.module.shortcut.out_channels == 32
    assert result.module.two[1].out_channels == 32
    assert result.module.head.in_features == 32
    assert result.module.stem[0].out_channels == 8


def test_a_pattern_that_matches_nothing_suggests_layers() -> None:
    text = refused("pattern-matches-nothing", make_model(Residual()), channel_ratio=0.5, ignore=["shortcot"])
    assert "`shortcut`" in text
    assert "steps[0].ignore[0]" in text


def test_a_pattern_must_match_a_whole_name() -> None:
    assert match_layers(Residual(), ["re:.*\\.0\\.1"], where="") == {"one.0.1", "two.0.1"}
    with pytest.raises(StepError):
        match_layers(Residual(), ["re:hea"], where="")


def test_a_pattern_that_is_no_regular_expression_is_refused() -> None:
    text = refused("pattern-invalid", make_model(Residual()), channel_ratio=0.5, ignore=["head", "re:(head"])
    assert "steps[0].ignore[1]" in text


def test_outputs_are_never_pruned() -> None:
    class TwoHeads(Plain):
        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            x = self.first(image)
            return super().forward(image), x

    model = make_model(TwoHeads())
    result = pruned(model, channel_ratio=0.5)
    assert result.module.head.out_features == 4
    assert result.module.first[0].out_channels == 16  # its feature map is an output
    assert result.module.second[0].out_channels == 8


def test_the_shortcuts_of_cifar_resnets_are_left_and_the_inside_of_every_block_is_pruned() -> None:
    model = make_model(OptionA(2), images(channels=3, size=16))
    ctx = make_context(model, image_data())
    result = pruned(model, ctx, channel_ratio=0.5)
    for stage, width in ((result.module.layer1, 16), (result.module.layer2, 32), (result.module.layer3, 64)):
        for block in stage:
            assert (block.conv1.out_channels, block.conv2.out_channels) == (width // 2, width)
    assert "left as they are" in ctx.notes[1]


class Shuffled(nn.Module):
    """Channels of a stem, shuffled as in ShuffleNet: shapes fit whatever is pruned, meaning does not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.scale = nn.Conv2d(16, 16, 1, groups=16)
        self.last = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        rows, channels, height, width = x.shape
        mixed = x.view(rows, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)
        return self.head(F.relu(self.last(self.scale(mixed))).mean((2, 3)))


def test_channels_that_forward_moves_about_are_left_though_the_shapes_would_fit() -> None:
    model = make_model(Shuffled())
    ctx = make_context(model)
    result = pruned(model, ctx, channel_ratio=0.5)
    assert result.module.stem.out_channels == 16
    assert result.module.last.out_channels == 8
    assert any("stem" in note or "scale" in note for note in ctx.notes[1:])


class ChannelsFirstNorm(nn.LayerNorm):
    """LayerNorm over the channels of feature maps, as in ConvNeXt."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


NORMS = [
    pytest.param(lambda: nn.GroupNorm(1, 16), id="GroupNorm-1"),
    pytest.param(lambda: nn.GroupNorm(4, 16), id="GroupNorm-4"),
    pytest.param(lambda: nn.GroupNorm(4, 16, affine=False), id="GroupNorm-without-weights"),
    pytest.param(lambda: ChannelsFirstNorm(16), id="LayerNorm"),
    pytest.param(lambda: ChannelsFirstNorm(16, elementwise_affine=False), id="LayerNorm-without-weights"),
]


@pytest.mark.parametrize("norm", NORMS)
def test_a_norm_over_several_channels_hides_no_fault_elsewhere_and_its_own_channels_are_pruned(
    norm: Callable[[], nn.Module],
) -> None:
    class Normed(Shuffled):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(1, 16, 3, padding=1), norm()
            self.stem = nn.Conv2d(16, 16, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(F.relu(self.norm(self.first(x))))

    result = pruned(make_model(Normed()), channel_ratio=0.5).module
    assert (result.first.out_channels, result.stem.out_channels, result.last.out_channels) == (8, 16, 8)


@pytest.mark.parametrize("norm", NORMS)
def test_moved_channels_that_flow_into_a_norm_further_on_are_left(norm: Callable[[], nn.Module]) -> None:
    class Normed(Shuffled):
        def __init__(self) -> None:
            super().__init__()
            self.scale = norm()

    result = pruned(make_model(Normed()), channel_ratio=0.5).module
    assert (result.stem.out_channels, result.last.out_channels) == (16, 8)


class Pair(nn.Module):
    """Two convolutions side by side, and what reads both."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.left, self.right, self.norm = nn.Conv2d(1, 16, 3), nn.Conv2d(1, 16, 3), norm
        self.last, self.head = nn.Conv2d(32, 16, 1), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(torch.cat([self.left(x), self.right(x)], 1)))
        return self.head(F.relu(self.last(x)).mean((2, 3)))


@pytest.mark.parametrize(("groups", "width"), [(1, 8), (2, 16), (4, 16)])
def test_layers_that_only_fit_the_groups_of_a_norm_at_equal_shares_are_left(groups: int, width: int) -> None:
    result = pruned(make_model(Pair(nn.GroupNorm(groups, 32))), channel_ratio=0.5).module
    assert (result.left.out_channels, result.right.out_channels, result.last.out_channels) == (width, width, 8)


def test_layers_whose_channels_the_trace_miscounts_are_left() -> None:
    class Gated(Pair):
        def forward(self, x: Tensor) -> Tensor:
            one, two = torch.cat([self.left(x), self.right(x)], 1).chunk(2, 1)
            return self.head(F.relu(self.last(one * two)).mean((2, 3)))

    module = Gated(nn.Identity())
    module.last = nn.Conv2d(16, 16, 1)
    result = pruned(make_model(module), channel_ratio=0.5).module
    assert (result.left.out_channels, result.right.out_channels, result.last.out_channels) == (16, 16, 8)


def test_layers_that_share_weights_are_left() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.three, self.head = (nn.Linear(64, 64) for _ in range(4))
            self.two.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.relu(self.three(F.relu(self.two(F.relu(self.one(x.flatten(1))))))))

    model = make_model(Tied())
    ctx = make_context(model)
    result = pruned(model, ctx, channel_ratio=0.5)
    assert result.module.one.weight is result.module.two.weight
    assert result.module.one.out_features == 64
    assert result.module.three.out_features == 32
