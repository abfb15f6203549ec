from __future__ import annotations

import numpy as np
import pytest

from edgeglm.errors import ExportError
from edgeglm.measure.parity import compare

REFERENCE = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


def test_equal_outputs_pass_in_float_and_quantized() -> None:
    for quantized in (False, True):
        parity = compare({"y": REFERENCE}, {"y": REFERENCE.copy()}, quantized=quantized)
        assert parity.passed
        assert parity.samples == 40
        assert parity.max_abs == 0
        assert parity.max_ref == pytest.approx(np.abs(REFERENCE).max())
        assert parity.cosine == pytest.approx(1)
        assert parity.argmax_agreement == 1


@pytest.mark.parametrize(("share", "passes"), [(0.9e-4, True), (1.2e-4, False)])
def test_float_passes_up_to_a_ten_thousandth_of_the_largest_value(share: float, passes: bool) -> None:
    got = REFERENCE.astype(np.float64)
    got[3, 2] += share * np.abs(REFERENCE).max()
    assert compare({"y": REFERENCE}, {"y": got}, quantized=False).passed is passes


def test_quantized_passes_by_direction_or_by_decision() -> None:
    alike = compare({"y": REFERENCE}, {"y": 3 * REFERENCE + 0.01}, quantized=True)
    assert alike.passed
    assert alike.cosine is not None
    assert alike.cosine > 0.99
    # another direction, the same classes
    by_decision = compare({"y": np.abs(REFERENCE)}, {"y": np.abs(REFERENCE) ** 9}, quantized=True)
    assert by_decision.cosine is not None
    assert by_decision.cosine < 0.99
    assert by_decision.argmax_agreement == 1
    assert by_decision.passed
    assert not compare({"y": REFERENCE}, {"y": -REFERENCE}, quantized=True).passed


def test_one_sample_in_fifty_decided_otherwise_does_not_pass() -> None:
    reference = np.eye(4)[np.arange(100) % 4] + 0.9
    for wrong, passes in ((1, True), (2, False)):
        got = 5 * np.eye(4)[np.arange(100) % 4] - 1
        got[:wrong] = np.roll(got[:wrong], 1, axis=1)
        parity = compare({"y": reference}, {"y": got}, quantized=True)
        assert parity.argmax_agreement == pytest.approx(1 - wrong / 100)
        assert parity.passed is passes


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("side", ["reference", "got", "both"])
def test_a_value_that_is_not_finite_never_passes(quantized: bool, bad: float, side: str) -> None:
    reference, got = REFERENCE.copy(), REFERENCE.copy()
    if side != "got":
        reference[0, 0] = bad
    if side != "reference":
        got[0, 0] = bad
    parity = compare({"y": reference}, {"y": got}, quantized=quantized)
    assert not parity.passed
    assert parity.max_abs is None
    assert parity.cosine is None
    assert (parity.max_ref is None) is (side != "got")


def test_the_worst_output_counts() -> None:
    parity = compare({"a": REFERENCE, "b": REFERENCE}, {"a": REFERENCE, "b": -REFERENCE}, quantized=True)
    assert not parity.passed
    assert parity.cosine == pytest.approx(-1)
    assert parity.max_abs == pytest.approx(2 * np.abs(REFERENCE).max())


def test_a_column_has_no_argmax_to_agree_on() -> None:
    column = REFERENCE[:, :1]
    parity = compare({"y": column}, {"y": -column}, quantized=True)
    assert parity.argmax_agreement == 0
    assert not parity.passed


def test_a_row_of_zeros_is_like_a_row_of_zeros_alone() -> None:
    zeros = np.zeros((2, 3))
    assert compare({"y": zeros}, {"y": zeros}, quantized=False).passed
    assert compare({"y": zeros}, {"y": zeros}, quantized=True).cosine == 1
    assert compare({"y": zeros}, {"y": np.ones((2, 3))}, quantized=True).cosine == 0


@pytest.mark.parametrize("got", [{"z": REFERENCE}, {"y": REFERENCE[:, :5]}, {}], ids=["name", "shape", "nothing"])
def test_other_names_or_shapes_are_an_error(got: dict[str, np.ndarray]) -> None:
    with pytest.raises(ExportError, match=r"y \(40, 6\) against") as raised:
        compare({"y": REFERENCE}, got, quantized=True)
    assert raised.value.code == "outputs-differ"
