"""Data from archives of NumPy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeglm.data.splits import sample_digests
from edgeglm.errors import DataError
from edgeglm.sources import NpzData
from edgeglm.sources.entry import Entries
from edgeglm.sources.npz import Fractions
from edgeglm.sources.splitting import divide
from edgeglm.tasks import Classification, Regression
from tests.support.arrays import NONE, objects, samples, three


def npz(folder: Path, name: str = "data.npz", **arrays: Any) -> Path:
    np.savez(folder / name, **arrays)
    return folder


def load_npz(folder: Path, **kwargs: Any) -> Any:
    config = NpzData(path="data.npz", **kwargs)
    return config.load(Entries(folder), preprocess=NONE, task=Classification(), labels=(), seed=0)


def refused_npz(code: str, folder: Path, match: str | None = None, **kwargs: Any) -> DataError:
    with pytest.raises(DataError, match=match) as caught:
        load_npz(folder, **kwargs)
    assert caught.value.code == code
    assert caught.value.problems[0].where.startswith(str(folder / "data.npz"))
    return caught.value


def own_splits() -> dict[str, np.ndarray]:
    return {f"{key}_{name}": part for name, pair in three().items() for key, part in zip("xy", pair, strict=True)}


def test_an_archive_with_splits_of_its_own_is_taken_as_it_is(tmp_path: Path) -> None:
    assert load_npz(npz(tmp_path, **own_splits())).sha256 == objects(three()).sha256


def test_an_archive_may_hold_nothing_but_what_is_evaluated(tmp_path: Path) -> None:
    data = load_npz(npz(tmp_path, **{name: part for name, part in own_splits().items() if name.endswith("_eval")}))
    assert list(data.splits) == ["eval"]
    assert len(data.calibration) == 0


def test_an_archive_without_targets_is_read_where_the_task_needs_none(tmp_path: Path) -> None:
    x = own_splits()["x_train"]
    npz(tmp_path, x=x)
    data = NpzData(path="data.npz", targets=None).load(
        Entries(tmp_path), preprocess=NONE, task=Regression(), labels=(), seed=0
    )
    assert data.evaluation.targets is None
    assert sum(len(split) for split in data.splits.values()) == len(x)


def test_splits_of_another_name_are_proposed(tmp_path: Path) -> None:
    arrays = {name.replace("_eval", "_val"): part for name, part in own_splits().items()}
    error = refused_npz("data-array-missing", npz(tmp_path, **arrays), "no array `x_eval`")
    assert error.problems[0].hint == "write `eval_splits: [val]` under `data`"
    assert len(load_npz(tmp_path, eval_splits=["val"]).splits["val"]) == len(arrays["x_val"])


def test_an_archive_may_leave_calibration_to_train(tmp_path: Path) -> None:
    arrays = {name: part for name, part in own_splits().items() if "calibration" not in name}
    assert len(load_npz(npz(tmp_path, **arrays)).splits["calibration"]) == 12


def test_calibration_samples_in_an_archive_need_no_targets(tmp_path: Path) -> None:
    arrays = own_splits()
    del arrays["y_calibration"]
    assert len(load_npz(npz(tmp_path, **arrays)).splits["calibration"]) == 12
    del arrays["y_eval"]
    npz(tmp_path, **arrays)
    refused_npz("data-array-missing", tmp_path, "no array `y_eval`")


def test_one_set_is_divided_by_class_and_seed(tmp_path: Path) -> None:
    x, _ = samples(200)
    y = (np.arange(200) < 20).astype(int)  # one in ten
    data = load_npz(npz(tmp_path, x=x, y=y))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 140, "calibration": 20, "eval": 40}
    assert {name: int(split.targets.sum()) for name, split in data.splits.items()} == {
        "train": 14,
        "calibration": 2,
        "eval": 4,
    }
    assert load_npz(tmp_path).sha256 == data.sha256


def test_copies_in_one_set_stay_on_one_side(tmp_path: Path) -> None:
    x, y = samples(100)
    data = load_npz(npz(tmp_path, x=np.concatenate([x, x]), y=np.concatenate([y, y])))
    seen = [set(sample_digests(split)) for split in data.splits.values()]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 100


def test_a_group_never_lies_in_two_splits(tmp_path: Path) -> None:
    x, y = samples(300)
    x[:, 0] = np.arange(300) // 10  # the group can be read off
    names = np.array([f"speaker {number}" for number in np.arange(300) // 10])
    data = load_npz(npz(tmp_path, x=x, y=y, speaker=names), group="speaker")
    groups = [set(split.rows(np.arange(len(split)))["input"][:, 0]) for split in data.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert [len(group) for group in groups] == [21, 3, 6]


def test_several_arrays_are_inputs_of_their_names(tmp_path: Path) -> None:
    x, y = samples(60)
    data = load_npz(npz(tmp_path, left=x, right=x * 2, y=y), inputs=["left", "right"])
    assert data.evaluation.input_names == ("left", "right")


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=1, max_size=150),
    st.integers(0, 3),
    st.sampled_from([(0.7, 0.1, 0.2), (0.5, 0.2, 0.3), (0.3, 0.3, 0.3)]),
)
def test_a_division_keeps_units_together_and_uses_no_sample_twice(
    pairs: list[tuple[int, int]], seed: int, shares: tuple[float, float, float]
) -> None:
    units, targets = [unit for unit, _ in pairs], np.array([target for _, target in pairs])
    fractions = Fractions(train=shares[0], calibration=shares[1], eval=shares[2])
    try:
        chosen = divide(fractions, seed, eval_split="eval", units=units, targets=targets, where="x")
    except DataError as error:
        if error.code != "data-too-few":
            raise
        return
    every = np.concatenate(list(chosen.values()))
    assert len(every) == len(set(every.tolist())) <= len(units)
    if sum(shares) == pytest.approx(1):
        assert len(every) == len(units)
    homes = {unit: {name for name, part in chosen.items() for i in part if units[i] == unit} for unit in units}
    assert all(len(home) <= 1 for home in homes.values())


def test_archives_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    refused_npz("data-file-missing", tmp_path, "no such file")
    x, y = samples(60)
    npz(tmp_path, images=x, y=y)
    refused_npz("data-array-missing", tmp_path, "no array `x`; there are images, y")
    npz(tmp_path, x=x, y=np.array(["a", "b", "c"] * 20))
    refused_npz("data-dtype", tmp_path, "`y` is of type <U1")
    npz(tmp_path, x=x, y=y, who=np.arange(7))
    refused_npz("data-groups", tmp_path, "not one group", group="who")
    npz(tmp_path, **own_splits(), who=np.arange(60))
    refused_npz("data-groups", tmp_path, "divides one set", group="who")
    npz(tmp_path, x=x, y=y)
    refused_npz("data-split-missing", tmp_path, "names 2", eval_splits=["eval", "night"])
    npz(tmp_path, x=x[:3], y=y[:3])
    refused_npz("data-too-few", tmp_path, "too few to divide")


@pytest.mark.parametrize(
    ("name", "value", "code", "said"),
    [
        ("x", np.nan, "data-nan", "input `input` holds NaN, first in row 50"),
        ("y", -1, "data-targets", "target -1 of row 50 is no class"),
    ],
)
def test_a_sample_of_a_set_that_is_divided_is_named_by_its_row_in_the_archive(
    tmp_path: Path, name: str, value: float, code: str, said: str
) -> None:
    x, y = samples(90)
    arrays = {"x": x, "y": y}
    arrays[name][50] = value
    refused_npz(code, npz(tmp_path, **arrays), said)


def test_class_numbers_with_nan_are_refused_and_not_divided_by(tmp_path: Path) -> None:
    x, y = samples(90)
    targets = y.astype(float)
    targets[50] = np.nan
    refused_npz("data-targets", npz(tmp_path, x=x, y=targets), "are not one class number a sample")


def test_a_copy_in_another_group_is_named_by_both_rows(tmp_path: Path) -> None:
    x, y = samples(90)
    x[1::2] = x[0::2]
    npz(tmp_path, x=x, y=y, site=np.arange(90))
    error = refused_npz("splits-overlap", tmp_path, group="site")
    found = re.search(r"row (\d+) is row (\d+) of `\w+`", error.problems[0].message)
    assert found is not None
    assert np.array_equal(x[int(found[1])], x[int(found[2])])


def test_an_archive_of_python_objects_is_not_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    y = samples(60)[1]
    np.savez(tmp_path / "data.npz", x=np.array([Bomb()] * 60, dtype=object), y=y)
    refused_npz("data-pickle", tmp_path, "could run any code")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("damage", ["cut", "garbage", "flipped", "npy", "empty"])
def test_a_damaged_archive_is_refused(tmp_path: Path, damage: str) -> None:
    x, y = samples(600)
    np.savez_compressed(tmp_path / "data.npz", x=x, y=y)
    path = tmp_path / "data.npz"
    content = bytearray(path.read_bytes())
    if damage == "npy":
        with path.open("wb") as file:
            np.save(file, x)
    elif damage == "flipped":
        content[200:260] = bytes(60)
        path.write_bytes(content)
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "garbage": b"not a zip" * 40, "empty": b""}[damage])
    refused_npz("data-file-corrupt", tmp_path, "cannot be read as .npz")


# --- what is said of data in the wrong form
