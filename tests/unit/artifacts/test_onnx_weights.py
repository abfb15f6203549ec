"""Blocks of 8-bit and 4-bit weights."""

from __future__ import annotations

import numpy as np
import pytest

from edgeglm.artifacts.onnx_weights import block_scales, fitting_block, pack


def unpacked(packed: np.ndarray, scales: np.ndarray, bits: int, length: int) -> np.ndarray:
    if bits == 4:
        packed = np.stack([packed & 15, packed >> 4], -1).reshape(*packed.shape[:-1], -1)
    values = (packed.astype(np.float32) - 2 ** (bits - 1)) * scales[..., None]
    return values.reshape(len(packed), -1)[:, :length]


@pytest.mark.parametrize(("bits", "error"), [(8, 0.006), (4, 0.1)])
def test_packed_weights_stand_for_the_float_ones(bits: int, error: float) -> None:
    weights = np.random.default_rng(0).normal(size=(7, 100)).astype(np.float32)
    packed, scales = pack(weights, bits, 32)
    assert (packed.shape, packed.dtype, scales.shape) == ((7, 4, 32 * bits // 8), np.uint8, (7, 4))
    back = unpacked(packed, scales, bits, 100)
    assert np.sqrt(np.mean((back - weights) ** 2)) < error
    assert np.abs(back - weights).max() > 0


def test_the_largest_weight_is_met_exactly_whatever_its_sign() -> None:
    for value in (3.0, -3.0):
        weights = np.array([[value, 0.1, -0.1, 0.0]], np.float32)
        packed, scales = pack(weights, 8, 4)
        assert unpacked(packed, scales, 8, 4)[0, 0] == pytest.approx(value)


def test_a_block_of_zeros_stays_zero() -> None:
    packed, scales = pack(np.zeros((2, 32), np.float32), 4, 32)
    assert np.isfinite(scales).all()
    assert not unpacked(packed, scales, 4, 32).any()


def test_a_searched_scale_is_better_than_that_of_the_largest_weight() -> None:
    blocks = np.random.default_rng(1).normal(size=(500, 32)).astype(np.float32)

    def error(scales: np.ndarray) -> float:
        return float(np.square(np.clip(np.rint(blocks / scales), -8, 7) * scales - blocks).sum())

    plain = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1) / -8
    assert error(block_scales(blocks, 4)) < 0.95 * error(plain)


@pytest.mark.parametrize(
    ("length", "bits", "block", "expected"),
    [(384, 4, 32, 32), (384, 8, 128, 128), (32, 8, 64, 32), (10, 4, 32, 16), (96, 4, 64, 32), (1, 8, 128, 16)],
)
def test_a_block_is_halved_where_rows_would_be_filled_up(length: int, bits: int, block: int, expected: int) -> None:
    assert fitting_block(length, bits, block) == expected
