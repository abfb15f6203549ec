"""SIGTERM at whatever stage: the agent ends in order, leaves nobody behind, and takes no stop for a failure."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.agent.test_serving import broken_model, drop, folder_slot, model, plugins
from tests.support.agent.broken_engines import BREAKS
from tests.support.agent.broker import Broker
from tests.support.agent.relay import Relay
from tests.support.agent.running import running_agent

__all__ = ["model", "plugins"]  # fixtures
SIGNALLED = (0, -signal.SIGTERM)  # the latter before Python has come to the agent's first line


def workers_of(folder: Path) -> list[str]:
    """Return the numbers of workers that are still there: they work in the folder that the agent was started in."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"edgeglm_agent.worker" in (process / "cmdline").read_bytes() and (process / "cwd").readlink() == folder:
                found.append(process.name)
    return found


def until_none(folder: Path) -> None:
    give_up = time.monotonic() + 30
    while left := workers_of(folder):
        assert time.monotonic() < give_up, left
        time.sleep(0.05)


@pytest.mark.parametrize("rounds", [pytest.param(4, id="short"), pytest.param(60, id="long", marks=pytest.mark.full)])
def test_it_stops_at_any_moment_of_its_start(tmp_path: Path, model: Path, rounds: int) -> None:
    chance = random.Random(5)
    with (
        Broker(tmp_path / "broker") as broker,
        running_agent(
            tmp_path,
            f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n' + folder_slot(model, tmp_path / "inbox"),
        ) as agent,
    ):
        whole = time.monotonic()
        agent.until_slot(lambda slot: slot.state.status == "serving", "it serves")
        assert workers_of(tmp_path), "they are found where there are some"
        whole = time.monotonic() - whole
        assert agent.stop() == 0
        for number in range(rounds):
            agent.restart()
            time.sleep(1.3 * whole * (number + chance.random()) / rounds)
            assert agent.stop() in SIGNALLED
            until_none(tmp_path)
        agent.restart()
        slot = agent.until_slot(lambda slot: slot.state.status == "serving", "it serves as ever")
        assert slot.state.failures == 0
        assert agent.stop() == 0
    names = [line.get("message") for line in agent.events()]
    assert "worker-crashed" not in names, "a stop is no failure"
    assert not {"outbox-rebuilt", "state-rebuilt"} & set(names)
    memory = json.loads((tmp_path / "state" / "state.json").read_text())
    assert memory["slots"]["main"]["failures"] == 0


def test_it_stops_while_a_model_hangs_and_the_broker_does_not_answer(tmp_path: Path, plugins: Path) -> None:
    inbox = tmp_path / "inbox"
    bad = folder_slot(broken_model(tmp_path / "bad", "hang"), inbox, "inference_timeout_s = 3600")
    with Broker(tmp_path / "broker") as broker, Relay(broker.port) as relay:
        relay.hold = True
        settings = f'[mqtt]\nhost = "127.0.0.1"\nport = {relay.port}\n{bad}'
        with running_agent(tmp_path, settings, python_path=plugins) as agent:
            agent.until_slot(lambda slot: slot.state.status == "serving", "it serves")
            drop(inbox, "poison.npy", np.full(4, BREAKS, np.float32))
            agent.until(lambda _: not list(inbox.glob("*.npy")) or agent.slot().pid is not None, "it is in hand")
            time.sleep(0.5)
            assert agent.stop() == 0
            until_none(tmp_path)
            assert agent.event("shutdown")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_signals_before_the_settings_are_read_sees_an_orderly_end(
    tmp_path: Path, model: Path, number: signal.Signals
) -> None:
    with running_agent(tmp_path, folder_slot(model, tmp_path / "inbox")) as agent:
        agent.until_slot(lambda slot: slot.state.status == "serving", "it serves")
        assert agent.stop() == 0
        whole = agent.settings.rename(tmp_path / "whole.toml")
        os.mkfifo(agent.settings)
        agent.log_path.write_text("")
        agent.restart()
        with agent.settings.open("wb"):  # opens as the agent does, which waits for what is in it
            agent.process.send_signal(number)
            whole.rename(agent.settings)  # for who reads it next
        assert agent.process.wait(60) == 0, agent.log()
        assert [line["message"] for line in agent.events()][-1] == "shutdown"
        until_none(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_signals_again_and_again_sees_the_same_orderly_end(
    tmp_path: Path, plugins: Path, number: signal.Signals
) -> None:
    inbox = tmp_path / "inbox"
    settings = folder_slot(broken_model(tmp_path / "a", "exit"), inbox)
    with running_agent(tmp_path, settings, python_path=plugins) as agent:
        drop(inbox, "poison.npy", np.full(4, BREAKS, np.float32))
        agent.until_slot(lambda slot: slot.state.failures > 0, "a slot fails, and is started again after a while")
        while agent.process.poll() is None:
            agent.process.send_signal(number)
            time.sleep(0.002)
        assert agent.process.returncode == 0
        assert agent.event("shutdown")
        assert not (tmp_path / "run" / "supervisor.sock").exists()
        until_none(tmp_path)


def test_it_stops_while_a_slot_waits_and_another_is_in_quarantine(tmp_path: Path, plugins: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    settings = folder_slot(broken_model(tmp_path / "a", "exit"), first, "failures = 1", name="held") + folder_slot(
        broken_model(tmp_path / "b", "refuses"), second, name="refused"
    )
    with running_agent(tmp_path, settings, python_path=plugins) as agent:
        drop(first, "poison.npy", np.full(4, BREAKS, np.float32))
        agent.until(
            lambda status: (
                [status.slots[name].state.status for name in ("held", "refused")] == ["quarantined", "refused"]
            ),
            "one is held, the other refused",
        )
        assert agent.stop() == 0
        agent.restart()
        assert agent.until(lambda status: bool(status.slots), "it is back").slots["held"].state.status == "quarantined"
        assert agent.stop() == 0
        assert not (tmp_path / "run" / "supervisor.sock").exists()
