"""An agent that grows old fast: windows of milliseconds, a broker, a collector, and what memory it has at each age."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from edgeglm_agent.worker.progress import ProgressReader

from tests.support.agent.broker import Broker
from tests.support.agent.collector import Collector
from tests.support.uncovered import uncovered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 120.0  # without a single inference or window more: it hangs
# all of `edgeglm-agent run`, but for a window that no settings allow
_SHORT_WINDOWS = """
import sys
from pathlib import Path
from edgeglm_agent import logs
from edgeglm_agent.settings.load import load_settings
from edgeglm_agent.supervisor.run import Supervisor
settings = load_settings(Path(sys.argv[1]))
logs.configure(settings.log)
supervisor = Supervisor(settings)
supervisor.window_s = float(sys.argv[2])
raise SystemExit(supervisor.run())
"""


class Memory(NamedTuple):
    """What the kernel gives a process, from /proc/PID/smaps_rollup: exact, where statm is not."""

    rss_kb: int
    pss_kb: int
    own_kb: int  # anonymous: heaps and stacks, which alone can leak


class Age(NamedTuple):
    """An agent at one moment."""

    seconds: float
    answered: dict[str, int]  # by slot
    windows: int  # that the collector has committed, of all slots
    memory: dict[str, Memory]  # of ``supervisor``, and of each slot's worker


def memory(pid: int) -> Memory:
    """Return what a process has. Raises: OSError: It has gone."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0])
    return Memory(found["Rss"], found["Pss"], found["Anonymous"] + found["Swap"])


def live(
    folder: Path,
    slots: str,
    *,
    inferences: int,
    windows: int,
    window_s: float,
    each_s: float = 1.0,
    beside: Callable[[], None] = lambda: None,
) -> list[Age]:
    """Let an agent live until it has answered so many samples and filed so many windows; return it at every age.

    Args:
        folder: Its own, empty.
        slots: The tables of its slots; one is called ``main``.
        inferences: Of ``main``.
        windows: Of every slot.
        window_s: Of one window.
        each_s: Between two ages.
        beside: Is called at every age.

    Raises:
        AssertionError: It ended, a worker was restarted, or nothing goes on.
    """
    names = re.findall(r"^\[slots\.(\w+)\]", slots, re.MULTILINE)
    settings, store = folder / "agent.toml", folder / "rows.db"
    ages: list[Age] = []
    with Broker(folder / "broker") as broker, Collector(broker.port, store):
        settings.write_text(
            f'device = "bench-1"\nstate_dir = "{folder}/state"\nruntime_dir = "{folder}/run"\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
            f"[telemetry]\nwindow_s = 1\ndaily_bytes = 100_000_000_000\n{slots}",
            encoding="utf-8",
        )
        settings.chmod(0o600)
        with (folder / "log").open("wb") as log:
            agent = subprocess.Popen(
                [sys.executable, "-c", _SHORT_WINDOWS, str(settings), str(window_s)],
                stderr=log,
                env={**uncovered(), "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        try:
            ages = _grown_old(agent, folder, names, inferences, windows * len(names), each_s, beside)
        finally:
            agent.terminate()
            agent.wait(60)
    return ages


def _grown_old(
    agent: subprocess.Popen[bytes],
    folder: Path,
    names: list[str],
    inferences: int,
    windows: int,
    each_s: float,
    beside: Callable[[], None],
) -> list[Age]:
    ages: list[Age] = []
    began = moved = time.monotonic()
    pids: dict[str, int] = {}
    with contextlib.closing(sqlite3.connect(folder / "rows.db")) as db:
        while not ages or ages[-1].answered["main"] < inferences or ages[-1].windows < windows:
            said = (folder / "log").read_text(encoding="utf-8", errors="replace")[-4000:]
            assert agent.poll() is None, f"the agent ended with {agent.returncode}:\n{said}"
            assert time.monotonic() - moved < PATIENCE_S, f"nothing goes on:\n{said}"
            time.sleep(each_s)
            moments = {name: ProgressReader(folder / "run" / f"{name}.progress").read() for name in names}
            there = {name: moment for name, moment in moments.items() if moment is not None}
            if len(there) < len(names):
                continue
            beside()
            pids = pids or {"supervisor": agent.pid} | {name: moment.pid for name, moment in there.items()}
            assert all(pids[name] == moment.pid for name, moment in there.items()), f"a worker was restarted:\n{said}"
            age = Age(
                time.monotonic() - began,
                {name: moment.answered for name, moment in there.items()},
                db.execute("select count(*) from rows where kind = 0").fetchone()[0],
                {who: memory(pid) for who, pid in pids.items()},
            )
            if not ages or (age.answered["main"], age.windows) != (ages[-1].answered["main"], ages[-1].windows):
                moved = time.monotonic()
            ages.append(age)
    return ages


def growth(values: Sequence[float], *, blocks: int = 20) -> tuple[float, float]:
    """Return by how much a line through values rises from the first to the last, and how far that may be off (95 %).

    The line goes through the means of blocks, whose noise is taken to hang together as a process of first order does:
    one that was given a page more keeps it.

    Args:
        values: At equal distances; at least as many as blocks.
        blocks: At least 4.
    """
    means = np.array([part.mean() for part in np.array_split(np.asarray(values, np.float64), blocks)])
    x = (np.arange(blocks) + 0.5) / blocks - 0.5
    slope = float(x @ means / (x @ x))
    left = means - means.mean() - slope * x
    noise = float(left @ left)
    if noise == 0.0:
        return slope, 0.0
    alike = min(0.9, max(0.0, float(left[1:] @ left[:-1]) / noise))
    error = (noise / (blocks - 2) / (x @ x) * (1 + alike) / (1 - alike)) ** 0.5
    return slope, 2.1 * float(error)  # Student's t of 18 degrees
