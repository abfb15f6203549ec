from __future__ import annotations

import numpy as np
import pytest

from edgeglm.errors import ExportError
from edgeglm.measure.parity import compare, drawn_rows

RNG = np.random.default_rng(0)
REFERENCE = RNG.normal(size=(40, 12)).astype(np.float32)


def test_equal_outputs_pass_in_float_and_quantized() -> None:
    for quantized in (False, True):
        parity = compare({"y": REFERENCE}, {"y": REFERENCE.copy()}, quantized=quantized)
        assert parity.passed
        assert parity.samples == 40
        assert parity.max_abs == parity.error_share == 0
        assert parity.max_ref == pytest.approx(np.abs(REFERENCE).max())
        assert parity.cosine == pytest.approx(1)
        assert parity.argmax_agreement == 1
        assert parity.answers == "samples"


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
    by_decision = compare({"y": np.abs(REFERENCE)}, {"y": np.abs(REFERENCE) ** 3}, quantized=True)
    assert by_decision.cosine is not None
    assert by_decision.cosine < 0.99
    assert by_decision.argmax_agreement == 1
    assert by_decision.passed
    assert not compare({"y": REFERENCE}, {"y": -REFERENCE}, quantized=True).passed


def noisy(values: np.ndarray, share: float) -> np.ndarray:
    """Return the values with an error of this share of their variance."""
    return values + np.sqrt(share) * values.std(axis=0) * np.random.default_rng(1).normal(size=values.shape)


@pytest.mark.parametrize(("share", "passes"), [(0.01, True), (0.05, True), (0.2, False), (1.0, False)])
def test_a_single_number_is_held_against_what_it_varies_by(share: float, passes: bool) -> None:
    values = 300 + 5 * RNG.normal(size=(256, 1))  # the cosine of such numbers is 1 whatever is said
    parity = compare({"y": values}, {"y": noisy(values, share)}, quantized=True, kinds={"y": "values"})
    assert parity.passed is passes
    assert parity.error_share == pytest.approx(share, rel=0.2)
    assert parity.cosine is None
    assert parity.answers == ""


@pytest.mark.parametrize("kind", ["values", "outputs", "reconstruction", "embedding", "classes", None])
@pytest.mark.parametrize("width", [1, 2, 12])
def test_a_file_that_answers_the_same_to_everything_is_refused(kind: str | None, width: int) -> None:
    values = 3 + np.random.default_rng(2).normal(size=(200, width))
    constant = np.broadcast_to(values.mean(axis=0), values.shape)
    kinds = {} if kind is None else {"y": kind}
    assert not compare({"y": values}, {"y": constant}, quantized=True, kinds=kinds).passed


def test_no_number_hides_behind_a_larger_one() -> None:
    values = RNG.normal(size=(100, 2)) * (1e5, 0.1)
    got = values.copy()
    got[:, 1] = 0
    parity = compare({"y": values}, {"y": got}, quantized=True, kinds={"y": "values"})
    assert not parity.passed
    assert parity.error_share == pytest.approx(1, abs=0.05)


def test_a_number_that_hardly_varies_may_be_rounded() -> None:
    values = np.stack([np.full(50, 5.0), np.zeros(50), RNG.normal(size=50)], axis=1)
    assert compare({"y": values}, {"y": values + 0.01}, quantized=True, kinds={"y": "values"}).passed
    assert not compare({"y": values}, {"y": values + 0.5}, quantized=True, kinds={"y": "values"}).passed


def test_one_golden_sample_is_held_against_its_size() -> None:
    one = np.array([[4.0]])
    assert compare({"y": one}, {"y": one * 1.02}, quantized=True).passed
    assert not compare({"y": one}, {"y": one * 2}, quantized=True).passed


def two_logits(n: int, flips: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of two logits, and others far from them but of the same class in all rows but so many."""
    margins = np.abs(np.random.default_rng(3).normal(size=n)) + 0.1
    signs = np.where(np.arange(n) % 2, 1, -1)
    turned = np.where(np.arange(n) < flips, -signs, signs)
    reference, got = signs * margins, turned * margins**2
    return np.stack([-reference, reference], axis=1), np.stack([-got, got], axis=1)


@pytest.mark.parametrize(("n", "flips", "passes"), [(64, 1, True), (64, 2, True), (64, 3, False), (256, 6, False)])
def test_a_few_classes_of_many_refuse_nothing_until_it_is_beyond_doubt(n: int, flips: int, passes: bool) -> None:
    reference, got = two_logits(n, flips)
    parity = compare({"y": reference}, {"y": got}, quantized=True, kinds={"y": "classes"})
    assert parity.argmax_agreement == 1 - flips / n
    assert parity.error_share is not None
    assert parity.error_share > 0.02
    assert parity.passed is passes


def test_two_logits_that_say_the_rare_class_never_are_refused() -> None:
    rare = np.arange(200) == 7
    reference = np.where(rare[:, None], (-1.0, 1.0), (2.0, -2.0)) + 0.3 * RNG.normal(size=(200, 2))
    constant = np.broadcast_to(np.array([2.0, -2.0]), reference.shape)
    parity = compare({"y": reference}, {"y": constant}, quantized=True, kinds={"y": "classes"})
    assert parity.argmax_agreement == 0.995
    assert not parity.passed


def test_what_all_logits_have_in_common_changes_no_class() -> None:
    shifted = REFERENCE[:, :2] + 10 * RNG.normal(size=(40, 1))
    assert compare({"y": REFERENCE[:, :2]}, {"y": shifted}, quantized=True, kinds={"y": "classes"}).error_share < 1e-6
    assert not compare({"y": REFERENCE[:, :2]}, {"y": shifted}, quantized=True, kinds={"y": "values"}).passed


@pytest.mark.parametrize(("kind", "shape"), [("classes", (256, 10)), ("pixels", (16, 10, 4, 4))])
def test_what_all_logits_have_in_common_hides_no_broken_file(kind: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=shape).astype(np.float32)
    broken = reference + rng.normal(scale=1.5, size=shape).astype(np.float32)
    for common in (0.0, 20.0):  # the cosine of the raw logits would be .997
        parity = compare({"y": reference + common}, {"y": broken + common}, quantized=True, kinds={"y": kind})
        assert not parity.passed, common


def test_numbers_have_no_classes_to_agree_on() -> None:
    reference, got = two_logits(64, 0)
    parity = compare({"y": reference}, {"y": got}, quantized=True, kinds={"y": "values"})
    assert not parity.passed
    assert parity.argmax_agreement == 0


def test_maps_are_compared_by_pixel() -> None:
    maps = RNG.normal(size=(20, 3, 8, 8))
    got = np.sign(maps) * np.abs(maps) ** 3
    parity = compare({"y": maps}, {"y": got}, quantized=True, kinds={"y": "pixels"})
    assert parity.answers == "pixels"
    assert parity.argmax_agreement == 1
    assert parity.passed
    wrong = compare({"y": maps}, {"y": np.roll(got, 1, axis=1)}, quantized=True, kinds={"y": "pixels"})
    assert wrong.argmax_agreement < 0.5
    assert not wrong.passed


def test_an_embedding_passes_by_its_direction_alone() -> None:
    vectors = RNG.normal(size=(100, 64))
    for share, passes in ((0.01, True), (0.04, False)):
        got = noisy(vectors, share)
        assert compare({"y": vectors}, {"y": got}, quantized=True, kinds={"y": "embedding"}).passed is passes


def test_samples_of_sorted_data_are_drawn_from_all_of_it_by_the_seed() -> None:
    outputs = {"y": np.zeros((1000, 2)), "map": np.zeros((1000, 4))}
    rows = drawn_rows(outputs, seed=0)
    assert len(rows) == 256
    assert (np.diff(rows) > 0).all()
    assert 0.4 < np.mean(rows < 500) < 0.6
    assert np.array_equal(rows, drawn_rows(outputs, seed=0))
    assert not np.array_equal(rows, drawn_rows(outputs, seed=1))
    assert len(drawn_rows({"y": np.zeros((9, 2))}, seed=0)) == 9
    assert len(drawn_rows({"y": np.broadcast_to(np.zeros(1), (1000, 2**20))}, seed=0)) == 16


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("side", ["reference", "got", "both"])
def test_a_value_that_is_not_finite_never_passes(quantized: bool, bad: float, side: str) -> None:
    reference, got = REFERENCE.copy(), REFERENCE.copy()
    if side != "got":
        reference[0, 0] = bad
    if side != "reference":
        got[0, 0] = bad
    parity = compare({"x": REFERENCE, "y": reference}, {"x": REFERENCE, "y": got}, quantized=quantized)
    assert not parity.passed
    assert parity.max_abs is None
    assert parity.cosine is None
    assert parity.error_share is None
    assert parity.argmax_agreement == 0
    assert (parity.max_ref is None) is (side != "got")


def test_the_worst_output_counts() -> None:
    parity = compare({"a": REFERENCE, "b": REFERENCE}, {"a": REFERENCE, "b": -REFERENCE}, quantized=True)
    assert not parity.passed
    assert parity.cosine == pytest.approx(-1)
    assert parity.max_abs == pytest.approx(2 * np.abs(REFERENCE).max())
    assert parity.error_share is not None
    assert parity.error_share >= 3.9


def test_a_row_of_zeros_is_like_a_row_of_zeros_alone() -> None:
    zeros = np.zeros((2, 9))
    assert compare({"y": zeros}, {"y": zeros}, quantized=False).passed
    same = compare({"y": zeros}, {"y": zeros}, quantized=True)
    assert same.passed
    assert same.cosine == 1
    other = compare({"y": zeros}, {"y": np.ones((2, 9))}, quantized=True)
    assert not other.passed
    assert other.cosine == 0


@pytest.mark.parametrize("got", [{"z": REFERENCE}, {"y": REFERENCE[:, :5]}, {}], ids=["name", "shape", "nothing"])
def test_other_names_or_shapes_are_an_error(got: dict[str, np.ndarray]) -> None:
    with pytest.raises(ExportError, match=r"y \(40, 12\) against") as raised:
        compare({"y": REFERENCE}, got, quantized=True)
    assert raised.value.code == "outputs-differ"
