"""A model that is a file already, from the recipe to what is published."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgeglm.artifacts import tflite as tflite_artifacts
from edgeglm.artifacts.quiet import silenced
from edgeglm.artifacts.tflite_export import load_converter
from edgeglm.boards import BOARDS
from edgeglm.cache import Cache
from edgeglm.checks.check import check_recipe
from edgeglm.errors import DataError, ExportError, RecipeError
from edgeglm.log import SilentLog
from edgeglm.measure.worker import Runner
from edgeglm.pipeline.build import Builder
from edgeglm.pipeline.project import Project, open_project
from edgeglm.pipeline.run import run_recipe
from edgeglm.recipe import load_recipe
from edgeglm.recipe.types import Quantize
from tests.support.tiny_models import tiny_images, tiny_logits, write_tiny_onnx, write_tiny_tflite

if TYPE_CHECKING:
    from pathlib import Path

DATA = """\
import numpy as np


def load(split: str):
    rng = np.random.default_rng({"train": 1, "calibration": 2, "eval": 3}[split])
    return rng.normal(size=(70, 3, 8, 8)).astype(np.float32), rng.integers(0, 5, 70)
"""
RECIPE = """\
version: 1
name: tiny
model: {source: FORMAT, path: m.FORMAT}
data: {source: python, entry: "./data.py:load"}
task: {kind: classification}
threads: 1
target: TARGET
artifacts:
  - {format: FORMAT, quantize: SCHEME}
"""


EVAL_ALONE = """\
import numpy as np


def load(split: str):
    if split != "eval":
        return None
    rng = np.random.default_rng(3)
    return rng.normal(size=(70, 3, 8, 8)).astype(np.float32), rng.integers(0, 5, 70)
"""


@pytest.mark.parametrize("scheme", ["none", "fp16", "dynamic-int8"])
def test_a_file_is_made_with_nothing_but_samples_to_judge_it_by(tmp_path: Path, scheme: str) -> None:
    write_tiny_onnx(tmp_path / "m.onnx")
    path = recipe(tmp_path, scheme)
    (tmp_path / "data.py").write_text(EVAL_ALONE)
    result = run_recipe(load_recipe(path), output=tmp_path / "out", log=SilentLog(), cache=Cache(tmp_path / "cache"))
    assert result.manifest is not None
    assert result.report.artifacts[0].metric is not None
    assert result.report.artifacts[0].metric.n == 70


def test_what_is_calibrated_needs_samples_for_it(tmp_path: Path) -> None:
    write_tiny_onnx(tmp_path / "m.onnx")
    path = recipe(tmp_path, "static-int8")
    (tmp_path / "data.py").write_text(EVAL_ALONE)
    with pytest.raises(DataError, match=r"no split `calibration`, and artifacts\[0\] needs one") as caught:
        open_project(load_recipe(path), log=SilentLog())
    assert caught.value.code == "data-split-missing"


def recipe(folder: Path, scheme: str, *, file_format: str = "onnx", target: str = "x86-64") -> Path:
    text = RECIPE.replace("FORMAT", file_format).replace("TARGET", target).replace("SCHEME", scheme)
    (folder / "data.py").write_text(DATA)
    (folder / f"{target}.yaml").write_text(text)
    return folder / f"{target}.yaml"


def run(path: Path) -> Path:
    """Run a recipe; return the folder of what it published."""
    output = path.parent / "out"
    run_recipe(load_recipe(path), output=output, log=SilentLog(), cache=Cache(path.parent / "cache"))
    return output


def opened(path: Path) -> Project:
    project = open_project(load_recipe(path), log=SilentLog())
    project.entries.close()
    return project


@pytest.mark.parametrize("scheme", ["static-int8", "fp16"])
@pytest.mark.parametrize("batch", [1, 4])
def test_an_onnx_file_of_a_fixed_batch_is_quantized(tmp_path: Path, batch: int, scheme: str) -> None:
    write_tiny_onnx(tmp_path / "m.onnx", batch=batch)
    output = run(recipe(tmp_path, scheme))
    images = tiny_images(10)
    with Runner(output / "model.onnx", format="onnx") as runner:
        assert runner.batch == batch
        got = runner.run({"image": images})["logits"]
    expected = tiny_logits(images)
    assert np.abs(got - expected).max() < (0.05 if scheme == "static-int8" else 0.005) * np.abs(expected).max()


def test_errors_name_the_users_file_and_not_its_copy_in_the_cache(tmp_path: Path) -> None:
    write_tiny_onnx(tmp_path / "m.onnx")
    quantized = run(recipe(tmp_path, "static-int8")) / "model.onnx"
    (tmp_path / "m.onnx").write_bytes(quantized.read_bytes())
    with pytest.raises(ExportError) as caught:
        run(recipe(tmp_path, "static-int8"))
    assert caught.value.code == "already-quantized"
    assert caught.value.problems[0].where == f"artifacts[0] {tmp_path / 'm.onnx'}"
    (tmp_path / "cache").rename(tmp_path / "old")
    write_tiny_onnx(tmp_path / "m.onnx")
    (path := recipe(tmp_path, "none")).with_name("data.py").write_text(DATA.replace("8, 8", "8, 9"))
    with pytest.raises(ExportError) as caught:
        run(path)
    assert caught.value.code == "input-mismatch"
    assert caught.value.problems[0].where == str(tmp_path / "m.onnx")


def test_the_ranges_of_a_file_of_a_fixed_batch_are_those_of_all_samples(tmp_path: Path) -> None:
    write_tiny_onnx(tmp_path / "m.onnx", batch=4)  # of 70 samples, 2 are left for a last batch
    graph = onnx.load(str(run(recipe(tmp_path, "static-int8")) / "model.onnx")).graph
    (scale,) = (node.input[1] for node in graph.node if node.input[0] == "image")
    (found,) = (onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name == scale)
    samples = np.random.default_rng(2).normal(size=(70, 3, 8, 8)).astype(np.float32)
    assert float(found) == pytest.approx((samples.max() - samples.min()) / 255, rel=1e-5)


def test_a_tflite_file_of_a_fixed_batch_is_quantized(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8 * 6 * 6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.head(torch.relu(self.conv(x)).reshape(x.shape[0], 8 * 6 * 6))
            return answer  # the reshape keeps the 4 rows in the file

    torch.manual_seed(0)
    source, path = tmp_path / "m.tflite", tmp_path / "q.tflite"
    converter = load_converter()
    with silenced():
        source.write_bytes(bytes(converter.convert(Net().eval(), (torch.zeros(4, 1, 8, 8),)).model_content()))
    images = np.random.default_rng(0).normal(size=(10, 1, 8, 8)).astype(np.float32)
    with Runner(source, format="tflite") as runner:
        assert runner.batch == 4
        (name,), (expected,) = (
            [spec.name for spec in runner.inputs],
            runner.run({runner.inputs[0].name: images}).values(),
        )
    batches = iter([{name: images[:7]}, {name: images[7:]}])
    built = tflite_artifacts.quantize(source, path, Quantize(scheme="static-int8"), batches, board=BOARDS["rpi5"])
    assert built.batch == 4
    with Runner(path, format="tflite") as runner:
        (got,) = runner.run({name: images}).values()
    assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max()


def test_a_tflite_file_of_batch_1_is_quantized(tmp_path: Path) -> None:
    write_tiny_tflite(tmp_path / "m.tflite")
    path = recipe(tmp_path, "static-int8", file_format="tflite")
    (tmp_path / "data.py").write_text(DATA.replace("(70, 3, 8, 8)", "(70, 8, 8, 3)"))
    output = run(path)
    images = tiny_images(10)
    with Runner(output / "model.tflite", format="tflite") as runner:
        got = runner.run({"image": images.transpose(0, 2, 3, 1)})["logits"]
    assert np.abs(got - tiny_logits(images)).max() < 0.05 * np.abs(tiny_logits(images)).max()


def newer(path: Path, *, opset: int, ir: int) -> None:
    model = onnx.load(str(write_tiny_onnx(path)))
    model.opset_import[0].version, model.ir_version = opset, ir
    onnx.save(model, str(path))


@pytest.mark.parametrize("scheme", ["none", "fp16"])
def test_an_opset_that_the_board_does_not_take_is_refused_whatever_is_made_of_it(tmp_path: Path, scheme: str) -> None:
    newer(tmp_path / "m.onnx", opset=23, ir=11)
    path = recipe(tmp_path, scheme, target="jetson-jp6")
    with pytest.raises(RecipeError, match="opset 23; jetson-jp6 takes opset 20") as caught:
        run(path)
    assert caught.value.code == "opset-too-new"
    assert not list((tmp_path / "out").rglob("*.onnx"))


def test_check_says_of_an_opset_that_the_board_does_not_take_it(tmp_path: Path) -> None:
    newer(tmp_path / "m.onnx", opset=23, ir=11)
    path = recipe(tmp_path, "none", target="jetson-jp6")
    with pytest.raises(RecipeError, match="opset 23; jetson-jp6 takes opset 20") as caught:
        check_recipe(path)
    assert [(p.code, p.where) for p in caught.value.problems] == [("opset-too-new", f"{path}:3 model.path")]
    write_tiny_onnx(tmp_path / "m.onnx")
    assert check_recipe(path).buildable


def test_a_file_published_as_it_is_has_an_ir_version_that_the_board_loads(tmp_path: Path) -> None:
    newer(tmp_path / "m.onnx", opset=20, ir=11)
    output = run(recipe(tmp_path, "none", target="jetson-jp6"))
    assert onnx.load(str(output / "model.onnx")).ir_version == BOARDS["jetson-jp6"].ir_version


def test_a_jetson_is_not_given_the_file_that_the_cache_holds_for_a_pi(tmp_path: Path) -> None:
    write_tiny_onnx(tmp_path / "m.onnx")
    cache, relus, digests = Cache(tmp_path / "cache"), {}, {}
    for target in ("rpi5", "jetson-jp7"):
        project = opened(recipe(tmp_path, "static-int8", target=target))
        (config,) = project.recipe.artifacts
        file = Builder(project, cache).artifact(project.original, project.key, config, where="artifacts[0]")
        graph = onnx.load(str(file.built.path)).graph
        makers = {name: node.op_type for node in graph.node for name in node.output}
        relus[target] = Counter(makers[node.input[0]] for node in graph.node if node.op_type == "Relu")
        digests[target] = file.sha256
    assert relus == {"rpi5": {"QuantizeLinear": 1}, "jetson-jp7": {"DequantizeLinear": 1}}
    assert digests["rpi5"] != digests["jetson-jp7"]
