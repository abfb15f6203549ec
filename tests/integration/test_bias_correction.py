"""Biases of static INT8 TFLite files are moved to where the float network's means are, and only where that helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeglm.artifacts import bias_correction, flatbuffer, tflite, tflite_bias
from edgeglm.artifacts.tflite_layout import to_file_layout
from edgeglm.boards import BOARDS
from edgeglm.measure.worker import Runner
from edgeglm.recipe.types import Quantize
from tests.support import export_nets as nets

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.data.splits import Arrays

SHIFT = 0.2  # of one layer's outputs, in their own unit


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Arrays], Arrays]:
    """Return a float file, its static INT8 form, calibration rows as they take them, and others to judge by."""
    folder = tmp_path_factory.mktemp("bias")
    model, inputs, _, calibration = nets.trained_on_digits()
    (name,) = inputs
    source, small = folder / "float.tflite", folder / "int8.tflite"
    tflite.export_float(model, {name: inputs[name][:4]}, source, board=BOARDS["x86-64"])
    scheme = Quantize(scheme="static-int8")
    tflite.quantize(source, small, scheme, iter([calibration]), board=BOARDS["x86-64"])
    fed = to_file_layout(calibration, list(calibration))
    rows = [{key: values[i : i + 1] for key, values in fed.items()} for i in range(96)]
    return source, small, rows, to_file_layout({name: inputs[name][:100]}, [name])


def damaged(path: Path) -> bytes:
    """Return a static INT8 file whose first layer answers too much by SHIFT in every channel."""
    model = flatbuffer.read(path)
    graph = model.subgraphs[0]
    layer = next(o for o in graph.operators if flatbuffer.operator_name(model, o) == "CONV_2D")
    bias = graph.tensors[layer.inputs[2]]
    steps = np.rint(SHIFT / np.asarray(bias.quantization.scale)).astype(np.int32)
    buffer = model.buffers[bias.buffer]
    buffer.data = np.frombuffer((np.frombuffer(bytes(buffer.data), np.int32) + steps).tobytes(), np.uint8)
    return flatbuffer.to_bytes(model)


def error(path: Path, source: Path, inputs: Arrays) -> float:
    """Return the mean squared error of the outputs, as a share of the float file's variance."""
    answers = []
    for file in (source, path):
        with Runner(file, format="tflite") as runner:
            answers.append(next(iter(runner.run(inputs).values())))
    return float(np.mean((answers[0] - answers[1]) ** 2) / np.var(answers[0]))


def test_a_shifted_bias_is_put_back(files, tmp_path: Path) -> None:
    source, small, rows, inputs = files
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(damaged(small))
    mended = tmp_path / "mended.tflite"
    mended.write_bytes(tflite_bias.corrected(source.read_bytes(), broken.read_bytes(), rows))
    before, after, best = (error(path, source, inputs) for path in (broken, mended, small))
    assert before > 5 * best, (before, after, best)  # else this shows nothing
    assert after < before / 4, (before, after, best)
    assert mended.stat().st_size == broken.stat().st_size


def test_what_other_samples_lose_by_is_not_kept(files) -> None:
    source, small, rows, _ = files
    odd = [
        row if number % 3 == 2 else {name: -20 * values for name, values in row.items()}
        for number, row in enumerate(rows)
    ]
    assert tflite_bias.corrected(source.read_bytes(), small.read_bytes(), odd) == small.read_bytes()


def test_too_few_samples_to_judge_by_change_nothing(files) -> None:
    source, small, rows, _ = files
    assert tflite_bias.corrected(source.read_bytes(), small.read_bytes(), rows[:23]) == small.read_bytes()


def test_a_static_file_is_corrected_as_it_is_written(files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, small, _, inputs = files
    _, _, _, calibration = nets.trained_on_digits()
    plain = tmp_path / "plain.tflite"
    monkeypatch.setattr(bias_correction, "SAMPLES", 0)
    tflite.quantize(source, plain, Quantize(scheme="static-int8"), iter([calibration]), board=BOARDS["x86-64"])
    assert plain.read_bytes() != small.read_bytes()
    assert error(small, source, inputs) < error(plain, source, inputs)
