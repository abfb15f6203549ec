from __future__ import annotations

from pathlib import Path

import pytest

from edgeglm.cache import Cache, cache_folder, make_key
from edgeglm.errors import BusyError, StorageError
from edgeglm.files import locked


def test_equal_parts_give_equal_keys_whatever_their_order() -> None:
    assert make_key(a=1, b={"x": 1, "y": [2]}) == make_key(b={"y": [2], "x": 1}, a=1)


@pytest.mark.parametrize("other", [{"a": 2}, {"a": 1.5}, {"a": "1"}, {"a": [1]}, {"b": 1}])
def test_any_other_part_gives_another_key(other: dict[str, object]) -> None:
    assert make_key(**other) != make_key(a=1)


def test_an_entry_is_complete_only_when_it_was_finished(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.entry("step", "k") as entry:
        (entry.folder / "checkpoint.pt").write_bytes(b"half")
        assert entry.result is None
    with cache.entry("step", "k") as entry:
        assert (entry.folder / "checkpoint.pt").read_bytes() == b"half"
        entry.finish(notes=["n"])
    with cache.entry("step", "k") as entry:
        assert entry.result == {"notes": ["n"]}


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_damaged_entry_counts_as_incomplete(tmp_path: Path, damage: bytes) -> None:
    cache = Cache(tmp_path)
    with cache.entry("step", "k") as entry:
        entry.finish(a=1)
        (entry.folder / "done.json").write_bytes(damage)
        assert entry.result is None


def test_clearing_frees_what_was_listed(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.entry("artifact", "a") as entry:
        (entry.folder / "model.onnx").write_bytes(b"x" * 1000)
        entry.finish()
    (found,) = cache.entries()
    assert found.kind == "artifact"
    size = found.size_bytes
    assert size > 1000
    assert cache.clear() == size
    assert cache.entries() == []


def test_what_a_killed_run_left_beside_a_result_goes_when_it_is_made_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.entry("preflight", "a") as entry:
        left = entry.folder / "scratch" / "half.onnx"
        left.parent.mkdir()
        left.write_bytes(b"half")
    with cache.entry("preflight", "a") as entry:
        with entry.scratch() as folder:
            assert list(folder.iterdir()) == []
            (folder / "whole.onnx").write_bytes(b"whole")
        entry.finish()
        assert [file.name for file in entry.folder.iterdir()] == ["done.json"]


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EDGEGLM_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "edgeglm"
    monkeypatch.setenv("EDGEGLM_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("EDGEGLM_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "edgeglm"


@pytest.mark.parametrize("damage", [b"other", b"", None])
def test_an_entry_whose_file_is_not_what_was_written_is_incomplete_again(tmp_path: Path, damage: bytes | None) -> None:
    cache = Cache(tmp_path)
    with cache.entry("step", "k") as entry:
        (entry.folder / "weights").write_bytes(b"whole")
        entry.finish("weights", a=1)
    with cache.entry("step", "k") as entry:
        assert (entry.result, entry.damaged) == ({"a": 1}, False)
        if damage is None:
            (entry.folder / "weights").unlink()
        else:
            (entry.folder / "weights").write_bytes(damage)
    with cache.entry("step", "k") as entry:
        assert (entry.result, entry.damaged) == (None, True)
    with cache.entry("step", "k") as entry:
        assert (entry.result, entry.damaged) == (None, False)


def test_clearing_is_refused_while_a_run_uses_the_cache(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.in_use():
        with cache.entry("step", "k") as entry:
            entry.finish()
        with pytest.raises(BusyError) as raised:
            Cache(tmp_path).clear()
        assert raised.value.code == "cache-busy"
        assert len(cache.entries()) == 1
    cache.clear()
    assert cache.entries() == []


def test_clearing_is_refused_while_one_entry_is_being_made(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.entry("step", "k") as entry, pytest.raises(BusyError):
        cache.clear()
    assert entry.folder.is_dir()
    assert (tmp_path / "step" / "k.lock").exists()


def test_several_runs_use_the_cache_at_once(tmp_path: Path) -> None:
    with Cache(tmp_path).in_use(), Cache(tmp_path).in_use(), Cache(tmp_path).entry("step", "k") as entry:
        entry.finish(a=1)
        assert entry.result == {"a": 1}


def test_clearing_skips_and_counts_an_entry_whose_lock_is_held(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for key in ("free", "held"):
        with cache.entry("step", key) as entry:
            entry.finish()
    with locked(tmp_path / "step" / "held.lock", wait=False, what="it"):
        cache.clear()
    assert cache.held == 1
    assert [entry.folder.name for entry in cache.entries()] == ["held"]
    assert (tmp_path / "step" / "held.lock").exists()
    assert not (tmp_path / "step" / "free.lock").exists()


def test_what_is_no_entry_is_neither_listed_nor_cleared(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    other = tmp_path / "photos" / "2024"
    other.mkdir(parents=True)
    (other / "a.jpg").write_bytes(b"x")
    assert cache.entries() == []
    assert cache.clear() == 0
    assert (other / "a.jpg").exists()


def test_a_file_in_place_of_the_folder_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    path.write_bytes(b"mine")
    cache = Cache(path)
    for attempt in (cache.entries, cache.clear, lambda: cache.in_use().__enter__()):
        with pytest.raises(StorageError, match="a file") as raised:
            attempt()
        assert raised.value.problems[0].hint
    assert path.read_bytes() == b"mine"


def test_a_cache_that_does_not_exist_is_empty_and_clearing_makes_none(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "none")
    assert cache.entries() == []
    assert cache.clear() == 0
    assert not (tmp_path / "none").exists()
