"""What training makes small, for every kind of task: real networks that learn it within seconds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeglm.data.splits import ArraySplit
from edgeglm.errors import StepError
from edgeglm.model import Model
from edgeglm.nn.inference import predict
from edgeglm.nn.objective import Weights
from edgeglm.nn.objectives import OBJECTIVES
from edgeglm.nn.training import train
from edgeglm.steps import Distill, Finetune, Prune
from edgeglm.tasks import Anomaly, Embedding, Regression, Segmentation, TaskConfig
from tests.support.nets import make_context, make_model

RNG = np.random.default_rng(0)
SPLIT = ArraySplit({"input": RNG.normal(size=(256, 6)).astype(np.float32)}, None)
SUMS = SPLIT.inputs["input"].sum(axis=1).astype(np.float64)


class Reconstruction(TaskConfig, tag="reconstruction", frozen=True, kw_only=True):
    objective = "reconstruction"


class Whatever(TaskConfig, tag="whatever", frozen=True, kw_only=True):
    """A task that says nothing of training."""


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 3)

    def forward(self, values: Tensor) -> dict[str, Tensor]:
        found = self.body(values)
        return {"boxes": found[:, :2], "scores": found[:, 2:]}


def network(module: nn.Module) -> Model:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return make_model(module, SPLIT.inputs["input"])


def mlp(out: int) -> Model:
    return network(nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, out)))


def output(model: Model) -> np.ndarray:
    return next(iter(predict(model, SPLIT, threads=1).values()))


def test_regression_learns_numbers_and_says_its_loss() -> None:
    model = mlp(1)
    data = ArraySplit(SPLIT.inputs, SUMS)
    told: list[float] = []

    def progress(done: int, total: int, **values: float) -> None:
        told.extend(value for name, value in values.items() if name == "held-out loss")

    ctx = make_context(model, data, task=Regression(), progress=progress)
    after = train(model, Finetune(epochs=12, learning_rate=0.01, validation_fraction=0.2), ctx)
    error = [float(np.mean((output(m)[:, 0] - SUMS) ** 2)) for m in (model, after)]
    assert error[1] < 0.1 * error[0]
    assert ctx.notes[0].startswith(f"loss {min(told):.4g} on")
    assert 0 < told[-1] < told[0]
    assert not ctx.warnings


def test_regression_without_targets_learns_from_the_teacher_alone() -> None:
    teacher, student = mlp(2), mlp(2).with_module(mlp(2).module)
    with torch.no_grad():
        student.module[2].weight.mul_(0.2)
    ctx = make_context(teacher, SPLIT, task=Regression())
    after = train(student, Distill(epochs=6, learning_rate=0.01), ctx, teacher=teacher, alpha=1.0)
    assert np.mean((output(after) - output(teacher)) ** 2) < 0.2 * np.mean((output(student) - output(teacher)) ** 2)
    with pytest.raises(StepError, match="no targets to learn from"):
        train(student, Finetune(epochs=1), ctx)


def test_embeddings_turn_towards_the_teachers_whatever_their_length() -> None:
    teacher = mlp(8)
    student = teacher.with_module(mlp(8).module)
    with torch.no_grad():
        student.module[0].weight.add_(0.3 * torch.randn(32, 6))
    ctx = make_context(teacher, SPLIT, task=Embedding())
    after = train(student, Distill(epochs=8, learning_rate=0.01), ctx, teacher=teacher, alpha=0.7)
    lost = [
        Embedding().evaluate({"o": output(m)}, None, (), {"o": output(teacher)}).drop.value for m in (student, after)
    ]
    assert lost[1] < 0.3 * lost[0]
    assert ctx.notes[0].startswith("cosine to the teacher 0.9")


@pytest.mark.parametrize("task", [Embedding(), Whatever()])
def test_what_has_only_a_teacher_to_learn_from_cannot_be_finetuned(task: TaskConfig) -> None:
    model = mlp(8)
    with pytest.raises(StepError, match="nothing to learn from but the original") as caught:
        train(model, Finetune(epochs=1), make_context(model, SPLIT, task=task))
    assert caught.value.problems[0].where == "steps[0]"
    assert "use `distill`" in caught.value.problems[0].hint


def test_an_autoencoder_learns_its_input() -> None:
    model = mlp(6)
    ctx = make_context(model, SPLIT, task=Reconstruction())
    after = train(model, Finetune(epochs=20, learning_rate=0.02), ctx)
    error = [float(np.mean((output(m) - SPLIT.inputs["input"]) ** 2)) for m in (model, after)]
    assert error[1] < 0.1 * error[0]
    other = mlp(5)
    with pytest.raises(StepError, match="has the shape of no input"):
        train(other, Finetune(epochs=1), make_context(other, SPLIT, task=Reconstruction()))


def test_any_network_learns_all_outputs_of_its_teacher() -> None:
    teacher = network(TwoOutputs())
    student = teacher.with_module(network(TwoOutputs()).module)
    with torch.no_grad():
        student.module.body.weight.zero_()
    ctx = make_context(teacher, SPLIT, task=Whatever())
    after = train(student, Distill(epochs=15, learning_rate=0.03), ctx, teacher=teacher, alpha=0.5)
    for name, wanted in predict(teacher, SPLIT, threads=1).items():
        got, start = (predict(m, SPLIT, threads=1)[name] for m in (after, student))
        assert np.mean((got - wanted) ** 2) < 0.1 * np.mean((start - wanted) ** 2), name


@pytest.mark.parametrize("task", [Embedding(), Regression(), Reconstruction(), Whatever()])
def test_channels_are_ranked_by_gradients_for_every_task(task: TaskConfig) -> None:
    model = mlp(6)
    with torch.no_grad():
        model.module[2].weight[:, 5:21] = 0  # nothing reads these
    ctx = make_context(model, SPLIT, task=task)
    after = Prune(channel_ratio=0.5, method="taylor", round_to=1).apply(model, ctx)
    assert after.module[0].out_features == 16
    assert np.allclose(output(after), output(model), atol=1e-5)


IMAGES = RNG.normal(size=(64, 2, 8, 8)).astype(np.float32)
MAPS = (IMAGES[:, 0] > 0).astype(np.int16) + (IMAGES[:, 1] > 0).astype(np.int16)  # three classes


def segmenter() -> Model:
    torch.manual_seed(0)
    return make_model(nn.Sequential(nn.Conv2d(2, 24, 1), nn.ReLU(), nn.Conv2d(24, 3, 1)), IMAGES[:2])


def pixels_right(model: Model) -> float:
    (logits,) = predict(model, ArraySplit({"input": IMAGES}, None), threads=1).values()
    return float((logits.argmax(axis=1) == MAPS).mean())


def test_every_pixel_is_learnt_but_those_that_count_nowhere() -> None:
    model = segmenter()
    targets = MAPS.copy()
    targets[:, 4:] = -1
    targets[:3] = -1  # whole images
    split = ArraySplit({"input": IMAGES}, targets)
    ctx = make_context(model, split, task=Segmentation())
    after = train(model, Finetune(epochs=20, learning_rate=0.03, batch_size=8, label_smoothing=0.05), ctx)
    assert pixels_right(after) > 0.95 > pixels_right(model) + 0.3
    assert ctx.notes[0].startswith("share of pixels that are right 0.9")


@pytest.mark.parametrize("alpha", [0.0, 0.7])
@pytest.mark.parametrize(("images", "said"), [(0, "no images of the split `train` have"), (1, "1 image of the")])
def test_maps_without_pixels_that_count_teach_nothing_and_are_refused(images: int, said: str, alpha: float) -> None:
    model, targets = segmenter(), np.full_like(MAPS, -1)
    targets[:images, 0] = 1
    ctx = make_context(model, ArraySplit({"input": IMAGES}, targets), task=Segmentation())
    with pytest.raises(StepError, match=said) as caught:
        train(model, Distill(epochs=1), ctx, teacher=segmenter(), alpha=alpha)
    assert (caught.value.code, caught.value.problems[0].where) == ("training-needs-targets", "steps[0]")


def test_a_batch_without_pixels_that_count_still_learns_from_the_teacher() -> None:
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    objective, nowhere = OBJECTIVES["pixels"](segmenter(), "output"), torch.full((2, 4, 4), -1)
    for alpha in (0.7, 0.0):
        loss = objective.loss(student, teacher if alpha else None, nowhere, {}, Weights(alpha, 2.0, 0.0))
        assert (float(loss) > 0.1) is bool(alpha)


def test_a_teacher_alone_needs_no_pixel_that_counts() -> None:
    start, teacher = segmenter(), segmenter()
    with torch.no_grad():
        start.module[2].bias.add_(torch.tensor([2.0, -2.0, 0.0]))
    config = Distill(epochs=20, learning_rate=0.03, batch_size=8, alpha=1.0)
    ctx = make_context(teacher, ArraySplit({"input": IMAGES}, np.full_like(MAPS, -1)), task=Segmentation())
    train(start, config, ctx, teacher=teacher, alpha=1.0)
    assert ctx.notes[0].startswith("agreement with the teacher 0.9")


def test_it_is_said_where_most_pixels_count_nowhere_and_the_rest_are_learnt_and_judged() -> None:
    model, targets = segmenter(), MAPS.copy()
    targets[8:] = -1
    ctx = make_context(model, ArraySplit({"input": IMAGES}, targets), task=Segmentation())
    config = Finetune(epochs=20, learning_rate=0.03, batch_size=8, validation_fraction=0.25)
    assert pixels_right(train(model, config, ctx)) > 0.85
    assert ctx.notes[0].startswith("share of pixels that are right 0.9")
    assert "on 2 held-out training samples" in ctx.notes[0]  # of those that have pixels
    assert ctx.warnings[0] == (
        "87.5 % of the pixels of the split `train` are `task.ignore_index`, and teach nothing; "
        "56 of 64 images have no other"
    )
    few = make_context(model, ArraySplit({"input": IMAGES}, np.where(MAPS == 0, -1, MAPS)), task=Segmentation())
    train(model, Finetune(epochs=1), few)
    assert not few.warnings


def test_a_segmenter_learns_a_teachers_maps_without_labels() -> None:
    labelled = ArraySplit({"input": IMAGES}, MAPS)
    start = segmenter()
    config = Finetune(epochs=20, learning_rate=0.03, batch_size=8)
    teacher = train(start, config, make_context(start, labelled, task=Segmentation()))
    ctx = make_context(teacher, ArraySplit({"input": IMAGES}, None), task=Segmentation())
    distill = Distill(epochs=20, learning_rate=0.03, batch_size=8, alpha=1.0)
    after = train(start, distill, ctx, teacher=teacher, temperature=2.0, alpha=1.0)
    assert pixels_right(after) > 0.9
    assert ctx.notes[0].startswith("agreement with the teacher 0.9")
    with pytest.raises(StepError, match="no targets to learn from"):
        train(start, config, ctx)
    wrong = ArraySplit({"input": IMAGES}, MAPS + 5)
    with pytest.raises(StepError, match="up to 7 do not fit"):
        train(start, config, make_context(start, wrong, task=Segmentation()))


@pytest.mark.parametrize("labelled", [True, False])
def test_channels_of_a_segmenter_are_ranked_by_gradients(labelled: bool) -> None:
    model = segmenter()
    with torch.no_grad():
        model.module[2].weight[:, 5:17] = 0  # nothing reads these
    ctx = make_context(model, ArraySplit({"input": IMAGES}, MAPS if labelled else None), task=Segmentation())
    after = Prune(channel_ratio=0.5, method="taylor", round_to=1).apply(model, ctx)
    (old,), (new,) = (predict(m, ArraySplit({"input": IMAGES}, None), threads=1).values() for m in (model, after))
    assert np.allclose(old, new, atol=1e-5)


def test_labels_of_anomalies_do_not_disturb_what_an_autoencoder_learns() -> None:
    model = mlp(6)
    split = ArraySplit(SPLIT.inputs, np.arange(256) % 2)
    ctx = make_context(model, split, task=Anomaly(score="squared-error"))
    after = Prune(channel_ratio=0.25, method="taylor", round_to=1).apply(model, ctx)
    assert after.module[0].out_features == 24
    train(after, Finetune(epochs=1), ctx)


def test_every_objective_that_a_task_may_name_exists() -> None:
    assert {*OBJECTIVES} == {"classes", "pixels", "values", "embedding", "reconstruction", "outputs"}
