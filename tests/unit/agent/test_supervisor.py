"""The supervisor's loop: it wakes when there is something to do."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from edgeglm_agent import ipc
from edgeglm_agent.cli import main
from edgeglm_agent.inputs.replay import ReplayInput
from edgeglm_agent.settings.types import Settings, Slot, Telemetry
from edgeglm_agent.supervisor.commands import obey
from edgeglm_agent.supervisor.run import Supervisor
from edgeglm_agent.wire.commands import SampleArguments, SetArguments

if TYPE_CHECKING:
    from pathlib import Path

# a worker that ends before it has said a word, and a supervisor that looks at nobody once a second
_BLIND = """
import sys
from pathlib import Path
from edgeglm_agent.settings.load import load_settings
from edgeglm_agent.supervisor import run
run._TICK_S = 3600.0
sys.executable = "/bin/false"
run.Supervisor(load_settings(Path(sys.argv[1]), models=False)).run()
"""


def test_a_worker_that_ends_is_seen_at_once_and_not_at_the_next_look(tmp_path: Path) -> None:
    settings, log = tmp_path / "agent.toml", tmp_path / "log"
    settings.write_text(
        'state_dir = "state"\nruntime_dir = "run"\n[slots.main]\nmodel = "none"\nfailures = 2\n'
        'input = {kind = "directory", path = "inbox"}\n'
    )
    with log.open("wb") as file:
        agent = subprocess.Popen([sys.executable, "-c", _BLIND, str(settings)], stderr=file)
    try:
        give_up = time.monotonic() + 60
        while "worker-quarantined" not in log.read_text():
            assert agent.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.02)
    finally:
        agent.kill()
        agent.wait()


def test_what_goes_wrong_before_the_outbox_is_open_is_kept_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(os, "posix_spawn", refuse)
    slot = Slot(model=str(tmp_path / "none"), input=ReplayInput(path="x.npz"))
    folders = {"state_dir": str(tmp_path / "state"), "runtime_dir": str(tmp_path / "run")}
    supervisor = Supervisor(Settings(slots={"main": slot}, **folders))  # type: ignore[arg-type]
    assert supervisor.slots["main"].state.why == "no process can be started for it: Cannot allocate memory"
    assert supervisor.outbox.waiting["Event"] == 1
    supervisor._close()


def test_systemd_is_told_how_each_slot_is_and_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)  # guards against a hang
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        slot = Slot(model=str(tmp_path / "none"), input=ReplayInput(path="x.npz"))
        folders = {"state_dir": str(tmp_path / "state"), "runtime_dir": str(tmp_path / "run")}
        supervisor = Supervisor(Settings(workers="external", slots={"main": slot}, **folders))  # type: ignore[arg-type]
        supervisor._look_at_board()
        assert manager.recv(4096) == b"STATUS=main: waiting; 0 rows waiting"
        supervisor.slots["main"].heard(ipc.Serving("tiny 1", "0" * 64, "m.onnx", "none", "onnxruntime 1.23", "cpu"))
        supervisor._look_at_board()
        assert manager.recv(4096) == b"STATUS=main: serving tiny 1 (onnxruntime 1.23 cpu); 1 row waiting"
        supervisor._close()


@pytest.mark.parametrize(
    ("line", "wanted"), [('workers = "external"', False), ('workers = "spawned"', True), ("", True)]
)
def test_no_process_gets_a_head_start_that_nobody_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, *, wanted: bool
) -> None:
    (tmp_path / "agent.toml").write_text(f"# an agent\n{line}\nwrong = 1\n")
    started: list[bool] = []
    spawn = os.posix_spawn

    def note(*given: Any, **more: Any) -> int:
        started.append(True)
        return spawn(*given, **more)

    monkeypatch.setattr(os, "posix_spawn", note)
    assert main(["run", str(tmp_path / "agent.toml")]) == 2
    assert bool(started) == wanted


def samples(supervisor: Supervisor) -> float:
    """Return the share that the slot's next worker will sample, and end the supervisor."""
    share = supervisor.slots["main"].sample_share
    supervisor._close()
    return share


def supervisor_of(folder: Path, telemetry: Telemetry) -> Supervisor:
    slot = Slot(model=str(folder / "none"), input=ReplayInput(path="x.npz"))
    folders = {"state_dir": str(folder / "state"), "runtime_dir": str(folder / "run")}
    return Supervisor(Settings(workers="external", telemetry=telemetry, slots={"main": slot}, **folders))  # type: ignore[arg-type]


def test_no_command_makes_a_board_send_inputs_whose_file_does_not_say_so(tmp_path: Path) -> None:
    supervisor = supervisor_of(tmp_path, Telemetry(sample_share=0.25))
    done, said, _ = obey(supervisor, "sample", SampleArguments())
    assert not done
    assert said.endswith("unless its settings file says `remote_samples = true` under [telemetry]")
    done, said, _ = obey(supervisor, "set", SetArguments(window_s=7, sample_share=0.5))
    assert not done
    assert said.startswith("`sample_share` is at most 0.25 here, unless its settings file says `remote_samples = true`")
    assert supervisor.window_s == 300, "what is refused is not obeyed by half"
    assert obey(supervisor, "set", SetArguments(sample_share=0.125))[0], "less than the file's is no harm"
    assert samples(supervisor) == 0.125


def test_a_share_that_was_set_by_a_command_does_not_outlast_the_leave_for_it(tmp_path: Path) -> None:
    supervisor = supervisor_of(tmp_path, Telemetry(remote_samples=True))
    assert obey(supervisor, "sample", SampleArguments())[0]
    assert obey(supervisor, "set", SetArguments(sample_share=0.5))[0]
    assert samples(supervisor) == 0.5
    assert samples(supervisor_of(tmp_path, Telemetry(remote_samples=True))) == 0.5
    assert samples(supervisor_of(tmp_path, Telemetry())) == 0.0
