"""How much each channel of a network matters."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from edgeglm.nn.calling import call, to_tensors
from edgeglm.nn.objective import Weights
from edgeglm.nn.objectives import OBJECTIVES, Values
from edgeglm.nn.slicing import places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeglm.model import Model
    from edgeglm.nn.coupling import ChannelGroup
    from edgeglm.steps import Context

_TAYLOR_ROWS = 32  # samples in one batch of gradients


def magnitude_scores(module: nn.Module, groups: list[ChannelGroup]) -> list[Tensor]:
    """Return a score for every channel of every group: the squared norm of its weights.

    Norms are taken in every layer that the channel runs through, divided by that layer's mean, and averaged, so that
    no layer speaks louder for having larger weights. The mean of each group is 1.

    Source: Li et al. 2017, arXiv:1608.08710, section 3.1; groups as in Fang et al. 2023, arXiv:2301.12900, section 3.3.
    """
    return [_scores(module, group, {}) for group in groups]


def taylor_scores(model: Model, groups: list[ChannelGroup], ctx: Context, *, batches: int) -> list[Tensor]:
    """Return a score for every channel of every group: how much the loss is expected to change when it goes.

    For each batch the products of weight and gradient are summed over the channel's weights in a layer, and squared;
    these are averaged over the batches and over the layers. Scores are expected changes of the loss, so those of
    different groups compare as they are. They hold for small changes: ``iterations`` of 5 and more serve them well.

    Args:
        model: The network; its weights are left as they were.
        groups: From ``find_groups`` on this network.
        ctx: Gives the training data and the seed. Without targets the network's own answers take their place.
        batches: How many batches of 32 samples, drawn from the training data.

    Source: Molchanov et al. 2019, arXiv:1906.10771, section 3.1, equation 8.
    """
    module = deepcopy(model.module).to(ctx.device).eval().requires_grad_(True)
    totals = [torch.zeros(group.channels) for group in groups]
    for tensors, targets in _gradient_batches(model, ctx, batches):
        module.zero_grad(set_to_none=True)
        torch.autograd.backward(_sensitive(call(module, tensors), targets, tensors, model, ctx))
        products = {
            name: (parameter.detach() * parameter.grad).cpu()
            for name, parameter in module.named_parameters()
            if parameter.grad is not None
        }
        for total, group in zip(totals, groups, strict=True):
            total += _scores(module, group, products)
    return [total / max(batches, 1) for total in totals]


def _sensitive(
    outputs: dict[str, Tensor], targets: Tensor | None, inputs: dict[str, Tensor], model: Model, ctx: Context
) -> Tensor:
    """Return the scalar whose gradients are taken: the loss where targets give one.

    Towards the network's own answers the gradient is zero; there it is the sum of the outputs under random signs,
    whose squared gradient is, on average over signs, how far the outputs move.
    """
    objective = OBJECTIVES[ctx.task.objective](model, ctx.output)
    answers = objective.pick(outputs)
    if objective.labelled:
        wanted = objective.decided(answers) if targets is None else targets.long()
        return objective.loss(answers, None, wanted, inputs, Weights())
    if ctx.task.needs_teacher or (targets is None and isinstance(objective, Values)):
        signs = torch.randint(0, 2, answers.shape, device=answers.device) * 2 - 1
        return (answers * signs).sum() / len(answers)
    is_values = targets is not None and isinstance(objective, Values)  # else targets are for judging alone
    numbers = targets.float().reshape(answers.shape) if targets is not None and is_values else None
    return objective.loss(answers, None, numbers, inputs, Weights())


def _gradient_batches(model: Model, ctx: Context, batches: int) -> Iterator[tuple[dict[str, Tensor], Tensor | None]]:
    train = ctx.data.splits["train"]
    order = np.random.default_rng([ctx.seed, 1]).permutation(len(train))
    for index in range(batches):
        rows = order[index * _TAYLOR_ROWS : (index + 1) * _TAYLOR_ROWS]
        if len(rows) == 0:
            return  # fewer samples than asked for: each is used once
        targets = None if train.targets is None else torch.from_numpy(train.targets[rows])
        tensors = to_tensors(model, train.rows(rows), ctx.device)
        yield tensors, None if targets is None else targets.to(ctx.device)


def _scores(module: nn.Module, group: ChannelGroup, products: dict[str, Tensor]) -> Tensor:
    """Return each channel's mean over the layers of its group; with products of weight and gradient, of those."""
    total, layers = torch.zeros(group.channels), 0
    for member in group.members:
        if member.side.startswith("axis"):
            continue
        layer = module.get_submodule(member.name)
        roots = torch.tensor(member.roots)
        scores, counted = torch.zeros(group.channels), False
        for leaf, axis, indexes, owners in places(layer, member.side, member.channels):
            if leaf.startswith("bias") or layer.get_parameter(leaf).numel() <= 1:
                continue
            name = f"{member.name}.{leaf}".removeprefix(".")
            if products and name not in products:
                continue
            tensor = products[name] if products else layer.get_parameter(leaf).detach().cpu()
            rows = _rows(tensor, axis)
            per_place = (rows.sum(1).square() if products else rows.square().sum(1))[indexes]
            scores.index_add_(0, roots[owners], per_place)
            counted = True
        if not counted:
            continue
        if not products and scores.sum() > 0:
            scores /= scores.mean()
        total += scores
        layers += 1
    return total / max(layers, 1) / (group.width if products else 1)  # a wide unit is judged by the column


def _rows(tensor: Tensor, axis: int) -> Tensor:
    """Return the tensor with one row a channel."""
    return tensor.movedim(axis, 0).reshape(tensor.shape[axis], -1)
