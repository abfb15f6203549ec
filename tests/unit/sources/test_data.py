"""Data as users have it: arrays and datasets; and everything that must be refused about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from edgeglm_agent.processing import Preprocess
from edgeglm_agent.wire import ProcessOp, TensorSpec
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from edgeglm.data.splits import sample_digests
from edgeglm.errors import DataError, EntryError, ModelError
from edgeglm.sources import PythonData
from edgeglm.sources.entry import Entries
from edgeglm.tasks import Classification
from tests.support.arrays import NONE, objects, samples, three

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    if Entries._active is not None:
        Entries._active.close()


def refused(code: str, data: dict[str, Any], match: str | None = None, **kwargs: Any) -> DataError:
    with pytest.raises(DataError, match=match) as caught:
        objects(data, **kwargs)
    assert caught.value.code == code
    return caught.value


# --- what is accepted


def test_arrays_of_three_splits_are_taken_as_they_are() -> None:
    data = objects(three())
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 60, "calibration": 12, "eval": 30}
    assert data.eval_splits == ("eval",)
    np.testing.assert_array_equal(data.evaluation.rows(np.arange(30))["input"], three()["eval"][0])
    assert data.evaluation.targets.dtype == np.int64
    assert data.warnings == ()


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (lambda x: (x * 9).astype(np.uint8), np.float32),
        (lambda x: x.astype(np.float64), np.float32),
        (lambda x: x.astype(np.float16), np.float32),
        (lambda x: (x * 1e6).astype(np.int64), np.int64),
        (lambda x: x > 0, np.float32),
        (lambda x: x.tolist(), np.float32),
        (torch.from_numpy, np.float32),
        (lambda x: torch.from_numpy(x).requires_grad_(), np.float32),
        (lambda x: torch.from_numpy(x).bfloat16(), np.float32),
    ],
    ids=["uint8", "float64", "float16", "tokens", "bool", "list", "tensor", "with-gradient", "bfloat16"],
)
def test_inputs_become_float32_and_tokens_stay_integers(make: Any, dtype: type) -> None:
    rng = np.random.default_rng(0)
    given = {name: (make(rng.normal(size=(40, 64)).astype(np.float32)), np.arange(40) % 3) for name in three()}
    rows = objects(given).evaluation.rows(np.arange(3))["input"]
    assert rows.dtype == dtype
    np.testing.assert_array_equal(
        rows, np.asarray(torch.as_tensor(given["eval"][0][:3]).detach().float()).astype(dtype)
    )


@pytest.mark.parametrize("shape", [lambda y: y[:, None], lambda y: y.astype(np.uint8), torch.from_numpy, list])
def test_class_numbers_may_be_written_in_several_ways(shape: Any) -> None:
    given = {name: (x, shape(y)) for name, (x, y) in three().items()}
    np.testing.assert_array_equal(objects(given).evaluation.targets, three()["eval"][1])


def test_only_what_is_evaluated_needs_targets() -> None:
    given = three()
    bare = given | {"train": (given["train"][0], None), "calibration": (given["calibration"][0], None)}
    data = objects(bare)
    assert data.splits["train"].targets is data.splits["calibration"].targets is None
    assert data.sha256 != objects(given).sha256
    assert data.warnings == ()
    none = [(x, None) for x in given["train"][0]]
    rows = [(x, int(y)) for x, y in zip(*given["eval"], strict=True)]

    class Listed(Dataset[Any]):
        def __init__(self, pairs: list[Any]) -> None:
            self.pairs = pairs

        def __len__(self) -> int:
            return len(self.pairs)

        def __getitem__(self, index: int) -> Any:
            return self.pairs[index]

    assert objects({"train": Listed(none), "eval": Listed(rows)}).splits["calibration"].targets is None


def test_inputs_may_have_names() -> None:
    named = {name: ({"left": x, "right": x + 1}, y) for name, (x, y) in three().items()}
    data = objects(named)
    assert data.evaluation.input_names == ("left", "right")
    assert set(data.evaluation.rows(np.arange(2))) == {"left", "right"}


def test_calibration_is_taken_out_of_train_where_there_is_none() -> None:
    given = {"train": samples(100), "calibration": None, "eval": samples(30, seed=2)}
    data = objects(given)
    train, calibration = set(sample_digests(data.splits["train"])), set(sample_digests(data.splits["calibration"]))
    assert (len(train), len(calibration)) == (80, 20)
    assert not train & calibration
    assert sample_digests(objects(given).splits["calibration"]) == sample_digests(data.splits["calibration"])
    assert sample_digests(objects(given, seed=1).splits["calibration"]) != sample_digests(data.splits["calibration"])


def test_a_calibration_split_that_is_train_again_is_replaced_by_a_part_of_it() -> None:
    data = objects({"train": samples(100), "calibration": samples(100), "eval": samples(30, seed=2)})
    assert not set(sample_digests(data.splits["train"])) & set(sample_digests(data.splits["calibration"]))
    assert any("all samples are in `train` too" in warning for warning in data.warnings)


def test_several_evaluation_splits_keep_their_order() -> None:
    data = objects(three() | {"night": samples(20, seed=5)})
    assert data.eval_splits == ("eval", "night")
    assert set(data.splits) == {"train", "calibration", "eval", "night"}


def test_preprocessing_is_applied_to_every_split() -> None:
    doubled = objects(three(), preprocess=Preprocess.of([{"normalise": {"scale": 2.0}}]))
    np.testing.assert_allclose(doubled.evaluation.rows(np.arange(30))["input"], three()["eval"][0] * 2)


# --- duplicates


def test_samples_of_evaluation_leave_train_and_calibration_and_are_counted() -> None:
    evaluation = samples(300, seed=2)
    x, y = samples(60)
    x[[3, 5]] = evaluation[0][[10, 11]]
    calibration = samples(12, seed=1)
    calibration[0][4] = evaluation[0][12]
    data = objects({"train": (x, y), "calibration": calibration, "eval": evaluation})
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 58, "calibration": 11, "eval": 300}
    assert len(data.splits["train"].targets) == 58
    assert any("split" not in w and "2 samples are in `eval` too" in w for w in data.warnings)
    assert any("1 sample is in `eval` too" in w for w in data.warnings)


def test_more_than_one_in_a_hundred_evaluation_samples_in_train_is_an_error() -> None:
    evaluation = samples(300, seed=2)
    x, y = samples(60)
    x[:4] = evaluation[0][20:24]
    error = refused("splits-overlap", {"train": (x, y), "eval": evaluation}, r"4 of 300 samples \(1.3%\)")
    assert "sample 20 is sample 0 of `train`" in str(error)
    assert "eval" in error.problems[0].where


def test_every_evaluation_split_is_compared_with_train() -> None:
    x, y = samples(60)
    error = refused("splits-overlap", {"train": (x, y), "eval": samples(30, seed=2), "night": (x[:20], y[:20])})
    assert "night" in error.problems[0].where


def test_samples_in_train_and_calibration_leave_calibration() -> None:
    given = three()
    given["calibration"][0][:2] = given["train"][0][5]
    data = objects(given)
    assert (len(data.splits["train"]), len(data.splits["calibration"])) == (60, 10)
    assert any("2 samples are in `train` too, and left out" in warning for warning in data.warnings)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=8, max_size=60), st.integers(0, 5))
def test_whatever_is_given_no_sample_lies_in_two_splits(values: list[int], seed: int) -> None:
    x = np.array(values, dtype=np.float32)[:, None]
    y = np.arange(len(x)) % 2
    evaluation = (np.arange(200, 240, dtype=np.float32)[:, None], np.arange(40) % 2)
    half = len(x) // 2
    given = {"train": (x[:half], y[:half]), "calibration": (x[half:], y[half:]), "eval": evaluation}
    try:
        data = objects(given, seed=seed)
    except DataError as error:
        if error.code not in ("data-too-few", "data-one-class"):
            raise
        return
    seen = [set(sample_digests(data.splits[name])) for name in ("train", "calibration", "eval")]
    assert sum(map(len, seen)) == len(set.union(*seen))


# --- what is refused


def broken(split: str, change: Any) -> dict[str, Any]:
    data = three()
    x, y = data[split]
    data[split] = change(x, y)
    return data


def with_value(x: np.ndarray, y: np.ndarray, value: float) -> tuple[np.ndarray, np.ndarray]:
    x[7, 2] = value
    return x, y


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "Inf"), (-np.inf, "Inf")])
@pytest.mark.parametrize("split", ["train", "calibration", "eval"])
def test_data_that_is_not_finite_is_refused_with_its_first_sample(split: str, value: float, kind: str) -> None:
    error = refused("data-nan", broken(split, lambda x, y: with_value(x, y, value)), f"holds {kind}, first in sample 7")
    assert split in error.problems[0].where


@pytest.mark.parametrize(
    ("code", "change", "message"),
    [
        ("data-one-class", lambda x, y: (x, y * 0 + 1), "all samples are of class 1"),
        ("data-targets", lambda x, y: (x, y - 1), "target -1 of sample 0"),
        ("data-targets", lambda x, y: (x, y.astype(float)), "float64"),
        ("data-targets", lambda x, y: (x, np.eye(3)[y]), "one class number a sample"),
        ("data-dtype", lambda x, y: (x, np.array(["a", "b"] * (len(y) // 2))), "array of numbers"),
        ("data-dtype", lambda x, y: (x.astype(object), y), "array of numbers"),
        ("data-dtype", lambda _x, y: ([[1.0], [1.0, 2.0]], y[:2]), "array of numbers"),
        ("data-length", lambda x, y: (x, y[:-1]), "targets 29"),
        ("data-length", lambda x, y: ({"a": x, "b": x[1:]}, y), "input `b` 29"),
        ("data-empty", lambda x, y: (x[:0], y[:0]), "empty"),
        ("data-shape", lambda x, y: (x[:, :3], y), r"input \[3\] float32"),
        ("data-shape", lambda x, y: ({"other": x}, y), r"other \[4\]"),
        ("data-no-targets", lambda x, _y: (x, None), "no targets"),
        ("data-split-missing", lambda _x, _y: None, "no split"),
        ("data-entry-result", lambda x, _y: x, "gave a ndarray"),
        ("data-entry-result", lambda x, y: (x, y, y), "gave a tuple"),
        ("data-entry-result", lambda _x, _y: DataLoader(TensorDataset(torch.zeros(3))), "gave a DataLoader"),
    ],
)
def test_data_that_cannot_be_used_is_refused(code: str, change: Any, message: str) -> None:
    error = refused(code, broken("eval", change), message)
    assert "eval" in error.problems[0].where
    assert error.problems[0].hint


def test_targets_beyond_the_labels_are_left_for_the_model_to_judge() -> None:
    assert objects(three(), labels=("a", "b")).splits["eval"].targets.max() == 2


def test_a_class_without_evaluation_samples_is_mentioned() -> None:
    data = objects(three(), labels=("a", "b", "c", "rare"))
    assert any("no sample of rare" in warning for warning in data.warnings)


def test_preprocessing_that_does_not_fit_is_refused_with_its_key() -> None:
    wrong = Preprocess.of([{"resize": {"height": 8, "width": 8}}])
    error = refused("preprocess-failed", three(), "resize", preprocess=wrong)
    assert "preprocess[0].resize" in error.problems[0].where


def test_something_must_be_evaluated_on() -> None:
    refused("data-split-missing", {"train": samples(60)}, "no split to evaluate on")


# --- the fingerprint


def test_the_fingerprint_follows_values_targets_and_splits() -> None:
    base = objects(three()).sha256
    assert objects(three()).sha256 == base
    changed = three()
    changed["eval"][0][0, 0] += 1
    relabelled = three()
    relabelled["train"][1][:2] = relabelled["train"][1][1::-1]
    more = three() | {"night": samples(20, seed=9)}
    prints = [objects(data).sha256 for data in (changed, relabelled, more)]
    assert len({base, *prints}) == 4


# --- datasets


class Rows(Dataset[tuple[np.ndarray, int]]):
    def __init__(self, n: int, seed: int = 0, noise: float = 0.0) -> None:
        self.x, self.y = samples(n, seed=seed)
        self.noise = noise
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        self.read.append(index)
        return self.x[index] + self.noise * np.random.randn(4).astype(np.float32), int(self.y[index])


def datasets(**noise: float) -> dict[str, Any]:
    sizes = {"train": (60, 0), "calibration": (12, 1), "eval": (30, 2)}
    return {name: Rows(n, seed, noise.get(name, 0.0)) for name, (n, seed) in sizes.items()}


def test_a_dataset_is_the_same_data_as_its_arrays() -> None:
    lazy, arrays = objects(datasets()), objects(three())
    assert lazy.sha256 == arrays.sha256
    np.testing.assert_array_equal(lazy.evaluation.targets, arrays.evaluation.targets)
    rows = np.array([5, 1, 7])
    np.testing.assert_array_equal(lazy.evaluation.rows(rows)["input"], arrays.evaluation.rows(rows)["input"])
    part, same = lazy.evaluation.take(rows), arrays.evaluation.take(rows)
    np.testing.assert_array_equal(part.targets, same.targets)
    np.testing.assert_array_equal(part.rows(np.array([2, 0]))["input"], same.rows(np.array([2, 0]))["input"])


def test_only_the_rows_asked_for_are_read() -> None:
    given = datasets()
    data = objects(given)
    given["eval"].read.clear()
    data.evaluation.take(np.array([4, 9])).rows(np.array([1]))
    assert given["eval"].read == [9]


def test_a_dataset_that_reads_many_at_once_is_asked_to() -> None:
    class Many(Rows):
        def __getitems__(self, indices: list[int]) -> list[tuple[np.ndarray, int]]:
            return [(self.x[index], int(self.y[index])) for index in indices]

        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            raise AssertionError("one by one")

    data = objects({name: Many(n, seed) for name, n, seed in (("train", 60, 0), ("eval", 30, 2))})
    np.testing.assert_array_equal(data.evaluation.rows(np.arange(3))["input"], samples(30, seed=2)[0][:3])


def test_datasets_of_tensors_and_of_named_inputs_are_taken() -> None:
    tensors = {name: TensorDataset(torch.from_numpy(x), torch.from_numpy(y)) for name, (x, y) in three().items()}
    assert objects(tensors).sha256 == objects(three()).sha256

    class Named(Rows):
        def __getitem__(self, index: int) -> Any:
            x, y = super().__getitem__(index)
            return {"left": x, "right": -x}, y

    data = objects({"train": Named(60), "eval": Named(30, 2)})
    assert data.evaluation.input_names == ("left", "right")


def test_samples_of_a_dataset_leave_train_too() -> None:
    given = datasets()
    given["eval"] = Rows(300, 2)
    given["train"].x[5] = given["eval"].x[0]
    data = objects(given)
    assert len(data.splits["train"]) == len(data.splits["train"].targets) == 59
    np.testing.assert_array_equal(data.splits["train"].rows(np.array([5]))["input"], given["train"].x[[6]])


def test_an_evaluation_dataset_that_changes_is_refused() -> None:
    error = refused("data-not-repeatable", datasets(eval=1.0), "other values each time")
    assert "eval" in error.problems[0].where


def test_a_training_dataset_may_augment_and_keeps_its_fingerprint() -> None:
    first, second = objects(datasets(train=1.0)), objects(datasets(train=1.0))
    assert first.sha256 == second.sha256
    assert any("cannot be found" in warning for warning in first.warnings)


def test_images_of_several_sizes_in_a_dataset_need_a_resize() -> None:
    class Sizes(Rows):
        def __getitem__(self, index: int) -> Any:
            return np.random.default_rng((index, len(self))).random((6 + index % 2, 6, 3)), int(self.y[index])

    given = {"train": Sizes(60), "eval": Sizes(30, 2)}
    error = refused("data-shape", given, "different shapes")
    assert "resize" in error.problems[0].hint
    data = objects(given, preprocess=Preprocess.of([{"resize": {"height": 4, "width": 4}}]))
    assert data.evaluation.rows(np.arange(3))["input"].shape == (3, 4, 4, 3)


# --- python entries

DATA_PY = """
import numpy as np
def load(split, scale=1.0):
    n, seed = {"train": (60, 0), "calibration": (12, 1), "eval": (30, 2)}[split]
    return np.random.default_rng(seed).normal(size=(n, 4)) * scale, np.arange(n) % 3
"""


def python_data(folder: Path, text: str, **kwargs: Any) -> Any:
    (folder / "data.py").write_text(text)
    config = PythonData(entry="./data.py:load", **kwargs)
    return config.load(Entries(folder), preprocess=NONE, task=Classification(), labels=(), seed=0)


def test_the_entry_is_called_for_each_split_with_its_arguments(tmp_path: Path) -> None:
    data = python_data(tmp_path, DATA_PY, args={"scale": 2.0})
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 60, "calibration": 12, "eval": 30}
    np.testing.assert_allclose(data.evaluation.rows(np.arange(30))["input"], samples(30, seed=2)[0] * 2, rtol=1e-6)


def test_a_split_that_the_entry_does_not_know_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(EntryError, match="KeyError: 'night'") as caught:
        python_data(tmp_path, DATA_PY, eval_splits=["eval", "night"])
    assert caught.value.problems[0].where == f"{tmp_path}/data.py:4"


def test_what_a_dataset_raises_while_it_is_read_is_the_users_error(tmp_path: Path) -> None:
    text = (
        "class Rows:\n    def __len__(self): return 5\n    def __getitem__(self, i):\n"
        "        return [0.0, i / (i - 3)], i\ndef load(split): return Rows()\n"
    )
    with pytest.raises(EntryError, match="ZeroDivisionError") as caught:
        python_data(tmp_path, text)
    assert caught.value.problems[0].where == f"{tmp_path}/data.py:4"


@pytest.mark.parametrize("error", [IndexError, OSError])
def test_what_a_dataset_of_a_program_raises_is_shown_at_its_line(error: type[Exception]) -> None:
    class Torn(Rows):
        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            if index == 20:
                raise error("page 7 is torn")
            return super().__getitem__(index)

    with pytest.raises(EntryError, match=rf"the dataset data\['eval'\] raised {error.__name__}: page 7") as caught:
        objects(datasets() | {"eval": Torn(30, 2)})
    assert caught.value.code == "entry-failed"
    assert caught.value.problems[0].where == f"{__file__}:{Torn.__getitem__.__code__.co_firstlineno + 2}"


def test_an_entry_that_shuffles_before_it_divides_gives_disjoint_splits(tmp_path: Path) -> None:
    text = (
        "import numpy as np\ndef load(split):\n    x = np.arange(100.0)[:, None]\n    p = np.random.permutation(100)\n"
        "    part = {'train': p[:60], 'calibration': p[60:70], 'eval': p[70:]}[split]\n    return x[part], part % 2\n"
    )
    assert python_data(tmp_path, text).warnings == ()


# --- archives


class Streaming(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        yield np.zeros(4, np.float32), 0


@pytest.mark.parametrize(
    ("given", "said", "hint"),
    [
        ("all.npz", "`data` is a str, not a dict of splits", "a file or a folder is named in the recipe"),
        ([1, 2], "`data` is a list, not a dict of splits", '{"train": (inputs, targets)'),
        ({"train": (*samples(9), None), "eval": samples(9)}, "gave a tuple of 3, not", "return two things"),
        ({"train": Streaming(), "eval": samples(9)}, "gave a Streaming, not", "no `__len__`"),
        ({"train": iter([1]), "eval": samples(9)}, "gave a list_iterator, not", "no `__len__` and no `__getitem__`"),
    ],
    ids=["path", "list", "three", "iterable-dataset", "iterator"],
)
def test_what_was_given_in_place_of_splits_is_named(given: Any, said: str, hint: str) -> None:
    error = refused("data-entry-result", given)
    assert said in error.problems[0].message
    assert hint in error.problems[0].hint


@pytest.mark.parametrize(
    ("targets", "code", "hint"),
    [
        (np.array(["cat", "dog"] * 30), "data-dtype", "map names to 0..n-1"),
        (["cat", "dog"] * 30, "data-dtype", "map names to 0..n-1"),
        (np.array(["cat", "dog"] * 30, dtype=object), "data-dtype", "map names to 0..n-1"),
        (np.array([0.0, 1.0] * 30), "data-targets", "y.astype(int)"),
        (np.array([0.5, 1.0] * 30), "data-targets", "not one-hot rows"),
    ],
)
def test_targets_that_are_no_class_numbers_are_met_with_what_makes_them_so(targets: Any, code: str, hint: str) -> None:
    error = refused(code, three() | {"train": (samples(60)[0], targets)})
    assert hint in error.problems[0].hint


@pytest.mark.parametrize(
    ("shapes", "hint"),
    [([(8,), (9,)], "one length"), ([(8, 2), (9, 2)], "one length"), ([(8, 8, 3), (9, 8, 3)], "resize")],
)
def test_only_samples_that_may_be_images_are_to_be_resized(shapes: list[tuple[int, ...]], hint: str) -> None:
    uneven = [(np.zeros(shapes[index % 2], np.float32), index % 2) for index in range(20)]

    class Uneven(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(uneven)

        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            return uneven[index]

    for preprocess in (NONE, Preprocess([ProcessOp("normalise", {"scale": "1/255"})])):
        error = refused("data-shape", three() | {"train": Uneven()}, preprocess=preprocess)
        assert hint in error.problems[0].hint


def test_only_an_output_that_may_hold_logits_is_offered_in_place_of_another() -> None:
    data = objects(three())
    boxes = TensorSpec("boxes", "float32", (85, 22, 22), "NCHW")
    with pytest.raises(ModelError) as caught:
        Classification().check([boxes, TensorSpec("scores", "float32", (3,), "NC")], data)
    assert caught.value.problems[0].hint == "name another output by `task.output`: `scores` [3]"
    with pytest.raises(ModelError) as caught:
        Classification().check([boxes], data)
    assert "no classifier" in caught.value.problems[0].hint
