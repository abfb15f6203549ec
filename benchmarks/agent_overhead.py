"""What serving by the agent adds to a bare loop over the runtime: time, memory, start; two networks, drift on.

The bare loop is the shortest that anyone would write: the runtime's session, ready arrays, `run` again and again. The
agent replays the same arrays as fast as they are answered, with postprocessing, meters and drift, and nobody who reads
the answers. Both are whole processes that hold the same model and the same arrays, with one thread for the runtime,
none for matrices in numpy, the runtime's telemetry off, and glibc's malloc as it comes. Sentences are not cut to
buckets, so that both compute the same. The agent's code is compiled, as pip leaves it.

While one is measured the other is stopped (SIGSTOP), and they take turns of a fraction of a second, so that a machine
that is busy is busy for both. Inferences are counted from outside: all that lies between two of them is in the figures.
"""

from __future__ import annotations

import compileall
import contextlib
import mmap
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

import edgeglm_agent
import msgspec
import numpy as np
from common import WORK, write_result
from edgeglm_agent.board.processes import pss_kb, usage
from edgeglm_agent.golden import read_golden
from edgeglm_agent.wire import decode_manifest, encode_manifest
from edgeglm_agent.worker.progress import ProgressReader

from edgeglm import compress
from edgeglm.cli.console import ConsoleLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
TURN_S = {"digits-cnn": 0.25, "minilm": 0.4}
ROUNDS, TURNS, STARTS = 9, 8, 9  # many rounds: where its memory happens to lie makes a process some percent slower
WARM_S = 1.0
WINDOW_S = 5
GIVE_UP_S = 60.0
BARE = """
import mmap, os, sys
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
for pool in ("intra_op", "inter_op"):
    options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
with np.load(sys.argv[2]) as arrays:
    samples = {name: arrays[name] for name in arrays.files}
rows = len(next(iter(samples.values())))
ready = [{name: values[row : row + 1] for name, values in samples.items()} for row in range(rows)]
count = memoryview(mmap.mmap(os.open(sys.argv[3], os.O_RDWR), 64)).cast("Q")
row = answered = 0
while True:
    session.run(None, ready[row])
    answered += 1
    count[0] = answered
    row = (row + 1) % rows
"""


def main() -> None:
    """Compress two shipped recipes, unless an earlier run has, then measure."""
    figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        code = Path(scratch) / "site"
        shutil.copytree(Path(edgeglm_agent.__file__).parent, code / "edgeglm_agent")
        compileall.compile_dir(code, quiet=1)
        environment = {**os.environ, "PYTHONPATH": str(code), "ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1"}
        for name in TURN_S:
            folder = WORK / f"agent-{name}"
            if not (folder / "manifest.json").exists():
                compress(RECIPES / name / "recipe.yaml", output=folder, log=ConsoleLog())
            place = Place(Path(scratch) / name, folder, environment)
            figures[name] = place.measure(TURN_S[name])
            print(name, {key: round(statistics.median(values), 3) for key, values in figures[name].items()})
    write_result("agent_overhead", rounds=ROUNDS, turns=TURNS, starts=STARTS, networks=figures)


class Place:
    """A folder with one model, its samples and settings, and what runs there."""

    def __init__(self, path: Path, folder: Path, environment: Mapping[str, str]) -> None:
        """Write settings beside the model and its samples."""
        self.path, self.environment = path, dict(environment)
        self.model, self.arrays = ready_model(folder, path)
        self.count = path / "count"
        with np.load(self.arrays) as samples:
            names = ", ".join(f'"{name}"' for name in samples.files)
        (path / "agent.toml").write_text(
            f'device = "bench"\nstate_dir = "state"\nruntime_dir = "run"\n[telemetry]\nwindow_s = {WINDOW_S}\n'
            f'[slots.main]\nmodel = "model"\n[slots.main.input]\nkind = "replay"\npath = "samples.npz"\nloop = true\n'
            f"inputs = [{names}]\n",
            encoding="utf-8",
        )
        (path / "agent.toml").chmod(0o600)

    def measure(self, turn_s: float) -> dict[str, list[float]]:
        """Return lists of figures, one of each round or start."""
        found: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            add(found, self.side_by_side(turn_s))
        for _ in range(STARTS):
            add(found, self.starts())
        found["start"] = [a / b for a, b in zip(found["agent_start_s"], found["bare_start_s"], strict=True)]
        return found

    def side_by_side(self, turn_s: float) -> dict[str, list[float]]:
        """Let both loops take turns; then look at their memory."""
        with self.bare() as (bare, bare_count), self.agent() as (agent, progress):
            worker = until(progress.read, lambda moment: moment is not None and moment.answered > 0).pid
            until(bare_count, lambda count: count > 0)
            time.sleep(WARM_S)
            turns: dict[str, list[float]] = {}
            os.kill(worker, signal.SIGSTOP)
            os.kill(bare.pid, signal.SIGSTOP)
            for _ in range(TURNS):
                add(turns, one_turn("bare", bare.pid, bare_count, turn_s))
                add(turns, one_turn("agent", worker, lambda: progress.read().answered, turn_s))
            os.kill(worker, signal.SIGCONT)
            time.sleep(WARM_S)
            memory = {"worker": memory_kb(worker), "bare": memory_kb(bare.pid), "supervisor": memory_kb(agent.pid)}
        pairs = list(zip(turns["agent_us"], turns["bare_us"], strict=True))
        cpu = zip(turns["agent_cpu_us"], turns["bare_cpu_us"], strict=True)
        return {
            "bare_us": [statistics.median(turns["bare_us"])],
            "agent_us": [statistics.median(turns["agent_us"])],
            "added_us": [statistics.median(a - b for a, b in pairs)],
            "added_cpu_us": [statistics.median(a - b for a, b in cpu)],
            "throughput": [statistics.median(b / a for a, b in pairs)],
            **{f"{who}_{kind}_kb": [kb] for who, kinds in memory.items() for kind, kb in kinds.items()},
            **{f"worker_above_bare_{kind}_kb": [kb - memory["bare"][kind]] for kind, kb in memory["worker"].items()},
        }

    def starts(self) -> dict[str, list[float]]:
        """Return the seconds from the start of the process, of the agent that of its supervisor, to the first answer."""
        began = time.monotonic()
        with self.bare() as (_, count):
            until(count, lambda count: count > 0)
            bare_s = time.monotonic() - began
        began = time.monotonic()
        with self.agent() as (_, progress):
            until(progress.read, lambda moment: moment is not None and moment.answered > 0)
            agent_s = time.monotonic() - began
        return {"bare_start_s": [bare_s], "agent_start_s": [agent_s]}

    @contextlib.contextmanager
    def bare(self) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], int]]]:
        """Run the bare loop; with what tells how many inferences it has done."""
        self.count.write_bytes(bytes(64))
        with self.count.open("r+b") as file:
            words = memoryview(mmap.mmap(file.fileno(), 64)).cast("Q")
        command = [sys.executable, "-c", BARE, str(self.model), str(self.arrays), str(self.count)]
        process = subprocess.Popen(command, cwd=self.path, env=self.environment)
        try:
            yield process, lambda: words[0]
        finally:
            process.kill()
            process.wait()

    @contextlib.contextmanager
    def agent(self) -> Iterator[tuple[subprocess.Popen[bytes], ProgressReader]]:
        """Run an agent that remembers nothing; with what its worker writes down."""
        for left in ("state", "run"):
            shutil.rmtree(self.path / left, ignore_errors=True)
        command = [sys.executable, "-m", "edgeglm_agent", "run", "agent.toml"]
        with (self.path / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=self.path, env=self.environment, stderr=log)
        try:
            yield process, ProgressReader(self.path / "run" / "main.progress")
        except TimeoutError as error:
            raise TimeoutError((self.path / "log").read_text()) from error
        finally:
            process.terminate()
            process.wait()


def ready_model(folder: Path, place: Path) -> tuple[Path, Path]:
    """Return an ONNX artifact, beside a manifest without preprocessing and buckets, and its golden inputs as arrays."""
    shutil.copytree(folder, place / "model")
    manifest = decode_manifest((folder / "manifest.json").read_bytes())
    artifact = next(a for a in manifest.artifacts if a.format == "onnx")
    golden = read_golden((folder / artifact.golden).read_bytes())
    artifact = msgspec.structs.replace(artifact, buckets=None)
    plain = msgspec.structs.replace(manifest, preprocess=(), artifacts=(artifact,))
    (place / "model" / "manifest.json").write_bytes(encode_manifest(plain))
    arrays = place / "samples.npz"
    np.savez(arrays, **golden.inputs)  # type: ignore[arg-type]  # names are arrays' names
    return place / "model" / artifact.path, arrays


def one_turn(name: str, pid: int, count: Callable[[], int], seconds: float) -> dict[str, list[float]]:
    """Let a stopped process run; return the microseconds of an inference, by the clock and of the processor."""
    cpu, before = thread_ns(pid), count()
    began = time.monotonic_ns()
    os.kill(pid, signal.SIGCONT)
    time.sleep(seconds)
    os.kill(pid, signal.SIGSTOP)
    took, done = time.monotonic_ns() - began, count() - before
    time.sleep(0.002)  # until it has stopped: its processor's time is written down then
    return {f"{name}_us": [took / done / 1000], f"{name}_cpu_us": [(thread_ns(pid) - cpu) / done / 1000]}


def thread_ns(pid: int) -> int:
    """Return the processor time of a process's first thread, nanoseconds."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text(encoding="ascii").split()[0])


def memory_kb(pid: int) -> dict[str, int]:
    """Return resident memory, whole and with what is shared divided among those who share it."""
    found = usage(pid)
    pss = pss_kb(pid)
    assert found is not None
    assert pss is not None
    return {"rss": found.rss_kb, "pss": pss}


def add(to: dict[str, list[float]], more: Mapping[str, list[float]]) -> None:
    """Put lists behind those of the same name."""
    for name, values in more.items():
        to.setdefault(name, []).extend(values)


def until(look: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    """Look every half millisecond until something holds; return what was seen then. Raises: TimeoutError."""
    ends = time.monotonic() + GIVE_UP_S
    while not holds(seen := look()):
        if time.monotonic() > ends:
            raise TimeoutError
        time.sleep(0.0005)
    return seen


if __name__ == "__main__":
    main()
