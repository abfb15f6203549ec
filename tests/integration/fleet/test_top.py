"""``edgeglm fleet top`` on a real terminal, over a store that is being written."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeglm_agent.wire.telemetry import BoardReading

from edgeglm.fleet.store.types import Device
from tests.support.fleet.boards import HOSTILE, slot, state, window
from tests.support.fleet.filled import Filled

GATES = [Device("north", f"gate-{number}") for number in range(1, 4)]
_GUARD_S = 300


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Filled]:
    """Three boards: one is well, one is hot, one has a hostile model."""
    filled, at_ms = Filled(tmp_path), now_ms() - 301_000
    for device in GATES[:2]:
        filled.say(device, state(device.name), at_ms)
    filled.say(GATES[2], state("gate-3", slots={"main": slot(HOSTILE, "ee" * 32)}), at_ms)
    filled.send(GATES[0], window(at_ms=at_ms), received_ms=now_ms())
    filled.send(GATES[1], window(at_ms=at_ms, board=BoardReading(temperature_decic=851)), received_ms=now_ms())
    filled.send(GATES[2], window(at_ms=at_ms), received_ms=now_ms())
    yield filled
    filled.close()


class Terminal:
    """A terminal of some size, with ``fleet top`` in it."""

    def __init__(self, store: Filled, width: int, height: int, *words: str) -> None:
        self.main, child = pty.openpty()
        self.resize(width, height)
        self.before = termios.tcgetattr(child)
        line = [sys.executable, "-m", "edgeglm", "fleet", "top", "--store", store.url, "--every", "1s", *words]
        self.process = subprocess.Popen(
            line, stdin=child, stdout=child, stderr=subprocess.PIPE, env=os.environ | {"TERM": "xterm"}
        )
        self.child = child
        self.raw = ""

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def press(self, keys: bytes) -> None:
        os.write(self.main, keys)

    def shows(self, text: str) -> list[str]:
        """Wait for a screen with this in it, and return its lines."""
        give_up_s = time.monotonic() + _GUARD_S
        while True:
            last = self.raw.rpartition("\x1b[H")[2].replace("\x1b[?1049l", "")
            lines = re.sub(r"\x1b\[[?0-9]*[A-Za-z]", "", last).replace("\r", "").split("\n")
            if "q quit" in lines[-1] and any(text in line for line in lines):  # it is whole
                return lines
            assert select.select([self.main], [], [], max(0, give_up_s - time.monotonic()))[0], f"no {text}: {lines}"
            self.raw += os.read(self.main, 65_536).decode()

    def ended(self) -> int:
        """Wait for the end, return the exit code, and hold the terminal against what it was."""
        while self.process.poll() is None:
            if select.select([self.main], [], [], 0.1)[0]:
                self.raw += os.read(self.main, 65_536).decode()
        while select.select([self.main], [], [], 0)[0]:
            self.raw += os.read(self.main, 65_536).decode()
        assert self.raw.endswith("\x1b[?7h\x1b[?25h\x1b[?1049l"), "the terminal is given back"
        assert termios.tcgetattr(self.child) == self.before
        assert self.process.stderr is not None
        assert self.process.stderr.read() == b""
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
        os.close(self.main)
        os.close(self.child)


def test_it_follows_the_store_hears_keys_and_the_terminals_size_and_leaves_it_as_it_was(store: Filled) -> None:
    terminal = Terminal(store, 80, 24)
    try:
        first = terminal.shows("q quit")
        assert len(first) == 24
        assert max(map(len, first)) <= 80
        assert all(line.isprintable() for line in first)
        assert [line.split()[0] for line in first[2:6]] == ["DEVICE", "gate-2", "gate-1", "gate-3"]
        assert first[-3].startswith("gate-2: hot: 85.1 C")
        terminal.press(b"\x1b[B")
        assert terminal.shows("gate-1: no problems")[3].startswith("gate-2")
        terminal.press(b"\x1b[D")
        assert terminal.shows("sort: device")[3].startswith("gate-1")
        failing = window(at_ms=now_ms() - 300_000, errors={"run": 900})
        store.send(GATES[0], failing, received_ms=now_ms())
        assert "erroring" in terminal.shows("1 erroring")[3]
        terminal.resize(110, 12)
        terminal.process.send_signal(signal.SIGWINCH)
        wide = terminal.shows("MODEL")
        assert (len(wide), "kws 1.2" in wide[3]) == (12, True)
        assert max(map(len, wide)) <= 110
        store.path.rename(store.path.with_suffix(".away"))
        assert terminal.shows("the store is gone")[3].startswith("gate-1")
        store.path.with_suffix(".away").rename(store.path)
        terminal.shows("latencies in ms")
        terminal.press(b"q")
        assert terminal.ended() == 0
    finally:
        terminal.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_gives_the_terminal_back(store: Filled, number: signal.Signals, code: int) -> None:
    terminal = Terminal(store, 60, 10, "--sort", "p95")
    try:
        terminal.shows("sort: p95")
        terminal.process.send_signal(number)
        assert terminal.ended() == code
    finally:
        terminal.close()


def test_without_a_terminal_it_is_shown_once_and_whole(store: Filled, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "edgeglm", "fleet", "top", "--store"]
    done = subprocess.run([*line, store.url], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True)
    assert [row.split()[0] for row in done.stdout.splitlines()] == ["DEVICE", "gate-2", "gate-1", "gate-3"]
    assert all(row.isprintable() for row in done.stdout.splitlines())
    assert done.stderr == "3 boards, 1 with problems: 1 hot\n"
    missing = subprocess.run([*line, f"sqlite:///{tmp_path}/none.db"], capture_output=True, text=True, check=False)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.endswith("code: store-missing\n")
