from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from edgeglm_agent.processing import OPERATIONS, Preprocess, ProcessingError, to_layout
from edgeglm_agent.wire import ProcessOp
from hypothesis import given, settings
from hypothesis import strategies as st

RESIZE = {"resize": {"height": 6, "width": 10}}
IMAGENET = {"normalise": {"scale": "1/255", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}
PIPELINES: dict[str, list[Any]] = {
    "nothing": [],
    "layout alone": [{"layout": {"to": "CHW"}}],
    "normalise, layout": [IMAGENET, {"layout": {"to": "CHW"}}],
    "layout, normalise by its first axis": [{"layout": {"to": "CHW"}}, {"normalise": {"mean": [1, 2, 3], "axis": 0}}],
    "resize, normalise": [RESIZE, IMAGENET],
    "crop, resize, grey": [{"crop": {"height": 9, "width": 8}}, RESIZE, "grey"],
    "padded": [{"resize": {"height": 7, "width": 7, "keep_aspect": "pad", "fill": 114}}, IMAGENET],
}


def images(count: int = 4, *, shape: tuple[int, ...] = (12, 9, 3), dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, *shape)).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("ops", [pytest.param(ops, id=name) for name, ops in PIPELINES.items()])
def test_a_batch_gives_each_sample_to_the_bit_what_it_gives_alone(ops: list[Any], dtype: str) -> None:
    preprocess, samples = Preprocess.of(ops), images(dtype=dtype)
    batch = preprocess.batch(samples)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    assert np.array_equal(batch, np.stack([preprocess.one(sample) for sample in samples]))
    assert np.array_equal(batch, preprocess.batch(list(samples)))


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    wanted=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    method=st.sampled_from(["bilinear", "nearest", "bicubic", "area"]),
    keep_aspect=st.sampled_from(["stretch", "crop", "pad"]),
    dtype=st.sampled_from(["uint8", "float32"]),
)
def test_every_image_comes_out_in_the_size_asked_for(
    height: int, width: int, wanted: tuple[int, int], method: str, keep_aspect: str, dtype: str
) -> None:
    sizes = {"height": wanted[0], "width": wanted[1], "method": method, "keep_aspect": keep_aspect}
    sample = np.full((height, width, 3), 200, dtype)
    result = Preprocess.of([{"resize": sizes}]).one(sample)
    assert result.shape == (*wanted, 3)
    assert set(np.unique(np.round(result))) <= {0.0, 200.0}  # a flat image stays flat; only padding is added
    assert keep_aspect == "pad" or result.min() > 199


def test_the_samples_given_are_left_as_they_were() -> None:
    samples = images(dtype="float32")
    before = samples.copy()
    Preprocess.of([IMAGENET]).batch(samples)
    assert np.array_equal(samples, before)


def test_samples_of_several_sizes_go_into_one_batch_after_a_resize() -> None:
    samples = [images(1)[0], images(1, shape=(20, 5, 3))[0]]
    assert Preprocess.of([RESIZE]).batch(samples).shape == (2, 6, 10, 3)
    with pytest.raises(ProcessingError, match=r"different shapes, \(12, 9, 3\) and \(20, 5, 3\)"):
        Preprocess().batch(samples)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (4, 5, 3), (2, 4, 5, 3)])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    "settings", [{"mean": [1, 2, 3], "std": [4, 5, 6]}, {"mean": [1, 2, 3], "std": 7}, {"std": [4, 5, 6]}, {"mean": 2}]
)
def test_normalise_is_the_formula_bit_by_bit_however_the_sample_lies_in_memory(
    shape: tuple[int, ...], turned: bool, settings: dict[str, Any]
) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    if turned:  # the same values in another order in memory
        values = np.ascontiguousarray(values.T).T
    mean, std = (np.asarray(settings.get(key, default), np.float32) for key, default in (("mean", 0), ("std", 1)))
    expected = (values * np.float32(1 / 255) - mean) / std
    operations = Preprocess.of([{"normalise": {"scale": "1/255", **settings}}])
    assert np.array_equal(operations.one(values), expected)
    assert np.array_equal(operations.batch(values[np.newaxis])[0], expected)


def test_normalise_follows_its_formula_by_channel() -> None:
    result = Preprocess.of([{"normalise": {"scale": 0.5, "mean": [1, 2], "std": [4, 8]}}]).one(np.array([[6, 20]]))
    assert result.tolist() == [[0.5, 1.0]]


def test_a_fraction_is_a_scale() -> None:
    by_fraction = Preprocess.of([{"normalise": {"scale": "1/255"}}]).one(images(1)[0])
    assert np.array_equal(by_fraction, Preprocess.of([{"normalise": {"scale": 1 / 255}}]).one(images(1)[0]))
    assert by_fraction.max() <= 1


def test_grey_weighs_the_colours_as_bt_601() -> None:
    pixel = np.array([[[100, 50, 200]]], np.uint8)
    assert Preprocess.of(["grey"]).one(pixel).tolist() == [[[round(0.299 * 100 + 0.587 * 50 + 0.114 * 200)]]]
    assert Preprocess.of(["grey"]).one(pixel / 255)[0, 0, 0] == pytest.approx((29.9 + 29.35 + 22.8) / 255)


def test_padding_keeps_the_shape_of_what_is_seen() -> None:
    wide = np.full((5, 10, 3), 200, np.uint8)
    result = Preprocess.of([{"resize": {"height": 10, "width": 10, "keep_aspect": "pad", "fill": 7}}]).one(wide)
    assert (result[:2] == 7).all()
    assert (result[-3:] == 7).all()
    assert (result[2:7] == 200).all()


def test_cropping_uses_the_middle() -> None:
    wide = np.zeros((4, 8, 1), np.uint8)
    wide[:, 2:6] = 255
    result = Preprocess.of([{"resize": {"height": 4, "width": 4, "keep_aspect": "crop"}}]).one(wide)
    assert (result == 255).all()
    assert (Preprocess.of([{"crop": {"height": 4, "width": 4}}]).one(wide) == 255).all()


def test_an_image_without_channels_gets_some() -> None:
    assert Preprocess.of([{"layout": {"from": "HW", "to": "CHW"}}]).batch(images(2, shape=(5, 4))).shape == (2, 1, 5, 4)
    assert Preprocess.of([{"layout": {"from": "HW", "to": "HWC"}}]).one(images(1, shape=(5, 4))[0]).shape == (5, 4, 1)


def test_a_grey_image_is_an_array_without_channels_where_such_were_learnt() -> None:
    flat = images(2, shape=(5, 4))
    preprocess = Preprocess.of([{"layout": {"from": "HW", "to": "CHW"}}])
    assert np.array_equal(preprocess.batch(flat[..., None]), preprocess.batch(flat))
    assert np.array_equal(preprocess.one(flat[0][..., None]), preprocess.one(flat[0]))
    with pytest.raises(ProcessingError, match=r"\(5, 4, 3\) is not HW"):
        preprocess.one(images(1, shape=(5, 4, 3))[0])


def test_tokens_stay_integers() -> None:
    tokens = np.arange(6).reshape(2, 3)
    assert Preprocess().batch(tokens).dtype == np.int64
    assert Preprocess().one(tokens.astype(np.int32)).dtype == np.int32


def test_of_several_inputs_the_images_are_meant_unless_one_is_named() -> None:
    samples = {"photo": images(), "age": np.full((4, 1), 40.0)}
    result = Preprocess.of([{"normalise": {"scale": 2}}]).batch(samples)
    assert np.array_equal(result["photo"], samples["photo"] * 2.0)
    assert (result["age"] == 40).all()
    named = Preprocess.of([{"normalise": {"scale": 2, "input": "age"}}]).one({k: v[0] for k, v in samples.items()})
    assert np.array_equal(named["photo"], samples["photo"][0])
    assert named["age"] == 80
    with pytest.raises(ProcessingError, match=r"preprocess\[0\].normalise.input: the data has no input `height`"):
        Preprocess.of([{"normalise": {"input": "height"}}]).batch(samples)


def test_the_only_input_is_meant_whatever_its_rank() -> None:
    assert Preprocess.of([{"normalise": {"scale": 2}}]).one({"x": np.ones(3)})["x"].tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("ops", "key", "says"),
    [
        ([RESIZE, "resise"], "preprocess[1]", "unknown operation `resise`; did you mean `resize`?"),
        (["softmax"], "preprocess[0]", "`softmax` is an operation of `postprocess`"),
        ([{"resize": {"height": 5}}], "preprocess[0].resize", "missing required field `width`"),
        ([{"resize": {"height": 0, "width": 5}}], "preprocess[0].resize.height", ">= 1"),
        ([{"resize": {"hieght": 5, "width": 5}}], "preprocess[0].resize", "`hieght`; did you mean `height`?"),
        ([{"resize": {"zzz": 5}}], "preprocess[0].resize", "there are input, height, width, method"),
        ([{"normalise": {"std": [1, 0]}}], "preprocess[0].normalise.std[1]", "> 0"),
        ([{"normalise": {"scale": "a/b"}}], "preprocess[0].normalise.scale", "matching"),
        ([{"layout": {"to": "WHC"}}], "preprocess[0].layout.to", "Invalid enum value 'WHC'"),
        ([{"a": {}, "b": {}}], "preprocess[0]", "write an operation as"),
    ],
)
def test_a_wrong_setting_is_named_with_its_key(ops: list[Any], key: str, says: str) -> None:
    with pytest.raises(ProcessingError) as raised:
        Preprocess.of(ops)
    assert raised.value.key == key
    assert says in raised.value.message


@pytest.mark.parametrize(
    ("ops", "shape", "says"),
    [
        ([RESIZE], (4,), r"preprocess\[0\].resize: .*\(4,\) is not \(height, width\)"),
        ([RESIZE], (0, 4, 3), r"preprocess\[0\].resize"),
        ([{"normalise": {"mean": [1, 2]}}], (4, 4, 3), r"normalise: `mean` has 2 values, the sample 3 channels"),
        ([{"normalise": {"axis": 3}}], (4, 4, 3), r"axis 3 does not exist"),
        ([{"layout": {"to": "CHW"}}], (4, 4), r"\(4, 4\) is not HWC"),
        ([{"crop": {"height": 5, "width": 2}}], (4, 4, 3), r"5 x 2 does not fit"),
        (["grey"], (4, 4, 1), r"is not \(height, width, 3\)"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused_with_the_operation(
    ops: list[Any], shape: tuple[int, ...], says: str
) -> None:
    preprocess = Preprocess.of(ops)
    with pytest.raises(ProcessingError, match=says):
        preprocess.one(np.ones(shape, np.uint8))
    with pytest.raises(ProcessingError, match=says):
        preprocess.batch(np.ones((2, *shape), np.uint8))


def test_a_sample_that_is_one_number_stays_one() -> None:
    assert Preprocess().one(np.float64(3)).shape == ()
    assert Preprocess().batch(np.arange(4.0)).shape == (4,)
    assert Preprocess().batch(list(np.arange(4.0))).shape == (4,)


def test_no_samples_are_refused() -> None:
    with pytest.raises(ProcessingError, match="no samples"):
        Preprocess().batch(np.ones((0, 3)))


def test_what_travels_on_the_wire_does_the_same_again() -> None:
    preprocess = Preprocess.of(["grey", RESIZE, {"normalise": {"scale": "1/255"}}, {"layout": {"to": "CHW"}}])
    wire = preprocess.wire()
    assert [op.op for op in wire] == ["grey", "resize", "normalise", "layout"]
    assert wire[1] == ProcessOp(
        "resize",
        {"height": 6, "width": 10, "method": "bilinear", "keep_aspect": "stretch", "fill": 0.0},
    )
    assert np.array_equal(Preprocess(wire).batch(images()), preprocess.batch(images()))


def test_every_operation_and_setting_says_what_it_is() -> None:
    for name, kind in OPERATIONS.items():
        assert kind.__doc__, name
        assert not kind.__doc__.startswith(kind.__name__ + "("), name


def test_layouts_turn_into_each_other_and_back() -> None:
    images_nchw = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    nhwc = to_layout(images_nchw, "NCHW", "NHWC")
    assert nhwc.shape == (2, 4, 5, 3)
    assert nhwc.flags.c_contiguous
    assert nhwc[1, 2, 3, 0] == images_nchw[1, 0, 2, 3]
    assert np.array_equal(to_layout(nhwc, "NHWC", "NCHW"), images_nchw)
    assert to_layout(images_nchw[0], "", "").shape == (3, 4, 5)
    with pytest.raises(ProcessingError, match=r"cannot go from layout 'NC' to 'NCHW'"):
        to_layout(np.ones((2, 3)), "NC", "NCHW")
