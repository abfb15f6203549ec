"""Broker, collectors and simulated boards as processes, as a user starts them, and what they took of the machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    Process = subprocess.Popen[bytes]

EDGEGLM = (sys.executable, "-m", "edgeglm", "fleet")
PORT = 18830
_TICKS = os.sysconf("SC_CLK_TCK")


class Parts(NamedTuple):
    """What runs."""

    folder: Path
    address: str  # the broker's
    broker: Process
    collectors: list[Process]


def cpu_s(process: Process) -> float:
    """Return the seconds of CPU that a process has used, the kernel's for it included."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_rss_mb(process: Process | int) -> float:
    """Return the most memory that a process has had."""
    number = process if isinstance(process, int) else process.pid
    status = Path(f"/proc/{number}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def child_of(process: Process) -> int:
    """Return the process that one supervises: the broker's own."""
    (number,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(number)


@contextmanager
def running(folder: Path, store: str, shards: tuple[str, ...] = ("00-ff",), *, port: int = PORT) -> Iterator[Parts]:
    """Start a broker, and a collector for each range of shards, in a folder of their own; end them in order."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    processes: list[Process] = []
    with (folder / "log").open("wb") as log:
        broker = subprocess.Popen(
            [*EDGEGLM, "broker", "--data", "broker", "--port", str(port)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        processes.append(broker)
        try:
            assert broker.stdout is not None
            address = broker.stdout.readline().decode().strip()
            for one in shards:
                collect = [*EDGEGLM, "collect", "--broker", address, "--store", store, "--shards", one]
                processes.append(subprocess.Popen(collect, cwd=folder, stdout=subprocess.DEVNULL, stderr=log))
            while (folder / "log").read_bytes().count(b"connected to") < len(shards):
                assert all(process.poll() is None for process in processes), (folder / "log").read_text()
                time.sleep(0.1)
            yield Parts(folder, address, broker, processes[1:])
        finally:
            for process in reversed(processes):
                process.send_signal(signal.SIGTERM)
                process.wait(60)


def simulated(parts: Parts, seconds: float, *options: str, profile: str = "capacity") -> dict[str, Any]:
    """Let boards speak for so long; return what `edgeglm fleet simulate` says of it."""
    command = [*EDGEGLM, "simulate", "--broker", parts.address, "--profile", profile, "--json"]
    with (parts.folder / "simulate.log").open("ab") as log:
        done = subprocess.run(
            [*command, "--duration", str(seconds), *options],
            cwd=parts.folder,
            stdout=subprocess.PIPE,
            stderr=log,
            check=False,
        )
    said: dict[str, Any] = json.loads(done.stdout)
    return said
