"""Weights set to zero one by one, and held there while training goes on."""

from __future__ import annotations

import math
import zlib
from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeglm.errors import StepError
from edgeglm.nn.determinism import reproducible
from edgeglm.nn.patterns import match_layers
from edgeglm.nn.structure import apply_edit, weight_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeglm.model import Edit, Model
    from edgeglm.steps import Context, Sparsify

_FOUR = 4  # of each four weights along the inputs, two stay


def set_to_zero(model: Model, config: Sparsify, ctx: Context) -> Model:
    """Return the network with the smallest of its weights at zero.

    Args:
        model: The network; left as it was.
        config: The pattern, and the share where it is ``unstructured``.
        ctx: Gives the place for errors; takes the notes.

    Raises:
        StepError: ``pattern-matches-nothing``; ``step-changed-nothing``: no layer can take the pattern,
            or no weight becomes zero that was not.
    """
    with reproducible(ctx.threads):
        ignored = match_layers(model.module, config.ignore, where=f"{ctx.key}.ignore")
        module = deepcopy(model.module)
        layers = {
            name: layer
            for name, layer in module.named_modules()
            if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd) and name not in ignored
        }
        if config.pattern == "2:4":
            left_out = [name for name, layer in layers.items() if not _takes_two_of_four(layer)]
            masks = {name: two_of_four(layer.weight) for name, layer in layers.items() if name not in left_out}
        else:
            left_out = []
            masks = _smallest(layers, config.ratio or 0.0, together=config.scope == "global")
        if not masks:
            raise StepError(
                "no layer can take the pattern: 2:4 needs convolutions and linear layers whose inputs are a multiple "
                "of four",
                where=ctx.key,
                code="step-changed-nothing",
                hint="ignore less, or remove this step",
            )
        if not any(bool(layers[name].weight[~mask].any()) for name, mask in masks.items()):
            raise _nothing_becomes_zero(config, masks, ctx)
        for name, mask in masks.items():
            layers[name].weight.data.mul_(mask)
        edit: Edit = {"edit": "sparsify", "pattern": config.pattern, "layers": list(masks)}
        apply_edit(module, edit)
        sparse = model.with_module(module.eval(), edit)
    total = sum(mask.numel() for mask in masks.values())
    zeros = sum(int((layers[name].weight == 0).sum()) for name in masks)
    ctx.notes.append(f"{zeros:,} of {total:,} weights in {len(masks)} layers are zero ({zeros / total:.1%})")
    if not ctx.dry_run:
        before, after = (len(zlib.compress(weight_bytes(network), 6)) for network in (model.module, module))
        ctx.notes.append(f"compressed (zlib), the weights take {before / 1e3:,.1f} kB -> {after / 1e3:,.1f} kB")
    if left_out:
        ctx.notes.append(f"left as they are, inputs are no multiple of four: {', '.join(left_out)}")
    return sparse


def _nothing_becomes_zero(config: Sparsify, masks: dict[str, Tensor], ctx: Context) -> StepError:
    weights = sum(mask.numel() for mask in masks.values())
    found = f"0 of {weights:,} weights in {len(masks)} layers would become zero"
    if config.ratio is None or any(not bool(mask.all()) for mask in masks.values()):
        return StepError(
            f"{found}: those that would are zero already",
            where=ctx.key,
            code="step-changed-nothing",
            hint="remove this step" + ("" if config.ratio is None else ", or raise `ratio`"),
        )
    largest = weights if config.scope == "global" else max(mask.numel() for mask in masks.values())
    return StepError(
        f"{found}: `ratio: {config.ratio:g}` of {largest:,} is less than one",
        where=f"{ctx.key}.ratio",
        code="step-changed-nothing",
        hint="raise `ratio`: what compresses well leaves out half of the weights, or more",
    )


class HeldZeros:
    """The zeros of layers that a step made sparse, put back after each step of training.

    Source: Mishra et al. 2021, arXiv:2104.08378, section 4 (prune once, train on with the mask).
    """

    def __init__(self, module: nn.Module, edits: Iterable[Edit]) -> None:
        """Remember what is zero now in the layers that these edits name."""
        names = {name for edit in edits if edit["edit"] == "sparsify" for name in edit["layers"]}
        weights = [layer.weight for name, layer in module.named_modules() if name in names]
        self._masks: list[tuple[Tensor, Tensor]] = [(weight, weight.detach() != 0) for weight in weights]

    @torch.no_grad()
    def restore(self) -> None:
        """Set them to zero again."""
        for weight, mask in self._masks:
            weight.mul_(mask)


def two_of_four(weight: Tensor) -> Tensor:
    """Return a mask (like ``weight``) that keeps the two largest of each four along the inputs (axis 1).

    Of equal ones the first stay.
    """
    by_input = weight.detach().abs().movedim(1, -1)
    fours = by_input.reshape(*by_input.shape[:-1], -1, _FOUR)
    largest = fours.argsort(dim=-1, descending=True, stable=True)[..., : _FOUR // 2]
    mask = torch.zeros_like(fours, dtype=torch.bool).scatter_(-1, largest, True)
    return mask.reshape(by_input.shape).movedim(-1, 1)


def _takes_two_of_four(layer: nn.Linear | nn.modules.conv._ConvNd) -> bool:
    transposed = isinstance(layer, nn.modules.conv._ConvNd) and layer.transposed
    return not transposed and layer.weight.shape[1] % _FOUR == 0


def _smallest(
    layers: dict[str, nn.Linear | nn.modules.conv._ConvNd], share: float, *, together: bool
) -> dict[str, Tensor]:
    """Return masks that leave out this share of the weights, the smallest, in each layer or in all of them together."""
    sizes = {name: layer.weight.detach().abs() for name, layer in layers.items()}
    if together and sizes:
        limit = _limit(torch.cat([size.flatten() for size in sizes.values()]), share)
        return {name: size > limit for name, size in sizes.items()}
    return {name: size > _limit(size.flatten(), share) for name, size in sizes.items()}


def _limit(values: Tensor, share: float) -> float:
    count = math.floor(len(values) * share)
    return float(values.sort().values[count - 1]) if count else -1.0
