"""How much memory does the agent have on aarch64, beside x86-64, and beside a bare loop over the runtime on either?

A process under qemu-user is the emulator's, with its translated code. But the program's memory lies in one range of
addresses, which can be chosen, and every page in it is one that the program itself has touched: the kernel says of
each mapping of that range how much is resident (/proc/PID/smaps). Supervisor, worker and bare loop run digits-cnn in ONNX
Runtime, in Debian's Python 3.11 and the wheels for aarch64 that scripts/arm64_userland.sh puts into build/arm64/bookworm.
Needs what `make system` installs; takes three minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from agent_lifetime import served
from common import HERE, WORK, write_result
from edgeglm_agent.worker.progress import ProgressReader

ROOT = HERE.parent
USERLAND = ROOT / "build" / "arm64" / "bookworm"
BASE, SIZE = 0x100000000000, 0x8000000000  # where the emulated program's addresses lie
PATIENCE_S = 900.0  # emulated, on a machine that others use too
ANSWERS = 20
BARE = """
import sys, time
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
with np.load(sys.argv[2]) as arrays:
    ready = {name: arrays[name][:1] for name in arrays.files}
for _ in range(20):
    session.run(None, ready)
print("ready", flush=True)
time.sleep(10_000)
"""


def main() -> None:
    """Make the userland where it is not, measure, print, and write the figures."""
    script = ["sh", str(ROOT / "scripts" / "arm64_userland.sh"), "bookworm", str(USERLAND)]
    subprocess.run(script, env={**os.environ, "PYTHON": sys.executable}, check=True)
    compiled = WORK / "arm64-compiled"  # nothing is written into the userland
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    own |= {"ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1"}  # the bare loop's too
    emulated = own | {
        "QEMU_CPU": "cortex-a72",
        "PYTHONPATH": f"{USERLAND / 'opt' / 'site'}:{ROOT / 'device_agents'}",
        "PYTHONPYCACHEPREFIX": str(compiled),
    }
    qemu = ["qemu-aarch64-static", "-B", hex(BASE), "-R", hex(SIZE), "-L", str(USERLAND)]
    machines = {
        "x86_64": ([sys.executable], own | {"PYTHONPATH": str(ROOT / "device_agents")}),
        "aarch64": ([*qemu, str(USERLAND / "usr" / "bin" / "python3.11")], emulated),
    }
    figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        model, arrays = served("digits-cnn", Path(scratch) / "served")
        for name, machine in machines.items():
            for turn in ("first", "second"):  # the first one compiles: that is memory too
                figures[name] = measured(*machine, Path(scratch) / f"{name}-{turn}", model, arrays)
            print(name, figures[name], flush=True)
    write_result("agent_arm64", machines=figures)


def measured(
    python: list[str], environment: dict[str, str], place: Path, model: Path, arrays: Path
) -> dict[str, dict[str, int]]:
    """Return the memory of a supervisor, a worker and a bare loop, each with a model that has answered."""
    place.mkdir()
    settings, log = place / "agent.toml", place / "log"
    settings.write_text(
        f'device = "bench"\nworkers = "external"\nstate_dir = "{place}/state"\nruntime_dir = "{place}/run"\n'
        f'[slots.main]\nmodel = "{model}"\nstart_timeout_s = {PATIENCE_S}\n'
        f'input = {{kind = "replay", path = "{arrays}", loop = true, rate = 5}}\n'
    )
    settings.chmod(0o600)
    file = next(path for path in model.iterdir() if path.suffix == ".onnx")
    worker = ["-m", "edgeglm_agent.worker", "--socket", f"{place}/run/supervisor.sock", "--slot", "main"]
    commands = {
        "supervisor": ["-m", "edgeglm_agent", "run", str(settings)],
        "worker": worker,
        "bare": ["-c", BARE, str(file), str(arrays)],
    }
    environment = environment | {"INVOCATION_ID": "1"}  # as from systemd: a worker waits for its supervisor
    with log.open("wb") as said:
        running = {
            who: subprocess.Popen([*python, *command], env=environment, stdout=said, stderr=said)
            for who, command in commands.items()
        }
    try:
        ends = time.monotonic() + PATIENCE_S
        while True:
            moment = ProgressReader(place / "run" / "main.progress").read()
            if moment is not None and moment.answered >= ANSWERS and "ready" in log.read_text():
                break
            assert all(process.poll() is None for process in running.values()), log.read_text()
            assert time.monotonic() < ends, log.read_text()
            time.sleep(0.5)
        time.sleep(3.0)
        return {who: resident(process.pid, emulated=len(python) > 1) for who, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def resident(pid: int, *, emulated: bool) -> dict[str, int]:
    """Return KB that are resident, and how many of these no file holds; of an emulated process, the program's alone."""
    found: dict[str, Any] = {"rss_kb": 0, "own_kb": 0}
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="ascii", errors="replace").splitlines():
        name, rest = line.split(maxsplit=1)
        if not name.endswith(":"):
            inside = not emulated or BASE <= int(name.partition("-")[0], 16) < BASE + SIZE
        elif inside and name in ("Rss:", "Anonymous:"):
            found["rss_kb" if name == "Rss:" else "own_kb"] += int(rest.split()[0])
    return found


if __name__ == "__main__":
    main()
