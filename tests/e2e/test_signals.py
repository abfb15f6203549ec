"""Signals that arrive early, while libraries are being imported: the exit code is the signal's, and nothing is torn."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgeglm.cli.signals import CACHED
from tests.support.projects import DATA, HEAD, MODEL, Project

RECIPE = HEAD + "artifacts: [{format: onnx}, {format: tflite}]\n"
# sends a signal in the moment in which a compiled library, being loaded, calls Python
IN_THE_LIBRARY = """\
import os, sys, time
from importlib.machinery import ExtensionFileLoader

from edgeglm.cli.signals import stop_on_signals

class Sender:
    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while frame is not None:
            loader = frame.f_locals.get("self")
            if frame.f_code.co_name in ("create_module", "exec_module") and isinstance(loader, ExtensionFileLoader):
                sys.meta_path.remove(self)
                print(loader.name, "imports", name)
                os.kill(os.getpid(), int(sys.argv[2]))
                time.sleep(10)  # the handler runs here
                return None
            frame = frame.f_back

sys.meta_path.insert(0, Sender())
stop_on_signals()
__import__(sys.argv[1])
"""
# what would keep an exception: a destructor, and code that catches all; beside a forked process, and silenced
KEPT = """\
import os, signal, sys, tempfile, time
from pathlib import Path

from edgeglm.artifacts.quiet import silenced
from edgeglm.cli.signals import goes_on_when_started_again, stop_on_signals
from edgeglm.files import replacing
from edgeglm.leftovers import temporary_folder_of_run

stop_on_signals()
goes_on_when_started_again()
ready, writer = os.pipe()
forked = os.fork()
if not forked:
    os.write(writer, b"!")  # Python forgets what arrives before
    time.sleep(60)
    os._exit(0)

class Silent:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))
        time.sleep(10)

with temporary_folder_of_run(), replacing(Path("result.txt")) as half, silenced():
    half.write_text("half of it")
    os.read(ready, 1)
    os.kill(forked, signal.SIGTERM)
    ended = os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1])
    Path("forked.txt").write_text(f"{ended} {half.exists()}")
    made = tempfile.mkdtemp()
    Path("made.txt").write_text(made)
    try:
        Silent()
    except BaseException:
        pass
    Path("went-on.txt").touch()
"""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(autouse=True)
def _hears_signals() -> None:
    """Have children hear what these tests may ignore: in the background, or under nohup."""
    for number in CODES:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.mark.parametrize("number", list(CODES))
@pytest.mark.parametrize("library", ["numpy", "onnxruntime", "torch"])
def test_a_signal_while_a_compiled_library_is_loaded(library: str, number: signal.Signals) -> None:
    arguments = [sys.executable, "-c", IN_THE_LIBRARY, library, str(int(number))]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert " imports " in done.stdout
    assert (done.returncode, done.stderr) == (CODES[number], "\nstopped\n")


@pytest.mark.parametrize("number", list(CODES))
def test_nothing_keeps_a_signal_from_ending_a_run_and_nothing_temporary_stays(
    tmp_path: Path, number: signal.Signals
) -> None:
    arguments = [sys.executable, "-c", KEPT, str(int(number))]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (CODES[number], f"\n{CACHED}\n")
    assert {path.name for path in tmp_path.iterdir()} == {"forked.txt", "made.txt"}
    assert (tmp_path / "forked.txt").read_text() == f"{-signal.SIGTERM} True"  # no handler of ours in it
    made = Path((tmp_path / "made.txt").read_text())
    assert made.parent.name.startswith("edgeglm-")
    assert not made.parent.exists()


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
        number, code = list(CODES.items())[count % len(CODES)]
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


# what runs until it is told: a collector that still has much to commit
TOLD = """\
import os, signal, tempfile, time
from edgeglm.cli.signals import stop_on_signals, stopped_by_signals
from edgeglm.leftovers import temporary_folder_of_run

stop_on_signals()
with temporary_folder_of_run(), stopped_by_signals() as stopped:
    print(tempfile.gettempdir(), flush=True)
    for again in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped.event.wait(0)
    os.kill(os.getpid(), signal.SIGINT)  # at the same moment: no person
    time.sleep(1.5)
    os.kill(os.getpid(), signal.SIGTERM)  # of who ends its parts one after the other
    print("goes on", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("not reached", flush=True)
"""


def test_what_ends_in_order_hears_many_signals_as_one_until_ctrl_c_comes_again() -> None:
    done = subprocess.run([sys.executable, "-c", TOLD], capture_output=True, text=True, check=False, timeout=300)
    folder, *said = done.stdout.splitlines()
    assert (done.returncode, said, done.stderr) == (143, ["goes on"], "")
    assert not Path(folder).exists()
