"""Which files tflite-runtime is not given, as it computes them wrongly.

LiteRT, which has the same interface, stands in its place. The runtime itself is tried in ``tests/integration``, in an
environment of its own.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from edgeglm_agent.engines import EngineError
from edgeglm_agent.engines.tflite_runtime import TfliteRuntimeEngine, _mixed_operator

from tests.support.tiny_models import (
    dynamic_weights,
    tiny_images,
    tiny_logits,
    write_dynamic_tflite,
    write_int8_tflite,
    write_tiny_tflite,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    from ai_edge_litert.interpreter import Interpreter

    package, module = ModuleType("tflite_runtime"), ModuleType("tflite_runtime.interpreter")
    package.__dict__["__version__"] = "2.14.0"
    module.__dict__["Interpreter"] = Interpreter
    monkeypatch.setitem(sys.modules, "tflite_runtime", package)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", module)


def test_8_bit_weights_under_float_inputs_are_refused_before_they_are_run(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="take an artifact of another scheme") as refusal:
        TfliteRuntimeEngine(write_dynamic_tflite(tmp_path / "dynamic.tflite"))
    assert str(refusal.value).startswith(
        "tflite-runtime 2.14.0 computes FULLY_CONNECTED of float inputs and 8-bit weights (dynamic INT8) wrongly"
    )
    assert refusal.value.fault == "no-runtime"


def test_float_static_and_weight_only_files_are_not(tmp_path: Path) -> None:
    network = TfliteRuntimeEngine(write_tiny_tflite(tmp_path / "float.tflite"))
    image = tiny_images(1)
    given = {network.inputs[0].name: image.transpose(0, 2, 3, 1)}
    np.testing.assert_allclose(network.run(given)[network.outputs[0].name], tiny_logits(image), rtol=1e-4, atol=1e-5)
    static = TfliteRuntimeEngine(write_int8_tflite(tmp_path / "int8.tflite"))
    assert static.run({"x": np.array([[1, 2, 3, 4]], np.float32)})["y"].tolist() == [[1, 2, 3, 4]]
    packed = TfliteRuntimeEngine(write_dynamic_tflite(tmp_path / "packed.tflite", kind="weight-only"))
    answer = packed.run({"x": np.ones((1, 64), np.float32)})["y"]
    np.testing.assert_allclose(answer[0], dynamic_weights(64).sum(1) / 100, rtol=1e-3, atol=1e-3)


class Listed:
    """The tensors and operators of a file; nothing that runs."""

    def __init__(self, *operators: tuple[str, list[Any]]) -> None:
        types = [dtype for _, inputs in operators for dtype in inputs]
        # an interpreter's indices need not be those of its list
        self._tensors = [{"index": 10 + number, "dtype": dtype} for number, dtype in enumerate(types)]
        self._operators, begin = [], 10
        for name, inputs in operators:
            self._operators.append({"op_name": name, "inputs": np.arange(begin, begin + len(inputs), dtype=np.int32)})
            begin += len(inputs)

    def get_tensor_details(self) -> list[dict[str, Any]]:
        return self._tensors[::-1]

    def _get_ops_details(self) -> list[dict[str, Any]]:
        return self._operators


@pytest.mark.parametrize(
    "operator", ["FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "BATCH_MATMUL", "TRANSPOSE_CONV"]
)
def test_the_operator_is_named_wherever_it_stands(operator: str) -> None:
    before = ("RESHAPE", [np.float32, np.int32]), ("CONV_2D", [np.float32, np.float32, np.float32])
    assert _mixed_operator(Listed(*before, (operator, [np.float32, np.int8, np.float32]))) == operator
    assert _mixed_operator(Listed(*before, (operator, [np.float32, np.uint8]))) == operator


@pytest.mark.parametrize(
    ("operator", "inputs"),
    [
        ("CONV_2D", [np.float32, np.float32, np.float32]),
        ("CONV_2D", [np.int8, np.int8, np.int32]),
        ("FULLY_CONNECTED", [np.float32, np.float16]),
        ("DEQUANTIZE", [np.int8]),
        ("GATHER", [np.float32, np.int32]),
        ("FULLY_CONNECTED", [np.float32]),
    ],
    ids=["float32", "static", "float16", "weight-only", "indices", "one input"],
)
def test_no_other_operator_is(operator: str, inputs: list[Any]) -> None:
    assert _mixed_operator(Listed((operator, inputs))) == ""


def test_a_weight_that_the_file_does_not_list_is_none() -> None:
    listed = Listed(("FULLY_CONNECTED", [np.float32, np.int8]))
    listed._operators[0]["inputs"] = np.array([10, -1], np.int32)
    assert _mixed_operator(listed) == ""
