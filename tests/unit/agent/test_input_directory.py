from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeglm_agent.inputs._base import Arrival, EndOfInput, InputError, InputLostError, Source
from edgeglm_agent.inputs.directory import DirectoryInput
from edgeglm_agent.inputs.folder import Folder
from edgeglm_agent.processing.images import read_image
from PIL import Image

from tests.support import inputs
from tests.support.inputs import answered, context, read_one, until

OLD = (1_700_000_000, 1_700_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "drop"
    path.mkdir()
    return path


def opened(folder: Path, *, of: dict[str, Any] | None = None, **settings: Any) -> Folder:
    source = DirectoryInput(path=str(folder), **settings).open(context(folder.parent, **(of or {})))
    assert isinstance(source, Folder)
    return source


def put(folder: Path, name: str, content: bytes | np.ndarray, *, old: bool = True) -> Path:
    """Put a file there in one go, as a program that knows how to does: under another name first."""
    if isinstance(content, np.ndarray):
        out = io.BytesIO()
        np.save(out, content)
        content = out.getvalue()
    (folder / f".{name}").write_bytes(content)
    if old:
        os.utime(folder / f".{name}", OLD)
    return (folder / f".{name}").rename(folder / name)


def names(arrivals: list[Arrival]) -> list[str]:
    return [arrival.name for arrival in arrivals]


def test_files_that_are_there_and_files_that_come_are_samples(folder: Path) -> None:
    put(folder, "b.npy", np.arange(3.0))
    put(folder, "a.npy", np.arange(4.0))
    source = opened(folder)
    first = answered(source, 2)
    assert names(first) == ["a.npy", "b.npy"]  # equally old: by name
    assert first[0].sample.tolist() == [0, 1, 2, 3]
    put(folder, "later.npy", np.arange(2.0), old=False)
    assert names(answered(source, 1)) == ["later.npy"]
    with (folder / "written.csv").open("w") as file:
        file.write("1,2\n")
        file.flush()
        assert source.read(0.2) == []  # not closed yet
        file.write("3,4\n")
    assert answered(source, 1)[0].sample.tolist() == [[1, 2], [3, 4]]


def test_an_image_is_the_array_that_training_saw(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # taken sideways
    Image.fromarray(pixels).save(folder / "photo.jpg", exif=exif)
    os.utime(folder / "photo.jpg", OLD)
    sample = answered(opened(folder), 1)[0].sample
    assert sample.shape == (30, 20, 3)
    assert np.array_equal(sample, read_image(folder / "photo.jpg", "rgb"))


def test_the_model_tells_whether_an_image_is_grey(folder: Path) -> None:
    Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(folder / "photo.png")
    os.utime(folder / "photo.png", OLD)
    assert answered(opened(folder, of={"image_mode": "grey"}), 1)[0].sample.shape == (5, 6, 1)
    assert answered(opened(folder, of={"slot": "other", "image_mode": "grey"}, mode="rgb"), 1)[0].sample.shape[2] == 3


def test_a_model_of_texts_reads_text_files_and_no_others(folder: Path) -> None:
    put(folder, "a.npy", np.arange(3.0))
    put(folder, "b.txt", "gr\u00fc\u00df\n".encode())
    arrival = answered(opened(folder, of={"takes_texts": True}), 1)[0]
    assert (arrival.name, arrival.sample) == ("b.txt", "gr\u00fc\u00df")


def test_answered_files_stay_go_elsewhere_or_vanish(folder: Path) -> None:
    for after, there, done in (("keep", True, False), ("move", False, True), ("delete", False, False)):
        put(folder, f"{after}.npy", np.arange(3.0))
        source = opened(folder, after=after)
        assert names(answered(source, 1)) == [f"{after}.npy"]
        source.close()
        assert (folder / f"{after}.npy").exists() == there
        assert (folder / "done" / f"{after}.npy").exists() == done


def test_a_file_of_the_same_name_does_not_replace_one_that_was_moved(folder: Path) -> None:
    source = opened(folder, after="move")
    for content in (1.0, 2.0, 3.0):
        put(folder, "a.npy", np.array([content]), old=False)
        assert answered(source, 1)[0].sample.tolist() == [content]
        assert source.read(0.0) == []  # the result is written: it is put away
    source.close()
    kept = {path.name: np.load(path).tolist() for path in (folder / "done").iterdir()}
    assert kept == {"a.npy": [1.0], "a-1.npy": [2.0], "a-2.npy": [3.0]}


def test_a_file_that_is_written_anew_is_answered_anew(folder: Path) -> None:
    source = opened(folder)
    for content in (1.0, 2.0):
        put(folder, "a.npy", np.array([content]), old=False)
        assert answered(source, 1)[0].sample.tolist() == [content]
    assert source.read(0.1) == []


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        pytest.param("a.png", b"\x89PNG\r\n\x1a\n" + b"x" * 50, "cannot be read as an image", id="damaged image"),
        pytest.param("a.npy", b"x", "no .npy", id="damaged array"),
        pytest.param("a.csv", b"1,2\n3\n", "line 2 has 1 cells", id="damaged table"),
        pytest.param("a.npz", b"PK\x03\x04", "cannot be read as .npz", id="damaged archive"),
        pytest.param("a.npy", b"x" * 200_000, "0.2 MB; at most 0.1", id="huge"),
    ],
)
def test_a_damaged_file_goes_to_the_failed_ones_with_the_reason(
    folder: Path, name: str, content: bytes, says: str
) -> None:
    put(folder, name, content)
    source = opened(folder, most_mb=0.1)
    assert says in answered(source, 1)[0].fault
    assert source.read(0.0) == []
    assert not (folder / name).exists()
    assert (folder / "failed" / name).read_bytes() == content
    assert says in (folder / "failed" / f"{name}.reason.txt").read_text()


def test_a_file_that_the_model_cannot_take_fails_too(folder: Path) -> None:
    put(folder, "a.npy", np.zeros((3, 3)))
    source = opened(folder, after="delete")
    arrival = read_one(source)
    assert arrival.answered is not None
    arrival.answered(None, ValueError("input `x` takes N x 16, it was given (1, 3, 3)"))
    source.close()
    assert "it was given (1, 3, 3)" in (folder / "failed" / "a.npy.reason.txt").read_text()


def test_links_pipes_folders_and_hidden_files_are_not_read(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "secret.npy", np.arange(3.0))
    (folder / "link.npy").symlink_to(tmp_path / "secret.npy")
    os.mkfifo(folder / "pipe.npy")
    (folder / "folder.npy").mkdir()
    put(folder, "notes.md", b"x")
    put(folder, ".part.npy", b"x")
    source = opened(folder)
    until(lambda: (folder / "failed" / "link.npy").is_symlink() or answered_now(source))
    assert "links are not followed" in (folder / "failed" / "link.npy.reason.txt").read_text().replace("those", "links")
    assert (folder / "pipe.npy").exists()
    assert (folder / "notes.md").exists()


def answered_now(source: Source) -> None:
    for arrival in source.read(0.1):
        assert arrival.fault
        assert arrival.answered is not None
        arrival.answered(None, ValueError(arrival.fault))


def test_our_folders_are_never_links(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "failed").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"{folder}: failed cannot be used: "):
        opened(folder)


def test_a_restart_answers_nothing_twice_and_loses_nothing(folder: Path) -> None:
    for number in range(6):
        put(folder, f"{number}.npy", np.array([float(number)]))
    first = opened(folder)
    seen = names(answered(first, 3))
    read_one(first)  # in hand, never answered
    first.close()
    second = opened(folder)
    put(folder, "6.npy", np.array([6.0]), old=False)
    seen += names(answered(second, 4))
    assert seen == [f"{number}.npy" for number in range(7)]
    assert second.read(0.1) == []


def test_a_file_that_was_answered_and_could_not_be_put_away_is_put_away_later(folder: Path) -> None:
    put(folder, "a.npy", np.arange(3.0))
    source = opened(folder, after="move")
    answered(source, 1)
    shutil.rmtree(folder / "done")
    (folder / "done").write_text("not a folder")
    source.close()
    assert (folder / "a.npy").exists()
    (folder / "done").unlink()
    again = opened(folder, after="move")
    assert again.read(0.1) == []
    assert (folder / "done" / "a.npy").exists()


@pytest.mark.parametrize("after", ["keep", "move", "delete"])
def test_a_file_that_failed_and_could_not_be_put_away_stays_until_it_can(folder: Path, after: str) -> None:
    damaged = put(folder, "a.npy", b"no array")
    source = opened(folder, after=after)
    shutil.rmtree(folder / "failed")  # nothing can be moved there
    assert "no .npy" in answered(source, 1)[0].fault
    for _ in range(2):
        source._next_look = 0.0
        assert source.read(0.0) == []
        assert damaged.read_bytes() == b"no array"
    source.close()
    if after == "keep":
        return
    again = opened(folder, after=after)
    assert again.read(0.1) == []
    again.close()
    assert not damaged.exists()
    assert (folder / "failed" / "a.npy").read_bytes() == b"no array"
    assert "no .npy" in (folder / "failed" / "a.npy.reason.txt").read_text()


WORKER = """
import os, runpy, sys
from pathlib import Path
from edgeglm_agent.inputs.directory import DirectoryInput

support = runpy.run_path(sys.argv[5])
context, read_one = support["context"], support["read_one"]

folder, count, die, out = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
source = DirectoryInput(path=str(folder), after="move").open(context(folder.parent))
with open(out, "a") as results:
    for number in range(count):
        arrival = read_one(source)
        if number + 1 == count and die == "in hand":
            os._exit(9)
        arrival.answered([1.0], None)
        results.write(f"{arrival.name} {arrival.trace_id}\\n")
        results.flush()
os._exit(9)
"""


def work_and_die(folder: Path, count: int, die: str, out: Path) -> None:
    """Answer files as a worker does, and end in the middle: no handler runs."""
    command = [sys.executable, "-c", WORKER, str(folder), str(count), die, str(out), inputs.__file__]
    assert subprocess.run(command, check=False).returncode == 9


def test_a_killed_worker_loses_no_file_and_one_that_is_answered_again_keeps_its_trace_id(
    folder: Path, tmp_path: Path
) -> None:
    for number in range(8):
        put(folder, f"{number}.npy", np.array([float(number)]))
    work_and_die(folder, 3, "in hand", tmp_path / "results")
    work_and_die(folder, 3, "answered", tmp_path / "results")
    source = opened(folder, after="move")
    lines = (tmp_path / "results").read_text().splitlines()
    while arrivals := source.read(0.1):
        lines.append(f"{arrivals[0].name} {arrivals[0].trace_id}")
        assert arrivals[0].answered is not None
        arrivals[0].answered([1.0], None)
    assert sorted({line.split()[0] for line in lines}) == [f"{number}.npy" for number in range(8)]
    assert len(set(lines)) == 8  # the one that was answered twice is known by its id
    assert len(lines) <= 9


def test_a_file_that_kills_every_worker_is_given_up(folder: Path, tmp_path: Path) -> None:
    put(folder, "deadly.npy", np.arange(3.0))
    for _ in range(3):
        work_and_die(folder, 1, "in hand", tmp_path / "results")
    put(folder, "fine.npy", np.arange(3.0))
    source = opened(folder, after="move")
    assert "3 workers have ended" in answered(source, 1)[0].fault
    assert names(answered(source, 1)) == ["fine.npy"]
    assert (folder / "failed" / "deadly.npy").exists()


def test_rows_of_a_file_are_samples_and_go_on_where_a_killed_worker_ended(folder: Path) -> None:
    put(folder, "table.csv", b"a,b\n1,2\n3,4\n5,6\n")
    first = opened(folder, split=True, after="move")
    found = answered(first, 2)
    assert names(found) == ["table.csv:1", "table.csv:2"]
    first.close()
    second = opened(folder, split=True, after="move")
    assert [arrival.sample.tolist() for arrival in answered(second, 1)] == [[5, 6]]
    second.close()
    assert (folder / "done" / "table.csv").exists()


def test_a_full_disk_under_the_journal_does_not_stop_the_source(folder: Path) -> None:
    put(folder, "a.npy", np.arange(3.0))
    source = opened(folder)
    os.dup2(os.open("/dev/full", os.O_WRONLY), source._answered._file)
    answered(source, 1)
    assert source.read(0.0) == []


def test_a_damaged_journal_is_passed_over(folder: Path) -> None:
    put(folder, "a.npy", np.arange(3.0))
    source = opened(folder)
    answered(source, 1)
    source.close()
    journal = folder.parent / "state" / "main" / "answered-files"
    journal.write_bytes(b"\0" * 100 + b"\n" + journal.read_bytes() + b'["half')
    assert opened(folder).read(0.1) == []


def test_the_journal_does_not_grow_with_what_was_moved_away(folder: Path) -> None:
    source = opened(folder, after="delete")
    for number in range(1500):
        put(folder, f"{number}.npy", np.zeros(1), old=False)
        answered(source, 1)
    source.close()
    assert (folder.parent / "state" / "main" / "answered-files").stat().st_size < 100_000


def test_a_file_that_is_still_written_when_the_agent_starts_is_waited_for(folder: Path) -> None:
    half = folder / "slow.csv"
    half.write_text("1,2\n")  # young: someone may be writing it
    source = opened(folder)
    assert source.read(0.1) == []
    with half.open("a") as file:
        file.write("3,4\n")
    assert answered(source, 1)[0].sample.tolist() == [[1, 2], [3, 4]]


def test_a_file_that_is_being_written_anew_is_no_damaged_one(folder: Path) -> None:
    source = opened(folder)
    with (folder / "a.csv").open("w") as file:
        file.write("1,2\n")
    with (folder / "a.csv").open("w") as file:
        file.write("1,2\n3")
        file.flush()
        assert source.read(0.1) == []  # the first writing was told, and this is what is there
        file.write(",4\n")
    assert answered(source, 1)[0].sample.tolist() == [[1, 2], [3, 4]]


def test_many_files_at_once_are_all_answered(folder: Path) -> None:
    source = opened(folder, after="delete")
    for number in range(2000):
        put(folder, f"{number}.npy", np.zeros(1), old=False)
    assert len(set(names(answered(source, 2000)))) == 2000
    source.close()
    assert [path.name for path in folder.iterdir()] == ["failed"]


def test_stopping_wakes_the_reader(folder: Path) -> None:
    source = opened(folder)
    threading.Timer(0.2, source.stop).start()
    began = time.monotonic()
    with pytest.raises(EndOfInput):
        source.read(300.0)
    assert time.monotonic() - began < 200
    source.close()


def test_a_folder_that_goes_is_lost_until_it_is_back(folder: Path) -> None:
    source = opened(folder)
    shutil.rmtree(folder)
    with pytest.raises(InputLostError):
        until(lambda: source.read(0.1))
    source.close()
    with pytest.raises(InputLostError, match="is not there"):
        opened(folder)


def test_waiting_costs_no_time_of_the_processor(folder: Path) -> None:
    source = opened(folder)
    source.read(0.0)
    before = time.process_time()
    source.read(1.0)
    assert time.process_time() - before < 0.1


def test_one_that_is_closed_may_still_be_told_to_stop(folder: Path) -> None:
    """The worker's other thread may be late."""
    source = opened(folder)
    source.close()
    source.stop()
