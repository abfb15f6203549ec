"""Making a network shallower: choosing the blocks that it can do without."""

from __future__ import annotations

import hashlib
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch

from edgeglm.errors import StepError
from edgeglm.nn.blocks import Block, edit_without, find_blocks, leave_out, outermost
from edgeglm.nn.calling import call, to_tensors
from edgeglm.nn.checkpoint import read_checkpoint, write_checkpoint
from edgeglm.nn.determinism import reproducible, seed_all
from edgeglm.nn.holdout import hold_out, validate
from edgeglm.nn.loading import state_sha256
from edgeglm.nn.macs import count_macs, count_params
from edgeglm.nn.objective import Weights
from edgeglm.nn.objectives import Reconstruction, make_objective
from edgeglm.nn.structure import apply_edit
from edgeglm.nn.teacher import Teacher
from edgeglm.patterns import matching

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeglm.model import Model
    from edgeglm.steps import Context, DropLayers

_HELD_OUT = 0.1  # of the training data, as training holds out by default: the same rows


def drop_layers(model: Model, config: DropLayers, ctx: Context) -> Model:
    """Return the network without some of its blocks.

    Args:
        model: Network to shorten; left as it was.
        config: One of ``keep`` and ``drop`` is set.
        ctx: Gives samples, training data for sensitivity, seed and threads; takes the notes.

    Raises:
        StepError: ``pattern-matches-nothing``; ``drop-layers-no-blocks``: nothing keeps its shape;
            ``step-changed-nothing``: all are to stay; ``drop-layers-broke-network``, with what forward() says.
    """
    with reproducible(ctx.threads):
        seed_all(ctx.seed)
        inputs = to_tensors(model, ctx.data.splits["train"].rows(np.arange(2)))
        every = find_blocks(model.module, inputs)
        if config.drop:
            gone, why = _named(every, config.drop, f"{ctx.key}.drop"), ""
            kept = [block for block in outermost(every) if block not in gone]
        else:
            blocks = outermost(every)
            ignored = _named(blocks, config.ignore, f"{ctx.key}.ignore") if blocks else []
            choice = [block for block in blocks if block not in ignored]
            count = _count(choice, config, ctx)
            if config.by == "even" or ctx.dry_run:
                gone, why = _evenly(choice, count), "evenly"
            else:
                gone, why = _least_sensitive(model, choice, count, config, ctx)
            kept = [block for block in blocks if block not in gone]
        edit = edit_without(gone)
        module = deepcopy(model.module)
        apply_edit(module, edit)
        shorter = model.with_module(module.eval(), edit)
        _verify(model, shorter, inputs, ctx)
    macs, before = count_macs(shorter), count_macs(model)
    ctx.notes.append(
        f"left out: {', '.join(block.name for block in gone)}{f' ({why})' if why else ''}; {len(kept)} blocks stay; "
        f"{count_params(model):,} -> {count_params(shorter):,} parameters; "
        f"{before:,} -> {macs:,} MACs ({before / max(macs, 1):.2f}x fewer)"
    )
    if edit["remove"]:
        ctx.notes.append("the layers behind those left out have moved up: their names count on without a gap")
    return shorter


def _named(blocks: Sequence[Block], patterns: Sequence[str], where: str) -> list[Block]:
    names = [block.name for block in blocks]
    hits: set[str] = set()
    for index, pattern in enumerate(patterns):
        found = matching(
            pattern, names, error=StepError, where=f"{where}[{index}]", kind="block whose output has its input's shape"
        )
        hits.update(name for name in found if not any(name.startswith(f"{other}.") for other in found))
    return [block for block in blocks if block.name in hits]


def _count(choice: list[Block], config: DropLayers, ctx: Context) -> int:
    """Return how many blocks go."""
    if not choice:
        raise StepError(
            "the network has no stack of blocks of one kind whose output has the shape of their input",
            where=ctx.key,
            code="drop-layers-no-blocks",
            hint="name the layers that can go in `drop`, or ignore less; blocks are found in nn.Sequential and "
            "nn.ModuleList",
        )
    count = len(choice) - (config.keep or 0)
    if count <= 0:
        raise StepError(
            f"nothing was left out: {len(choice)} blocks can go, and {config.keep} are to stay",
            where=f"{ctx.key}.keep",
            code="step-changed-nothing",
            hint=f"give a number below {len(choice)}; the blocks are {', '.join(block.name for block in choice)}",
        )
    return count


def _evenly(choice: list[Block], count: int) -> list[Block]:
    """Return the blocks that go so that those that stay are spread evenly, the first and the last among them.

    Source: Sajjad et al. 2020, arXiv:2004.03844, section 3.1.2 (alternate dropping).
    """
    keep = len(choice) - count
    stay = {int(index * (len(choice) - 1) / max(keep - 1, 1) + 0.5) for index in range(keep)}
    return [block for index, block in enumerate(choice) if index not in stay]


def _least_sensitive(
    model: Model, choice: list[Block], count: int, config: DropLayers, ctx: Context
) -> tuple[list[Block], str]:
    """Return the blocks that go: one by one, each time the one whose absence costs the least loss.

    Source: Greedy search over blocks by the loss without each, as in Men et al. 2024, arXiv:2403.03853, section 3.1,
    with the task's own loss in the place of their score.
    """
    loss_of = _loss_on_held_out(model, config, ctx)
    parts: dict[str, Any] = {
        "settings": config.as_settings(),
        "weights": [state_sha256(model.module), state_sha256(ctx.original.module)],
        "run": [ctx.data.sha256, ctx.seed, ctx.threads, ctx.device, str(torch.__version__)],
    }
    key = hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
    total = sum(len(choice) - done for done in range(count))
    state = read_checkpoint(ctx.checkpoint, key) or {"gone": [], "losses": [], "round": []}
    gone, losses, measured = state["gone"], state["losses"], state["round"]
    done = sum(len(choice) - index for index in range(len(gone))) + len(measured)
    ctx.progress(done, total)
    if not losses:
        losses.append(loss_of([]))
    while len(gone) < count:
        left = [block.name for block in choice if block.name not in gone]
        while len(measured) < len(left):
            tried = {*gone, left[len(measured)]}
            measured.append(loss_of([block for block in choice if block.name in tried]))
            done += 1
            ctx.progress(done, total, loss=measured[-1])
            if ctx.checkpoint is not None:
                write_checkpoint(ctx.checkpoint, key, {"gone": gone, "losses": losses, "round": measured})
        best = min(range(len(left)), key=measured.__getitem__)
        gone, losses, measured = [*gone, left[best]], [*losses, measured[best]], []
    path = " -> ".join(f"{max(round(loss, 6), 0.0):.4g}" for loss in losses)
    said = f"in this order, by the loss on held-out training samples: {', '.join(gone)}; {path}"
    return [block for block in choice if block.name in gone], said


def _loss_on_held_out(model: Model, config: DropLayers, ctx: Context) -> Callable[[list[Block]], float]:
    """Return a function that gives the task's loss without some blocks, on rows that training holds out, too."""
    data = ctx.data.splits["train"]
    objective = make_objective(model, ctx, has_teacher=True)
    alone = ctx.task.needs_teacher or (data.targets is None and not isinstance(objective, Reconstruction))
    by = Weights(alpha=1.0 if alone else 0.0)
    targets = objective.read_targets(data, alpha=by.alpha, ctx=ctx)
    _, held = hold_out(objective.strata(targets), len(data), _HELD_OUT, seed=ctx.seed, where=ctx.key)
    rows = np.sort(np.random.default_rng([ctx.seed, 2]).permutation(held)[: config.samples])
    guide = Teacher(ctx.original, objective, torch.device(ctx.device)) if alone else None

    def loss_of(blocks: list[Block]) -> float:
        module = deepcopy(model.module).to(ctx.device)
        leave_out(module, edit_without(blocks))
        return validate(module, model, data, rows, targets, guide, objective, by, None, ctx).loss

    return loss_of


def _verify(model: Model, shorter: Model, inputs: dict[str, torch.Tensor], ctx: Context) -> None:
    """Run what was made: its outputs must have kept their names and shapes."""
    try:
        with torch.no_grad():
            before, after = call(model.module.eval(), inputs), call(shorter.module, inputs)
        changed = [name for name in before if name not in after or before[name].shape != after[name].shape]
        fault = f"its outputs {', '.join(changed)} have changed" if changed else ""
    except Exception as error:  # whatever the user's forward() does without its blocks
        fault = f"{type(error).__name__}: {error}"
    if fault:
        raise StepError(
            f"the network does not run without these blocks: {fault}",
            where=ctx.key,
            code="drop-layers-broke-network",
            hint="add those that forward() needs by name to `ignore`",
        )
