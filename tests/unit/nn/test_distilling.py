"""Distillation beyond answers: features inside, teachers from elsewhere, layers that rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeglm.errors import EdgeglmError, ModelError, StepError
from edgeglm.nn.calling import call, to_tensors
from edgeglm.nn.depth import drop_layers
from edgeglm.nn.freezing import frozen
from edgeglm.nn.hidden import HiddenMatch, pairs_of
from edgeglm.nn.loading import state_sha256
from edgeglm.nn.objectives import Values
from edgeglm.nn.pruning import prune_channels
from edgeglm.nn.structure import save_weights
from edgeglm.pipeline.used_entries import step_entries
from edgeglm.sources import OnnxModel, PythonModel
from edgeglm.steps import Distill, DropLayers, Finetune, Prune
from edgeglm.tasks import Embedding
from tests.support.nets import Plain, Residual, blobs, make_context, make_model
from tests.support.sequence_nets import TOKENS, encoder_of, model_of

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.model import Model
    from edgeglm.steps import Context

QUICK: dict[str, Any] = {"epochs": 2, "learning_rate": 5e-3}
PAIRS = {"first.2": "first.2", "second.2": "second.2"}
TEACHER = """\
import torch
from tests.support.nets import Residual


def build(**settings):
    torch.manual_seed(5)
    return Residual(**settings)
"""


def narrow(model: Model) -> Model:
    return prune_channels(model, Prune(channel_ratio=0.5), make_context(model))


def distance(student: Model, teacher: Model, pairs: dict[str, str]) -> float:
    inputs = to_tensors(student, blobs(64, seed=3).inputs)
    with torch.no_grad(), HiddenMatch(student.module, teacher.module, pairs, inputs, where="") as match:
        return float(match.loss(inputs))


def refused(code: str, model: Model, ctx: Context, **settings: Any) -> EdgeglmError:
    with pytest.raises(EdgeglmError) as caught:
        Distill(**{**QUICK, **settings}).apply(model, ctx)
    assert caught.value.code == code
    assert caught.value.problems[0].where.startswith("steps[0]")
    assert caught.value.problems[0].hint
    return caught.value


def test_features_of_a_narrower_student_come_nearer_to_the_teachers_and_the_maps_are_thrown_away() -> None:
    torch.manual_seed(0)
    teacher, same = make_model(Plain()), make_model(Plain(), seed=3)
    with torch.no_grad():
        for parameter in same.module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.05)
    ctx = make_context(teacher, blobs(256))
    answers = Distill(epochs=3, learning_rate=5e-3).apply(same, ctx)
    features = Distill(epochs=3, learning_rate=5e-3, hidden=PAIRS, hidden_weight=10.0).apply(same, ctx)
    assert distance(features, teacher, PAIRS) < 0.7 * distance(answers, teacher, PAIRS)
    assert "features learnt: first.2 from first.2" in ctx.notes[-1]
    student = narrow(teacher)
    taught = Distill(**QUICK, hidden=PAIRS).apply(student, ctx)
    assert set(taught.module.state_dict()) == set(student.module.state_dict())
    assert not any(layer._forward_hooks for layer in taught.module.modules())
    assert not any(layer._forward_hooks for layer in teacher.module.modules())


def test_a_run_with_features_that_was_cut_short_ends_with_the_same_weights(tmp_path: Path) -> None:
    teacher = make_model(Plain())
    student, step = narrow(teacher), Distill(epochs=3, hidden=PAIRS, freeze=["head"])
    whole = step.apply(student, make_context(teacher, blobs(128)))

    for _ in range(2):
        ctx = make_context(teacher, blobs(128), checkpoint=tmp_path / "c", progress=raising_in_its_second_epoch())
        with pytest.raises(KilledError):
            step.apply(student, ctx)
    result = step.apply(student, make_context(teacher, blobs(128), checkpoint=tmp_path / "c"))
    assert state_sha256(result.module) == state_sha256(whole.module)


class KilledError(Exception):
    """Ends a run where a kill would."""


def raising_in_its_second_epoch() -> Any:
    ended: list[int] = []

    def progress(done: int, total: int, **values: float) -> None:
        assert done <= total
        if "held-out accuracy" in values:
            ended.append(done)
            if len(ended) == 2:
                raise KilledError

    return progress


def test_even_pairs_the_blocks_that_are_left_with_the_teachers_the_last_with_the_last() -> None:
    original = model_of(encoder_of("BertModel", num_hidden_layers=6), TOKENS)
    ctx = make_context(original, TOKENS, task=Embedding())
    student = drop_layers(original, DropLayers(keep=3, by="even"), ctx)
    inputs = to_tensors(original, TOKENS.rows(np.arange(2)))
    pairs = pairs_of("even", student.module, original.module, inputs, where="steps[0]")
    stack = "encoder.encoder.layer."
    assert pairs == {f"{stack}0": f"{stack}1", f"{stack}3": f"{stack}3", f"{stack}5": f"{stack}5"}
    taught = Distill(**QUICK, hidden="even", freeze=["re:.*embeddings"]).apply(student, ctx)
    before, after = student.module.state_dict(), taught.module.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not any("embeddings" in name for name in moved)


def test_features_of_padding_do_not_count() -> None:
    model = model_of(encoder_of("BertModel"), TOKENS)
    inputs = to_tensors(model, TOKENS.rows(np.arange(4)))
    name = "encoder.encoder.layer.1"
    with (
        torch.no_grad(),
        HiddenMatch(
            model.module, model_of(encoder_of("BertModel"), TOKENS).module, {name: name}, inputs, where=""
        ) as match,
    ):
        match._seen["student", name] = match._seen["student", name] + 100 * (1 - inputs["attention_mask"])[..., None]
        assert float(match.loss(inputs)) < 1e-6


@pytest.mark.parametrize(
    ("hidden", "code"),
    [
        ({"first.9": "first.2"}, "distill-hidden-unknown"),
        ({"first.2": "nowhere"}, "distill-hidden-unknown"),
        ({"first.2": "hidden"}, "distill-hidden-mismatch"),
        ({"first.2": "second.2"}, "distill-hidden-mismatch"),
        ("even", "distill-hidden-unknown"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(hidden: Any, code: str) -> None:
    model = make_model(Plain())
    error = refused(code, model, make_context(model), hidden=hidden)
    assert ("did you mean `first.2`" in error.problems[0].hint) == (hidden == {"first.9": "first.2"})
    assert not any(layer._forward_hooks for layer in model.module.modules())


@pytest.mark.parametrize("step", [Finetune, Distill])
def test_frozen_layers_keep_their_weights_and_their_statistics(step: Any) -> None:
    model = make_model(Plain())
    before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    tuned = step(**QUICK, freeze=["first", "re:second.*"]).apply(model, make_context(model, blobs(128)))
    for name, tensor in tuned.module.state_dict().items():
        assert torch.equal(tensor, before[name]) == name.startswith(("first", "second")), name
    assert all(parameter.requires_grad for parameter in tuned.module.parameters())


def test_freezing_everything_or_nothing_that_is_there_is_refused() -> None:
    model = make_model(Plain())
    refused("training-nothing-to-learn", model, make_context(model), freeze=["re:.*"])
    refused("pattern-matches-nothing", model, make_context(model), freeze=["re:.*embeddings"])
    bare = nn.Softmax(-1)
    with pytest.raises(StepError, match="no weights that could learn"), frozen(bare, [], where="steps[0].finetune"):
        pass


class Forgetful(Plain):
    """A network with dropout of three kinds, which notes the shares that it was trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.recurrent = nn.LSTM(4, 4, num_layers=2, dropout=0.25)
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.75)

    def shares(self) -> tuple[float, float, float]:
        return self.dropout.p, self.recurrent.dropout, self.attention.dropout

    def forward(self, *inputs: torch.Tensor) -> Any:
        if self.training:
            SEEN.add(self.shares())
        return self.dropout(super().forward(*inputs))


SEEN: set[tuple[float, float, float]] = set()


@pytest.mark.parametrize(("share", "trained"), [(None, (0.5, 0.25, 0.75)), (0.0, (0.0, 0.0, 0.0))])
def test_dropout_is_set_while_training_and_given_back(share: float | None, trained: tuple[float, ...]) -> None:
    model = make_model(Forgetful())
    SEEN.clear()
    tuned = Distill(**QUICK, dropout=share).apply(model, make_context(model, blobs(128)))
    assert {trained} == SEEN
    assert tuned.module.shares() == (0.5, 0.25, 0.75)  # type: ignore[operator]


def test_a_network_learns_nothing_from_itself_unless_labels_or_rounding_count() -> None:
    model = make_model(Plain())
    ctx = make_context(model, blobs(64))
    found = refused("training-nothing-to-learn", model, ctx, alpha=1.0)
    assert "student and teacher are the same network" in found.problems[0].message
    refused("training-nothing-to-learn", model, ctx, alpha=1.0, hidden=PAIRS)
    Distill(**QUICK).apply(model, ctx)
    Distill(**QUICK, alpha=1.0, qat=True).apply(model, ctx)
    Distill(**QUICK, alpha=1.0).apply(narrow(model), ctx)


def test_a_loss_of_nothing_is_shown_without_a_sign() -> None:
    values = Values(make_model(Plain()), "logits")
    assert [str(values.shown(score)) for score in (0.0, -0.0, -0.5)] == ["0.0", "0.0", "0.5"]


def test_dropout_of_a_network_without_is_refused() -> None:
    model = make_model(Plain())
    assert (
        refused("training-no-dropout", model, make_context(model), dropout=0.1).problems[0].where.endswith(".dropout")
    )


def write_teacher(folder: Path, **settings: Any) -> PythonModel:
    (folder / "teacher.py").write_text(TEACHER)
    save_weights(make_model(Residual(**settings), seed=5), folder / "teacher.safetensors")
    return PythonModel(entry="./teacher.py:build", args=settings, weights="teacher.safetensors")


def test_another_network_can_teach(tmp_path: Path) -> None:
    source = write_teacher(tmp_path)
    torch.manual_seed(0)
    model = make_model(Plain())
    ctx = make_context(model, blobs(128), folder=tmp_path)
    step = Distill(epochs=8, learning_rate=5e-3, teacher=source, alpha=1.0)
    taught = step.apply(model, ctx)
    alone = Distill(**QUICK).apply(model, make_context(model, blobs(128)))
    assert state_sha256(taught.module) != state_sha256(alone.module)
    inputs = to_tensors(model, blobs(200, seed=9).inputs)
    theirs = source.load(ctx.entries, blobs(2).inputs)
    with torch.no_grad():
        (wanted,) = call(theirs.module, {"x": inputs["image"]}).values()
        before, after = ((call(m.module, inputs)["logits"] - wanted).square().mean() for m in (model, taught))
    assert after < 0.5 * before


def test_the_key_of_a_step_follows_the_teachers_weights_and_its_code_is_imported(tmp_path: Path) -> None:
    source = write_teacher(tmp_path)
    model = make_model(Plain())
    step = Distill(epochs=1, teacher=source)
    assert step_entries(step) == [("teacher.entry", "./teacher.py:build")]

    def fingerprint() -> str:
        ctx = make_context(model, folder=tmp_path)
        return step.fingerprint(model, ctx.entries, ctx.data, where="steps[0]")

    first = fingerprint()
    assert first == fingerprint()
    save_weights(make_model(Residual(), seed=6), tmp_path / "teacher.safetensors")
    with torch.no_grad():
        other = make_model(Residual())
        next(other.module.parameters()).add_(1.0)
    save_weights(other, tmp_path / "teacher.safetensors")
    assert fingerprint() != first
    ctx = make_context(model)
    assert Distill(epochs=1).fingerprint(model, ctx.entries, ctx.data, where="") == ""


def test_a_teacher_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = make_model(Plain())
    ctx = make_context(model, folder=tmp_path)
    error = refused("distill-teacher", model, ctx, teacher=write_teacher(tmp_path, classes=7))
    assert "(7,)" in str(error)
    assert isinstance(error, StepError)
    (tmp_path / "teacher.safetensors").unlink()
    ctx = make_context(model, folder=tmp_path)
    assert isinstance(refused("weights-missing", model, ctx, teacher=write_missing()), ModelError)
    refused("model-file-missing", model, ctx, teacher=OnnxModel(path="none.onnx"))


def write_missing() -> PythonModel:
    return PythonModel(entry="./teacher.py:build", weights="gone.safetensors")


def test_a_student_with_an_inner_layer_that_is_a_tuple_is_matched_by_its_first() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.LSTM(8, 6, batch_first=True), nn.Linear(6, 4)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.head(self.rnn(image[:, 0])[0][:, -1])

    model = make_model(Pair())
    inputs = to_tensors(model, blobs(4).inputs)
    with torch.no_grad(), HiddenMatch(model.module, make_model(Pair()).module, {"rnn": "rnn"}, inputs, where="") as m:
        assert float(m.loss(inputs)) > 0
