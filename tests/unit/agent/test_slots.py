"""Workers that systemd starts: whether and when they may load their model, the supervisor says."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from edgeglm_agent import ipc
from edgeglm_agent.inputs.replay import ReplayInput
from edgeglm_agent.settings.types import Log, Settings, Slot
from edgeglm_agent.supervisor.failures import Failures
from edgeglm_agent.supervisor.slots import SlotKeeper
from edgeglm_agent.supervisor.state import StateFile
from edgeglm_agent.worker.progress import Progress

NO_PROCESS = 2**22 + 1  # over the kernel's highest pid, PID_MAX_LIMIT: nobody's memory, nobody to kill


class Worker:
    """The worker's end of the line."""

    def __init__(
        self, keeper: SlotKeeper, now: float, *, rejoins: ipc.Rejoins | None = None, pid: int = NO_PROCESS
    ) -> None:
        ours, self._line = socket.socketpair()
        self._line.settimeout(0)
        self.taken = keeper.hello(ipc.Hello("main", pid, rejoins), ours, ipc.Frames(from_worker=True), now)

    def messages(self) -> list[Any]:
        """Return what came since this was asked."""
        try:
            return ipc.receive(self._line, ipc.Frames(from_worker=False)) or []
        except BlockingIOError:
            return []

    def told(self) -> list[str]:
        """Return the names of what came."""
        return [type(message).__name__ for message in self.messages()]

    def go(self, keeper: SlotKeeper, now: float) -> None:
        """End, and be found to have ended."""
        self._line.close()
        keeper.gone()
        assert keeper.reap(now)


def slot_keeper(
    folder: Path,
    *,
    workers: Literal["external", "spawned"] = "external",
    threads: int = 1,
    told: list[str] | None = None,
) -> SlotKeeper:
    slot = Slot(model=str(folder / "model"), input=ReplayInput(path="x.npz"), failures=3, threads=threads)
    settings = Settings(
        workers=workers,
        state_dir=str(folder),
        runtime_dir=str(folder),
        slots={"main": slot},
        log=Log(level="warning", format="text"),
    )
    return SlotKeeper(
        "main",
        slot,
        settings,
        state=StateFile(folder / "state.json"),
        tell=lambda name, *_: None if told is None else told.append(name),
        forget=lambda _: None,
        memory_limit_bytes=1_000_000_000,
    )


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[SlotKeeper]:
    keeper = slot_keeper(tmp_path)
    yield keeper
    keeper.gone()


def test_one_that_failed_is_held_back_and_then_let_go(keeper: SlotKeeper) -> None:
    for now in (100.0, 200.0):
        worker = Worker(keeper, now)
        assert worker.told() == ["Start"]
        worker.go(keeper, now)
    again = Worker(keeper, 200.05)  # systemd waits for nothing
    assert again.told() == ["Hold"]
    keeper.release(200.06)
    assert again.told() == []
    keeper.release(205.0)
    assert again.told() == ["Start"]
    assert (keeper.state.status, keeper.state.failures) == ("starting", 2)


def test_a_second_failure_waits_less_than_a_start_takes_and_the_fifth_is_the_last(tmp_path: Path) -> None:
    slot = Slot(model=str(tmp_path / "model"), input=ReplayInput(path="x.npz"))
    failures = Failures("main", slot, StateFile(tmp_path / "state.json"))
    first, second, third, fourth, fifth = (failures.add("signal 11") for _ in range(5))
    assert first == 0
    assert second == pytest.approx(0.1, rel=0.25)
    assert third == pytest.approx(0.5, rel=0.25)
    assert fourth == pytest.approx(5, rel=0.25)
    assert fifth is None
    assert failures.quarantined == "5 failures in a row, the last: signal 11"


def test_quarantine_holds_it_until_somebody_says_restart(keeper: SlotKeeper) -> None:
    for now in (100.0, 200.0, 300.0):
        Worker(keeper, now).go(keeper, now)
    held = Worker(keeper, 1000.0)
    assert held.told() == ["Hold"]
    keeper.release(9999.0)
    assert held.told() == []
    assert keeper.state.status == "quarantined"
    keeper.restart(10_000.0)
    keeper.release(10_000.0)
    assert held.told() == ["Start"]
    assert keeper.state.failures == 0


def test_a_refused_model_is_looked_at_again_after_a_while(keeper: SlotKeeper) -> None:
    worker = Worker(keeper, 100.0)
    keeper.heard(ipc.Refused("no runtime"))
    worker.told()
    keeper.release(101.0)
    assert worker.told() == []  # this one is going
    worker.go(keeper, 102.0)
    again = Worker(keeper, 102.1)
    assert again.told() == ["Hold"]
    before = keeper.state
    keeper.release(170.0)
    assert again.told() == ["Start"]
    keeper.heard(ipc.Refused("no runtime"))
    assert keeper.state == before  # the board has nothing new to say, and the budget stays for windows


def test_an_input_that_ended_is_not_begun_again(keeper: SlotKeeper) -> None:
    worker = Worker(keeper, 100.0)
    keeper.heard(ipc.Idle("the file has ended"))
    worker.go(keeper, 101.0)
    again = Worker(keeper, 101.1)
    keeper.release(9999.0)
    assert again.told() == ["Hold"]
    assert keeper.state.status == "stopped"


def test_a_restart_by_command_lets_another_worker_begin(keeper: SlotKeeper) -> None:
    worker = Worker(keeper, 100.0)
    assert worker.told() == ["Start"]
    keeper.restart(101.0)
    assert worker.told() == ["Stop"]
    keeper.heard(ipc.Idle("told to stop"))
    keeper.release(101.1)
    assert worker.told() == []
    worker.go(keeper, 101.2)
    assert Worker(keeper, 101.3).told() == ["Start"]
    assert keeper.state.failures == 0


def test_a_worker_that_does_not_read_keeps_nobody_waiting_and_is_told_what_it_missed(keeper: SlotKeeper) -> None:
    ours, line = socket.socketpair()
    keeper.hello(ipc.Hello("main", NO_PROCESS), ours, ipc.Frames(from_worker=True), 100.0)
    sent = 0
    for number in range(200):  # 20 MB: no socket takes as much
        keeper.line.hand_over(ipc.Arrived(f"t/{number}", b"x" * 100_000))
        sent += 1
    assert keeper.line.push()
    frames = ipc.Frames(from_worker=False)
    came: list[ipc.Arrived] = []
    line.setblocking(False)

    def read() -> None:
        left = True
        while True:
            try:
                messages = ipc.receive(line, frames)
            except BlockingIOError:
                if not left:
                    return
                left = keeper.line.push()
                continue
            came.extend(message for message in messages or () if isinstance(message, ipc.Arrived))

    read()
    assert [message.dropped for message in came] == [0] * len(came)
    assert len(came) < 60
    keeper.line.hand_over(ipc.Arrived("t/last", b"x"))
    read()
    assert came[-1].topic == "t/last"
    assert came[-1].dropped == sent - (len(came) - 1)
    line.close()


def test_a_worker_is_told_with_its_start_how_to_write_its_log_and_what_to_sample(keeper: SlotKeeper) -> None:
    for now in (100.0, 200.0):
        Worker(keeper, now).go(keeper, now)
    held = Worker(keeper, 200.05)
    assert held.told() == ["Hold"]
    keeper.adjust(0.5)
    assert held.told() == []
    keeper.release(300.0)
    (start,) = held.messages()
    assert (start.sample_share, start.log) == (0.5, Log(level="warning", format="text"))


SERVING = ipc.Serving("m 1", "00", "model.onnx", "none", "onnxruntime 1", "cpu")


def outlived(before: SlotKeeper, now: float) -> ipc.Rejoins:
    """Return what a worker that was let start by this keeper says to the next one."""
    (start,) = Worker(before, now).messages()
    assert start.outlives
    return ipc.Rejoins(SERVING, start.terms, start.load, at_ms=1, uptime_ms=1)


def test_a_worker_that_outlived_its_supervisor_goes_on(tmp_path: Path) -> None:
    rejoins = outlived(slot_keeper(tmp_path), 100.0)
    progress = Progress(tmp_path / "main.progress")
    progress.answered(7)
    keeper = slot_keeper(tmp_path)
    worker = Worker(keeper, 200.0, rejoins=rejoins, pid=os.getpid())
    assert worker.taken
    assert worker.told() == ["Adjust"]
    assert (keeper.state.status, keeper.state.load, keeper.state.artifact) == ("serving", 1, "model.onnx")
    assert keeper.process.counted() == (0, 0)  # by what this supervisor has seen
    progress.answered(2)
    assert keeper.process.counted() == (2, 0)
    keeper.gone()


def test_one_that_serves_by_other_settings_is_started_anew(tmp_path: Path) -> None:
    rejoins = outlived(slot_keeper(tmp_path), 100.0)
    keeper = slot_keeper(tmp_path, threads=2)
    worker = Worker(keeper, 200.0, rejoins=rejoins)
    assert worker.told() == ["Stop"]
    keeper.heard(ipc.Idle("told to stop"))
    worker.go(keeper, 201.0)
    assert Worker(keeper, 201.1).told() == ["Start"]
    assert keeper.state.failures == 0


def test_systemds_worker_is_sent_away_where_the_settings_want_none(tmp_path: Path) -> None:
    keeper = slot_keeper(tmp_path, workers="spawned")
    worker = Worker(keeper, 100.0)
    assert not worker.taken
    assert worker.told() == ["Stop"]
    assert keeper.line.connection is None


def test_what_a_dead_worker_left_in_hand_is_not_held_against_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = slot_keeper(tmp_path)
    Progress(tmp_path / "main.progress").begin(1)  # of this process, which stands for the dead one: for ever
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _: killed.append(pid))
    worker = Worker(keeper, 100.0, pid=NO_PROCESS + 1)
    keeper.watch(101.0)
    assert (keeper.status, killed) == ("starting", [])
    worker.go(keeper, 102.0)


def test_a_board_that_has_no_room_for_a_process_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    told: list[str] = []
    keeper = slot_keeper(tmp_path, workers="spawned", told=told)
    monkeypatch.setattr(os, "posix_spawn", refuse)
    for now in (100.0, 120.0, 140.0, 160.0):
        assert keeper.due(now)
        keeper.spawn("/run/none.sock", now)
        assert not keeper.due(now + 1)
    assert (keeper.status, keeper.state.failures, told) == ("waiting", 0, ["worker-crashed"])
    assert "Cannot allocate memory" in keeper.state.why
    monkeypatch.setattr(os, "posix_spawn", lambda *_, **__: NO_PROCESS)
    keeper.spawn("/run/none.sock", 180.0)
    assert (keeper.status, keeper.pid) == ("starting", NO_PROCESS)


def test_a_worker_whose_supervisor_has_gone_says_so_in_a_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeglm_agent.worker", "--socket", str(tmp_path / "none.sock"), "--slot", "main"]
    environment = {name: value for name, value in os.environ.items() if name != "INVOCATION_ID"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "the supervisor has gone" in done.stderr


def test_one_that_does_not_go_when_it_is_told_to_is_ended(keeper: SlotKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _: killed.append(pid))
    worker = Worker(keeper, 100.0)
    keeper.restart(110.0)  # it loads, and hears nobody
    keeper.watch(400.0)
    assert killed == []
    keeper.watch(411.0)
    assert killed == [NO_PROCESS]
    worker.go(keeper, 412.0)
    assert Worker(keeper, 412.1).told() == ["Start"]
    assert keeper.state.failures == 0


def test_failures_are_forgiven_after_a_while_and_that_is_to_be_announced(keeper: SlotKeeper) -> None:
    Worker(keeper, 100.0).go(keeper, 110.0)
    Worker(keeper, 120.0)
    keeper.heard(ipc.Serving("kws 1.2", "aa" * 32, "model.onnx", "none", "onnxruntime 1", "cpu"))
    now = time.monotonic()
    assert (keeper.watch(now), keeper.state.failures) == (False, 1)
    assert (keeper.watch(now + 400.0), keeper.state.failures) == (True, 0)
    assert not keeper.watch(now + 401.0)


def test_a_lost_input_is_part_of_what_the_board_says_until_it_is_back_or_its_worker_has_gone(
    keeper: SlotKeeper,
) -> None:
    lost = ipc.Happened("input-lost", "warning", "00" * 8, 1, 1, {"why": "/dev/video0 is not there"})
    worker = Worker(keeper, 100.0)
    assert keeper.happened(lost)
    assert keeper.state.input_lost == "/dev/video0 is not there"
    assert keeper.happened(ipc.Happened("input-back", "info", "00" * 8, 1, 1, {"away_s": 1.0, "losses": 1}))
    assert keeper.state.input_lost == ""
    assert not keeper.happened(ipc.Happened("drift-raised", "warning", "00" * 8, 1, 1, {"why": "x"}))
    keeper.happened(lost)
    worker.go(keeper, 110.0)
    assert keeper.state.input_lost == ""


def test_a_second_worker_that_has_gone_again_is_no_fault(keeper: SlotKeeper) -> None:
    first = Worker(keeper, 100.0)
    ours, theirs = socket.socketpair()
    theirs.close()
    assert not keeper.hello(ipc.Hello("main", 4712), ours, ipc.Frames(from_worker=True), 101.0)
    ours.close()
    assert first.told() == ["Start"]
