"""Slices: named parts of the evaluation data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeglm_agent.processing import Preprocess

from edgeglm.data.slices import column_slices, masks_of, with_entry_slices
from edgeglm.data.splits import ArraySplit, Data
from edgeglm.errors import DataError, EntryError
from edgeglm.recipe import load_recipe
from edgeglm.sources.entry import Entries
from edgeglm.sources.npz import Fractions, NpzData
from edgeglm.tasks import Classification


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    if Entries._active is not None:
        Entries._active.close()


@pytest.mark.parametrize(
    ("values", "names"),
    [
        pytest.param(["b", "a", "", "b"], ["d=(empty)", "d=a", "d=b"], id="names"),
        pytest.param([2, 10, 2, -1], ["d=-1", "d=2", "d=10"], id="whole numbers"),
        pytest.param([0.5, 2.0, 0.5, 0.5], ["d=0.5", "d=2"], id="numbers"),
        pytest.param(
            [10000002.0, 10000001.0, 10000002.0, 1e7], ["d=10000000", "d=10000001", "d=10000002"], id="digits"
        ),
        pytest.param([0.1, 0.3, 0.1 + 0.2, 0.1], ["d=0.1", "d=0.3", "d=0.30000000000000004"], id="nearly the same"),
        pytest.param(np.float32([0.1, 16777217, 16777215, 0.1]), ["d=0.1", "d=16777215", "d=16777216"], id="float32"),
        pytest.param([-0.0, 0.0, -1e-300, -0.0], ["d=-1e-300", "d=0"], id="two signs of zero"),
        pytest.param(["", "(empty)", "a", ""], ["d=''", "d='(empty)'", "d='a'"], id="a name that stands for none"),
        pytest.param([True, False, True, True], ["d=false", "d=true"], id="true and false"),
    ],
)
def test_every_value_of_a_column_is_a_slice(values: list[Any], names: list[str]) -> None:
    masks = masks_of({"d": np.array(values)}, where="data")
    assert list(masks) == names
    assert np.array_equal(np.sum(list(masks.values()), axis=0), [1, 1, 1, 1])  # each sample is in one of them


def test_a_slice_takes_no_other_ones_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two slices would be called `a=b=c`") as caught:
        masks_of({"a": np.array(["b=c"]), "a=b": np.array(["c"])}, where="data")
    assert caught.value.code == "data-slices"
    (tmp_path / "slices.py").write_text("def a(inputs, targets, split):\n    return ['b=c'] * len(inputs)\n")
    data = data_of(np.zeros((4, 3)))
    there = {"eval": masks_of({"a=b": np.array(list("ccdd"))}, where="data")}
    with pytest.raises(DataError, match="two slices would be called `a=b=c`") as caught:
        with_entry_slices(replace(data, slices=there), ["a=b", "./slices.py:a"], Entries(tmp_path))
    assert caught.value.problems[0].where == "slices[1] ./slices.py:a, split `eval`"


def test_a_measurement_is_no_column_for_slices() -> None:
    masks_of({"d": np.arange(50)}, where="data")
    with pytest.raises(DataError, match="`d` has 51 different values") as caught:
        masks_of({"d": np.arange(51)}, where="data")
    assert caught.value.code == "data-slices"
    assert "ranges" in caught.value.problems[0].hint


def data_of(values: np.ndarray) -> Data:
    split = ArraySplit({"input": values}, np.arange(len(values)))
    return Data(splits={"train": split, "calibration": split, "eval": split}, eval_splits=("eval",))


def sliced(folder: Path, body: str, values: np.ndarray) -> Data:
    (folder / "slices.py").write_text(f"import numpy as np\ndef part(inputs, targets, split):\n    {body}\n")
    return with_entry_slices(data_of(values), ["device", "./slices.py:part"], Entries(folder))


def test_a_function_says_where_samples_belong(tmp_path: Path) -> None:
    body = "return [f'{split}-{x > 2}-{y % 2}' for x, y in zip(inputs[:, 0], targets)]"
    data = sliced(tmp_path, body, np.arange(4.0)[:, None])
    assert {name: mask.tolist() for name, mask in data.slices["eval"].items()} == {
        "part=eval-False-0": [True, False, True, False],
        "part=eval-False-1": [False, True, False, False],
        "part=eval-True-1": [False, False, False, True],
    }


@pytest.mark.parametrize("body", ["return inputs", "return [1]", "return None", "return {'a': 1}"])
def test_a_function_gives_one_value_a_sample(tmp_path: Path, body: str) -> None:
    with pytest.raises(DataError, match="for 4 samples") as caught:
        sliced(tmp_path, body, np.zeros((4, 3)))
    assert (caught.value.code, caught.value.problems[0].where) == ("data-slices", "slices[1]")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("return [None] * 4", id="None"),
        pytest.param("return ['a', 'b', None, 'a']", id="a None"),
        pytest.param("return [0.5, float('nan'), 1, 2]", id="NaN among numbers"),
        pytest.param("return ['a', float('nan'), 'b', 'a']", id="NaN among names"),
        pytest.param("return np.array([1, np.nan, 1, 1], np.float32)", id="NaN of an array"),
    ],
)
def test_a_function_leaves_no_sample_without_a_value(tmp_path: Path, body: str) -> None:
    with pytest.raises(DataError, match=r"returned None or NaN for \d of 4 samples, first for sample \d") as caught:
        sliced(tmp_path, body, np.zeros((4, 3)))
    assert (caught.value.code, caught.value.problems[0].where) == ("data-slices", "slices[1]")


def test_a_column_with_nan_is_refused_whoever_gives_it() -> None:
    with pytest.raises(DataError, match="`d` is NaN for 2 of 4 samples, first for sample 1") as caught:
        masks_of({"d": np.array([1.0, np.nan, np.nan, np.inf])}, where="data")
    assert caught.value.code == "data-slices"


def test_what_a_function_raises_is_the_users(tmp_path: Path) -> None:
    with pytest.raises(EntryError, match="ZeroDivisionError"):
        sliced(tmp_path, "return 1 / 0", np.zeros((4, 3)))


def test_columns_are_told_from_functions() -> None:
    assert column_slices(["device", "./a.py:f", "pack.mod:f", "b c"]) == ("device", "b c")


def save(path: Path, **more: Any) -> None:
    rng = np.random.default_rng(0)
    np.savez(path, x=rng.normal(size=(90, 3)).astype(np.float32), y=np.arange(90) % 3, **more)


def load_npz(folder: Path) -> Data:
    return NpzData(path="d.npz", fractions=Fractions(train=0.5, calibration=0.1, eval=0.4)).load(
        Entries(folder), preprocess=Preprocess(), task=Classification(), labels=(), seed=0, slices=("device",)
    )


def test_a_column_of_an_archive_is_divided_with_its_samples(tmp_path: Path) -> None:
    save(tmp_path / "d.npz", device=np.array(["ab"[n % 2] for n in range(90)]))
    with np.load(tmp_path / "d.npz") as archive:
        known = {row.tobytes(): device for row, device in zip(archive["x"], archive["device"], strict=True)}
    data = load_npz(tmp_path)
    rows = data.evaluation.rows(np.arange(len(data.evaluation)))["input"]
    assert data.slices["eval"]["device=a"].tolist() == [known[row.tobytes()] == "a" for row in rows]


def test_a_column_as_long_as_something_else_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "d.npz", device=np.zeros(89))
    with pytest.raises(DataError, match="not one value for each of 90 samples"):
        load_npz(tmp_path)


def test_nan_in_a_column_of_an_archive_is_named_by_its_row_in_the_file(tmp_path: Path) -> None:
    device = np.round(np.random.default_rng(1).normal(size=90))
    device[71] = np.nan
    save(tmp_path / "d.npz", device=device)
    with pytest.raises(DataError, match="`device` is NaN for 1 of 90 samples, first for row 71"):
        load_npz(tmp_path)


RECIPE = """\
version: 1
name: a
model: {{source: onnx, path: a.onnx}}
data: {{source: {source}, path: a}}
task: {{kind: classification}}
artifacts: [{{format: onnx}}]
slices: {slices}
budget: {{{budget}}}
"""


@pytest.mark.parametrize(
    ("slices", "source", "budget", "where", "said"),
    [
        ("[a, b, a]", "npz", "", "slices[2]", "`a` is listed twice"),
        ('["./a.py:f", "./b.py:f"]', "npz", "", "slices[1]", "would be called `f=...`, as those of `./a.py:f`"),
        ('["pack.a:f", b, f]', "npz", "", "slices[2]", "would be called `f=...`, as those of `pack.a:f`"),
        ("[device]", "images", "", "slices[0]", "data of `source: images` has no columns"),
        ("[]", "npz", "per_slice_drop: 0.1", "budget.per_slice_drop", "no slice is named"),
    ],
)
def test_a_recipe_whose_slices_cannot_be_is_refused(
    tmp_path: Path, slices: str, source: str, budget: str, where: str, said: str
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(slices=slices, source=source, budget=budget))
    with pytest.raises(Exception, match=said) as caught:
        load_recipe(path)
    assert caught.value.problems[0].where.endswith(f" {where}")  # type: ignore[attr-defined]
