from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from edgeglm.data.shifts import Blur, Gain, Noise, OwnShift, ShiftConfig, Surroundings, shift_name
from edgeglm.data.splits import ArraySplit
from edgeglm.errors import EntryError, RecipeError
from edgeglm.pipeline.robustness import ShiftedSplit
from edgeglm.sources.entry import Entries

IMAGES = np.random.default_rng(0).normal(2.0, 3.0, (20, 2, 9, 7)).astype(np.float32)
TOKENS = np.arange(40).reshape(20, 2)


def shifted(shift: ShiftConfig, folder: Path, inputs: dict[str, np.ndarray] | None = None) -> ShiftedSplit:
    inputs = {"image": IMAGES} if inputs is None else inputs
    around = Surroundings(
        spread={name: float(values.std()) for name, values in inputs.items()},
        layouts={"image": "NCHW"},
        generator=lambda number: np.random.default_rng([5, number]),
        entries=Entries(folder),
        key="robustness[0]",
    )
    return ShiftedSplit(ArraySplit(inputs, None), shift, around, np.arange(20) * 3)


def own(tmp_path: Path, body: str) -> OwnShift:
    (tmp_path / "shifts.py").write_text(f"import numpy as np\n\n\ndef change(inputs, generator):\n    {body}\n")
    return OwnShift(function="./shifts.py:change")


@pytest.mark.parametrize("kind", ["noise", "blur", "gain", "entry"])
def test_a_sample_is_changed_alike_in_whatever_batch_it_is_read(tmp_path: Path, kind: str) -> None:
    shift = {
        "noise": Noise(std=0.5),
        "blur": Blur(sigma=1.5),
        "gain": Gain(factor=1.5),
        "entry": own(tmp_path, "return inputs + generator.normal(size=inputs.shape).astype(inputs.dtype)"),
    }[kind]
    before = IMAGES.copy()
    split = shifted(shift, tmp_path)
    whole = split.rows(np.arange(20))["image"]
    assert whole.dtype == np.float32
    assert np.abs(whole - IMAGES).max() > 0.1
    for rows in ([3], [7, 3], list(range(20))[::-1]):
        assert np.array_equal(split.rows(np.array(rows))["image"], whole[rows])
    assert np.array_equal(split.take(np.array([4, 9])).rows(np.array([1]))["image"], whole[[9]])
    assert np.array_equal(before, IMAGES)  # what is changed is a copy
    assert (len(split), split.input_names, split.targets) == (20, ("image",), None)


def test_noise_is_as_large_as_it_says_in_the_inputs_own_spread(tmp_path: Path) -> None:
    added = shifted(Noise(std=0.5), tmp_path).rows(np.arange(20))["image"] - IMAGES
    assert added.std() == pytest.approx(0.5 * IMAGES.std(), rel=0.05)
    assert abs(added.mean()) < 0.1
    assert not np.array_equal(added[0], added[1])


def test_blur_is_a_gaussian_over_height_and_width(tmp_path: Path) -> None:
    made = shifted(Blur(sigma=1.0), tmp_path).rows(np.arange(20))["image"]
    expected = gaussian_filter(IMAGES, (0, 0, 1.0, 1.0), mode="nearest", truncate=3.0)
    assert np.allclose(made, expected, atol=1e-4)
    series = {"x": np.random.default_rng(1).normal(size=(20, 30, 2)).astype(np.float32)}
    made = shifted(Blur(sigma=2.0, axes=[0]), tmp_path, series).rows(np.arange(20))["x"]
    assert np.allclose(made, gaussian_filter(series["x"], (0, 2.0, 0), mode="nearest", truncate=3.0), atol=1e-4)


def test_inputs_of_whole_numbers_and_those_not_named_stay(tmp_path: Path) -> None:
    inputs = {"image": IMAGES, "tokens": TOKENS, "speed": np.ones((20, 1), np.float32)}
    rows = np.arange(20)
    made = shifted(Gain(factor=2.0), tmp_path, inputs).rows(rows)
    assert np.array_equal(made["image"], 2 * IMAGES)
    assert (made["tokens"] is not None, made["speed"][0, 0]) == (True, 2.0)
    assert np.array_equal(made["tokens"], TOKENS)
    made = shifted(Gain(factor=2.0, input="speed"), tmp_path, inputs).rows(rows)
    assert np.array_equal(made["image"], IMAGES)
    code = 'return {**inputs, "tokens": inputs["tokens"] + 1}'
    made = shifted(own(tmp_path, code), tmp_path, inputs).rows(rows)
    assert np.array_equal(made["tokens"], TOKENS + 1)


@pytest.mark.parametrize(
    ("shift", "says"),
    [
        (Noise(std=1.0), "no input is of real numbers"),
        (Gain(factor=2.0, input="absent"), "`absent` is no such input"),
    ],
)
def test_a_change_that_finds_nothing_to_change_is_refused(tmp_path: Path, shift: ShiftConfig, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        shifted(shift, tmp_path, {"tokens": TOKENS}).rows(np.arange(1))


def test_what_is_no_image_is_blurred_along_axes_that_are_named(tmp_path: Path) -> None:
    series = {"x": np.zeros((20, 30), np.float32)}
    with pytest.raises(RecipeError, match="is no image"):
        shifted(Blur(sigma=1.0), tmp_path, series).rows(np.arange(1))
    with pytest.raises(RecipeError, match="has no axes"):
        shifted(Blur(sigma=1.0, axes=[1]), tmp_path, series).rows(np.arange(1))


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ("return inputs[:, :1]", "entry-result", r"returned \[1, 1, 9, 7\] float32 for \[1, 2, 9, 7\] float32"),
        ("return (inputs * 100).astype(int)", "entry-result", "int64"),
        ("return inputs * np.float32('nan')", "entry-result", "returned NaN or infinity for input `image` of sample 0"),
        ("return None", "entry-result", r"returned \[\] object"),
        ("return inputs.absent", "entry-failed", "raised AttributeError"),
    ],
)
def test_a_function_that_cannot_be_used_is_named(tmp_path: Path, body: str, code: str, says: str) -> None:
    with pytest.raises(EntryError, match=says) as raised:
        shifted(own(tmp_path, body), tmp_path).rows(np.arange(1))
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("shift", "name"),
    [
        (Noise(std=0.1), "noise std=0.1"),
        (Noise(std=0.1, input="x"), "noise std=0.1 input=x"),
        (Blur(sigma=2.0, axes=[-1]), "blur sigma=2 axes=[-1]"),
        (OwnShift(function="./s.py:fog"), "entry ./s.py:fog"),
    ],
)
def test_a_change_goes_by_its_settings(shift: Any, name: str) -> None:
    assert shift_name(shift) == name
