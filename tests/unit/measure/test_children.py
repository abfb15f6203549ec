from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from edgeglm.errors import ExportError, WorkerError
from edgeglm.leftovers import temporary_folder_of_run
from edgeglm.measure.children import await_spares, spare_children
from edgeglm.measure.worker import Runner
from tests.support.tiny_models import tiny_images, write_tiny_onnx, write_tiny_tflite

GIVE_UP_AFTER_S = 60  # guards against a hang, not a speed limit


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_onnx(tmp_path_factory.mktemp("children") / "tiny.onnx")


def test_a_machine_that_starts_no_more_processes_is_told(monkeypatch: pytest.MonkeyPatch, onnx_file: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(WorkerError, match="cannot be started: Resource temporarily unavailable") as caught:
        Runner(onnx_file, format="onnx")
    assert "ulimit -u" in caught.value.problems[0].hint


def children() -> set[int]:
    """Return the children of this process that hold, or wait for, a model."""
    found = psutil.Process().children()
    while any(child.is_running() and not child.cmdline() for child in found):  # in the middle of exec it has none yet
        time.sleep(0.001)
    return {child.pid for child in found if "edgeglm.measure.child" in child.cmdline()}


def run(path: Path, *, threads: int = 1, format: str = "onnx") -> int:  # noqa: A002
    """Run a file once; return the process that did."""
    images = tiny_images(1) if format == "onnx" else tiny_images(1).transpose(0, 2, 3, 1)
    with Runner(path, format=format, threads=threads) as runner:
        assert runner.run({"image": images})["logits"].shape == (1, 5)
        return runner.pid


def test_the_next_model_goes_into_a_process_that_waits_for_it(onnx_file: Path) -> None:
    with spare_children(("onnx", 1)):
        seen: list[int] = []
        for _ in range(3):
            (waiting,) = children()
            assert run(onnx_file) == waiting
            seen.append(waiting)
        assert len(set(seen)) == 3  # one model a process
    assert children() == set()


def test_without_asking_for_them_there_are_none(onnx_file: Path) -> None:
    run(onnx_file)
    assert children() == set()


def test_two_wait_at_most_those_of_the_last_kinds(onnx_file: Path, tmp_path: Path) -> None:
    tflite_file = write_tiny_tflite(tmp_path / "tiny.tflite")
    with spare_children(("onnx", 1)):
        run(onnx_file, threads=2)
        run(tflite_file, format="tflite")
        assert len(children()) == 2
        (waiting,) = {pid for pid in children() if "tflite" in psutil.Process(pid).cmdline()}
        assert run(tflite_file, format="tflite") == waiting
    assert children() == set()


def test_one_that_died_is_replaced(onnx_file: Path) -> None:
    with spare_children(("onnx", 1)):
        (waiting,) = children()
        os.kill(waiting, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(waiting)], timeout=1)
        assert run(onnx_file) != waiting


def test_one_that_waits_gets_a_file_by_its_whole_path(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_onnx(tmp_path / "here.onnx")
    with spare_children(("onnx", 1)):
        monkeypatch.chdir(tmp_path)  # after the spare was started elsewhere
        run(type(onnx_file)("here.onnx"))


def test_a_damaged_file_is_refused_by_one_that_waited(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"garbage")
    with spare_children(("onnx", 1)), pytest.raises(ExportError, match="does not load it"):
        run(tmp_path / "bad.onnx")
    assert children() == set()


def test_they_end_when_the_work_fails(onnx_file: Path) -> None:
    def work() -> None:
        with spare_children(("onnx", 1)):
            run(onnx_file)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert children() == set()


def test_another_thread_starts_its_own_since_they_die_with_the_one_that_started_them(onnx_file: Path) -> None:
    with spare_children(("onnx", 1)):
        (waiting,) = children()
        pids: list[int] = []
        thread = threading.Thread(target=lambda: pids.append(run(onnx_file)))
        thread.start()
        thread.join()
        assert pids != [waiting]
        assert children() == {waiting}


def test_nothing_is_being_started_beside_a_timing(onnx_file: Path) -> None:
    with spare_children():
        run(onnx_file)
        await_spares()
        (waiting,) = children()
        before = psutil.Process(waiting).cpu_times()
        time.sleep(0.2)
        assert psutil.Process(waiting).cpu_times()[:2] == before[:2]


def test_one_that_waits_dies_with_a_parent_that_is_killed() -> None:
    code = (
        "import time\n"
        "from edgeglm.measure.children import await_spares, spare_children\n"
        "with spare_children(('onnx', 1)):\n"
        "    await_spares()\n"
        "    print('waits', flush=True)\n"
        "    time.sleep(600)\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "waits\n"
        (child,) = psutil.Process(parent.pid).children()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert child not in psutil.wait_procs([child], timeout=GIVE_UP_AFTER_S)[1]
    finally:
        parent.kill()
        parent.communicate()


def test_what_they_write_for_a_while_lies_in_the_folder_of_the_run(onnx_file: Path) -> None:
    with temporary_folder_of_run():
        folder = Path(tempfile.gettempdir())
        with spare_children(("onnx", 1)):
            (waiting,) = children()
            assert Path(psutil.Process(waiting).environ()["TMPDIR"]) == folder
    assert folder.name.startswith("edgeglm-")
    assert not folder.exists()
    assert Path(tempfile.gettempdir()) == folder.parent
