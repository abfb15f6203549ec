"""Training: one loop, read from top to bottom.

Everything random in a step (augmentation, dropout, a data set that draws) is seeded from (seed, step), and the order
of an epoch from (seed, epoch). So a run that was killed needs only its weights, its optimizer and its place to go on,
bit for bit as if it had not been.
"""

from __future__ import annotations

import hashlib
import math
import time
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import asdict
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import torch
from torch import nn

from edgeglm.boards import BOARDS
from edgeglm.errors import StepError
from edgeglm.nn.augmentation import augmentation
from edgeglm.nn.calling import call, named_for, to_tensors
from edgeglm.nn.checkpoint import full_state, load_full_state, read_checkpoint, write_checkpoint
from edgeglm.nn.determinism import reproducible, seed_all
from edgeglm.nn.dropout import dropout
from edgeglm.nn.fake_quantization import FakeQuantization
from edgeglm.nn.freezing import frozen
from edgeglm.nn.hidden import HiddenMatch, pairs_of
from edgeglm.nn.holdout import Best, hold_out, validate
from edgeglm.nn.layout import arranged, best_layout
from edgeglm.nn.loading import state_sha256
from edgeglm.nn.objective import Weights
from edgeglm.nn.objectives import make_objective
from edgeglm.nn.optimization import learning_rate, make_optimizer, steps_per_epoch
from edgeglm.nn.padding import answers_the_same, find_padding
from edgeglm.nn.sparsity import HeldZeros
from edgeglm.nn.teacher import Teacher, require_other_network

if TYPE_CHECKING:
    from edgeglm.model import Model
    from edgeglm.steps import Context
    from edgeglm.steps._training import TrainingConfig

_CHECKPOINT_SECONDS = 10.0  # says when to write, never what is computed
_PROGRESS_SECONDS = 1.0
_CUDA_CHECK_STEPS = 20  # reading the loss waits for the device: keep it rare there


def train(
    model: Model,
    config: TrainingConfig,
    ctx: Context,
    *,
    teacher: Model | None = None,
    temperature: float = 1.0,
    alpha: float = 0.0,
    hidden: dict[str, str] | str | None = None,
    hidden_weight: float = 1.0,
) -> Model:
    """Return the network with the best weights that training found, judged on a held-out part of the training data.

    Args:
        model: Network to train; left as it was.
        config: How to train.
        ctx: Data, seed, threads, device. ``checkpoint`` is written at the end of each epoch and every ten seconds
            within one, and gone on from when it is of this very run.
        teacher: Network whose answers are learnt; None for labels alone.
        temperature: Softens both answers in the teacher's part of the loss.
        alpha: Weight of the teacher; 1 - alpha is that of the labels.
        hidden: Pairs of layers whose features are matched, or "even" (see ``edgeglm.nn.hidden``).
        hidden_weight: What their difference counts beside the rest of the loss.

    Raises:
        StepError: ``training-needs-logits``, ``training-needs-targets``, ``training-needs-teacher``,
            ``training-needs-reconstruction``, ``data-targets``, ``training-data-too-small``, ``augment-wrong-shape``;
            ``training-no-dropout``,
            ``training-nothing-to-learn``, ``distill-hidden-unknown``, ``distill-hidden-mismatch``;
            ``training-diverged``, naming step and rate.
        EntryError: The user's augmentation raised.
        StorageError: The checkpoint cannot be written.
    """
    if teacher is not None and (alpha == 1 or ctx.task.needs_teacher) and not config.qat:  # else labels teach, too
        require_other_network(teacher, model, where=ctx.key)
    device = torch.device(ctx.device)
    precision = ctx.precision if config.precision == "auto" else config.precision
    data, by = ctx.data.splits["train"], Weights(alpha, temperature, config.label_smoothing)
    objective = make_objective(model, ctx, has_teacher=teacher is not None and alpha > 0)
    targets = objective.read_targets(data, alpha=alpha, ctx=ctx)
    kinds, share = objective.strata(targets), config.validation_fraction
    rows_learnt, rows_held = hold_out(kinds, len(data), share, seed=ctx.seed, where=ctx.key)
    per_epoch = steps_per_epoch(len(rows_learnt), config.batch_size)
    total = per_epoch * config.epochs
    warmup = round(0.05 * total) if config.warmup_steps is None else config.warmup_steps
    by_teacher = objective.labelled and targets is None
    score_name = "agreement with the teacher" if by_teacher else objective.score_name
    augment = augmentation(config, ctx)
    checkpoint = None if ctx.dry_run else ctx.checkpoint

    with reproducible(ctx.threads), ExitStack() as around:
        seed_all(ctx.seed)
        student = deepcopy(model.module).to(device)
        probe = to_tensors(model, data.rows(rows_learnt[:2]), device)
        layout = best_layout(student, probe)
        student = arranged(student, layout)
        resting = around.enter_context(frozen(student, config.freeze, where=ctx.key))
        around.enter_context(dropout(student, config.dropout, where=ctx.key))
        padding = find_padding(student, probe, data)
        guide = None if teacher is None or (alpha == 0 and hidden is None) else Teacher(teacher, objective, device)
        if guide is not None and padding is not None:
            if not answers_the_same(guide.module, named_for(guide.model, probe), padding):
                padding = None  # both see the same samples
            guide.padding = padding
        if padding is not None:
            rows_held = rows_held[padding.by_length(rows_held)]
        match = None
        if guide is not None and hidden is not None:
            pairs = pairs_of(hidden, student, guide.module, probe, where=ctx.key)
            match = around.enter_context(HiddenMatch(student, guide.module, pairs, probe, where=ctx.key))
        learning = nn.ModuleList([student] if match is None else [student, match.maps])
        optimizer, zeros = make_optimizer(learning, config), HeldZeros(student, model.edits)
        rounding = None
        if config.qat:
            signed = BOARDS[ctx.target].activation_type == "int8"
            rounding = around.enter_context(FakeQuantization(student, symmetric=signed))
        key = _run_key(model, config, ctx, precision=precision, teacher=teacher, temperature=temperature, alpha=alpha)
        best, best_weights, first_step = Best(), full_state(student), 0
        if (saved := read_checkpoint(checkpoint, key)) is not None:
            load_full_state(student, saved["weights"])
            optimizer.load_state_dict(saved["optimizer"])
            if match is not None:
                match.maps.load_state_dict(saved["maps"])
            if rounding is not None:
                rounding.ranges |= {name: seen.to(device) for name, seen in saved["ranges"].items()}
            best, best_weights, first_step = Best(**saved["best"]), saved["best_weights"], saved["step"]
        if first_step < total and not ctx.dry_run:
            ctx.progress(first_step, total)
            if guide is not None:
                guide.keep_answers(data, augmented=augment is not None, told=lambda: ctx.progress(first_step, total))
            if saved is None:
                best.start = validate(
                    student, model, data, rows_held, targets, guide, objective, by, padding, ctx
                ).score
            ctx.progress(first_step, total)  # from here on steps take their time
        written = told = time.monotonic()
        for epoch in range(first_step // per_epoch, config.epochs):
            if best.stalled(config.early_stop_epochs):
                break
            order = np.random.default_rng([ctx.seed, epoch]).permutation(rows_learnt)
            if padding is not None:
                order = padding.grouped(order, config.batch_size, seed=[ctx.seed, epoch, 1])
            for step in range(max(epoch * per_epoch, first_step), (epoch + 1) * per_epoch):
                place = (step - epoch * per_epoch) * config.batch_size
                rows = order[place : place + config.batch_size]
                seed_all(ctx.seed, step)
                inputs = to_tensors(model, data.rows(rows))  # (B, ...) each
                if augment is not None:
                    inputs = augment(inputs, step)
                if padding is not None:
                    inputs = padding.cut(inputs)
                inputs = {
                    name: tensor.to(device, memory_format=layout if tensor.ndim == 4 else torch.preserve_format)
                    for name, tensor in inputs.items()
                }
                wanted = None if targets is None else targets[rows].to(device)  # (B, ...)
                soft = None  # (B, ...) float32
                if guide is not None:
                    soft = guide.answer(inputs) if guide.kept is None or match else guide.kept[rows].to(device)

                rate = learning_rate(step, total=total, warmup=warmup, peak=config.learning_rate)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                student.train()
                for layer in resting:
                    layer.eval()
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
                    answers = objective.pick(call(student, inputs))  # (B, ...) float32
                loss = objective.loss(answers, soft, wanted, inputs, by)
                if match is not None:
                    loss = loss + hidden_weight * match.loss(inputs)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                if config.clip_norm is not None:
                    nn.utils.clip_grad_norm_(learning.parameters(), config.clip_norm)
                optimizer.step()
                zeros.restore()

                ends_epoch = step == (epoch + 1) * per_epoch - 1
                if ends_epoch or device.type == "cpu" or step % _CUDA_CHECK_STEPS == 0:
                    _require_finite(loss.item(), step, total, rate, config, ctx)
                    if time.monotonic() - told > _PROGRESS_SECONDS:
                        ctx.progress(step + 1, total, loss=loss.item())
                        told = time.monotonic()
                if ctx.dry_run:
                    return _finished(model, student)
                if ends_epoch:
                    held = validate(student, model, data, rows_held, targets, guide, objective, by, padding, ctx)
                    _require_finite(held.loss, step, total, rate, config, ctx)
                    if best.offer(held):
                        best_weights = full_state(student)
                    figures = {"loss": loss.item(), f"held-out {score_name}": objective.shown(held.score)}
                    ctx.progress(step + 1, total, **figures)
                if checkpoint is not None and (ends_epoch or time.monotonic() - written > _CHECKPOINT_SECONDS):
                    state = {
                        "step": step + 1,
                        "weights": full_state(student),
                        "optimizer": optimizer.state_dict(),
                        "ranges": {} if rounding is None else rounding.ranges,
                        "maps": {} if match is None else match.maps.state_dict(),
                        "best": asdict(best),
                        "best_weights": best_weights,
                    }
                    write_checkpoint(checkpoint, key, state)
                    written = time.monotonic()

        load_full_state(student, best_weights)
        shown = objective.shown(best.score), objective.shown(best.start)
        _say(best, score_name, shown, len(rows_held), per_epoch, precision, config, ctx)
        if rounding is not None:
            ctx.notes.append(f"{rounding.layers} layers computed as INT8 of {ctx.target} will: the figures are of that")
        if match is not None:
            ctx.notes.append(f"features learnt: {', '.join(f'{a} from {b}' for a, b in match.pairs.items())}")
        return _finished(model, student)


def _say(
    best: Best,
    name: str,
    shown: tuple[float, float],
    held: int,
    per_epoch: int,
    precision: str,
    config: TrainingConfig,
    ctx: Context,
) -> None:
    found, start = (f"{value:.4g}" if name == "loss" else f"{value:.4f}" for value in shown)
    ctx.notes.append(
        f"{name} {found} on {held} held-out training samples after epoch {best.epoch} of {config.epochs}"
        + (f", stopped early after {best.epochs_done}" if best.epochs_done < config.epochs else "")
        + f" ({start} before training); {per_epoch} steps an epoch, {precision}"
    )
    if best.is_loss:
        ctx.warnings.append(
            f"training made the network worse: {name} {start} before it, {found} after its best epoch, on {held} "
            f"held-out training samples; lower `learning_rate` (now {config.learning_rate:g}), unless the network had "
            "learnt these very samples before"
        )


def _finished(model: Model, student: nn.Module) -> Model:
    student.zero_grad(set_to_none=True)
    return model.with_module(arranged(student.to("cpu"), torch.contiguous_format).eval())


def _require_finite(loss: float, step: int, total: int, rate: float, config: TrainingConfig, ctx: Context) -> None:
    if math.isfinite(loss):
        return
    clip = "" if config.clip_norm is not None else ", or clip gradients: `clip_norm: 1.0`"
    raise StepError(
        f"training diverged: the loss is {loss} at step {step + 1} of {total}, learning rate {rate:.3g}",
        where=ctx.key,
        code="training-diverged",
        hint=f"lower `learning_rate` (now {config.learning_rate:g}) or raise `warmup_steps`{clip}",
    )


def _run_key(
    model: Model,
    config: TrainingConfig,
    ctx: Context,
    *,
    precision: str,
    teacher: Model | None,
    temperature: float,
    alpha: float,
) -> str:
    """Return a fingerprint of everything that decides the result, so that no other run's checkpoint is gone on from."""
    parts = {
        "settings": config.as_settings(),
        "weights": state_sha256(model.module),
        "teacher": "" if teacher is None else state_sha256(teacher.module),
        "loss": [temperature, alpha],
        "data": ctx.data.sha256,
        "code": ctx.entries.sha256(),
        "task": msgspec.to_builtins(ctx.task),
        "run": [ctx.seed, ctx.threads, ctx.device, ctx.target, precision, str(torch.__version__)],
    }
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
