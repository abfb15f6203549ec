"""Training on texts leaves padding out where that changes no answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeglm.data.splits import ArraySplit
from edgeglm.model import Model
from edgeglm.nn.calling import to_tensors
from edgeglm.nn.inference import predict
from edgeglm.nn.loading import build_python_model, state_sha256
from edgeglm.nn.objectives import make_objective
from edgeglm.nn.padding import Padding, answers_the_same, find_padding
from edgeglm.nn.teacher import Teacher
from edgeglm.nn.training import train
from edgeglm.steps import Finetune
from tests.support.nets import make_context

LENGTH, WORDS, CLASSES = 16, 40, 3


class Encoder(nn.Module):
    """The mean over the tokens that the mask leaves; ``fixed`` has a weight for every place of the full length."""

    def __init__(self, *, fixed: bool = False, by_token: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 8)
        self.places = nn.Parameter(torch.zeros(LENGTH, 1)) if fixed else None
        self.head = nn.Linear(8, CLASSES)
        self.by_token = by_token
        self.watched = False
        self.seen: list[int] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        if self.training or self.watched:
            self.seen.append(input_ids.shape[1])
        found = self.words(input_ids)
        if self.places is not None:
            found = found + self.places
        if self.by_token:
            return self.head(found)
        weights = attention_mask[..., None].float()
        return self.head((found * weights).sum(1) / weights.sum(1).clamp(min=1))


def texts(n: int, *, seed: int = 0, left: bool = False) -> ArraySplit:
    """Return texts of 2 to 12 tokens whose class is that of most of their words."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 13, n)
    mask = (np.arange(LENGTH) < lengths[:, None]).astype(np.int64)
    classes = rng.integers(0, CLASSES, n)
    ids = (rng.integers(1, WORDS // CLASSES, (n, LENGTH)) * CLASSES + classes[:, None]) * mask
    if left:
        ids, mask = ids[:, ::-1].copy(), mask[:, ::-1].copy()
    return ArraySplit({"input_ids": ids, "attention_mask": mask}, classes)


def model(module: nn.Module, split: ArraySplit) -> Model:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return build_python_model(module, None, split.rows(np.arange(4)), where="model.entry")


def found(module: nn.Module, split: ArraySplit) -> Padding | None:
    network = model(module, split)
    return find_padding(network.module, to_tensors(network, split.rows(np.arange(2))), split)


def test_the_padding_of_a_text_encoder_is_found() -> None:
    split = texts(50)
    padding = found(Encoder(), split)
    assert padding is not None
    assert (padding.mask, padding.inputs) == ("attention_mask", ("input_ids", "attention_mask"))
    assert np.array_equal(padding.lengths, split.inputs["attention_mask"].sum(1))


@pytest.mark.parametrize("why", ["fixed length", "an output for every token", "padding on the left", "no padding"])
def test_where_cutting_would_change_an_answer_nothing_is_cut(why: str) -> None:
    split = texts(50, left=why == "padding on the left")
    if why == "no padding":
        split = ArraySplit({**split.inputs, "attention_mask": np.ones((50, LENGTH), np.int64)}, split.targets)
    assert found(Encoder(fixed=why == "fixed length", by_token=why.startswith("an output")), split) is None


def test_batches_hold_like_lengths_and_every_row_once() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 2007)
    padding = Padding("attention_mask", ("attention_mask",), lengths)
    order = np.random.default_rng(1).permutation(2007)
    grouped = padding.grouped(order, 16, seed=[0, 1])
    assert sorted(grouped) == list(range(2007))
    batches = lengths[grouped[:2000]].reshape(-1, 16)
    assert np.mean(batches.max(1) - batches.min(1)) < 4  # of 59
    assert np.array_equal(grouped[2000:], order[2000:])
    assert not np.array_equal(grouped, padding.grouped(order, 16, seed=[0, 2]))
    assert np.abs(np.corrcoef(batches.mean(1), np.arange(len(batches)))[0, 1]) < 0.3  # the batches are shuffled again
    assert sorted(padding.grouped(order[:5], 16, seed=[0])) == sorted(order[:5])


def test_training_sees_short_batches_and_learns_as_well() -> None:
    split = texts(400)
    before = model(Encoder(), split)
    context = make_context(before, split)
    after = train(before, Finetune(epochs=6, batch_size=16, learning_rate=0.02), context)
    seen = after.module.seen
    assert max(seen) <= 12
    assert np.mean(seen) < 9
    test = texts(200, seed=7)
    answers = next(iter(predict(after, test, threads=1).values())).argmax(1)
    assert (answers == test.targets).mean() > 0.95
    again = train(before, Finetune(epochs=6, batch_size=16, learning_rate=0.02), make_context(before, split))
    assert state_sha256(again.module) == state_sha256(after.module)


def test_a_teacher_is_asked_without_padding_and_answers_as_with_it() -> None:
    split = texts(700)
    network = model(Encoder(), split)
    objective = make_objective(network, make_context(network, split), has_teacher=True)
    rows = np.random.default_rng(3).permutation(700)[:600]
    padded = Teacher(network, objective, torch.device("cpu")).ask(split, rows)
    teacher = Teacher(network, objective, torch.device("cpu"))
    teacher.padding = found(network.module, split)
    teacher.module.watched = True
    assert torch.allclose(teacher.ask(split, rows), padded, atol=1e-6)
    assert teacher.module.seen[0] < 8  # the shortest texts come first, cut to the longest of them
    assert max(teacher.module.seen) <= 12


def test_nothing_is_cut_that_the_teacher_could_not_answer() -> None:
    split = texts(50)
    padding = found(Encoder(), split)
    assert padding is not None
    fixed = model(Encoder(fixed=True), split)
    assert not answers_the_same(fixed.module, to_tensors(fixed, split.rows(np.arange(2))), padding)
