from __future__ import annotations

import io

import numpy as np
import pytest

from edgeglm.measure import frames


@pytest.mark.parametrize(
    "values",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.arange(24, dtype=np.int64).reshape(2, 3, 4).transpose(2, 0, 1),
        np.float16([[1.5]]),
        np.zeros((0, 3), np.uint8),
        np.array(2.5),
        np.array([True, False]),
    ],
    ids=lambda values: f"{values.dtype}-{values.shape}",
)
def test_an_array_arrives_as_it_was_sent(values: np.ndarray) -> None:
    pipe = io.BytesIO()
    arrays = {"first": values, "second": np.ones(2)}
    frames.write_frame(pipe, frames.Run(frames.heads(arrays)), arrays)
    pipe.seek(0)
    message = frames.request_decoder.decode(frames.read_message(pipe))
    assert isinstance(message, frames.Run)
    got = frames.read_arrays(pipe, message.arrays)
    assert list(got) == ["first", "second"]
    assert got["first"].dtype == values.dtype
    assert got["first"].shape == values.shape
    assert np.array_equal(got["first"], values)
    assert not pipe.read()


@pytest.mark.parametrize("cut", [1, 3, 7, -1])
def test_a_frame_that_breaks_off_is_the_end(cut: int) -> None:
    pipe = io.BytesIO()
    arrays = {"x": np.ones(5)}
    frames.write_frame(pipe, frames.Outputs(frames.heads(arrays)), arrays)
    broken = io.BytesIO(pipe.getvalue()[:cut])
    with pytest.raises(EOFError):
        frames.read_arrays(broken, frames.reply_decoder.decode(frames.read_message(broken)).arrays)  # type: ignore[union-attr]
