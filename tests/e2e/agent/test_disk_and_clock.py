"""A disk that is full under outbox and results, and a clock that is wrong: nothing stops, and each loss is told."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

import numpy as np
from edgeglm_agent.wire.telemetry import Event, Gap, Result, Window

from tests.e2e.agent.test_reporting import Listener, arrived, wait
from tests.e2e.agent.test_serving import model
from tests.support.agent.broker import Broker
from tests.support.agent.collector import Collector
from tests.support.agent.running import COMMAND, running_agent
from tests.support.agent.small_disk import SmallDisk
from tests.support.tiny_models import tiny_images

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm_agent.status import AgentStatus

__all__ = ["model"]  # the fixture


def settings(broker: Broker, folder: Path, model: Path, rate: int) -> tuple[str, str]:
    """Return what sends, and a slot that replays samples over and over."""
    np.savez(folder / "samples.npz", x=tiny_images(50))
    head = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n[telemetry]\nwindow_s = 1\ndaily_bytes = 1_000_000_000\n'
    return head, (
        f'[slots.main]\nmodel = "{model}"\n'
        f'input = {{kind = "replay", path = "{folder}/samples.npz", rate = {rate}, loop = true}}\n'
        'results = [{kind = "jsonl"}, {kind = "mqtt"}]\n'
    )


def sinks_fail(status: AgentStatus) -> bool:
    return status.slots["main"].errors.get("sink", 0) > 0


def test_a_disk_that_fills_under_outbox_and_results_stops_nothing_and_each_loss_is_told(
    tmp_path: Path, model: Path
) -> None:
    broker, store = Broker(tmp_path / "broker"), tmp_path / "rows.db"
    head, slot = settings(broker, tmp_path, model, 1500)
    with (
        SmallDisk(tmp_path / "state", megabytes=6) as disk,
        running_agent(tmp_path, head + slot, command=(*disk.enter, *COMMAND)) as agent,
    ):
        agent.until_slot(lambda slot: slot.answered > 100, "it serves")
        disk.fill()
        agent.until(lambda status: status.queue.lost > 300 and sinks_fail(status), "outbox and results find no room")
        assert disk.is_full()
        disk.free()
        agent.until(
            lambda status: not sinks_fail(status) and status.slots["main"].inferences > 0, "there is room again"
        )
        lost = agent.status().queue.lost
        assert agent.stop() == 0
        agent.set(head)  # no slot: what is left is sent
        with broker, Collector(broker.port, store, lazy=0.0):
            agent.restart()
            wait(lambda: "shutdown" in {event.name for event in arrived(store, Event)}, "what it said last")
            agent.until(lambda status: status.queue.rows <= 1, "an outbox that empties")
        lines = (disk.path / "slots" / "main" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(json.loads(line)["answer"] for line in lines), "a line that was torn"
    gaps = [gap for gap in arrived(store, Gap) if gap.reason == "disk"]
    untold = {kind: sum(gap.counts.get(kind, 0) for gap in gaps) for kind in ("Result", "Window", "Event")}
    assert sum(untold.values()) == lost > 300
    windows = [window for window in arrived(store, Window) if window.slot == "main"]
    answered = sum(window.inferences for window in windows)
    if not untold["Window"]:
        assert len(arrived(store, Result)) + untold["Result"] == answered
        assert len(lines) + sum(window.errors.get("sink", 0) for window in windows) == answered
    else:
        assert len(arrived(store, Result)) + untold["Result"] > answered
    assert "disk-low" in {event.name for event in arrived(store, Event)}


def test_a_worker_that_dies_while_the_disk_is_full_serves_again(tmp_path: Path, model: Path) -> None:
    head, slot = settings(Broker(tmp_path / "broker"), tmp_path, model, 50)
    with (
        SmallDisk(tmp_path / "state", megabytes=6) as disk,
        running_agent(tmp_path, head + slot, command=(*disk.enter, *COMMAND)) as agent,
    ):
        first = agent.until_slot(lambda slot: slot.answered > 10, "it serves").pid
        assert first is not None
        disk.fill()
        agent.until(sinks_fail, "results find no room")
        os.kill(first, signal.SIGKILL)
        again = agent.until_slot(
            lambda slot: slot.state.status == "serving" and slot.pid != first and slot.inferences > 0, "another serves"
        )
        assert again.state.load == 2
        agent.process.kill()  # as a power cut, on a disk that is still full
        agent.process.wait()
        agent.restart()
        agent.until_slot(lambda slot: slot.state.status == "serving" and slot.inferences > 0, "all of it comes back")
        disk.free()
        agent.until(
            lambda status: not sinks_fail(status) and status.slots["main"].inferences > 0, "there is room again"
        )
        assert agent.stop() == 0


def test_it_stops_in_order_while_the_disk_is_full_and_sends_later_what_it_kept(tmp_path: Path, model: Path) -> None:
    broker, store = Broker(tmp_path / "broker"), tmp_path / "rows.db"
    head, slot = settings(broker, tmp_path, model, 1500)
    with (
        SmallDisk(tmp_path / "state", megabytes=6) as disk,
        running_agent(tmp_path, head + slot, command=(*disk.enter, *COMMAND)) as agent,
    ):
        agent.until_slot(lambda slot: slot.answered > 100, "it serves")
        disk.fill()
        agent.until(lambda status: status.queue.lost > 50 and sinks_fail(status), "outbox and results find no room")
        assert disk.is_full()
        assert agent.stop() == 0
        assert agent.event("shutdown")
        assert "Traceback" not in agent.log()
        assert not (tmp_path / "run" / "supervisor.sock").exists()
        agent.restart()  # on a disk that is full from the start
        agent.until_slot(lambda slot: slot.state.status == "serving" and slot.inferences > 0, "it serves again")
        assert agent.stop() == 0
        disk.free()
        agent.set(head)  # no slot: what is left is sent
        with broker, Collector(broker.port, store, lazy=0.0):
            agent.restart()
            wait(
                lambda: [event.name for event in arrived(store, Event)].count("agent-started") >= 2,
                "events of the first run and of the last",
            )
            agent.until(lambda status: status.queue.rows <= 1, "an outbox that empties")
            lost = agent.status().queue.lost
            assert agent.stop() == 0
        lines = (disk.path / "slots" / "main" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 100
    assert all(json.loads(line)["answer"] for line in lines), "a line that was torn"
    assert len(arrived(store, Result)) > 100
    gaps = [gap for gap in arrived(store, Gap) if gap.reason == "disk"]
    assert sum(sum(gap.counts.values()) for gap in gaps) == lost > 50, "of both runs on the full disk"
    names = {event.name for event in arrived(store, Event)}
    assert not {"outbox-rebuilt", "state-rebuilt", "worker-crashed"} & names


CLOCK = """
import os, time
_at, _time, _time_ns = os.path.join(os.path.dirname(__file__), "offset"), time.time, time.time_ns
def _offset():
    with open(_at) as file:
        return int(file.read())
time.time = lambda: _time() + _offset()
time.time_ns = lambda: _time_ns() + _offset() * 1_000_000_000
"""


def test_a_clock_at_1970_that_is_set_and_jumps_back_a_day_harms_no_record(tmp_path: Path, model: Path) -> None:
    clock, store = tmp_path / "clock", tmp_path / "rows.db"
    clock.mkdir()
    (clock / "sitecustomize.py").write_text(CLOCK)

    def set_clock(offset_s: int) -> None:
        (clock / "new").write_text(str(offset_s))
        (clock / "new").replace(clock / "offset")

    def steps() -> list[float]:
        return [float(event.detail["by_s"]) for event in arrived(store, Event) if event.name == "clock-stepped"]

    set_clock(120 - int(time.time()))
    broker = Broker(tmp_path / "broker")
    head, slot = settings(broker, tmp_path, model, 30)
    with (
        broker,
        Collector(broker.port, store, lazy=0.0),
        running_agent(tmp_path, head + slot, python_path=clock) as agent,
    ):
        listener = Listener(broker.port)
        wait(lambda: len(arrived(store, Window)) > 2, "records of 1970")
        wait(lambda: listener.ask("ping").ok, "an obeyed command: an acknowledgement has told the time")
        assert not agent.status().board.clock_synchronised
        assert all(not w.clock_synchronised and w.start_ms < 1e9 for w in arrived(store, Window))
        set_clock(0)
        wait(lambda: len(steps()) == 1, "the step is told")
        assert listener.ask("ping").ok
        set_clock(-86_400)
        wait(lambda: len(steps()) == 2, "the step back is told")
        assert listener.ask("ping").ok
        behind = len(arrived(store, Window))
        wait(lambda: len(arrived(store, Window)) > behind + 1, "records of the day before")
        listener.close()
        assert agent.status().queue.lost == 0
        assert agent.stop() == 0
    assert steps()[0] > 1e9
    assert abs(steps()[1] + 86_400) < 60
    windows = arrived(store, Window)
    begins = [window.uptime_ms for window in windows]
    assert begins == sorted(begins), "the time since boot is true all along"
    assert all(0 < window.duration_ms < 30_000 for window in windows)
    assert sum(window.inferences for window in windows) == len(arrived(store, Result))
