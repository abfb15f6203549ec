"""Workers that systemd starts: they outlive their supervisor, and lose nothing that it would have kept."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from edgeglm_agent.outbox import METRICS, SAMPLES, Outbox
from edgeglm_agent.wire.telemetry import body_of

from tests.e2e.agent.test_serving import answers, drop, folder_slot
from tests.support.agent.external import WorkerUnit
from tests.support.agent.running import running_agent
from tests.support.inputs import until
from tests.support.model_folders import write_best
from tests.support.tiny_models import tiny_images

if TYPE_CHECKING:
    from pathlib import Path

EXTERNAL = 'workers = "external"\n'


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_best(tmp_path / "model")


def kept(state: Path, priority: int) -> list[object]:
    """Return the bodies of what an agent that has ended keeps for the collector."""
    outbox = Outbox(state / "outbox.db", quota_bytes=64_000_000)
    try:
        return [body_of(row) for row in outbox.pending(priority, limit_bytes=1_000_000)]
    finally:
        outbox.close()


def test_a_killed_supervisor_costs_its_workers_nothing(tmp_path: Path, model: Path) -> None:
    inbox = tmp_path / "inbox"
    images = tiny_images(6)
    broker = '[mqtt]\nhost = "127.0.0.1"\nport = 9\n'  # nobody is there: all stays in the outbox
    slot = folder_slot(model, inbox).replace('[{kind = "jsonl"}]', '[{kind = "jsonl"}, {kind = "mqtt"}]')
    with WorkerUnit(tmp_path) as unit, running_agent(tmp_path, EXTERNAL + broker + slot) as agent:
        pid = agent.until_slot(lambda slot: slot.state.status == "serving", "the model serves").pid
        rows = agent.status().queue.rows
        drop(inbox, "0.npy", images[0])
        # what is on its way between the two when the supervisor is killed is gone
        agent.until(lambda status: status.queue.rows > rows, "its answer is in the outbox")
        agent.process.send_signal(signal.SIGKILL)
        agent.process.wait()
        for number in (1, 2, 3):
            drop(inbox, f"{number}.npy", images[number])
        until(lambda: len(answers(agent)) == 4)  # with nobody who looks after it
        agent.restart()
        again = agent.until_slot(lambda slot: slot.state.status == "serving", "the worker is there again")
        assert (again.pid, again.state.load, again.state.artifact) == (pid, 1, "model.onnx")
        drop(inbox, "4.npy", images[4])
        agent.until_slot(lambda slot: slot.answered == 1, "the next one is answered")
        assert agent.event("worker-rejoined")["kept"] == 3
        assert agent.event("worker-rejoined")["lost"] == 0
        assert unit.codes == []
        agent.stop()
        until(lambda: unit.codes)
        assert unit.codes[0] == 0
    windows = kept(tmp_path / "state", METRICS)
    assert sum(window.inferences for window in windows) == 5  # type: ignore[attr-defined]
    assert len(kept(tmp_path / "state", SAMPLES)) == 5


def test_a_worker_that_dies_without_a_supervisor_waits_for_the_next(tmp_path: Path, model: Path) -> None:
    inbox = tmp_path / "inbox"
    with WorkerUnit(tmp_path) as unit, running_agent(tmp_path, EXTERNAL + folder_slot(model, inbox)) as agent:
        first = agent.until_slot(lambda slot: slot.state.status == "serving", "the model serves").pid
        agent.process.send_signal(signal.SIGKILL)
        agent.process.wait()
        assert first is not None
        os.kill(first, signal.SIGKILL)
        until(lambda: unit.codes == [-signal.SIGKILL])
        agent.restart()
        served = agent.until_slot(lambda slot: slot.state.status == "serving", "another serves")
        assert (served.state.load, served.state.failures) == (2, 0)
        assert served.pid != first


def test_settings_that_changed_meanwhile_start_the_worker_anew(tmp_path: Path, model: Path) -> None:
    inbox = tmp_path / "inbox"
    with WorkerUnit(tmp_path) as unit, running_agent(tmp_path, EXTERNAL + folder_slot(model, inbox)) as agent:
        agent.until_slot(lambda slot: slot.state.status == "serving", "the model serves")
        agent.process.send_signal(signal.SIGKILL)
        agent.process.wait()
        agent.settings.write_text(agent.settings.read_text() + "threads = 2\n")
        agent.restart()
        agent.until_slot(lambda slot: slot.state.load == 2 and slot.state.status == "serving", "it serves anew")
        assert unit.codes == [0]
        assert agent.slot().state.failures == 0


def test_a_unit_whose_name_is_no_slot_is_told_so_and_not_started_again(tmp_path: Path, model: Path) -> None:
    settings = EXTERNAL + folder_slot(model, tmp_path / "inbox")
    with running_agent(tmp_path, settings), WorkerUnit(tmp_path, "mian") as unit:
        until(lambda: unit.gave_up)
        assert "the settings have no slot `mian`; there are main" in unit.log_path.read_text()


def test_the_agent_stops_without_waiting_for_workers_that_come_again(tmp_path: Path, model: Path) -> None:
    with (
        WorkerUnit(tmp_path) as unit,
        running_agent(tmp_path, EXTERNAL + folder_slot(model, tmp_path / "inbox")) as agent,
    ):
        agent.until_slot(lambda slot: slot.state.status == "serving", "the model serves")
        assert agent.stop() == 0
        assert "shutdown" in agent.log()
        until(lambda: unit.codes)
        assert unit.codes[0] == 0  # none was killed
        agent.restart()
        again = agent.until_slot(lambda slot: slot.state.status == "serving", "it serves again")
        assert (again.state.load, again.state.failures) == (2, 0)
