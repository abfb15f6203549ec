from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from edgeglm.errors import ExportError, MissingExtraError, StorageError, WorkerError
from edgeglm.measure.worker import Runner
from tests.support.tiny_models import INPUTS, OUTPUTS, tiny_images, tiny_logits, write_tiny_onnx, write_tiny_tflite

GIVE_UP_AFTER_S = 60  # guards against a hang, not a speed limit


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_onnx(tmp_path_factory.mktemp("worker") / "tiny.onnx")


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + GIVE_UP_AFTER_S
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return gone(pid)


def test_a_runner_says_what_the_file_takes_and_runs_it(onnx_file: Path) -> None:
    images = tiny_images(70)
    with Runner(onnx_file, format="onnx") as runner:
        assert runner.inputs == INPUTS
        assert runner.outputs == OUTPUTS
        assert runner.batch is None
        assert runner.runtime.startswith("onnxruntime ")
        for rows in (images, images[:1]):
            np.testing.assert_allclose(runner.run({"image": rows})["logits"], tiny_logits(rows), rtol=1e-5, atol=1e-5)


def test_a_runner_of_tflite_gives_the_same_numbers(tmp_path: Path) -> None:
    images = tiny_images(3)
    with Runner(write_tiny_tflite(tmp_path / "tiny.tflite"), format="tflite") as runner:
        assert runner.batch == 1
        outputs = runner.run({"image": images.transpose(0, 2, 3, 1)})  # a view: it is made contiguous on the way
    np.testing.assert_allclose(outputs["logits"], tiny_logits(images), rtol=1e-5, atol=1e-5)


def test_every_timed_run_has_a_time(onnx_file: Path) -> None:
    with Runner(onnx_file, format="onnx") as runner:
        times = runner.time_ms({"image": tiny_images(1)}, runs=7, warmup=2)
        assert runner.time_ms({"image": tiny_images(1)}, runs=0) == []
    assert len(times) == 7
    assert all(value > 0 for value in times)


def test_peak_memory_is_that_of_the_child_alone(onnx_file: Path) -> None:
    ballast = np.ones(30_000_000)  # 240 MB in the parent, of which the child must show nothing
    with Runner(onnx_file, format="onnx") as runner:
        runner.run({"image": tiny_images(1)})
        peak = runner.peak_rss_bytes()
        resident = psutil.Process(runner.pid).memory_info().rss
    assert 0.9 * resident <= peak < ballast.nbytes


def test_the_child_loads_nothing_heavy_besides_the_runtime(onnx_file: Path) -> None:
    with Runner(onnx_file, format="onnx") as runner:
        mapped = Path(f"/proc/{runner.pid}/maps").read_text()
    assert "onnxruntime" in mapped
    for heavy in ("libtorch", "jaxlib", "ai_edge_litert", "site-packages/onnx/", "site-packages/scipy/"):
        assert heavy not in mapped, heavy


def test_the_child_is_gone_after_close_and_leaves_no_zombie(onnx_file: Path) -> None:
    with Runner(onnx_file, format="onnx") as runner:
        pid = runner.pid
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)
    runner.close()  # a second time does no harm
    with pytest.raises(ValueError, match="closed file"):
        runner.run({"image": tiny_images(1)})


def test_the_child_is_killed_when_its_user_raises(onnx_file: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Runner(onnx_file, format="onnx") as runner:
        raise KeyboardInterrupt
    assert not psutil.pid_exists(runner.pid)


@pytest.mark.parametrize("moment", ["idle", "running"])
def test_the_child_dies_with_a_parent_that_is_killed(onnx_file: Path, moment: str) -> None:
    code = (
        "import numpy as np, pathlib, sys, time\n"
        "from edgeglm.measure.worker import Runner\n"
        f"runner = Runner(pathlib.Path({str(onnx_file)!r}), format='onnx').__enter__()\n"
        "print(runner.pid, flush=True)\n"
        f"if {moment == 'running'}: runner.time_ms({{'image': np.zeros((1, 3, 8, 8), 'f')}}, runs=10**9)\n"
        "time.sleep(600)\n"
    )
    # without coverage: the kill comes while it writes its data, and half a file stays
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not gone(child)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert wait_until_gone(child)
    finally:
        parent.kill()
        parent.communicate()


def test_ctrl_c_in_the_terminal_does_not_reach_the_child(onnx_file: Path) -> None:
    with Runner(onnx_file, format="onnx") as runner:
        assert os.getpgid(runner.pid) != os.getpgid(0)
        assert os.getsid(runner.pid) != os.getsid(0)


@pytest.mark.parametrize(("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV")])
def test_a_child_that_is_killed_is_reported_with_the_signal(onnx_file: Path, number: signal.Signals, name: str) -> None:
    with Runner(onnx_file, format="onnx") as runner:
        os.kill(runner.pid, number)
        with pytest.raises(WorkerError, match=f"ended by {name}") as raised:
            runner.run({"image": tiny_images(1)})
    assert raised.value.code == "worker-died"
    assert raised.value.problems[0].where == str(onnx_file)


def test_several_files_load_side_by_side(onnx_file: Path) -> None:
    runners = [Runner(onnx_file, format="onnx") for _ in range(3)]
    try:
        assert len({psutil.Process(runner.pid).pid for runner in runners}) == 3  # before the first is waited for
        for runner in runners:
            with runner:
                assert runner.run({"image": tiny_images(1)})["logits"].shape == (1, 5)
    finally:
        for runner in runners:
            runner.close()


def test_what_a_dying_child_said_is_shown(onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "edgeglm_agent"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise RuntimeError('the disk ate it')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(WorkerError, match="ended with exit code 1") as raised, Runner(onnx_file, format="onnx"):
        pass
    assert "the disk ate it" in str(raised.value)


def test_modules_in_the_working_folder_are_not_imported(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise RuntimeError('a user may have any file here')")
    monkeypatch.chdir(tmp_path)
    with Runner(onnx_file, format="onnx") as runner:
        assert runner.run({"image": tiny_images(1)})["logits"].shape == (1, 5)


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
@pytest.mark.parametrize("damage", ["garbage", "truncated"])
def test_a_damaged_file_is_an_export_error(tmp_path: Path, kind: str, damage: str) -> None:
    path = tmp_path / f"tiny.{kind}"
    whole = (write_tiny_onnx(path) if kind == "onnx" else write_tiny_tflite(path)).read_bytes()
    path.write_bytes(b"garbage" if damage == "garbage" else whole[: len(whole) // 2])
    with pytest.raises(ExportError, match="does not load it") as raised, Runner(path, format=kind):
        pass
    assert raised.value.code == "file-unloadable"
    assert raised.value.problems[0].where == str(path)


def test_a_refused_input_leaves_the_child_alive(onnx_file: Path) -> None:
    with Runner(onnx_file, format="onnx") as runner:
        with pytest.raises(ExportError, match="the model takes `image`, it was given `x`") as raised:
            runner.run({"x": tiny_images(1)})
        assert raised.value.code == "input-mismatch"
        assert runner.run({"image": tiny_images(1)})["logits"].shape == (1, 5)


def test_a_run_that_fails_in_the_runtime_is_said_so(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    # the second half of a split of 4 + 4 has another length for an input of 9: known only when it runs
    nodes = [helper.make_node("Reshape", ["x", "s"], ["y"])]
    shape = helper.make_tensor("s", TensorProto.INT64, [2], [2, 4])
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "K"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4])],
        [shape],
    )
    path = tmp_path / "reshape.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    with Runner(path, format="onnx") as runner:
        with pytest.raises(ExportError, match="failed") as raised:
            runner.run({"x": np.zeros((1, 9), np.float32)})
        assert raised.value.code == "run-failed"
        assert runner.run({"x": np.zeros((1, 8), np.float32)})["y"].shape == (2, 4)


def test_a_profile_that_finds_no_room_is_the_disks_and_leaves_the_child_alive(onnx_file: Path) -> None:
    """A file size limit of the kernel's: what the runtime writes down is cut off, as on a full disk."""
    images = tiny_images(1)
    with Runner(onnx_file, format="onnx") as runner:
        resource.prlimit(runner.pid, resource.RLIMIT_FSIZE, (100, 100))
        with pytest.raises(StorageError) as caught:
            runner.profile({"image": images}, runs=2)
        (problem,) = caught.value.problems
        assert (problem.code, problem.where) == ("disk-full", tempfile.gettempdir())
        assert "TMPDIR" in problem.hint
        assert runner.run({"image": images})["logits"].shape == (1, 5)


def test_a_missing_runtime_names_the_extra(onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        pytest.raises(MissingExtraError, match="onnxruntime cannot be imported") as raised,
        Runner(onnx_file, format="onnx"),
    ):
        pass
    assert "edgeglm[onnx]" in raised.value.problems[0].hint


def test_the_child_is_told_to_use_the_threads_and_to_send_nothing(onnx_file: Path) -> None:
    with Runner(onnx_file, format="onnx", threads=2) as runner:
        environment = psutil.Process(runner.pid).environ()
    assert environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == "2"
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"


def test_an_idle_runner_uses_no_processor_time(onnx_file: Path) -> None:
    with Runner(onnx_file, format="onnx", threads=2) as runner:
        runner.time_ms({"image": tiny_images(1)}, runs=50)
        before = psutil.Process(runner.pid).cpu_times()
        time.sleep(0.3)
        after = psutil.Process(runner.pid).cpu_times()
    assert (after.user + after.system) - (before.user + before.system) <= 0.05  # a spinning thread would use 0.3
