from __future__ import annotations

from pathlib import Path

import pytest

from edgeglm.cache import Cache, cache_folder, make_key


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
