from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeglm_agent.inputs._base import Arrival, EndOfInput, InputError, Source
from edgeglm_agent.inputs.replay import ReplayInput

from tests.support.inputs import context, read_one


def everything(source: Source) -> list[Arrival]:
    found: list[Arrival] = []
    try:
        while True:
            found += source.read(1.0)
    except EndOfInput:
        return found


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "pump.csv"
    path.write_text("a,b,state\n1,2,ok\n3,4,ok\n5,6,worn\n7,8,worn\n")
    return path


def test_rows_of_a_table_are_samples_with_their_targets(tmp_path: Path, table: Path) -> None:
    found = everything(ReplayInput(path=str(table), target="state").open(context(tmp_path)))
    assert [arrival.sample.tolist() for arrival in found] == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert found[0].sample.dtype == np.float32
    assert [arrival.target for arrival in found] == ["ok", "ok", "worn", "worn"]
    assert found[2].name == "pump.csv:4"


def test_rows_are_cut_into_windows(tmp_path: Path, table: Path) -> None:
    settings: dict[str, Any] = {"features": ["b"], "target": "state", "window": 2}
    found = everything(ReplayInput(path=str(table), **settings).open(context(tmp_path)))
    assert [arrival.sample.tolist() for arrival in found] == [[[2], [4]], [[4], [6]], [[6], [8]]]
    assert [arrival.target for arrival in found] == ["ok", "worn", "worn"]
    apart = everything(ReplayInput(path=str(table), stride=3, **settings).open(context(tmp_path)))
    assert [arrival.sample.tolist() for arrival in apart] == [[[2], [4]]]


def test_a_row_that_cannot_be_read_is_a_fault_and_breaks_the_window(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1\n2\nx\n3\n4\n5\n")
    source = ReplayInput(path=str(tmp_path / "a.csv"), header=False, window=2).open(context(tmp_path))
    found = everything(source)
    assert [arrival.fault[:6] for arrival in found] == ["", "line 3", "", ""]
    assert found[2].sample.tolist() == [[3], [4]]


def test_a_file_that_is_broken_in_its_midst_is_a_fault_after_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "broken.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 5000 + b"\xff,2\n" + b"1,2\n" * 5000)
    source = ReplayInput(path=str(path)).open(context(tmp_path))
    while not (arrival := read_one(source)).fault:
        assert arrival.sample.tolist() == [1, 2]
    assert "cannot be read as a table" in arrival.fault
    with pytest.raises(EndOfInput):
        read_one(source)
    source.close()


def test_an_archive_gives_its_samples_and_targets(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32), np.array([0, 1, 0])
    np.savez(tmp_path / "eval.npz", x=x, y=y)
    found = everything(ReplayInput(path=str(tmp_path / "eval.npz")).open(context(tmp_path)))
    assert np.array_equal(np.stack([arrival.sample for arrival in found]), x)
    assert [arrival.target for arrival in found] == [0, 1, 0]


def test_an_archive_gives_several_inputs_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "eval.npz", ids=np.zeros((2, 3), np.int64), mask=np.ones((2, 3), np.int64))
    source = ReplayInput(path=str(tmp_path / "eval.npz")).open(context(tmp_path, input_names=("ids", "mask")))
    assert {name: values.shape for name, values in read_one(source).sample.items()} == {"ids": (3,), "mask": (3,)}


def test_texts_come_a_line_or_a_cell_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one, two\n\nthree\n")
    found = everything(ReplayInput(path=str(tmp_path / "a.txt")).open(context(tmp_path, takes_texts=True)))
    assert [(arrival.sample, arrival.name) for arrival in found] == [("one, two", "a.txt:1"), ("three", "a.txt:3")]
    (tmp_path / "a.tsv").write_text("text\tlabel\none, two\tgood\n")
    source = ReplayInput(path=str(tmp_path / "a.tsv"), target="label").open(context(tmp_path, takes_texts=True))
    assert [(arrival.sample, arrival.target) for arrival in everything(source)] == [("one, two", "good")]


def test_a_loop_begins_again(tmp_path: Path, table: Path) -> None:
    source = ReplayInput(path=str(table), features=["a"], loop=True).open(context(tmp_path))
    assert [read_one(source).sample.tolist() for _ in range(6)] == [[1], [3], [5], [7], [1], [3]]
    source.stop()
    with pytest.raises(EndOfInput, match="told to stop"):
        source.read(1.0)


def test_samples_never_come_faster_than_the_rate(tmp_path: Path, table: Path) -> None:
    source = ReplayInput(path=str(table), features=["a"], rate=50, loop=True).open(context(tmp_path))
    times = [read_one(source).at_ns for _ in range(8)]
    assert times[-1] - times[0] >= 7 * 20_000_000 * 0.99
    slow = ReplayInput(path=str(table), features=["a"], rate=0.001).open(context(tmp_path))
    read_one(slow)
    began = time.monotonic()
    assert slow.read(0.01) == []  # it is not due, and the caller wants to go on
    assert time.monotonic() - began < 100


@pytest.mark.parametrize(
    ("name", "content", "settings", "key"),
    [
        ("no.csv", None, {}, "path"),
        ("a.parquet", "x", {}, "path"),
        ("a.csv", "", {}, "path"),
        ("a.csv", "a,b\n", {}, "path"),
        ("a.csv", "a,b\n1,2\n", {"features": ["c"]}, "features"),
        ("a.csv", "a,b\n1,2\n", {"target": "c"}, "target"),
        ("a.npz", "x", {}, "path"),
        ("a.txt", "x", {}, "path"),
    ],
)
def test_a_file_that_cannot_be_replayed_is_an_error_at_its_key(
    tmp_path: Path, name: str, content: str | None, settings: Any, key: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as raised:
        ReplayInput(path=str(tmp_path / name), **settings).open(context(tmp_path))
    assert raised.value.key == key
