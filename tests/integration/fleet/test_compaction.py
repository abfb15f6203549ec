"""Older rows on their way into segments, by a process that is killed, or finds no room: nothing lost, nothing twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeglm_agent.wire.telemetry import Result, Row, row_of

from edgeglm.fleet.store.keeping import DAY_MS
from edgeglm.fleet.store.opening import open_reader, open_store
from edgeglm.fleet.store.segment_list import folder_of
from edgeglm.fleet.store.types import Arrivals
from tests.support.agent.broker import Broker
from tests.support.agent.small_disk import SmallDisk
from tests.support.fleet.arriving import BOARD, EVER, batch, window
from tests.support.fleet.collector import PATIENCE_S, Sender, running_collector

_WITHOUT_WAITING = """
import sys
sys.argv = sys.argv[3:]  # behind `python -m`
from edgeglm.fleet.collector import tending
tending._FIRST_S = 0.1
from edgeglm.cli import main
main()
"""
COMPACT = (sys.executable, "-m", "edgeglm", "fleet", "compact", "--store")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as one:
        yield one


def fill(url: str, *, days: int = 5, each: int = 300, answer_bytes: int = 10) -> None:
    """Fill a store with so many rows of each of the days before yesterday, all of which came on their day."""
    today_ms = int(time.time() * 1000) // DAY_MS * DAY_MS
    numbers = iter(range(1, 10**9))
    store = open_store(url)
    for day in range(days, 1, -1):
        rows: list[Row] = []
        for at in range(each):
            at_ms = today_ms - day * DAY_MS + at * 60_000
            rows.append(row_of(number := next(numbers), window(number, at_ms=at_ms)))
            rows.append(row_of(next(numbers), Result("main", 1, "00" * 8, at_ms, os.urandom(answer_bytes))))
        store.commit(Arrivals([batch(*rows, at_ms=today_ms - day * DAY_MS + each * 60_000)]))
    store.close()


def kept(url: str) -> list[object]:
    reader = open_reader(url)
    found: list[object] = [*reader.windows(EVER), *reader.results(BOARD, EVER)]
    reader.close()
    return found


def test_compaction_that_is_killed_at_any_moment_loses_nothing_and_keeps_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    url = f"sqlite:///{path}"
    fill(url)
    before = kept(url)
    chance = random.Random(5)
    kills = 0
    while True:
        there = {*folder_of(path).iterdir()} if folder_of(path).is_dir() else set()
        process = subprocess.Popen([*COMPACT, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        give_up = time.monotonic() + PATIENCE_S
        while process.poll() is None:
            assert time.monotonic() < give_up
            if kills < 5 and folder_of(path).is_dir() and {*folder_of(path).iterdir()} - there:  # it has begun a file
                time.sleep(chance.uniform(0, 0.03))
                process.send_signal(signal.SIGKILL)
                kills += process.wait(PATIENCE_S) == -signal.SIGKILL
            time.sleep(0.001)
        assert kept(url) == before
        if process.returncode == 0:
            break
    assert kills >= 3
    done = subprocess.run([*COMPACT, url], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert done.stderr == "nothing is old enough\n"
    assert not [file for file in folder_of(path).iterdir() if file.name.startswith(".")], "no piece of a file is left"
    store = open_store(url)
    assert store.forget(BOARD) == len(before)
    store.close()


def test_a_disk_that_gets_full_meanwhile_leaves_the_journal_whole(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    fill(f"sqlite:///{path}", answer_bytes=1500)
    before = kept(f"sqlite:///{path}")
    with SmallDisk(tmp_path / "disk", megabytes=16) as disk:

        def on_the_disk() -> list[object]:  # SQLite does not find it where this process sees it
            copy = tmp_path / "copy" / "fleet.db"
            shutil.rmtree(copy.parent, ignore_errors=True)
            shutil.copytree(disk.path, copy.parent, ignore=shutil.ignore_patterns("filler", ".spill"))
            return kept(f"sqlite:///{copy}")

        shutil.copyfile(path, disk.path / "fleet.db")
        disk.fill()
        with (disk.path / "filler").open("r+b") as filler:
            filler.truncate((disk.path / "filler").stat().st_size - 700_000)  # a day's answers fit, and no second one's
        command = [*disk.enter, *COMPACT, f"sqlite:///{tmp_path}/disk/fleet.db"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert (done.returncode, "code: disk-full" in done.stderr) == (4, True), done.stderr
        assert "Traceback" not in done.stderr
        assert on_the_disk() == before
        disk.free()
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert (done.returncode, "rows moved" in done.stderr) == (0, True), done.stderr
        assert on_the_disk() == before


def test_a_collector_takes_what_comes_while_older_rows_are_moved_and_at_the_end_all_is_there(
    tmp_path: Path, broker: Broker
) -> None:
    path = tmp_path / "fleet.db"
    url = f"sqlite:///{path}"
    fill(url, each=100)
    count = len(kept(url))
    at_once = (sys.executable, "-c", _WITHOUT_WAITING)
    with (
        running_collector(path, f"mqtt://127.0.0.1:{broker.port}", enter=at_once) as collector,
        Sender(broker.port) as sender,
    ):
        now_ms = int(time.time() * 1000) - 100_000
        sender.give(BOARD.name, b"epoch--9", [row_of(n, window(n, at_ms=now_ms + n)) for n in range(1, 2001)])
        sender.until_acknowledged()
        collector.until_said("rows moved")
        assert collector.end() == 143
        assert "Traceback" not in collector.log()
    assert len(kept(url)) == count + 2000
    assert len([*folder_of(path).glob("windows-*.parquet")]) >= 4
