"""How quick is the fleet's page with 1,000 boards? First paint, news of a board that falls ill, and every request, at p95.

`edgeglm fleet serve` as a user starts it, over a store of an hour of 1,000 simulated boards with windows of a minute, which
go on while it is measured, and of some boards with 30 days of windows of 300 s, compacted. Headless Chromium for what people
see; for requests 20 open pages that listen, and two clients that ask for each page, file and span in turn: a board's life
over each span once, so that no answer is one that was kept. All on this machine. It takes four minutes.

python benchmarks/fleet_page.py [--devices 1000] [--requests 2400] [--rounds 10]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from common import WORK, write_result
from edgeglm_agent.wire.telemetry import BoardReading, Window, row_of
from fleet_week import EDGEGLM, fill

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edgeglm.fleet.page.life import SPANS
from edgeglm.fleet.store.types import Arrivals, Device, IncomingBatch, Stream
from tests.support.browser import browser, set_size
from tests.support.fleet.page import running_page
from tests.support.fleet.simulated import Simulated

WINDOW_S, LASTS_S = 60, 3600
LISTENERS, CLIENTS = 20, 2
DAYS = 30  # of the boards whose lives are asked for
KINDS = (
    "/",
    "/models",
    "/static/fleet.js",
    "/static/uplot/uPlot.iife.min.js",
    "/metrics",
    *(f"life {span}" for span in SPANS),
    "page",
)
READY = "return document.querySelectorAll('#boards tbody tr').length >= 100"
# when a text first stood on the page, by the clock of this machine
WATCH = """
window.seen = null;
const look = () => { if (!window.seen && document.body.innerText.includes(arguments[0])) window.seen = Date.now(); };
new MutationObserver(look).observe(document.body, {childList: true, subtree: true, characterData: true});
"""


def now_ms() -> int:
    """Return the time, Unix."""
    return time.time_ns() // 1_000_000


def quantile(values: list[float], share: float) -> float:
    """Return the value that a share of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def summed(values: list[float]) -> dict[str, float]:
    """Return percentiles, and of how many."""
    return {
        "p50": statistics.median(values),
        "p95": quantile(values, 0.95),
        "p99": quantile(values, 0.99),
        "n": len(values),
    }


class Going(threading.Thread):
    """Boards that go on: each second those whose window has ended send it."""

    def __init__(self, boards: Simulated) -> None:
        super().__init__(daemon=True)
        self._boards, self._ending = boards, threading.Event()
        self._began = time.monotonic()
        self.lock = threading.Lock()

    def run(self) -> None:
        while not self._ending.wait(1.0):
            with self.lock:
                self._boards.live(LASTS_S + time.monotonic() - self._began, at_most_s=1.0)

    def end(self) -> None:
        self._ending.set()
        self.join()


def paints(url: str, rounds: int) -> tuple[list[float], list[float]]:
    """Return when the first thing was painted and when the boards were there, in ms from the request."""
    first, filled = [], []
    for _ in range(rounds):
        with browser() as chrome:
            set_size(chrome, width=1280, height=900)
            chrome.get(url)
            while not chrome.execute_script(READY):
                time.sleep(0.01)
            at = chrome.execute_script("return performance.getEntriesByName('first-contentful-paint')[0].startTime")
            first.append(at)
            filled.append(chrome.execute_script("return performance.getEntriesByName('boards-shown')[0].startTime"))
    return first, filled


def news(url: str, boards: Simulated, lock: threading.Lock, rounds: int) -> list[float]:
    """Return how long after its commit a board's new temperature stood on the page, in ms."""
    late = []
    device = Device("north", "ill-1")
    with browser() as chrome:
        set_size(chrome, width=1280, height=900)
        chrome.get(f"{url}?problem=hot")  # few enough that all are shown
        while not chrome.execute_script("return document.querySelectorAll('#boards tbody tr').length > 0"):
            time.sleep(0.01)
        for number in range(rounds):
            degrees = f"{120 + number}.5"
            chrome.execute_script(WATCH, f"{degrees} C; the limit")
            reading = BoardReading(temperature_decic=round(float(degrees) * 10))
            body = Window("main", 1, "00" * 8, now_ms() - 1000, 1, 1000, True, 1, {"run": 9}, board=reading)
            row = row_of(number + 1, body)
            with lock:
                boards.commit(Arrivals([IncomingBatch(Stream(device, b"12345678"), (row,), now_ms())]))
            committed = now_ms()
            while (seen := chrome.execute_script("return window.seen")) is None:
                time.sleep(0.01)
            late.append(float(seen - committed))
            time.sleep(0.37)  # not in step with the server
    return late


def requests(url: str, devices: int, count: int) -> dict[str, list[float]]:
    """Return how long each kind of request took, in ms, while pages listen."""
    ending = threading.Event()

    def listen() -> None:
        with httpx.Client(timeout=60) as client, client.stream("GET", f"{url}live?view=fleet") as stream:
            for _ in stream.iter_raw():
                if ending.is_set():
                    return

    taken: dict[str, list[float]] = defaultdict(list)

    def ask(part: int) -> None:
        with httpx.Client(timeout=60) as client:
            for number in range(part, count, CLIENTS):
                turn, place = divmod(number // CLIENTS, len(KINDS))
                kind = KINDS[place]
                name = f"gate-{number * 7 % devices:0{len(str(devices - 1))}d}"
                lived = f"gate-{turn * CLIENTS + part}"
                path = f"life/works/{lived}?span={kind[5:]}" if kind.startswith("life") else kind.lstrip("/")
                path = f"board/north/{name}" if kind == "page" else path
                began = time.perf_counter()
                client.get(url + path).raise_for_status()
                taken[kind].append((time.perf_counter() - began) * 1000)

    listeners = [threading.Thread(target=listen) for _ in range(LISTENERS)]
    for listener in listeners:
        listener.start()
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(ask, range(CLIENTS)))
    ending.set()
    for listener in listeners:
        listener.join()
    return taken


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=2400)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    folder = WORK / "fleet-page"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lived = (arguments.requests // CLIENTS // len(KINDS) + 1) * CLIENTS
    store = f"sqlite:///{folder / 'fleet.db'}"
    fill(store, lived, DAYS)
    subprocess.run([*EDGEGLM, "compact", "--store", store], check=True)
    boards = Simulated(
        folder / "fleet.db", devices=arguments.devices, window_s=WINDOW_S, lasts_s=LASTS_S, end_ms=now_ms()
    )
    going = Going(boards)
    going.start()
    try:
        with running_page(boards.url) as page:
            first, filled = paints(page.url, arguments.rounds)
            late = news(page.url, boards, going.lock, arguments.rounds)
            taken = requests(page.url, arguments.devices, arguments.requests)
            page.end()
    finally:
        going.end()
        boards.close()
        shutil.rmtree(folder)
    figures: dict[str, Any] = {
        "first_paint_ms": summed(first),
        "boards_shown_ms": summed(filled),
        "news_ms": summed(late),
        "requests_ms": {kind: summed(values) for kind, values in taken.items()},
    }
    figures["requests_ms"]["all"] = summed([one for values in taken.values() for one in values])
    for name in ("first_paint_ms", "boards_shown_ms", "news_ms"):
        print(f"{name:20} p50 {figures[name]['p50']:7.1f}  p95 {figures[name]['p95']:7.1f}")
    for kind, values in figures["requests_ms"].items():
        print(f"{kind:34} p50 {values['p50']:7.1f}  p95 {values['p95']:7.1f}  p99 {values['p99']:7.1f}")
    write_result(
        "fleet_page", devices=arguments.devices, listeners=LISTENERS, lived={"boards": lived, "days": DAYS}, **figures
    )


if __name__ == "__main__":
    main()
