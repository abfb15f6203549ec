from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edgeglm_agent.inputs._base import InputError, InputLostError
from edgeglm_agent.inputs.feed import Feed
from edgeglm_agent.inputs.shared import Tap

from tests.support.inputs import until

DEVICE = """
import sys, threading, time
from pathlib import Path
from edgeglm_agent.inputs.shared import Tap

class Device:
    # counts up for as long as it is open; a second one at the same time is a fault
    def __init__(self, feed, path):
        self.path, self.feed, self.stop = path, feed, False
        with open(path, "x"):
            pass
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
    def run(self):
        number = 0
        while not self.stop:
            number += 1
            self.feed.put(b"%d " % number + b"x" * 100_000)
            time.sleep(0.002)
    def close(self):
        self.stop = True
        self.thread.join()
        Path(self.path).unlink()
"""
TAKER = (
    DEVICE
    + """
folder, slot = Path(sys.argv[1]), sys.argv[2]
def start(feed):
    # a killed reader leaves its mark behind, as a camera's driver does not
    (folder / "open").unlink(missing_ok=True)
    return Device(feed, folder / "open")
tap = Tap(folder, device="camera", settings=b"640x480", slot=slot, keep=1, start=start)
print("leads" if tap.leads else "takes", flush=True)
led = tap.leads
while True:
    got = tap.next(1.0)
    if got is None:
        continue
    item, dropped = got
    assert len(item.payload) > 100_000
    if tap.leads != led:
        print("took over", flush=True)
        led = True
    print(item.number, dropped, flush=True)
    time.sleep(0.01)
"""
)


class Quiet:
    """A device that gives what a test says."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_the_newest_item_wins_and_what_was_passed_over_is_counted(tmp_path: Path) -> None:
    devices: list[Quiet] = []

    def start(feed: Feed) -> Quiet:
        devices.append(Quiet(feed))
        return devices[-1]

    tap = Tap(tmp_path, device="d", settings=b"", slot="a", keep=1, start=start)
    assert tap.next(0.0) is None
    for number in range(5):
        devices[0].feed.put(b"%d" % number)
    item, dropped = tap.next(1.0) or (None, None)
    assert (item.payload if item else None, dropped) == (b"4", 0)  # nothing is missed by one who has just come
    for number in range(5, 9):
        devices[0].feed.put(b"%d" % number)
    item, dropped = tap.next(1.0) or (None, None)
    assert (item.payload if item else None, dropped) == (b"8", 3)
    tap.close()
    assert devices[0].closed


def test_lines_are_all_handed_out_in_their_order() -> None:
    feed = Feed(keep=10)
    for number in range(4):
        feed.put(b"%d" % number)
    seen = []
    last = 1
    while item := feed.after(last, 0.0):
        seen.append(item.payload)
        last = item.number
    assert seen == [b"1", b"2", b"3"]
    assert feed.newest == 4


def test_the_last_item_is_given_before_the_end_is_told() -> None:
    feed = Feed()
    feed.put(b"last")
    feed.end(InputLostError("pulled out"))
    assert feed.after(0, 0.0)
    with pytest.raises(InputLostError, match="pulled out"):
        feed.after(1, 0.0)


@pytest.fixture
def taps(tmp_path: Path) -> Iterator[Any]:
    """Open taps in this process: it may hold several, each with a lock of its own."""
    opened: list[Tap] = []

    def tap(slot: str, start: Any = Quiet, settings: bytes = b"", keep: int = 1) -> Tap:
        opened.append(Tap(tmp_path, device="d", settings=settings, slot=slot, keep=keep, start=start))
        return opened[-1]

    yield tap
    for one in opened:
        one.close()


def test_slots_with_other_settings_for_one_device_are_refused_by_name(taps: Any) -> None:
    taps("first", settings=b"640x480")
    with pytest.raises(InputError, match="slot `first` reads d with other settings") as raised:
        taps("second", settings=b"1280x720")
    assert "`first` and `second`" in raised.value.hint


def test_a_slot_takes_from_the_one_that_reads(taps: Any) -> None:
    devices: list[Quiet] = []
    first = taps("first", start=lambda feed: devices.append(Quiet(feed)) or devices[-1])
    second, third = taps("second"), taps("third")
    assert (first.leads, second.leads, third.leads) == (True, False, False)
    assert second.next(0.0) is None  # asked, and nothing is there yet
    devices[0].feed.put(b"frame")
    for tap in (second, third, first):
        item, dropped = tap.next(10.0)
        assert (bytes(item.payload), item.number, dropped) == (b"frame", 1, 0)


def test_when_the_reader_closes_another_takes_over(taps: Any) -> None:
    devices: list[Quiet] = []

    def start(feed: Feed) -> Quiet:
        assert all(device.closed for device in devices)  # it is never open twice
        devices.append(Quiet(feed))
        return devices[-1]

    first, second = taps("first", start=start), taps("second", start=start)
    first.close()
    assert second.next(0.0) is None
    assert second.leads
    devices[1].feed.put(b"on it goes")
    assert second.next(1.0)[0].payload == b"on it goes"


def test_a_device_that_has_gone_is_lost_for_all(taps: Any) -> None:
    devices: list[Quiet] = []

    def start(feed: Feed) -> Quiet:
        if devices:
            raise InputLostError("no such device")
        devices.append(Quiet(feed))
        return devices[-1]

    first, second = taps("first", start=start), taps("second", start=start)
    devices[0].feed.end(InputLostError("pulled out"))
    with pytest.raises(InputLostError, match="pulled out"):
        first.next(1.0)
    first.close()
    with pytest.raises(InputLostError, match="no such device"):
        until(lambda: second.next(1.0))


def test_a_device_that_cannot_be_taken_over_is_lost_for_now(taps: Any) -> None:
    devices: list[Quiet] = []

    def start(feed: Feed) -> Quiet:
        if devices:
            raise InputError("this user may not open it any more")
        devices.append(Quiet(feed))
        return devices[-1]

    first, second, third = taps("first", start=start), taps("second", start=start), taps("third", start=start)
    first.close()
    for tap in (second, third):
        with pytest.raises(InputLostError, match="cannot be taken over: this user may not open it any more"):
            until(lambda tap=tap: tap.next(1.0))


def test_strangers_on_the_socket_do_no_harm(taps: Any, tmp_path: Path) -> None:
    import socket

    devices: list[Quiet] = []
    first = taps("first", start=lambda feed: devices.append(Quiet(feed)) or devices[-1])
    (path,) = tmp_path.glob("*.sock")
    assert path.stat().st_mode & 0o777 == 0o600
    for said in (b"", b"\xff" * 100, b"\0\0\0\0", b"\0\0\0\x05abc"):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(path))
            stranger.sendall(said)
    devices[0].feed.put(b"frame")
    assert first.next(30.0)[0].payload == b"frame"
    second = taps("second")
    devices[0].feed.put(b"another")
    assert second.next(30.0)[0].payload == b"another"


class Process:
    """A worker that takes frames, and what it has said."""

    def __init__(self, folder: Path, slot: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKER, str(folder), slot], stdout=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(line.strip() for line in self.process.stdout)  # one by one, as they come

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def test_when_the_worker_that_reads_is_killed_another_process_takes_over(tmp_path: Path) -> None:
    processes = [Process(tmp_path, "a")]
    try:
        until(lambda: processes[0].lines)
        assert processes[0].lines[0] == "leads"
        processes += [Process(tmp_path, "b"), Process(tmp_path, "c")]
        until(lambda: all(len(process.lines) > 5 for process in processes))
        assert [process.lines[0] for process in processes[1:]] == ["takes", "takes"]
        assert any(int(line.split()[1]) > 0 for line in processes[2].lines[2:])  # slower than the device: it drops
        processes[0].kill()
        others = processes[1:]
        until(lambda: sum("took over" in process.lines for process in others) == 1)
        counts = [len(process.lines) for process in others]
        until(lambda: all(len(process.lines) > count + 5 for process, count in zip(others, counts, strict=True)))
    finally:
        for process in processes:
            process.kill()


def test_a_reader_that_has_stopped_is_not_waited_for_for_ever(tmp_path: Path, taps: Any) -> None:
    process = Process(tmp_path, "a")
    try:
        until(lambda: len(process.lines) > 2)
        os.kill(process.process.pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(InputLostError, match="does not hand it out"):
            Tap(tmp_path, device="camera", settings=b"640x480", slot="b", keep=1, start=Quiet)
        assert time.monotonic() - began < 60
        with pytest.raises(InputLostError, match="a camera is read by another process"):
            Tap(tmp_path, device="camera", called="a camera", settings=b"", slot="b", keep=1, start=Quiet)
    finally:
        process.kill()
