"""Whatever a network takes and returns, its files take and give the same, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeglm.boards import BOARDS
from edgeglm.errors import ExportError
from edgeglm.measure.worker import Runner
from edgeglm.nn.loading import build_python_model
from edgeglm.pipeline.build import export_float

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BOARD = BOARDS["x86-64"]
FORMATS = pytest.mark.parametrize("file_format", ["onnx", "tflite"])


class Answer(NamedTuple):
    logits: Tensor
    hidden: Tensor | None


class Returns(nn.Module):
    """One linear layer whose answer is wrapped in some way."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.layer(x))


class Optional(nn.Module):
    """Takes an input that is not given, before one that is."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, a: Tensor, mask: Tensor | None = None, b: Tensor | None = None) -> Tensor:
        answer: Tensor = self.left(a)
        if mask is not None:
            answer = answer + 100 * mask.mean(1, keepdim=True)
        return answer if b is None else answer + self.right(b)


class KeywordsOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, a: Tensor, *, b: Tensor) -> Tensor:
        answer: Tensor = self.left(a) - 2 * self.right(b)
        return answer


class Ignores(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor, unused: Tensor) -> Tensor:
        self.layer(unused)  # computed, and thrown away
        answer: Tensor = self.layer(x)
        return answer


def sample(*names: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {name: random.normal(size=(4, 6)).astype(np.float32) for name in names}


def answers(module: nn.Module, inputs: dict[str, np.ndarray], path: Path, file_format: str) -> dict[str, np.ndarray]:
    """Return what the network's file answers."""
    model = build_python_model(module, None, inputs, where="model.entry")
    built = export_float(model, inputs, path, file_format, board=BOARD)
    assert {spec.name for spec in built.inputs} == set(inputs)
    assert {spec.name for spec in built.outputs} == {spec.name for spec in model.outputs}
    with Runner(path, format=file_format) as runner:
        return runner.run(inputs)


@FORMATS
@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        pytest.param(lambda y: (y, None), "output0", id="a tuple that ends in None"),
        pytest.param(lambda y: (None, y), "output1", id="a tuple that begins with None"),
        pytest.param(lambda y: Answer(y, None), "logits", id="a NamedTuple with None"),
        pytest.param(lambda y: {"loss": None, "scores": y}, "scores", id="a dict with None"),
        pytest.param(lambda y: {"x": y}, "x_output", id="a dict keyed like the input"),
    ],
)
def test_what_a_network_returns_is_named_alike_in_its_file(
    tmp_path: Path, wrap: Callable[[Tensor], Any], name: str, file_format: str
) -> None:
    module, inputs = Returns(wrap).eval(), sample("x")
    (found,) = answers(module, inputs, tmp_path / "m", file_format).items()
    assert found[0] == name
    with torch.no_grad():
        np.testing.assert_allclose(found[1], module.layer(torch.from_numpy(inputs["x"])), atol=1e-5)


@FORMATS
@pytest.mark.parametrize("kind", [Optional, KeywordsOnly])
def test_an_input_goes_to_the_parameter_of_its_name(tmp_path: Path, kind: type[nn.Module], file_format: str) -> None:
    module, inputs = kind().eval(), sample("a", "b")
    with torch.no_grad():
        expected = module(torch.from_numpy(inputs["a"]), b=torch.from_numpy(inputs["b"]))
    found = answers(module, inputs, tmp_path / "m", file_format)
    np.testing.assert_allclose(found["logits"], expected, atol=1e-5)


def test_two_outputs_of_one_name_are_both_kept(tmp_path: Path) -> None:
    module, inputs = Returns(lambda y: {"x": y, "x_output": -y}).eval(), sample("x")
    found = answers(module, inputs, tmp_path / "m", "onnx")
    np.testing.assert_allclose(found["x_output"], -found["x_output_output"])


def test_an_input_that_the_answer_does_not_depend_on_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="does not use input unused") as caught:
        answers(Ignores(), sample("x", "unused"), tmp_path / "m.onnx", "onnx")
    assert caught.value.code == "input-unused"
    assert "leave unused out of the data" in caught.value.problems[0].hint
    assert not (tmp_path / "m.onnx").exists()
