"""Traps that ONNX and TFLite have in common: met once in either, closed in both."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeglm.artifacts import onnx, tflite
from edgeglm.boards import BOARDS, Board
from edgeglm.errors import ExportError
from edgeglm.measure.worker import Runner
from edgeglm.model import Model
from edgeglm.recipe.types import Quantize
from tests.support import export_nets as nets

INTEGERS = ("fp16", "dynamic-int8", "static-int8")


@dataclass(frozen=True)
class Form:
    """One format, with what writes and reads its files."""

    name: str
    artifacts: ModuleType
    board: Board

    def export(self, model: Model, path: Path) -> Path:
        self.artifacts.export_float(model, nets.rows(model, 2), path, board=self.board)
        return path

    def quantize(self, source: Path, model: Model, scheme: str, *, ignore: Any = (), name: str = "") -> Path:
        path = source.with_name(f"{source.stem}.{scheme}{name}.{self.name}")
        batches = iter([nets.rows(model, 16, seed) for seed in (1, 2)])
        return self.calibrate(source, path, scheme, batches, ignore=ignore)

    def calibrate(self, source: Path, path: Path, scheme: str, batches: Any, *, ignore: Any = ()) -> Path:
        settings = Quantize(scheme=scheme, ignore=list(ignore))
        self.artifacts.quantize(source, path, settings, batches, board=self.board)
        return path

    def run(self, path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self.name == "tflite":  # images have their channels last
            inputs = {
                name: np.ascontiguousarray(np.moveaxis(values, 1, -1)) if values.ndim == 4 else values
                for name, values in inputs.items()
            }
        with Runner(path, format=self.name) as runner:
            return runner.run(inputs)


ONNX, TFLITE = Form("onnx", onnx, BOARDS["x86-64"]), Form("tflite", tflite, BOARDS["rpi5"])


@pytest.fixture(scope="module", params=[ONNX, TFLITE], ids=lambda form: form.name)
def form(request: pytest.FixtureRequest) -> Form:
    return request.param


@pytest.fixture(scope="module")
def cnn(form: Form, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return form.export(nets.cnn(), tmp_path_factory.mktemp(form.name) / f"cnn.{form.name}")


def test_a_pattern_that_matches_no_layer_is_refused_with_a_suggestion(form: Form, cnn: Path) -> None:
    with pytest.raises(ExportError, match="matches no layer") as caught:
        form.quantize(cnn, nets.cnn(), "fp16", ignore=["encodr.0.conv1"])
    assert caught.value.code == "pattern-matches-nothing"
    assert "`encoder.0.conv1`" in caught.value.problems[0].hint


@pytest.mark.parametrize("scheme", [*INTEGERS, "weight-only-int8", "weight-only-int4"])
def test_a_scheme_that_leaves_every_weight_in_float_fails(form: Form, cnn: Path, scheme: str) -> None:
    with pytest.raises(ExportError, match="left every weight in float32") as caught:
        form.quantize(cnn, nets.cnn(), scheme, ignore=["re:.*"], name="all")
    assert caught.value.code == "quantized-nothing"


@pytest.mark.parametrize("scheme", [*INTEGERS, "weight-only-int8", "weight-only-int4"])
def test_a_file_that_is_quantized_already_is_refused(form: Form, cnn: Path, scheme: str) -> None:
    once = form.quantize(cnn, nets.cnn(), scheme, name="once")
    with pytest.raises(ExportError) as caught:
        form.quantize(once, nets.cnn(), "fp16")
    assert caught.value.code == "already-quantized"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_calibration_batch_that_is_not_finite_is_refused(form: Form, cnn: Path, bad: float) -> None:
    rows, path = nets.rows(nets.cnn(), 4), cnn.with_name("bad")
    rows["image"][2, 0, 1, 1] = bad
    with pytest.raises(ExportError, match="input image holds NaN") as caught:
        form.calibrate(cnn, path, "static-int8", iter([rows]))
    assert caught.value.code == "calibration-not-finite"
    assert not path.exists()


def test_a_network_that_overflows_on_the_calibration_data_is_refused(form: Form, tmp_path: Path) -> None:
    model = nets.make(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)), {"logits": 4}, x=((8,), "float32"))
    with torch.no_grad():
        model.module[0].weight.fill_(1e20)
    source = form.export(model, tmp_path / f"large.{form.name}")
    huge = {"x": np.full((4, 8), 1e20, np.float32)}
    with pytest.raises(ExportError) as caught:
        form.calibrate(source, tmp_path / "q", "static-int8", iter([huge]))
    assert caught.value.code == "calibration-not-finite"
    if form is TFLITE:  # which knows the layer
        assert caught.value.problems[0].where == "0"


def test_static_int8_without_calibration_data_is_refused(form: Form, cnn: Path) -> None:
    with pytest.raises(ExportError) as caught:
        form.calibrate(cnn, cnn.with_name("none"), "static-int8", iter([]))
    assert caught.value.code == "calibration-empty"


def test_a_network_that_branches_on_values_is_refused_with_its_layer(form: Form, tmp_path: Path) -> None:
    model = nets.make(nets.WithBranch(), {"logits": 8}, x=((8,), "float32"))
    with pytest.raises(ExportError) as caught:
        form.export(model, tmp_path / "branch")
    assert caught.value.code == "export-trace"
    assert caught.value.problems[0].where == "gate"


@pytest.mark.parametrize("ignore", [(), ("head",), ("hidden",)], ids=["all", "float head", "float hidden"])
@pytest.mark.parametrize("kind", ["twice", "inner", pytest.param("same", marks=pytest.mark.full)])
def test_outputs_that_are_read_inside_or_given_twice_are_quantized(
    form: Form, tmp_path: Path, kind: str, ignore: tuple[str, ...]
) -> None:
    model = nets.several(kind)
    source = form.export(model, tmp_path / f"model.{form.name}")
    inputs = nets.rows(model, 16, 1)
    got = form.run(form.quantize(source, model, "static-int8", ignore=ignore), inputs)
    for name, expected in nets.torch_outputs(model, inputs).items():
        assert got[name].dtype == np.float32
        np.testing.assert_allclose(got[name], expected, atol=0.05 * np.abs(expected).max())


@pytest.mark.full
def test_two_processes_write_the_same_bytes_and_print_nothing(form: Form, cnn: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.support import export_nets as nets\n"
        "from edgeglm.boards import BOARDS; from edgeglm.recipe.types import Quantize\n"
        f"from edgeglm.artifacts import {form.name} as artifacts\n"
        "assert 'litert_torch' not in sys.modules and 'ai_edge_litert' not in sys.modules\n"
        f"model = nets.cnn(); folder = Path(sys.argv[1]); board = BOARDS[{form.board.name!r}]\n"
        f"source = folder / 'cnn.{form.name}'\n"
        "artifacts.export_float(model, nets.rows(model, 2), source, board=board)\n"
        f"for scheme in {INTEGERS}:\n"
        "    batches = iter([nets.rows(model, 16, seed) for seed in (1, 2)])\n"
        f"    path = folder / f'{{scheme}}.{form.name}'\n"
        "    artifacts.quantize(source, path, Quantize(scheme=scheme), batches, board=board)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "")
    pairs = [(cnn, tmp_path / f"cnn.{form.name}")]
    pairs += [
        (form.quantize(cnn, nets.cnn(), scheme, name="again"), tmp_path / f"{scheme}.{form.name}")
        for scheme in INTEGERS
    ]
    for here, there in pairs:
        assert hashlib.sha256(here.read_bytes()).digest() == hashlib.sha256(there.read_bytes()).digest()


@pytest.mark.parametrize(
    "form",
    [ONNX, Form("onnx", onnx, BOARDS["rpi5"]), TFLITE],
    ids=lambda form: f"{form.name} for {form.board.name}",
)
def test_static_int8_costs_at_most_one_point_on_digits(form: Form, tmp_path: Path) -> None:
    model, inputs, targets, calibration = nets.trained_on_digits()
    source = tmp_path / f"digits.{form.name}"
    form.artifacts.export_float(model, {"image": inputs["image"][:4]}, source, board=form.board)
    small = form.calibrate(source, tmp_path / f"digits8.{form.name}", "static-int8", [calibration])
    before = (nets.torch_outputs(model, inputs)["logits"].argmax(1) == targets).mean()
    after = (form.run(small, inputs)["logits"].argmax(1) == targets).mean()
    assert before > 0.9
    assert after >= before - 0.01
