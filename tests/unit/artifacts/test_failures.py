"""Where an export failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgeglm.artifacts import bias_correction, calibration, onnx_static
from edgeglm.artifacts.failures import find_failure, quantizer_errors
from edgeglm.artifacts.onnx import quantize
from edgeglm.boards import BOARDS
from edgeglm.errors import ExportError
from edgeglm.recipe.types import Quantize
from tests.support.tiny_models import tiny_images, write_tiny_onnx

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


class Fragile:
    """Like an operator of MLIR that was not made: none of its attributes can be read."""

    def __getattr__(self, name: str) -> object:
        raise TypeError("uninitialized")


class Fails(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half_made = Fragile()
        raise ValueError(f"no operator torch.ops.aten.odd for {type(half_made).__name__} {x.shape}")


def test_the_layer_is_found_past_an_object_whose_attributes_cannot_be_read() -> None:
    network = nn.Sequential(nn.ReLU(), Fails())
    try:
        network(torch.zeros(1))
    except ValueError as error:
        failure = find_failure(error, network)
    assert (failure.layer, failure.operator) == ("1", "aten.odd")


def test_what_a_library_says_to_a_graph_is_an_error_of_the_file() -> None:
    with (
        pytest.raises(ExportError, match=r"static-int8 .*: ValidationError: ") as caught,
        quantizer_errors("static-int8"),
    ):
        onnx.checker.check_model(onnx.ModelProto())
    assert caught.value.code == "quantize-failed"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        pytest.param(onnx_static, "_check_scales", id="in our own line"),
        pytest.param(calibration, "ExportError", id="where the quantizer calls us back"),
    ],
)
def test_a_bug_of_ours_keeps_its_traceback(
    module: ModuleType, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_tiny_onnx(tmp_path / "f.onnx")
    images = tiny_images(4)
    images[0] = np.nan  # so that the error of it is wanted, while samples are read
    monkeypatch.delattr(module, name)
    with pytest.raises(NameError, match=name):
        quantize(
            source,
            tmp_path / "q.onnx",
            Quantize(scheme="static-int8"),
            iter([{"image": tiny_images(4) if module is onnx_static else images}]),
            board=BOARDS["rpi5"],
        )


def test_what_numpy_says_to_a_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bias_correction, "_Z", "a word")
    run = [np.zeros(3)]
    with pytest.raises(TypeError), quantizer_errors("static-int8"):
        bias_correction.farther([run] * 8, [run] * 8, [run] * 8)
