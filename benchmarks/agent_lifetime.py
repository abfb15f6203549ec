"""How does the agent fare over its life: its memory, what it takes while nothing comes, how soon a killed worker serves again?

python benchmarks/agent_lifetime.py [--only memory] [--only idle] [--only killed]

Memory: an agent, a broker and a collector until a million inferences and 10,000 windows have passed after a warm-up, some
six minutes (a busy machine does no harm). Windows are as short as they can be; all else is as it is when served. Idle: over a minute, by
/proc/PID/stat. Killed: `kill -9`, and the time until the next answer, beside the time from a start to the first one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from agent_overhead import RECIPES, ready_model
from common import HERE, WORK, write_result
from edgeglm_agent.board.processes import usage
from edgeglm_agent.status import ask
from edgeglm_agent.worker.progress import Moment, ProgressReader

sys.path.insert(0, str(HERE.parent))
from edgeglm import compress
from edgeglm.cli.console import ConsoleLog
from tests.support.agent.broker import Broker, free_port
from tests.support.agent.collector import Collector
from tests.support.agent.lifetime import growth, live

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WARM = 0.2  # of its life that does not count: caches fill
INFERENCES, WINDOWS, WINDOW_S = round(1_000_000 / (1 - WARM)), round(10_000 / (1 - WARM)), 0.02
ASKED_EACH = 8  # ages between two seconds in which it is asked over HTTP
IDLE_S, IDLE_WINDOW_S = 60.0, 10
KILLS = 7
PATIENCE_S = 120.0


def main() -> None:
    """Measure what is asked for, print, and write the figures."""
    parts: dict[str, Callable[[Path], dict[str, Any]]] = {"memory": memory, "idle": idle, "killed": killed}
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", choices=[*parts])
    for name in parser.parse_args().only or parts:
        with tempfile.TemporaryDirectory() as scratch:
            write_result(f"agent_{name}", **parts[name](Path(scratch)))


def served(network: str, place: Path) -> tuple[Path, Path]:
    """Return a shipped recipe's folder, its ONNX file alone and without preprocessing, and samples."""
    folder = WORK / f"agent-{network}"
    if not (folder / "manifest.json").exists():
        compress(RECIPES / network / "recipe.yaml", output=folder, log=ConsoleLog())
    model, arrays = ready_model(folder, place)
    return model.parent, arrays


# memory


def memory(place: Path) -> dict[str, Any]:
    """Return by how much the memory of supervisor and workers grew: one replays samples, one is asked over HTTP."""
    model, arrays = served("digits-cnn", place / "served")
    client = Client(arrays, place / "request")
    slots = (
        f'[slots.main]\nmodel = "{model}"\ninput = {{kind = "replay", path = "{arrays}", loop = true}}\n'
        'results = [{kind = "jsonl", max_mb = 1, keep = 1}, {kind = "mqtt", share = 0.002}]\n'
        f'[slots.asked]\nmodel = "{model}"\ninput = {{kind = "http", port = {client.port}}}\n'
    )
    run = place / "run"
    run.mkdir()
    try:
        ages = live(run, slots, inferences=INFERENCES, windows=WINDOWS, window_s=WINDOW_S, beside=client.ask_on)
    finally:
        client.stop()
    end, kept = ages[-1], ages[round(WARM * len(ages)) :]
    grown: dict[str, Any] = {}
    for who, found in end.memory.items():
        grown[who] = {"inferences": end.answered.get(who), "end": found._asdict()}
        for kind in found._fields:
            kb, off_by = growth([getattr(age.memory[who], kind) for age in kept])
            grown[who][kind] = {"kb": kb, "off_by_kb": off_by}
        print(f"{who:11} {found}, own memory {kb:+.0f} KB, give or take {off_by:.0f}", flush=True)
    return {
        "seconds": end.seconds,
        "inferences": end.answered["main"],
        "windows": end.windows // len(end.answered),
        "counted_from": {"inferences": kept[0].answered["main"], "windows": kept[0].windows // len(end.answered)},
        "processes": grown,
    }


class Client:
    """Asks over HTTP, two requests at a time, for a second now and then."""

    def __init__(self, arrays: Path, request: Path) -> None:
        self.port = free_port()
        body = io.BytesIO()
        with np.load(arrays) as samples:
            np.save(body, samples[samples.files[0]][0])
        head = f"POST /v1/infer HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-npy\r\nContent-Length: {body.tell()}\r\n\r\n"
        request.write_bytes(head.encode() + body.getvalue())
        self._command = [sys.executable, str(HERE / "http_load.py"), str(self.port), "2", "1", str(request)]
        self._process: subprocess.Popen[bytes] | None = None
        self._ages = 0

    def ask_on(self) -> None:
        """Ask where it is time again, and the last has ended."""
        self._ages += 1
        if self._ages % ASKED_EACH == 1 and (self._process is None or self._process.poll() is not None):
            self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


# idle


def idle(place: Path) -> dict[str, Any]:
    """Return the share of one core that each process takes while models are loaded, and no input is due."""
    model, _ = served("digits-cnn", place / "served")
    inbox = place / "inbox"
    inbox.mkdir()
    inputs = {
        "directory": f'{{kind = "directory", path = "{inbox}"}}',
        "http": f'{{kind = "http", port = {free_port()}}}',
        "mqtt": '{kind = "mqtt", topic = "samples"}',
    }
    with Broker(place / "broker") as broker, Collector(broker.port, place / "rows.db"):
        more = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n[telemetry]\nwindow_s = {IDLE_WINDOW_S}\n'
        more += "".join(f'[slots.{kind}]\nmodel = "{model}"\ninput = {said}\n' for kind, said in inputs.items())
        with agent(place, more) as process:
            ends = time.monotonic() + PATIENCE_S
            while True:
                with contextlib.suppress(OSError):
                    status = ask(place / "run")
                    serving = all(slot.state.status == "serving" for slot in status.slots.values())
                    if serving and status.link.state == "connected":
                        break
                assert time.monotonic() < ends, (place / "log").read_text()
                time.sleep(0.2)
            pids = {"supervisor": process.pid, **{name: slot.pid or 0 for name, slot in status.slots.items()}}
            time.sleep(5.0)  # what the start brings
            before, began = cpu_ms(pids), time.monotonic()
            time.sleep(IDLE_S)
            after, seconds = cpu_ms(pids), time.monotonic() - began
    shares = {name: (after[name] - before[name]) / 10 / seconds for name in pids}
    for name, share in shares.items():
        print(f"{name:11} {share:.2f} % of a core")
    return {"seconds": seconds, "window_s": IDLE_WINDOW_S, "percent": shares}


def cpu_ms(pids: dict[str, int]) -> dict[str, int]:
    """Return the processor time of each process, user and system, all threads."""
    found = {name: usage(pid) for name, pid in pids.items()}
    return {name: used.cpu_ms for name, used in found.items() if used is not None}


# killed


def killed(place: Path) -> dict[str, Any]:
    """Return how soon there is an answer after a start and after `kill -9` of the worker, in turns."""
    networks = {}
    for network in ("digits-cnn", "minilm"):
        model, arrays = served(network, place / network)
        with np.load(arrays) as samples:
            names = ", ".join(f'"{name}"' for name in samples.files)
        more = (
            f'[slots.main]\nmodel = "{model}"\n'
            f'input = {{kind = "replay", path = "{arrays}", loop = true, inputs = [{names}]}}\n'
        )
        rounds = [one_kill(place, more) for _ in range(KILLS)]
        networks[network] = {name: sorted(one[name] for one in rounds) for name in rounds[0]}
        for name, found in networks[network].items():
            print(f"{network:11} {name:18} {statistics.median(found):.3f} ({found[0]:.3f} to {found[-1]:.3f})")
    return {"rounds": KILLS, "networks": networks}


def one_kill(place: Path, more: str) -> dict[str, float]:
    """Start an agent, and kill its worker twice.

    Returns:
        Seconds: `start` of the agent to its first answer, `worker_start` of its worker to that, `again` from the first kill
        to the next answer, `third` from the second. Ratios: `of_worker_start` and `of_start`: `again` to each.
    """
    began = clock()
    with agent(place, more) as process:
        first, at = next_answer(place, 0, process)
        used = usage(first)
        assert used is not None
        found = {"start": at - began, "worker_start": at - used.started / os.sysconf("SC_CLK_TCK")}
        time.sleep(1.0)  # at rest: what it does at the start is done
        for name in ("again", "third"):
            killed_at = clock()
            os.kill(first, signal.SIGKILL)
            first, at = next_answer(place, first, process)
            found[name] = at - killed_at
            time.sleep(0.5)
    return found | {
        "of_worker_start": found["again"] / found["worker_start"],
        "of_start": found["again"] / found["start"],
    }


def clock() -> float:
    """Return seconds since boot, as the kernel counts the starts of processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def next_answer(place: Path, before: int, process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Wait for the first answer of another worker than before; return its pid, and when that was."""
    ends = time.monotonic() + PATIENCE_S
    path = place / "run" / "main.progress"
    while True:
        moment: Moment | None = ProgressReader(path).read()
        if moment is not None and moment.pid != before and moment.answered:
            return moment.pid, clock()
        assert process.poll() is None, (place / "log").read_text()
        assert time.monotonic() < ends, (place / "log").read_text()
        time.sleep(0.001)


@contextlib.contextmanager
def agent(place: Path, more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run an agent that remembers nothing."""
    for name in ("state", "run"):
        shutil.rmtree(place / name, ignore_errors=True)
    settings = place / "agent.toml"
    settings.write_text(f'device = "bench"\nstate_dir = "{place}/state"\nruntime_dir = "{place}/run"\n{more}')
    settings.chmod(0o600)
    with (place / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "edgeglm_agent", "run", str(settings)], stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


if __name__ == "__main__":
    main()
