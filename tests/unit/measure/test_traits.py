"""What kind of network a float file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgeglm.artifacts import onnx
from edgeglm.boards import BOARDS
from edgeglm.measure.traits import traits_of
from tests.support import export_nets as nets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeglm.model import Model


@pytest.mark.parametrize(
    ("make", "family"),
    [
        (nets.cnn, "convolutional"),
        (nets.mlp, "dense"),
        (nets.words, "transformer"),
        (nets.lstm, "LSTM"),
        (nets.gru, "recurrent"),
    ],
)
def test_an_lstm_is_told_apart_from_other_recurrent_cells(
    tmp_path: Path, make: Callable[[], Model], family: str
) -> None:
    model, path = make(), tmp_path / "model.onnx"
    onnx.export_float(model, nets.rows(model, 2), path, board=BOARDS["rpi5"])
    assert traits_of(path, "onnx").family == family
