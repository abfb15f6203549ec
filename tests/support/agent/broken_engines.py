"""Runtimes that misbehave, installed as a package would be: found by its entry points, on a path of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MODULE = '''
import ctypes, time
import numpy as np
from edgeglm_agent.engines import EngineError
from edgeglm_agent.wire import TensorSpec

SPEC = (TensorSpec("x", "float32", (4,), "NC"),)
OUT = (TensorSpec("y", "float32", (2,), "NC"),)


class Engine:
    """Answers like a model, until the first value of its input is this engine's word."""

    inputs, outputs, batch, runtime, provider = SPEC, OUT, None, "broken 1.0", "cpu"

    def __init__(self, path, *, threads=1):
        self.hoard = []

    def run(self, inputs):
        x = np.asarray(inputs["x"], np.float32)
        if x[0, 0] >= 100:
            self.break_down(x)
        return {"y": x[:, :2] * 2}


class Segfault(Engine):
    def break_down(self, x):
        ctypes.string_at(0)


class Hang(Engine):
    def break_down(self, x):
        ctypes.PyDLL(None).sleep(600)  # holds the interpreter's lock, as a bad extension does


class Loop(Engine):
    def break_down(self, x):
        while True:
            time.sleep(0.01)


class Hoard(Engine):
    def break_down(self, x):
        while True:
            self.hoard.append(np.ones(1_000_000))
            time.sleep(0.02)


class Exit(Engine):
    def break_down(self, x):
        import os

        os._exit(3)


class NotANumber(Engine):
    def run(self, inputs):
        x = np.asarray(inputs["x"], np.float32)
        y = x[:, :2] * 2
        return {"y": np.where(x[:, :1] >= 100, np.nan, y)}


class Spoilt(Engine):
    def __init__(self, path, *, threads=1):
        self.spoilt = False

    def run(self, inputs):
        x = np.asarray(inputs["x"], np.float32)
        self.spoilt |= bool((x[:, :1] >= 100).any())
        return {"y": x[:, :2] * (np.nan if self.spoilt else 2)}


class Raises(Engine):
    def break_down(self, x):
        raise LookupError("no such tensor")


class Slow(Engine):
    """Takes minutes to load, as TensorRT does."""

    def __init__(self, path, *, threads=1):
        time.sleep(600)


class Stuck(Engine):
    """Likewise, and lets nothing else of its process run meanwhile."""

    def __init__(self, path, *, threads=1):
        ctypes.PyDLL(None).sleep(600)


class Refuses(Engine):
    def __init__(self, path, *, threads=1):
        raise EngineError("this file is damaged", fault="bad-file")
'''

_KINDS = {
    "segfault": "Segfault",
    "hang": "Hang",
    "loop": "Loop",
    "hoard": "Hoard",
    "exit": "Exit",
    "nan": "NotANumber",  # of such a sample alone
    "spoilt": "Spoilt",  # from such a sample on, whatever comes
    "raises": "Raises",
    "slow": "Slow",
    "stuck": "Stuck",
    "refuses": "Refuses",
}
BREAKS = 100.0  # a first value from which on the engine does what it is for


def install_broken_engines(folder: Path) -> Path:
    """Write the package into a folder that is put on PYTHONPATH; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "broken_engines_of_a_test.py").write_text(_MODULE, encoding="utf-8")
    about = folder / "broken_engines-1.0.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-engines\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"{kind} = broken_engines_of_a_test:{name}" for kind, name in _KINDS.items()]
    (about / "entry_points.txt").write_text("[edgeglm_agent.engines]\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return folder
