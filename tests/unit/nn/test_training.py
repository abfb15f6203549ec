from __future__ import annotations

import contextlib
import errno
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeglm.data.splits import ArraySplit, Data
from edgeglm.errors import EntryError, StepError, StorageError
from edgeglm.nn.checkpoint import read_checkpoint, write_checkpoint
from edgeglm.nn.holdout import Best, Held, hold_out, standard_error
from edgeglm.nn.inference import predict
from edgeglm.nn.loading import state_sha256
from edgeglm.nn.losses import distillation_loss
from edgeglm.nn.optimization import learning_rate, steps_per_epoch
from edgeglm.nn.training import train
from edgeglm.steps import Distill, Finetune
from edgeglm.tasks import Classification
from tests.support.nets import Plain, Residual, blobs, images, make_context, make_model

if TYPE_CHECKING:
    from edgeglm.model import Model

ROOT = Path(__file__).parents[3]


def accuracy(model: Any, split: ArraySplit) -> float:
    return float((predict(model, split, threads=1)["logits"].argmax(1) == split.targets).mean())


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"learning_rate": 0.01}, id="adamw"),
        pytest.param({"optimizer": "sgd", "learning_rate": 0.1}, id="sgd"),
        pytest.param({"learning_rate": 0.01, "precision": "bfloat16", "label_smoothing": 0.1}, id="bfloat16"),
        pytest.param({"learning_rate": 0.01, "clip_norm": None, "weight_decay": 0.0}, id="unclipped"),
    ],
)
def test_a_network_learns_and_the_one_passed_in_is_left(settings: dict[str, Any]) -> None:
    model = make_model(Plain())
    before = state_sha256(model.module)
    ctx = make_context(model, blobs(256))
    result = train(model, Finetune(epochs=4, **settings), ctx)
    assert accuracy(result, blobs(200, seed=7)) > 0.95
    assert state_sha256(model.module) == before
    assert not result.module.training
    assert all(parameter.grad is None for parameter in result.module.parameters())
    assert all(parameter.is_contiguous() for parameter in result.module.parameters())
    assert "held-out training samples" in ctx.notes[0]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    model = make_model(Residual(width=8))
    runs = [
        state_sha256(train(model, Finetune(epochs=2), make_context(model, blobs(80), seed=seed)).module)
        for seed in (3, 3, 4)
    ]
    assert runs[0] == runs[1] != runs[2]


def run_killable(folder: Path, kill_at: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("killed_training.py")),
            str(folder / "checkpoint.pt"),
            str(folder / "weights.safetensors"),
            kill_at,
        ],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_run_killed_twice_by_sigkill_ends_with_the_very_weights_of_one_that_was_not(tmp_path: Path) -> None:
    whole = run_killable(tmp_path / "whole", "never")
    assert whole.returncode == 0, whole.stderr
    for kill_at in ("9", "8"):  # in the second epoch; then, after going on, in the third
        killed = run_killable(tmp_path / "killed", kill_at)
        assert killed.returncode == -signal.SIGKILL
        assert not (tmp_path / "killed" / "weights.safetensors").exists()
    resumed = run_killable(tmp_path / "killed", "never")
    assert resumed.returncode == 0, resumed.stderr
    wanted, got = (tmp_path / name / "weights.safetensors" for name in ("whole", "killed"))
    assert wanted.read_bytes() == got.read_bytes()
    told_whole, told_resumed = whole.stdout.rsplit(" ", 1), resumed.stdout.rsplit(" ", 1)
    assert told_whole[0] == told_resumed[0]
    assert int(told_resumed[1]) < int(told_whole[1]) - 10  # it went on; it did not begin again


@pytest.mark.parametrize("damage", ["torn", "foreign", "pickle"])
def test_a_checkpoint_that_is_torn_or_of_another_run_is_not_gone_on_from(damage: str, tmp_path: Path) -> None:
    model, path = make_model(Plain()), tmp_path / "checkpoint.pt"
    wanted = state_sha256(train(model, Finetune(epochs=1), make_context(model, checkpoint=None)).module)
    if damage == "foreign":
        train(model, Finetune(epochs=1), make_context(model, seed=9, checkpoint=path))
    elif damage == "pickle":
        torch.save({"key": "x", "step": Path()}, path)
    else:
        train(model, Finetune(epochs=1), make_context(model, checkpoint=path))
        path.write_bytes(path.read_bytes()[:-700])
    got = train(model, Finetune(epochs=1), make_context(model, checkpoint=path))
    assert state_sha256(got.module) == wanted


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    model, path = make_model(Plain()), tmp_path / "checkpoint.pt"
    first = train(model, Finetune(epochs=2), make_context(model, checkpoint=path))
    calls: list[int] = []
    ctx = make_context(model, checkpoint=path, progress=lambda done, *_, **__: calls.append(done))
    assert state_sha256(train(model, Finetune(epochs=2), ctx).module) == state_sha256(first.module)
    assert calls == []


def test_a_full_disk_while_writing_a_checkpoint_is_an_environment_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    model = make_model(Plain())
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(StorageError) as caught:
        train(model, Finetune(epochs=1), make_context(model, checkpoint=tmp_path / "checkpoint.pt"))
    assert caught.value.exit_code == 4


def test_checkpoints_hold_tensors_and_plain_data_only(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    write_checkpoint(path, "a", {"weights": {"w": torch.ones(2)}, "step": 3})
    assert read_checkpoint(path, "b") is None
    assert read_checkpoint(None, "a") is None
    saved = read_checkpoint(path, "a")
    assert saved is not None
    assert saved["step"] == 3


@pytest.mark.parametrize("torn", ["shorter", "zeros within", "empty"])
def test_a_checkpoint_that_a_power_cut_tore_is_none(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "c.pt"
    write_checkpoint(path, "a", {"weights": {"w": torch.ones(4000)}})
    whole = path.read_bytes()
    middle = len(whole) // 2
    left = {
        "shorter": whole[:middle],
        "zeros within": whole[:middle] + bytes(999) + whole[middle + 999 :],
        "empty": b"",
    }
    path.write_bytes(left[torn])
    assert read_checkpoint(path, "a") is None


def test_the_best_epoch_is_kept_not_the_last() -> None:
    model = make_model(Plain())
    seen: list[float] = []

    def progress(done: int, total: int, **values: float) -> None:
        if "held-out accuracy" in values:
            seen.append(values["held-out accuracy"])

    # a rate that ruins the network after it has learnt: the warm-up passes through good rates first
    ctx = make_context(model, blobs(256), progress=progress)
    config = Finetune(
        epochs=8, learning_rate=60.0, optimizer="sgd", warmup_steps=10_000, clip_norm=None, validation_fraction=0.3
    )
    result = train(model, config, ctx)
    held = hold_out(blobs(256).targets, 256, 0.3, seed=0, where="")[1]
    assert accuracy(result, blobs(256).take(held)) == pytest.approx(max(seen))
    assert f"after epoch {seen.index(max(seen)) + 1} of 8" in ctx.notes[0] or seen.count(max(seen)) > 1


RUINOUS: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 20.0, "clip_norm": None, "warmup_steps": 0}


def trained_blobs() -> Model:
    model = make_model(Plain())
    return train(model, Finetune(epochs=4, learning_rate=0.01), make_context(model, blobs(256)))


def test_training_that_made_the_network_worse_warns_with_both_values_and_the_mend() -> None:
    model = trained_blobs()
    held = blobs(256).take(hold_out(blobs(256).targets, 256, 0.3, seed=0, where="")[1])
    ctx = make_context(model, blobs(256))
    result = train(model, Finetune(epochs=2, validation_fraction=0.3, **RUINOUS), ctx)
    before, after = (f"{accuracy(network, held):.4f}" for network in (model, result))
    assert float(after) < 0.6 < float(before)
    (said,) = ctx.warnings
    assert f"accuracy {before} before it, {after} after its best epoch, on {len(held)} held-out" in said
    assert "lower `learning_rate` (now 20)" in said
    assert f"accuracy {after} on" in ctx.notes[0]
    assert f"({before} before training)" in ctx.notes[0]


def test_training_that_lost_no_more_than_chance_takes_does_not_warn() -> None:
    for model, rate in ((trained_blobs(), 1e-4), (make_model(Plain()), 0.01)):
        ctx = make_context(model, blobs(256))
        train(model, Finetune(epochs=2, learning_rate=rate), ctx)
        assert ctx.warnings == []
        assert "before training" in ctx.notes[0]
    for samples, is_loss in ((20, False), (2000, True)):
        best = Best()
        best.start = 1.0
        right = torch.arange(samples) < 0.95 * samples
        best.offer(Held(0.95, 0.1, standard_error(right.double(), counts=True)))
        assert best.is_loss == is_loss


def test_a_resumed_run_knows_what_the_network_was_before_training_and_where_it_goes_on(tmp_path: Path) -> None:
    model, config = trained_blobs(), Finetune(epochs=3, **RUINOUS)
    whole = make_context(model, blobs(256))
    train(model, config, whole)

    def stop(done: int, total: int, **values: float) -> None:
        if "held-out accuracy" in values and done > total / 2:
            raise KeyboardInterrupt

    path = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(model, config, make_context(model, blobs(256), checkpoint=path, progress=stop))
    told: list[tuple[int, int]] = []
    ctx = make_context(model, blobs(256), checkpoint=path, progress=lambda done, total, **_: told.append((done, total)))
    train(model, config, ctx)
    assert (ctx.notes, ctx.warnings) == (whole.notes, whole.warnings)
    assert told[0] == (4, 12)  # the first epoch was done before
    assert len(ctx.warnings) == 1


def test_training_stops_early_when_nothing_gets_better() -> None:
    model = make_model(Plain())
    epochs: list[float] = []
    ctx = make_context(
        model,
        ArraySplit(blobs(64).inputs, np.random.default_rng(0).integers(0, 4, 64)),  # nothing to learn
        progress=lambda done, _, **values: epochs.append(done) if "held-out accuracy" in values else None,
    )
    train(model, Finetune(epochs=50, early_stop_epochs=2, learning_rate=1e-6, validation_fraction=0.3), ctx)
    assert len(epochs) < 50
    assert f"stopped early after {len(epochs)}" in ctx.notes[0]


def test_a_diverged_run_names_the_step_and_the_rate() -> None:
    model = make_model(Plain())
    config = Finetune(epochs=3, optimizer="sgd", learning_rate=1e30, clip_norm=None, warmup_steps=0)
    with pytest.raises(StepError, match=r"at step \d+ of 3, learning rate") as caught:
        train(model, config, make_context(model))
    assert caught.value.code == "training-diverged"
    assert "clip_norm" in caught.value.problems[0].hint


def test_distillation_pulls_the_student_to_the_teacher_without_any_label() -> None:
    model = make_model(Plain())
    split = blobs(256)
    teacher = train(model, Finetune(epochs=4, learning_rate=0.01), make_context(model, split))
    student = make_model(Plain(width=8), seed=3)
    ctx = make_context(teacher, ArraySplit(split.inputs, None))
    result = Distill(epochs=6, alpha=1.0, learning_rate=0.01).apply(student, ctx)
    test = blobs(200, seed=7)
    agreement = predict(result, test, threads=1)["logits"].argmax(1) == predict(teacher, test, threads=1)[
        "logits"
    ].argmax(1)
    assert agreement.mean() > 0.95
    assert "agreement with the teacher" in ctx.notes[0]


def test_answers_kept_and_answers_asked_for_teach_alike() -> None:
    fixed = blobs(96)

    class Asked:
        """The same samples, in a split that is not known to be fixed."""

        targets, input_names = fixed.targets, fixed.input_names
        rows, take = staticmethod(fixed.rows), staticmethod(fixed.take)

        def __len__(self) -> int:
            return len(fixed)

    teacher, student = make_model(Plain(), seed=1), make_model(Plain(width=8), seed=2)
    kept = Distill(epochs=1).apply(student, make_context(teacher, fixed)).module
    asked = Distill(epochs=1).apply(student, make_context(teacher, Asked())).module
    for name, tensor in kept.state_dict().items():
        torch.testing.assert_close(asked.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)


def test_the_loss_is_that_of_hinton_et_al() -> None:
    rng = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(5, 3, generator=rng) for _ in range(2))
    labels = torch.tensor([0, 1, 2, 1, 0])
    p, q = F.softmax(teacher / 2, 1), F.softmax(student / 2, 1)
    soft = (p * (p.log() - q.log())).sum(1).mean() * 4
    hard = -F.softmax(student, 1)[range(5), labels].log().mean()
    got = distillation_loss(student, teacher, labels, temperature=2.0, alpha=0.3)
    torch.testing.assert_close(got, 0.3 * soft + 0.7 * hard)
    torch.testing.assert_close(distillation_loss(student, None, labels, temperature=1.0, alpha=0.0), hard)
    torch.testing.assert_close(distillation_loss(student, teacher, None, temperature=2.0, alpha=1.0), soft)


def test_the_teacher_stays_as_it_was() -> None:
    teacher, student = make_model(Residual(width=8), seed=1), make_model(Residual(width=8), seed=2)
    before = state_sha256(teacher.module)
    Distill(epochs=1).apply(student, make_context(teacher))
    assert state_sha256(teacher.module) == before


def test_the_rate_rises_to_its_peak_and_falls_to_almost_zero() -> None:
    rates = [learning_rate(step, total=100, warmup=10, peak=0.5) for step in range(100)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == rates[9] == rates[10] == pytest.approx(0.5)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.001
    assert learning_rate(0, total=1, warmup=0, peak=0.5) == 0.5


@pytest.mark.parametrize(
    ("samples", "batch", "steps"), [(64, 16, 4), (65, 16, 4), (66, 16, 5), (1, 16, 1), (3, 1, 3), (17, 16, 1)]
)
def test_a_last_batch_of_one_sample_is_dropped(samples: int, batch: int, steps: int) -> None:
    assert steps_per_epoch(samples, batch) == steps


def test_an_epoch_that_would_end_in_one_sample_trains_batch_norm_over_features() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
    model = make_model(module)
    data = blobs(37)
    learnt, _ = hold_out(data.targets, 37, 0.1, seed=0, where="")
    train(model, Finetune(epochs=1, batch_size=len(learnt) - 1), make_context(model, data))


def test_held_out_rows_are_the_same_share_of_every_class() -> None:
    targets = np.repeat([0, 1, 2], [100, 40, 1])
    learnt, held = hold_out(targets, 141, 0.1, seed=0, where="")
    assert np.bincount(targets[held], minlength=3).tolist() == [10, 4, 0]
    assert sorted([*learnt, *held]) == list(range(141))
    assert not np.array_equal(held, hold_out(targets, 141, 0.1, seed=1, where="")[1])


def test_at_least_one_row_is_held_out() -> None:
    learnt, held = hold_out(None, 10, 0.01, seed=0, where="")
    assert (len(learnt), len(held)) == (9, 1)


def test_evaluation_and_calibration_data_are_not_touched() -> None:
    class Sealed(ArraySplit):
        def rows(self, _: np.ndarray) -> Any:
            pytest.fail("this split was read")

    model = make_model(Plain())
    ctx = make_context(model)
    sealed = Sealed(blobs(8).inputs, blobs(8).targets)
    data = Data({**ctx.data.splits, "eval": sealed, "calibration": sealed}, ("eval",))
    train(model, Finetune(epochs=1), make_context(model, data=data))


def test_a_dry_run_takes_one_step_and_writes_nothing(tmp_path: Path) -> None:
    model = make_model(Plain())
    path = tmp_path / "checkpoint.pt"
    done: list[int] = []
    ctx = make_context(
        model, blobs(640), dry_run=True, checkpoint=path, progress=lambda step, *_, **__: done.append(step)
    )
    result = train(model, Finetune(epochs=100), ctx)
    assert state_sha256(result.module) != state_sha256(model.module)
    assert not path.exists()
    assert done == []


@pytest.mark.parametrize(
    ("code", "train_split"),
    [
        ("training-needs-targets", ArraySplit(blobs(8).inputs, None)),
        ("data-targets", ArraySplit(blobs(8).inputs, np.arange(8))),
        ("data-targets", ArraySplit(blobs(8).inputs, np.eye(8))),
        ("training-data-too-small", blobs(3)),
    ],
)
def test_data_that_cannot_be_learnt_from_is_refused(code: str, train_split: ArraySplit) -> None:
    model = make_model(Plain())
    with pytest.raises(StepError) as caught:
        train(model, Finetune(epochs=1), make_context(model, train_split))
    assert caught.value.code == code
    assert caught.value.problems[0].hint


def test_a_network_without_logits_is_refused() -> None:
    model = make_model(nn.Conv2d(1, 4, 3))
    with pytest.raises(StepError) as caught:
        train(model, Finetune(epochs=1), make_context(model))
    assert caught.value.code == "training-needs-logits"


def test_the_output_that_the_task_names_is_trained() -> None:
    class TwoHeads(Plain):
        def forward(self, image: Tensor) -> dict[str, Tensor]:
            answer = super().forward(image)
            return {"features": image.flatten(1), "answer": answer}

    model = make_model(TwoHeads())
    ctx = make_context(model, blobs(256), task=Classification(output="answer"))
    result = train(model, Finetune(epochs=4, learning_rate=0.01), ctx)
    test = blobs(200, seed=7)
    assert (predict(result, test, threads=1)["answer"].argmax(1) == test.targets).mean() > 0.95


def test_augmentation_is_called_with_a_seeded_generator_and_what_it_raises_is_named(tmp_path: Path) -> None:
    (tmp_path / "augment.py").write_text(
        "import torch\n"
        "def noise(inputs, generator):\n"
        "    return inputs + 0.1 * torch.randn(inputs.shape, generator=generator)\n"
        "def crop(inputs, generator):\n"
        "    return inputs[..., 1:]\n"
        "def broken(inputs, generator):\n"
        "    raise ValueError('no such image')\n"
    )
    model = make_model(Plain())

    def trained(function: str) -> str:
        ctx = make_context(model, folder=tmp_path)
        with contextlib.closing(ctx.entries):
            return state_sha256(train(model, Finetune(epochs=1, augment=f"augment.py:{function}"), ctx).module)

    plain = state_sha256(train(model, Finetune(epochs=1), make_context(model)).module)
    assert trained("noise") == trained("noise") != plain
    with pytest.raises(StepError, match=r"\(\d+, 1, 8, 7\)") as caught:
        trained("crop")
    assert caught.value.code == "augment-wrong-shape"
    with pytest.raises(EntryError, match="no such image"):
        trained("broken")


def test_a_network_that_came_frozen_is_trained() -> None:
    model = make_model(Plain())
    model.module.requires_grad_(False)
    assert state_sha256(train(model, Finetune(epochs=1), make_context(model)).module) != state_sha256(model.module)


def test_layers_that_the_user_froze_stay() -> None:
    model = make_model(Plain())
    model.module.first[0].weight.requires_grad_(False)
    result = train(model, Finetune(epochs=1), make_context(model))
    assert torch.equal(result.module.first[0].weight, model.module.first[0].weight)
    assert not torch.equal(result.module.second[0].weight, model.module.second[0].weight)


def test_a_forward_that_views_feature_maps_is_trained_in_its_own_layout() -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8 * 36, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.relu(self.conv(x)).view(len(x), -1))

    model = make_model(Viewing())
    result = train(model, Finetune(epochs=3, learning_rate=0.01), make_context(model, blobs(256)))
    assert accuracy(result, blobs(100, seed=7)) > 0.9


def test_several_inputs_are_trained_by_name() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(64, 4)

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return self.head((left + right).flatten(1))

    from edgeglm.nn.loading import build_python_model

    split = blobs(256)
    inputs = {"right": images(256) * 0, "left": split.inputs["input"]}
    data = ArraySplit(inputs, split.targets)
    model = build_python_model(Sum(), None, data.rows(np.arange(4)), where="")
    result = train(model, Finetune(epochs=4, learning_rate=0.01), make_context(model, data))
    assert accuracy(result, data) > 0.95
