from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from edgeglm_agent.golden import GoldenError, difference, read_golden
from hypothesis import given
from hypothesis import strategies as st

from tests.support.model_folders import safetensors

INPUT = {"input.x": np.arange(6, dtype=np.float32).reshape(2, 3), "input.ids": np.array([[1], [2]], np.int64)}
WHOLE = safetensors(INPUT | {"output.y": np.ones((2, 4), np.float32)})


def test_golden_samples_are_read_without_the_library() -> None:
    golden = read_golden(WHOLE)
    assert golden.samples == 2
    assert np.array_equal(golden.inputs["x"], INPUT["input.x"])
    assert golden.inputs["ids"].dtype == np.int64
    assert golden.outputs["y"].shape == (2, 4)


def header(entry: dict[str, Any]) -> bytes:
    text = json.dumps({"input.x": entry}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(8)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        WHOLE[:40],
        WHOLE[:-1],
        b"\xff" * 64,
        (10).to_bytes(8, "little") + b"not a json",
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{}",
        (20000).to_bytes(8, "little") + b"[" * 20000,
        header({"dtype": "F32", "shape": [2], "data_offsets": [0, 9]}),
        header({"dtype": "F32", "shape": [2], "data_offsets": [4, 0]}),
        header({"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}),
        header({"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}),
        header({"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}),
        header({"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}),
        header({"dtype": "F32", "data_offsets": [0, 8]}),
        safetensors(INPUT),
        safetensors(INPUT | {"output.y": np.ones((3, 4), np.float32)}),
        safetensors({"input.x": np.ones((0, 3), np.float32), "output.y": np.ones((0, 4), np.float32)}),
        safetensors({"input.x": np.float32(1), "output.y": np.float32(1)}),
    ],
)
def test_what_holds_no_golden_samples_is_refused(data: bytes) -> None:
    with pytest.raises(GoldenError):
        read_golden(data)


@given(st.binary(max_size=64), st.integers(0, len(WHOLE)))
def test_any_damage_is_refused_or_reads_as_arrays(noise: bytes, at: int) -> None:
    try:
        golden = read_golden(WHOLE[:at] + noise + WHOLE[at + len(noise) :])
    except GoldenError:
        return
    assert golden.samples > 0


def said(reference: Any, got: Any, *, quantized: bool) -> str:
    return difference({"y": np.asarray(reference, np.float32)}, {"y": np.asarray(got, np.float32)}, quantized=quantized)


def test_float_may_differ_by_a_ten_thousandth_of_the_largest_value() -> None:
    assert said([[100, 1.0]], [[100, 1.0099]], quantized=False) == ""
    assert (
        said([[100, 1.0]], [[100, 1.0102]], quantized=False) == "output `y`: max difference 0.0102, at most 0.01 may be"
    )


def test_quantized_may_differ_in_numbers_where_the_decisions_are_the_same() -> None:
    reference = [[3, 1, 0, 0], [0, 2, 1, 0], [0, 0, 4, 1], [1, 0, 0, 5]]
    blurred = [[1, 0.8, 0, 0], [0, 1, 0.8, 0], [0, 0, 1, 0.8], [0.8, 0, 0, 1]]
    assert said(reference, blurred, quantized=False) != ""
    assert said(reference, blurred, quantized=True) == ""
    other = [*blurred[:3], [2, 0, 0, 1]]
    assert "3 of 4 decisions" in said(reference, other, quantized=True)


def test_the_same_answer_to_everything_does_not_pass_although_its_direction_is_right() -> None:
    rng = np.random.default_rng(0)
    reference = 50 + rng.normal(size=(8, 32))
    constant = np.tile(reference.mean(0), (8, 1))
    assert "correlation 0.00" in said(reference, constant, quantized=True)


@pytest.mark.parametrize("quantized", [True, False])
def test_nan_and_other_shapes_never_pass(quantized: bool) -> None:
    assert (
        said([[1, 2]], [[1, np.nan]], quantized=quantized)
        == "output `y`: what it gives is not finite (NaN or infinity)"
    )
    assert said([[1, np.inf]], [[1, np.inf]], quantized=quantized) == "output `y`: its golden values are not finite"
    assert said([[1, 2]], [[1]], quantized=quantized) == "its outputs are `y` 1x1, they should be `y` 1x2"
    assert "it is empty" in said(np.ones((2, 0)), np.ones((2, 0)), quantized=quantized)
