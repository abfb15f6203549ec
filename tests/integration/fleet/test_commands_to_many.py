"""``edgeglm fleet cmd 'press-*' ...``: simulated boards are asked at once, through a real broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from edgeglm_agent.wire.commands import State, encode
from edgeglm_agent.wire.topics import Topics

from edgeglm.fleet.store.opening import open_reader
from tests.integration.fleet.test_simulate import Simulation, profile
from tests.support.agent.broker import Broker
from tests.support.fleet.client import Client
from tests.support.fleet.collector import PATIENCE_S, RunningCollector, running_collector, until

BOARDS = 30


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker")) as one:
        yield one


@pytest.fixture(scope="module")
def collector(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    """Return the collector of thirty boards that answer, and of one that is away."""
    folder = tmp_path_factory.mktemp("fleet")
    with running_collector(folder / "fleet.db", f"mqtt://127.0.0.1:{broker.port}") as one:
        simulation = Simulation(broker.port, "--profile", profile(folder), "--devices", str(BOARDS), "--json")
        try:
            with Client(broker.port) as client:
                gone = State(1, "press-gone", "boot", "session", online=False)
                client.publish(Topics("works", "press-gone").state, encode(gone), retain=True)
            until(lambda: known(one) == BOARDS + 1, "all boards", one)
            yield one
        finally:
            simulation.process.terminate()
            simulation.ended(143)


def known(collector: RunningCollector) -> int:
    reader = open_reader(f"sqlite:///{collector.store}")
    found = len(reader.devices())
    reader.close()
    return found


def cmd(broker: Broker, collector: RunningCollector, *words: str) -> subprocess.CompletedProcess[str]:
    to = {"EDGEGLM_BROKER": f"mqtt://127.0.0.1:{broker.port}", "EDGEGLM_STORE": f"sqlite:///{collector.store}"}
    return subprocess.run(
        [sys.executable, "-m", "edgeglm", "fleet", "cmd", *words],
        capture_output=True, text=True, check=False, timeout=PATIENCE_S, env=os.environ | to,
    )  # fmt: skip


def test_all_that_a_pattern_names_are_asked_and_no_other(broker: Broker, collector: RunningCollector) -> None:
    done = cmd(broker, collector, "works/press-1*", "ping", "--within", "2m")
    assert (done.returncode, done.stderr) == (0, "ping to 10 boards; answers are waited for 120 s\n")
    names = sorted(line.split(" answered in ")[0] for line in done.stdout.splitlines())
    assert names == sorted(f"works/press-{number}" for number in range(10, 20))


def test_who_does_not_answer_or_refuses_is_named(broker: Broker, collector: RunningCollector) -> None:
    done = cmd(broker, collector, "*", "ping", "--within", "15s")
    assert done.returncode == 4
    assert len(done.stdout.splitlines()) == BOARDS
    assert (
        f"of {BOARDS + 1} boards {BOARDS} did it; 1 did not answer within 15 s: works/press-gone (offline)"
        in done.stderr
    )
    assert done.stderr.endswith("code: boards-left\n")
    done = cmd(broker, collector, "press-*1", "set", "window_s=60", "--within", "2m")
    assert (done.returncode, done.stdout) == (4, "")
    assert "of 3 boards 0 did it; 3 refused: " in done.stderr
    assert "works/press-21 (a simulated board obeys ping and status, not set)" in done.stderr


def test_a_reader_that_leaves_early_changes_nothing_of_the_rest(broker: Broker, collector: RunningCollector) -> None:
    line = f"{sys.executable} -m edgeglm fleet cmd 'press-*' ping --within 10s | head -1; echo ${{PIPESTATUS[0]}}"
    to = {"EDGEGLM_BROKER": f"mqtt://127.0.0.1:{broker.port}", "EDGEGLM_STORE": f"sqlite:///{collector.store}"}
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=True, timeout=PATIENCE_S, env=os.environ | to
    )
    assert len(done.stdout.splitlines()) == 2
    assert done.stdout.endswith("\n4\n"), "of the one that is away"
    assert f"of {BOARDS + 1} boards {BOARDS} did it" in done.stderr
    assert "Traceback" not in done.stderr


def test_as_json_each_board_has_its_answer_or_none(broker: Broker, collector: RunningCollector) -> None:
    done = cmd(broker, collector, "press-02", "ping", "--json", "--within", "2m")
    assert json.loads(done.stdout)["ok"], "one that is named is asked as ever"
    done = cmd(broker, collector, "press-*o*", "status", "--json", "--fleet", "works", "--within", "1s")
    assert done.returncode == 4
    assert json.loads(done.stdout) == [{"fleet": "works", "device": "press-gone", "reply": None}]
    done = cmd(broker, collector, "press-*2", "status", "--json", "--within", "2m")
    told = json.loads(done.stdout)
    assert [each["device"] for each in told] == ["press-02", "press-12", "press-22"]
    assert all(each["reply"]["values"]["simulated"] for each in told)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("*", "logs"), "command-invalid"),
        (("door-*", "ping"), "device-unknown"),
        (("*", "ping", "--fleet", "north"), "fleet-unknown"),
        (("north/*", "ping", "--fleet", "works"), "device-ambiguous"),
        (("*", "set", "window_s=0"), "command-invalid"),
    ],
)
def test_what_cannot_be_asked_of_many_is_refused_before_anything_is_sent(
    broker: Broker, collector: RunningCollector, words: tuple[str, ...], code: str
) -> None:
    done = cmd(broker, collector, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"code: {code}\n")
