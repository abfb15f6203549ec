"""What does a week of a thousand boards take in an SQLite store, and how soon does it answer?

A week of windows of 300 s from 1,000 boards, written by the store's own writer: bytes a row as a journal and compacted,
`edgeglm fleet ls` beside a process that starts the same command line, opens the store and asks `select 1`, one board's
week out of the store. Then the journal goes on until it has a gigabyte: how long after a `kill -9` a collector has
committed and acknowledged a row again. It wants a quiet machine, 4 GB of disk, and takes 20 minutes.

python benchmarks/fleet_week.py [--boards 1000] [--days 7] [--days-until-killed 11] [--rounds 9]
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paho.mqtt.client as paho
from common import WORK, write_result
from edgeglm_agent.wire.commands import State
from edgeglm_agent.wire.sketch import Sketch, pack_numbers
from edgeglm_agent.wire.telemetry import BoardReading, Window, decode_ack, encode_batch, row_of
from edgeglm_agent.wire.topics import Topics
from paho.mqtt.enums import CallbackAPIVersion

from edgeglm.fleet.store.opening import open_reader, open_store
from edgeglm.fleet.store.segment_list import folder_of
from edgeglm.fleet.store.types import Arrivals, Device, IncomingBatch, IncomingState, Span, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

EDGEGLM = (sys.executable, "-m", "edgeglm", "fleet")
WINDOW_MS = 300_000
DAY_MS = 86_400_000
SELECT_1 = """
import sys
from pathlib import Path
from edgeglm.cli.app import app
from edgeglm.fleet.store.sqlite_schema import open_for_reading
assert app and open_for_reading(Path(sys.argv[1])).execute("select 1").fetchone() == (1,)
"""


def latencies(count: int) -> list[bytes]:
    """Return histograms as boards at ten inferences a second make them, each another: what repeats takes no room."""
    numbers, sketch = np.random.default_rng(7), Sketch()
    for value in numbers.lognormal(1.2, 0.25, 30_000):
        sketch.add(float(value))
    indices = sorted(sketch.counts)
    mean = np.array([sketch.counts[index] for index in indices]) / 10
    return [
        Sketch({index: int(n) for index, n in zip(indices, some, strict=True) if n}).pack()
        for some in numbers.poisson(mean, (count, len(indices)))
    ]


def fill(url: str, boards: int, days: int) -> tuple[int, float]:
    """Write the windows of the last days; return how many, and the seconds it took."""
    chance = random.Random(7)
    sketches = latencies(20_000)
    streams = [Stream(Device("works", f"gate-{number}"), chance.randbytes(8)) for number in range(boards)]
    first_ms = (int(time.time() * 1000) // WINDOW_MS - days * DAY_MS // WINDOW_MS) * WINDOW_MS
    store = open_store(url)
    states = [
        IncomingState(one.device, State(1, one.device.name, "boot", "s1", True, since_ms=first_ms), first_ms)
        for one in streams
    ]
    store.commit(Arrivals(states=states))
    began, count = time.perf_counter(), days * DAY_MS // WINDOW_MS
    for number in range(1, count + 1):
        at_ms = first_ms + (number - 1) * WINDOW_MS
        batches = []
        for stream in streams:
            start_ms = at_ms + int(stream.device.name[5:]) * 7919 % WINDOW_MS
            window = Window(
                "main", 1, "5f0c7d1e9a3b4c2d", start_ms, number * WINDOW_MS, WINDOW_MS, True,
                3000 + chance.randrange(9), {}, chance.choice(sketches), cpu_permille=chance.randrange(200, 260),
                rss_kb=chance.randrange(80_000, 81_000), confidence=pack_numbers([*chance.choices(range(500), k=10)]),
                classes={kind: chance.randrange(600) for kind in range(10)},
                board=BoardReading(chance.randrange(300, 400), 900, 20_000, chance.randrange(550, 650), 0),
            )  # fmt: skip
            batches.append(IncomingBatch(stream, (row_of(number, window),), start_ms + WINDOW_MS))
        store.commit(Arrivals(batches))
    store.close()
    return count * boards, time.perf_counter() - began


def size_bytes(path: Path) -> tuple[int, int, int]:
    """Return the bytes in use of the file, those of the segments that are listed, and the rows in these."""
    with sqlite3.connect(path) as db:
        pages, free, page = (
            db.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        segments, moved = db.execute(
            "select coalesce(sum(bytes), 0), coalesce(sum(rows), 0) from segments where replaced_ms is null"
        ).fetchone()
    db.close()
    return (pages - free) * page, segments, moved


def took_s(command: list[str], rounds: int) -> float:
    """Return the median seconds that a command takes."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def board_week_ms(url: str, boards: int, rounds: int) -> float:
    """Return the median milliseconds for all windows of one board, another each time."""
    reader, times = open_reader(url), []
    for number in range(rounds + 1):
        device = Device("works", f"gate-{number * boards // (rounds + 1)}")
        began = time.perf_counter()
        count = sum(1 for _ in reader.windows(Span(0, 1 << 53), device))
        times.append((time.perf_counter() - began) * 1000)
        assert count
    reader.close()
    return statistics.median(times[1:])  # the first one starts DuckDB


def back_after_kill_s(folder: Path, url: str, rounds: int) -> list[float]:
    """Return the seconds from a collector's start after `kill -9` to the first row that it has acknowledged."""
    log = (folder / "log").open("wb")
    broker = subprocess.Popen(
        [*EDGEGLM, "broker", "--data", "broker", "--port", "18831"], cwd=folder, stdout=subprocess.PIPE, stderr=log
    )
    assert broker.stdout is not None
    address = broker.stdout.readline().decode().strip()
    topics, epoch, acknowledged = Topics("works", "probe"), os.urandom(8), [0]
    client = paho.Client(CallbackAPIVersion.VERSION2, "probe")
    client.on_message = lambda *given: acknowledged.__setitem__(0, decode_ack(given[2].payload).through)
    client.on_connect = lambda client, *_: client.subscribe(topics.ack, 1)
    client.connect("127.0.0.1", 18831)
    client.loop_start()
    times = []
    collector = None
    try:
        for number in range(1, rounds + 2):
            began = time.perf_counter()
            collector = subprocess.Popen(
                [*EDGEGLM, "collect", "--broker", address, "--store", url], stdout=log, stderr=log
            )
            now_ms = int(time.time() * 1000)
            row = row_of(number, Window("main", 1, "00" * 8, now_ms, number, 1000, True, 1))
            payload, again = encode_batch(epoch, [row], ack_within_s=0), 0.0
            while acknowledged[0] < number:
                assert collector.poll() is None, (folder / "log").read_text()
                if time.perf_counter() > again:  # as a board does: the broker does not know the collector at first
                    client.publish(topics.telemetry, payload, qos=1)
                    again = time.perf_counter() + 1.0
                time.sleep(0.005)
            times.append(time.perf_counter() - began)
            collector.send_signal(signal.SIGKILL)
            collector.wait()
    finally:
        client.disconnect()
        client.loop_stop()
        for process in (collector, broker):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait(60)
        log.close()
    return times[1:]  # the broker knows the collector from the second start on


@contextmanager
def new_store() -> Iterator[Path]:
    """Return the path of a store in an empty folder, which is removed afterwards."""
    folder = WORK / "fleet-week"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder / "fleet.db"
    shutil.rmtree(folder)


def killed(boards: int, days: int) -> None:
    """Measure how soon a collector is back on a journal of so many days, and write the result."""
    with new_store() as path:
        rows, _ = fill(f"sqlite:///{path}", boards, days)
        back_s = back_after_kill_s(path.parent, f"sqlite:///{path}", 5)
        store_mb = path.stat().st_size / 1e6
    print(f"a journal of {store_mb:.0f} MB: back after kill -9 in {back_s} s", flush=True)
    write_result("fleet_killed", rows=rows, store_mb=store_mb, back_s=back_s)


def week(boards: int, days: int, rounds: int) -> None:
    """Measure a store of so many days, as a journal and compacted, and write the result."""
    sides: dict[str, dict[str, Any]] = {}
    with new_store() as path:
        url = f"sqlite:///{path}"
        rows, fill_s = fill(url, boards, days)
        for side in ("journal", "compacted"):
            if side == "compacted":
                began = time.perf_counter()
                subprocess.run([*EDGEGLM, "compact", "--store", url], check=True)
                compact_s = time.perf_counter() - began
            sides[side] = measured(path, rows, boards, rounds)
            print(
                f"{side:<9} {sides[side]['bytes_per_row']:5.0f} bytes a row  ls {sides[side]['fleet_ls_s']:.2f} s, "
                f"{sides[side]['fleet_ls_per_select_1']:.1f} times `select 1`  "
                f"a board's week {sides[side]['board_week_ms']:.0f} ms",
                flush=True,
            )
    print(f"{rows} rows in {fill_s:.0f} s, compacted in {compact_s:.0f} s")
    write_result("fleet_week", boards=boards, days=days, rows=rows, fill_s=fill_s, compact_s=compact_s, sides=sides)


def measured(path: Path, rows: int, boards: int, rounds: int) -> dict[str, Any]:
    """Return what a store takes, and how soon it answers."""
    url = f"sqlite:///{path}"
    journal_bytes, segment_bytes, moved = size_bytes(path)
    bare_s = took_s([sys.executable, "-c", SELECT_1, str(path)], rounds)
    ls_s = took_s([*EDGEGLM, "ls", "--store", url], rounds)
    return {
        "journal_bytes": journal_bytes,
        "segment_bytes": segment_bytes,
        "bytes_per_row": (journal_bytes + segment_bytes) / rows,
        "moved_rows": moved,
        "segments": len([*folder_of(path).glob("*.parquet")]),
        "select_1_s": bare_s,
        "fleet_ls_s": ls_s,
        "fleet_ls_per_select_1": ls_s / bare_s,
        "board_week_ms": board_week_ms(url, boards, rounds),
    }


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boards", type=int, default=1000)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--days-until-killed", type=int, default=11)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    killed(arguments.boards, arguments.days_until_killed)
    week(arguments.boards, arguments.days, arguments.rounds)


if __name__ == "__main__":
    main()
