"""What a manifest says of the oldest runtime is true: every scheme runs there, and answers as it does here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import edgeglm_agent
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edgeglm.artifacts import onnx, openvino, tflite
from edgeglm.artifacts.built import Calls
from edgeglm.artifacts.tflite_layout import to_file_layout
from edgeglm.boards import BOARDS, LEAST_RUNTIMES
from edgeglm.formats import SUFFIXES
from edgeglm.measure.parity import compare
from edgeglm.measure.worker import Runner
from edgeglm.recipe.types import LayerRule, Quantize, Scheme
from tests.support import export_nets as nets

if TYPE_CHECKING:
    from edgeglm.model import Model

# beside the environment's own packages; `make env` fills it
OLDEST = Path(sys.prefix) / "least-runtimes"
SCHEMES = tuple(scheme for scheme in get_args(Scheme) if scheme != "auto")
OPENVINO_SCHEMES = [scheme for scheme in SCHEMES if scheme != "dynamic-int8"]
NETS = {"cnn": nets.cnn, "lstm": nets.lstm, "vit": nets.vit, "words": nets.words}
FORMATS = {"onnx": onnx, "tflite": tflite, "openvino": openvino}
CHILD = """
import sys
from edgeglm_agent.engines import load_engine
from safetensors.numpy import load_file, save_file
path, kind, inputs, outputs = sys.argv[1:]
engine = load_engine(path, format=kind)
save_file(engine.run(load_file(inputs)), outputs)
print(engine.runtime)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("least")


def float_file(model: Model, name: str, kind: str, folder: Path, board: str) -> Path:
    path = folder / f"{name}.{board}{SUFFIXES[kind]}"
    if kind == "openvino" and not path.is_file():
        openvino.convert_float(float_file(model, name, "onnx", folder, board), path, nets.rows(model, 2))
    elif not path.is_file():
        FORMATS[kind].export_float(model, nets.rows(model, 2), path, board=BOARDS[board])
    return path


@pytest.mark.parametrize(
    ("name", "kind", "board", "scheme"),
    [(name, "onnx", "jetson-jp6", scheme) for name in NETS for scheme in SCHEMES]
    + [("cnn", "onnx", board, scheme) for board in ("rpi5", "x86-64") for scheme in SCHEMES]
    + [(name, "tflite", "rpi5", scheme) for name in ("cnn", "words") for scheme in SCHEMES]
    + [
        pytest.param(name, "openvino", "x86-64", scheme, marks=pytest.mark.full if name == "vit" else [])
        for name in ("vit", "words")
        for scheme in OPENVINO_SCHEMES
    ]
    + [(name, "openvino", "x86-64", scheme) for name in ("cnn", "lstm") for scheme in OPENVINO_SCHEMES[:3]],
)
def test_the_oldest_runtime_answers_as_the_newest(folder: Path, name: str, kind: str, board: str, scheme: str) -> None:
    model = NETS[name]()
    path = float_file(model, name, kind, folder, board)
    if scheme != "none":
        source, path = path, path.with_name(f"{scheme}.{path.name}")
        samples = iter([nets.rows(model, 16, seed) for seed in (1, 2)])
        FORMATS[kind].quantize(source, path, Quantize(scheme=scheme), samples, board=BOARDS[board])
    inputs = nets.rows(model, 4, seed=3)
    if kind == "tflite":
        inputs = to_file_layout(inputs, [key for key, values in inputs.items() if values.ndim == 4])
        inputs = {
            key: values.astype(np.int32) if values.dtype == np.int64 else values for key, values in inputs.items()
        }
    with Runner(path, format=kind) as runner:
        here, runtime = runner.run(inputs), runner.runtime
    if kind == "onnx" and board != "jetson-jp6":
        assert runtime == f"onnxruntime {BOARDS[board].onnxruntime}"  # what is new to us is the board's own
    there = on_the_oldest(path, kind, inputs, newest=runtime)
    assert compare(here, there, quantized=scheme != "none").passed


def on_the_oldest(path: Path, kind: str, inputs: dict[str, np.ndarray], *, newest: str) -> dict[str, np.ndarray]:
    """Return what a file answers in a process that imports the oldest runtime, and says itself which one that is."""
    given, answered = path.with_suffix(".in"), path.with_suffix(".out")
    save_file({key: np.ascontiguousarray(values) for key, values in inputs.items()}, given)
    agent = Path(edgeglm_agent.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), kind, str(given), str(answered)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (OLDEST, agent)))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    least = LEAST_RUNTIMES[kind]
    assert done.stdout.split() == [least.name, least.least_version] != newest.split()
    return load_file(answered)


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_the_oldest_runtime_takes_layers_of_several_schemes(folder: Path, kind: str) -> None:
    model, board = nets.words(), "jetson-jp6" if kind == "onnx" else "rpi5"
    source = float_file(model, "words", kind, folder, board)
    rules = [LayerRule(match="table", scheme="weight-only-int4"), LayerRule(match="head", scheme="weight-only-int8")]
    settings = Quantize(scheme="dynamic-int8", layers=rules)
    path = source.with_name(f"mixed.{kind}")
    FORMATS[kind].quantize(source, path, settings, iter([]), board=BOARDS[board])
    inputs = nets.rows(model, 4, seed=3)
    inputs = to_file_layout(inputs, []) if kind == "tflite" else inputs
    with Runner(path, format=kind) as runner:
        here, runtime = runner.run(inputs), runner.runtime
    assert compare(here, on_the_oldest(path, kind, inputs, newest=runtime), quantized=True).passed


def test_the_oldest_litert_takes_every_signature(folder: Path) -> None:
    model = nets.words()
    source, path = folder / "ways.tflite", folder / "ways8.tflite"
    tflite.export_float(model, nets.rows(model, 2), source, board=BOARDS["rpi5"], calls=Calls((1, 4)))
    tflite.quantize(source, path, Quantize(scheme="dynamic-int8"), iter([]), board=BOARDS["rpi5"])
    inputs = to_file_layout(nets.rows(model, 6, seed=3), [])  # four rows, then one, then one
    with Runner(path, format="tflite") as runner:
        here, runtime = runner.run(inputs), runner.runtime
    assert compare(here, on_the_oldest(path, "tflite", inputs, newest=runtime), quantized=True).passed
