"""`edgeglm fleet up`: broker, collector and page as one command, in one folder."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeglm_agent.wire.telemetry import Row, Window, row_of

from tests.support.agent.broker import free_port
from tests.support.fleet.broker import PATIENCE_S, broker_verb, is_running, until_gone
from tests.support.fleet.collector import Sender, until

EPOCH = b"epoch--1"


class Fleet:
    """One that was started in a folder, and has said its addresses."""

    def __init__(self, folder: Path, *arguments: str, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.page_port = free_port()
        self.log_path = folder / "up.log"
        ports = ("--port", str(self.port), "--page-port", str(self.page_port))
        command = [sys.executable, "-m", "edgeglm", "fleet", "up", *ports, *arguments]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True, cwd=folder
            )
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline().split() for _ in range(3)]
        self.said = {line[0]: line[1] for line in lines if line}

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8")

    def pids(self, of: int | None = None) -> list[int]:
        """Return what it has started, and what that has."""
        pid = of or self.process.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
            return [found for child in map(int, children) for found in (child, *self.pids(child))]
        return []

    def pid_of(self, verb: str) -> int:
        """Return the process of one verb."""
        (found,) = [
            pid for pid in self.pids() if verb.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        ]
        return found

    def until_said(self, text: str, times: int = 1) -> None:
        until(lambda: self.log().count(text) >= times, f"`{text}` in the log:\n{self.log()}")

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def running_fleet(folder: Path, *arguments: str, port: int | None = None) -> Iterator[Fleet]:
    fleet = Fleet(folder, *arguments, port=port)
    try:
        assert len(fleet.said) == 3, fleet.log()
        yield fleet
    finally:
        fleet.end()


def on_the_page(fleet: Fleet, text: str) -> bool:
    """Tell whether the page answers, and says something of its own accord."""
    give_up = time.monotonic() + PATIENCE_S
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{fleet.said['page']}live", timeout=PATIENCE_S) as live:
        for line in live:
            if text.encode() in line or time.monotonic() > give_up:
                return time.monotonic() <= give_up
    return False


def windows(first: int, last: int) -> list[Row]:
    now = int(time.time() * 1000)
    return [row_of(n, Window("main", 1, "00" * 8, now, n * 1000, 1000, True, inferences=n)) for n in range(first, last)]


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_all_of_it_runs_and_ends_in_order(tmp_path: Path, how: signal.Signals, code: int) -> None:
    with running_fleet(tmp_path, "--keep-raw", "30d", "--keep-events", "365d") as fleet:
        collects = Path(f"/proc/{fleet.pid_of('collect')}/cmdline").read_text().split("\0")
        assert collects[-5:] == ["--keep-raw", "30d", "--keep-events", "365d", ""]
        assert fleet.said == {
            "broker": f"mqtt://127.0.0.1:{fleet.port}",
            "collector": "sqlite:///fleet/fleet.db",
            "page": f"http://127.0.0.1:{fleet.page_port}/",
        }
        with Sender(fleet.port) as sender:
            sender.give("press-1", EPOCH, windows(1, 50))
            sender.until_acknowledged()
        listed = broker_verb("ls", cwd=tmp_path)  # where the store is, it knows by itself
        assert listed.stdout.splitlines()[1].startswith("press-1"), listed.stderr
        until(lambda: on_the_page(fleet, "press-1"), "the board on the page")
        pids = fleet.pids()
        assert len(pids) == 4
        assert fleet.end(how) == code
        assert not any(is_running(pid) for pid in pids)
        log = fleet.log()
        ends = ["ending the page", "ending the collector", "stopped: 49 rows", "ending the broker", "] stopped\n"]
        assert sorted(ends, key=log.index) == ends
        assert "warning" not in log
        assert "mosquitto is started" in log
        assert "New client connected" not in log, "who comes and goes buries the rest"
        assert "Traceback" not in log
        assert (tmp_path / "fleet").stat().st_mode & 0o777 == 0o700


def test_what_dies_is_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    with running_fleet(tmp_path) as fleet, Sender(fleet.port) as sender:
        for turn, (verb, name) in enumerate([("collect", "collector"), ("broker", "broker")]):
            pid = fleet.pid_of(verb)
            sender.give("press-1", EPOCH, windows(turn * 50 + 1, turn * 50 + 51))
            os.kill(pid, signal.SIGKILL)
            fleet.until_said(f"the {name} was ended by SIGKILL: it is started again in 0.5 s")
            until(sender.client.is_connected, "a connection")
            sender.until_acknowledged()
            assert fleet.pid_of(verb) != pid
        os.kill(fleet.pid_of("serve"), signal.SIGKILL)
        fleet.until_said("the page was ended by SIGKILL: it is started again in 0.5 s")
        until(lambda: on_the_page(fleet, "press-1"), "the page")
        assert fleet.end() == 143


def test_nothing_stays_when_it_is_killed_and_another_goes_on_at_once(tmp_path: Path) -> None:
    with running_fleet(tmp_path) as fleet:
        pids = fleet.pids()
        with Sender(fleet.port) as sender:
            sender.give("press-1", EPOCH, windows(1, 50))
            sender.until_acknowledged()
        fleet.end(signal.SIGKILL)
        with running_fleet(tmp_path, port=fleet.port) as second:
            for pid in pids:
                until_gone(pid)
            assert "press-1" in broker_verb("ls", cwd=tmp_path).stdout
            assert second.end() == 143


def test_a_signal_that_reaches_every_part_ends_them_in_order_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    with running_fleet(tmp_path) as fleet:
        with Sender(fleet.port) as sender:
            sender.give("press-1", EPOCH, windows(1, 50))
            sender.until_acknowledged()
        pids = fleet.pids()
        for pid in (fleet.process.pid, *pids):  # as systemd does; `up` then sends another
            os.kill(pid, signal.SIGTERM)
        assert fleet.process.wait(PATIENCE_S) == 143
        assert not any(is_running(pid) for pid in pids)
        log = fleet.log()
        assert log.count("stopped: 49 rows") == 1
        assert "Traceback" not in log
        assert list(temporary.iterdir()) == []


def test_a_folder_has_one_and_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with running_fleet(tmp_path) as fleet:
        second = broker_verb("up", cwd=tmp_path)
        assert (second.returncode, second.stdout) == (4, "")
        assert second.stderr.endswith("code: fleet-running\n")
        for taken, option, free in (
            (fleet.port, "--port", "--page-port"),
            (fleet.page_port, "--page-port", "--port"),
        ):
            ports = (option, str(taken), free, str(free_port()))
            other = broker_verb("up", "--data", "other", *ports, cwd=tmp_path)
            assert (other.returncode, other.stdout) == (4, "")
            assert f"127.0.0.1:{taken}: something else listens there" in other.stderr
            assert f"choose another port with {option}" in other.stderr
        assert len(fleet.pids()) == 4, "the first runs on"


def test_a_part_that_cannot_begin_ends_all_of_it_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "fleet").mkdir()
    (tmp_path / "fleet" / "fleet.db").write_bytes(b"no database" * 1000)
    port = free_port()
    ended = broker_verb("up", "--port", str(port), "--page-port", str(free_port()), cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "collector: code: store-" in ended.stderr
    assert "the collector ended with" in ended.stderr
    assert ended.stderr.endswith("code: fleet-part-failed\n")
    with socket.create_server(("127.0.0.1", port)):
        pass  # the broker has gone


def test_with_certificates_the_other_verbs_are_told_where_it_is(tmp_path: Path) -> None:
    with running_fleet(tmp_path, "--tls") as fleet:
        assert fleet.said["broker"] == f"mqtts://127.0.0.1:{fleet.port}"
        fleet.until_said("export EDGEGLM_BROKER=")
        line = next(line for line in fleet.log().splitlines() if "export EDGEGLM_BROKER=" in line)
        script = f"{line}\n{sys.executable} -m edgeglm fleet cmd default/gate-7 ping --within 1s"
        asked = subprocess.run(["sh", "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert "the broker knows no board gate-7" in asked.stderr, asked.stderr
        assert fleet.end() == 143


def test_other_networks_without_tls_and_ages_that_contradict_are_refused_before_anything_begins(tmp_path: Path) -> None:
    ended = broker_verb("up", "--host", "0.0.0.0", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "code: broker-exposed" in ended.stderr
    ended = broker_verb("up", "--keep-raw", "30d", "--keep-windows", "7d", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--keep-windows: windows would be removed before they are merged" in ended.stderr
    assert list(tmp_path.iterdir()) == []
