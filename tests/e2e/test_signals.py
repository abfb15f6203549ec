"""Signals that arrive early, while libraries are being imported: the exit code is the signal's, and nothing is torn."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.projects import DATA, HEAD, MODEL, Project

RECIPE = HEAD + "artifacts: [{format: onnx}, {format: tflite}]\n"
# sends a signal in the moment in which a compiled library, being loaded, calls Python
IN_THE_LIBRARY = """\
import os, sys, time
from importlib.machinery import ExtensionFileLoader

from edgeglm.cli.signals import leave_if_stopped, stop_on_signals

class Sender:
    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while frame is not None:
            loader = frame.f_locals.get("self")
            if frame.f_code.co_name in ("create_module", "exec_module") and isinstance(loader, ExtensionFileLoader):
                sys.meta_path.remove(self)
                print(loader.name, "imports", name, flush=True)
                os.kill(os.getpid(), int(sys.argv[2]))
                time.sleep(0.1)  # the handler runs here
                return None
            frame = frame.f_back

sys.meta_path.insert(0, Sender())
stop_on_signals()
try:
    __import__(sys.argv[1])
    time.sleep(60)
finally:
    leave_if_stopped()
"""
SWALLOWED = """\
import os, sys, time

from edgeglm.cli.signals import leave_if_stopped, stop_on_signals

class Silent:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))
        time.sleep(0.1)

stop_on_signals()
try:
    Silent()  # what is raised in it, Python itself prints and drops
    print("went on", flush=True)
    try:
        time.sleep(60)
    except BaseException:
        print("went on again", flush=True)
    try:
        time.sleep(60)
    except BaseException:
        raise RuntimeError("something else")
finally:
    leave_if_stopped()
"""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.mark.parametrize("number", list(CODES))
@pytest.mark.parametrize("library", ["numpy", "onnxruntime", "torch"])
def test_a_signal_waits_until_a_compiled_library_is_loaded(library: str, number: signal.Signals) -> None:
    arguments = [sys.executable, "-c", IN_THE_LIBRARY, library, str(int(number))]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert " imports " in done.stdout
    assert (done.returncode, "Traceback" in done.stderr) == (CODES[number], False), done.stderr


@pytest.mark.parametrize("number", list(CODES))
def test_a_signal_that_somebody_swallows_is_raised_again(number: signal.Signals) -> None:
    arguments = [sys.executable, "-c", SWALLOWED, str(int(number))]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["went on", "went on again"]
    assert (done.returncode, "Traceback" in done.stderr) == (CODES[number], False), done.stderr


def handled(pid: int) -> bool:
    """Tell whether the process has a handler of its own for SIGTERM: before, it ends as the kernel says."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = re.search(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)
    assert caught is not None
    return bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize(
    ("verb", "moments"),
    [
        pytest.param("check", [0.0, 0.05, 0.1, 0.2, 0.3], id="check"),
        pytest.param("compress", [0.0, 0.2, 0.5, 0.9, 1.4, 2.0, 3.0, 4.5, 6.0], id="compress"),
    ],
)
def test_a_signal_at_any_moment_ends_with_its_code(tmp_path: Path, verb: str, moments: list[float]) -> None:
    for count, moment in enumerate(moments):
        number, code = list(CODES.items())[count % 2]
        project = Project(tmp_path / str(count), {"recipe.yaml": RECIPE, "model.py": MODEL, "data.py": DATA})
        process = project.start(verb, "recipe.yaml")
        while process.poll() is None and not handled(process.pid):
            time.sleep(0.002)
        time.sleep(moment)
        process.send_signal(number)
        _, stderr = process.communicate()
        assert process.returncode in (code, 0), f"{number.name} after {moment} s: {process.returncode}\n{stderr}"
        assert "Traceback" not in stderr
        assert (process.returncode == 0) == ("stopped" not in stderr)
