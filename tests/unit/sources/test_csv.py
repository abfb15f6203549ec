"""Tables and series from files."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeglm_agent.processing import Preprocess
from edgeglm_agent.wire import TensorSpec
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeglm.data.splits import Data
from edgeglm.errors import DataError
from edgeglm.sources import CsvData, csv_splits
from edgeglm.sources.csv_splits import Windows
from edgeglm.sources.dataset import DatasetSplit
from edgeglm.sources.entry import Entries
from edgeglm.sources.npz import Fractions
from edgeglm.tasks import Classification, Forecasting, Regression
from edgeglm.tasks._base import TaskConfig

THIRDS = Fractions(train=0.5, calibration=0.2, eval=0.3)


class Anything(TaskConfig, tag="anything", frozen=True, kw_only=True):
    """A task that takes any targets."""


def load(folder: Path, text: str | list[str] | None = None, task: TaskConfig | None = None, **changes: Any) -> Data:
    if text is not None:
        (folder / "d.csv").write_text(text if isinstance(text, str) else "\n".join(text))
    labels, slices = changes.pop("labels", ()), changes.pop("slices", ())
    config = CsvData(**{"path": "d.csv", "fractions": THIRDS, **changes})
    return config.load(
        Entries(folder), preprocess=Preprocess(), task=task or Anything(), labels=labels, seed=0, slices=slices
    )


def inputs(data: Data, split: str) -> np.ndarray:
    return data.splits[split].rows(np.arange(len(data.splits[split])))["input"]


def targets(data: Data, split: str = "eval") -> np.ndarray:
    found = data.splits[split].targets
    assert found is not None
    return found


def table(rows: int = 60) -> list[str]:
    """Return lines whose first column tells a row from every other."""
    head = "id,heat,kind,site,label"
    return [head, *(f"{n},{n / 4},{'abc'[n % 3]},{'xy'[n % 2]},{'good' if n % 4 else 'bad'}" for n in range(rows))]


KINDS = {"kind": ["c", "a", "b"]}


def test_columns_are_features_categories_and_classes(tmp_path: Path) -> None:
    data = load(
        tmp_path, table(), Classification(), target="label", categorical=KINDS, ignore=["site"], slices=("site",)
    )
    assert data.labels == ("bad", "good")
    rows = inputs(data, "eval")
    assert rows.dtype == np.float32
    assert rows.shape[1:] == (3,)
    number = rows[:, 0].astype(int)
    assert np.array_equal(rows[:, 1], number / 4)
    assert np.array_equal(rows[:, 2], np.array([1, 2, 0])[number % 3])  # a is the second of c, a, b
    assert np.array_equal(targets(data), (number % 4 > 0).astype(int))
    assert np.array_equal(data.slices["eval"]["site=y"], number % 2 == 1)


def test_features_come_in_the_order_named(tmp_path: Path) -> None:
    data = load(tmp_path, table(), features=["heat", "id"])
    rows = inputs(data, "train")
    assert np.array_equal(rows[:, 0], rows[:, 1] / 4)
    assert data.evaluation.targets is None


def test_several_targets_are_numbers_side_by_side(tmp_path: Path) -> None:
    data = load(tmp_path, table(), Regression(), features=["id"], target=["heat", "id"])
    number = inputs(data, "eval")[:, 0]
    assert np.allclose(targets(data), np.stack([number / 4, number], axis=1))


def test_quotes_delimiters_marks_and_empty_lines_are_read_as_spreadsheets_write_them(tmp_path: Path) -> None:
    names = ("one", 'tw""o')
    lines = ['"a;b";y', *(f'"{n}";"{names[n % 2]}"' for n in range(40)), "", ""]
    (tmp_path / "d.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    data = load(tmp_path, task=Classification(), delimiter=";", target="y")
    assert data.labels == ("one", 'tw"o')


def test_without_a_header_columns_are_numbered(tmp_path: Path) -> None:
    data = load(tmp_path, table()[1:], header=False, features=["2"], target="1", task=Regression())
    assert np.allclose(inputs(data, "eval")[:, 0] * 4, targets(data))
    assert sum(len(split) for split in data.splits.values()) == 60


def test_a_group_lies_in_one_split(tmp_path: Path) -> None:
    lines = ["machine,x", *(f"m{n % 20},{n}" for n in range(200))]
    data = load(tmp_path, lines, group="machine")
    groups = {name: {int(value) % 20 for value in inputs(data, name)[:, 0]} for name in data.splits}
    assert sum(map(len, groups.values())) == 20
    assert set.union(*groups.values()) == set(range(20))


@pytest.mark.parametrize("when", ["{n}", "2026-01-01T{h:02d}:{m:02d}:00"])
def test_by_time_the_last_rows_are_judged(tmp_path: Path, when: str) -> None:
    rows = [f"{when.format(n=n, h=n // 60, m=n % 60)},{n}" for n in range(100)]
    np.random.default_rng(0).shuffle(rows)
    data = load(tmp_path, ["at,x", *rows], time="at", split="time", gap=2)
    assert inputs(data, "train")[:, 0].tolist() == list(range(50))
    assert inputs(data, "calibration")[:, 0].tolist() == list(range(52, 70))
    assert inputs(data, "eval")[:, 0].tolist() == list(range(72, 100))


def test_times_without_a_zone_stand_in_order_where_the_hour_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")  # on 29 March 2026 no clock there shows 02:30
        time.tzset()
        lines = ["at,x", *(f"2026-03-29T{n // 60:02d}:{n % 60:02d}:00,{n}" for n in range(0, 300, 5))]
        data = load(tmp_path, lines, time="at", split="time", window=3)
    time.tzset()
    assert (np.diff(inputs(data, "train"), axis=1) == 5).all()


def series(lengths: dict[str, int]) -> list[str]:
    """Return the rows of several machines, one after the other: machine, time, value (unique)."""
    lines, number = ["machine,at,x,y"], 0
    for name, length in lengths.items():
        for at in range(length):
            lines.append(f"{name},{at},{number},{number * 10}")
            number += 1
    return lines


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(30, 60), min_size=1, max_size=4),
    window=st.integers(1, 4),
    stride=st.integers(1, 5),
    horizon=st.integers(0, 2),
    split=st.sampled_from(["time", "group"]),
)
def test_a_window_lies_in_one_series_and_shares_no_row_with_another_split(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], window: int, stride: int, horizon: int, split: str
) -> None:
    folder = tmp_path_factory.mktemp("series")
    lengths = lengths * 6 if split == "group" else lengths
    names = {f"m{number}": length for number, length in enumerate(lengths)}
    data = load(
        folder, series(names), group="machine", time="at", split=split, window=window, stride=stride, horizon=horizon,
        features=["x"], target="y",
    )  # fmt: skip
    ends = np.cumsum(lengths)
    seen: dict[int, str] = {}
    for name in data.splits:
        rows, ahead = inputs(data, name), targets(data, name)
        assert rows.shape[1:] == (window, 1)
        assert ahead.shape == ((len(rows), horizon) if horizon else (len(rows),))
        for cut, target in zip(rows[:, :, 0].astype(int), ahead, strict=True):
            following = cut[-1] + 1 + np.arange(horizon) if horizon else cut[-1:]
            assert np.array_equal(cut, cut[0] + np.arange(window))
            assert np.array_equal(np.atleast_1d(target), following * 10)
            used = [*cut.tolist(), *following.tolist()]
            assert len({int(np.searchsorted(ends, number, side="right")) for number in used}) == 1
            assert all(seen.setdefault(number, name) == name for number in used)


def test_windows_follow_each_other_by_the_stride(tmp_path: Path) -> None:
    data = load(tmp_path, series({"a": 100}), features=["x"], window=4, stride=3, split="time")
    assert inputs(data, "train")[:3, :, 0].tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert inputs(data, "eval")[0, 0, 0] == 70


def test_a_forecast_sees_the_past_of_what_it_predicts(tmp_path: Path) -> None:
    data = load(
        tmp_path, series({"a": 100}), Forecasting(), window=4, horizon=2, target=["x", "y"], ignore=["machine", "at"]
    )
    rows, ahead = inputs(data, "eval"), targets(data)
    assert (rows.shape[1:], ahead.shape[1:]) == ((4, 2), (2, 2))
    assert np.array_equal(ahead[:, 0], rows[:, -1] + [1, 10])


def test_slices_of_windows_are_what_their_last_row_says(tmp_path: Path) -> None:
    lines = [line + ("," + ("day" if n % 10 < 5 else "night") if n else ",light") for n, line in
             enumerate(series({"a": 100}))]  # fmt: skip
    data = load(tmp_path, lines, features=["x"], window=3, split="time", slices=("light",))
    last = inputs(data, "eval")[:, -1, 0].astype(int) + 1  # its line, the header being 0
    assert data.slices["eval"]["light=day"].tolist() == [bool(line % 10 < 5) for line in last]


GAPS = ["a,b,y", *(f"{'' if n == 7 else n},{'NA' if n in (3, 7) else 2 * n},{n}" for n in range(50))]


@pytest.mark.parametrize("missing", ["mean", "zero", "drop-row"])
def test_gaps_are_filled_or_left_out(tmp_path: Path, missing: str) -> None:
    data = load(tmp_path, GAPS, Regression(), target="y", missing=missing, split="time")
    train = inputs(data, "train")
    if missing == "drop-row":
        assert targets(data, "train").tolist() == [n for n in range(26) if n not in (3, 7)]
        assert any("2 of 50 rows lack a value" in warning for warning in data.warnings)
        return
    known = [2 * n for n in range(25) if n not in (3, 7)]  # of the training rows alone
    assert train[3].tolist() == [3, np.float32(np.mean(known)) if missing == "mean" else 0]
    assert len(train) == 25


@pytest.mark.parametrize("missing", ["refuse", "drop-row"])
def test_a_class_may_be_called_by_a_word_for_an_empty_cell(tmp_path: Path, missing: str) -> None:
    lines = ["x,fault", *(f"{n},{('none', 'inner')[n % 2]}" for n in range(60))]
    labels = ("none", "inner")
    data = load(tmp_path, lines, task=Classification(), target="fault", missing=missing, labels=labels)
    assert {int(target) for target in targets(data)} == {0, 1}
    assert sum(len(split) for split in data.splits.values()) == 60


def test_a_row_left_out_ends_a_window(tmp_path: Path) -> None:
    data = load(tmp_path, GAPS, features=["a", "b"], missing="drop-row", window=3, split="time")
    starts = inputs(data, "train")[:, 0, 0].tolist()
    assert starts == [0, 4, *range(8, 24)]


@pytest.mark.parametrize("window", [None, 3])
def test_a_sample_that_cannot_be_used_is_named_by_its_line(tmp_path: Path, window: int | None) -> None:
    lines = ["x,y", *(f"{n},{n % 2}" for n in range(60))]
    lines[40] = "39,7"
    task = Classification()
    settings: dict[str, Any] = {} if window is None else {"window": window, "split": "time"}
    data = load(tmp_path, lines, task=task, target="y", **settings)
    logits = TensorSpec("logits", "float32", (2,), "")
    with pytest.raises(DataError, match="target 7 of ") as caught:
        task.check([logits], data)
    said = "line 41" if window is None else "the window from line 39"  # whose last row says its class
    assert f"target 7 of {said} is no class" in caught.value.problems[0].message


def test_each_split_may_have_a_file(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name, part in (("train", slice(0, 40)), ("val", slice(40, 60))):
        (tmp_path / "d" / f"{name}.csv").write_text("\n".join([table()[0], *table()[1:][part]]))
    data = load(tmp_path, path="d", features=["id"], eval_splits=["val"])
    assert inputs(data, "val")[:, 0].tolist() == list(range(40, 60))
    with pytest.raises(DataError, match=r"no file eval\.csv") as caught:
        load(tmp_path, path="d", features=["id"])
    assert "eval_splits: [val]" in caught.value.problems[0].hint


@pytest.mark.parametrize(
    ("lines", "changes", "code", "place", "said"),
    [
        pytest.param(["a,b", "1,2", "3"], {}, "data-columns", ":3", "1 cell, and there are 2 columns", id="cells"),
        pytest.param(["a,b", "1,2", "3,x"], {}, "data-dtype", ":3", "`b` .`data.features`. holds `x`", id="text"),
        pytest.param(["a,b", "1,2", "3,", ",4"], {}, "data-missing", ":3", "so it is in 1 more row", id="gap"),
        pytest.param(["a,b", "1,2", "inf,2"], {"missing": "zero"}, "data-missing", ":3", "not finite", id="infinite"),
        pytest.param(["a,b", "1,2"], {"target": "c"}, "data-columns", "data.target", "no column `c`", id="target"),
        pytest.param(["a,a", "1,2"], {}, "data-columns", "data.path", "two columns called `a`", id="twice"),
        pytest.param(["a", "1"], {"target": "a"}, "data-columns", "data.path", "no column left", id="no feature"),
        pytest.param(["a,b", '1,"2'], {}, "data-columns", ":2", "cannot be read as a table", id="quote"),
        pytest.param([""], {}, "data-empty", "d.csv", "the file is empty", id="empty"),
        pytest.param(["a,b"], {}, "data-empty", "d.csv", "holds no rows", id="header alone"),
        pytest.param(["a,b", "1,u"], {"categorical": {"b": ["v"]}}, "data-classes", ":2",
                     "`b` .`data.categorical.b`. holds `u`, which is none", id="category"),
        pytest.param(
            ["a,b", "1,"], {"categorical": {"b": ["v"]}, "missing": "mean"}, "data-missing", ":2", "al.b`. is missing",
            id="no mean of names",
        ),
        pytest.param(["a,t", "1,noon"], {"time": "t"}, "data-dtype", ":2", "no point in time", id="time"),
        pytest.param(
            ["a,y", "1,2", "2,n/a"], {"target": "y", "task": Regression()}, "data-targets", ":3", "`n/a`, which is no",
            id="no number",
        ),
        pytest.param(
            ["a,y", "1,b", "2,NA"], {"target": "y", "task": Classification()}, "data-missing", ":3", "holds `NA`",
            id="no class",
        ),
        pytest.param(["a,y", "1,2", "2,"], {"target": "y"}, "data-missing", ":3", "get`. is empty", id="no target"),
        pytest.param(
            series({"a": 20}), {"features": ["x"], "window": 9, "split": "time"}, "data-too-few", "`eval`",
            "longest series of this split has 6", id="window",
        ),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_line(
    tmp_path: Path, lines: list[str], changes: Any, code: str, place: str, said: str
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        load(tmp_path, lines, **changes)
    (problem,) = caught.value.problems
    assert (problem.code, problem.where.endswith(place)) == (code, True), problem.where
    assert problem.hint


def test_windows_that_fill_the_memory_are_cut_when_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["x", *map(str, range(6000))]
    known = load(tmp_path, lines, window=200, target=None)
    monkeypatch.setattr(csv_splits, "MOST_BYTES_IN_MEMORY", 100_000)
    load(tmp_path, lines, window=200, target=None)  # what is imported on the way does not count
    tracemalloc.start()
    data = load(tmp_path, lines, window=200, target=None)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(data.evaluation, DatasetSplit)
    assert isinstance(data.evaluation.dataset, Windows)
    assert most < 1_500_000 < len(known.splits["train"]) * 200 * 4
    assert data.sha256 == known.sha256
    assert np.array_equal(inputs(data, "eval"), inputs(known, "eval"))
    assert any("cut each time they are read" in warning for warning in data.warnings)
