"""``edgeglm fleet cmd``: a real agent is asked through a real broker, as a person types it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest
from edgeglm_agent.wire.commands import Reply, State, decode_state, encode
from edgeglm_agent.wire.topics import Topics
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.agent.broker import Broker, free_port
from tests.support.agent.running import Agent, running_agent
from tests.support.fleet.boards import HOSTILE
from tests.support.fleet.client import Client
from tests.support.model_folders import write_two
from tests.support.tiny_models import tiny_images

SLOT = """
[telemetry]
window_s = 1
remote_samples = true
[slots.main]
model = "{folder}/model"
input = {{kind = "replay", path = "{folder}/samples.npz", rate = 20, loop = true}}
artifacts = ["model.onnx"]
"""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker")) as started:
        yield started


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[Agent]:
    folder = tmp_path_factory.mktemp("agent")
    write_two(folder / "model")
    np.savez(folder / "samples.npz", x=tiny_images(4))
    settings = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n{SLOT.format(folder=folder)}'
    line = [sys.executable, "-m", "edgeglm", "fleet", "collect", "--broker", f"mqtt://127.0.0.1:{broker.port}"]
    with (folder / "collector.log").open("wb") as log:
        collector = subprocess.Popen(line, stderr=log, cwd=folder)
    try:
        with running_agent(folder, settings) as started:
            # a board whose clock is not set obeys once an acknowledgement has told it the time
            started.until(
                lambda status: status.slots["main"].rss_kb is not None and status.link.acknowledged_s is not None,
                "a whole window, and its acknowledgement",
            )
            yield started
    finally:
        collector.terminate()
        collector.wait(120)


def cmd(broker: Broker, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"EDGEGLM_BROKER": f"mqtt://127.0.0.1:{broker.port}"}
    return subprocess.run(
        [sys.executable, "-m", "edgeglm", "fleet", "cmd", *words],
        capture_output=True, text=True, check=False, timeout=300, cwd=folder, env=environment,
    )  # fmt: skip


def test_ping_is_answered(broker: Broker, agent: Agent, tmp_path: Path) -> None:
    done = cmd(broker, tmp_path, "bench-1", "ping")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"bench-1 answered in \d+\.\d\d s; up \d", done.stdout)


def test_status_is_the_agents_own_table_and_json_has_the_figures(broker: Broker, agent: Agent, tmp_path: Path) -> None:
    done = cmd(broker, tmp_path, "default/bench-1", "status")
    assert "main: serving tiny 0123456789ab, model.onnx (none) in onnxruntime" in " ".join(done.stdout.split())
    document = json.loads(cmd(broker, tmp_path, "bench-1", "status", "--json").stdout)
    assert document["ok"]
    assert document["values"]["pid"] == agent.process.pid


def test_set_changes_the_window_and_sample_asks_for_answers(broker: Broker, agent: Agent, tmp_path: Path) -> None:
    done = cmd(broker, tmp_path, "bench-1", "set", "window_s=2", "sample_share=0.0")
    assert (done.returncode, done.stdout) == (0, "bench-1: done\n")
    agent.until(lambda status: status.slots["main"].window_s > 1.5, "windows of two seconds")
    with Client(broker.port) as client:
        client.subscribe(Topics("default", "bench-1").state)
        count = 1
        while decode_state(client.until(count)[-1][1]).window_s != 2:  # the one from before may come first
            count += 1
    done = cmd(broker, tmp_path, "bench-1", "sample", "slot=main", "count=2")
    assert done.stdout == "bench-1: done; the next answers follow as results\n"


def test_logs_are_the_agents_lines(broker: Broker, agent: Agent, tmp_path: Path) -> None:
    done = cmd(broker, tmp_path, "bench-1", "logs", "lines=200")
    assert done.returncode == 0
    assert [json.loads(line)["message"] for line in done.stdout.splitlines()]


def test_restart_restarts_and_a_slot_that_is_not_there_is_refused(broker: Broker, agent: Agent, tmp_path: Path) -> None:
    load = agent.slot().state.load
    assert cmd(broker, tmp_path, "bench-1", "restart", "slot=main").returncode == 0
    agent.until_slot(lambda slot: slot.state.load > load and slot.state.status == "serving", "it serves again")
    wrong = cmd(broker, tmp_path, "bench-1", "restart", "slot=door")
    assert (wrong.returncode, wrong.stdout) == (4, "")
    assert wrong.stderr.startswith("bench-1 refuses restart: there is no slot `door`; there are main")
    assert wrong.stderr.endswith("code: command-refused\n")


def test_the_store_knows_the_board_its_fleet_and_what_it_answered(broker: Broker, agent: Agent) -> None:
    asked = cmd(broker, agent.folder, "bench-2", "ping")
    assert asked.returncode == 2
    assert "did you mean `bench-1`?" in asked.stderr
    asked = cmd(broker, agent.folder, "bench-1", "ping", "--json")
    request = json.loads(asked.stdout)["id"]
    shown = ""
    give_up = time.monotonic() + 120
    while request not in shown:
        assert time.monotonic() < give_up, shown
        line = [sys.executable, "-m", "edgeglm", "fleet", "show", "bench-1", "--json"]
        done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=300, cwd=agent.folder)
        shown = done.stdout
    document = json.loads(shown)
    assert document["state"]["slots"]["main"]["model"] == "tiny 0123456789ab"
    assert document["totals"][0]["inferences"] > 0
    line = [sys.executable, "-m", "edgeglm", "fleet", "ls"]
    listed = subprocess.run(line, capture_output=True, text=True, check=True, timeout=300, cwd=agent.folder).stdout
    assert listed.splitlines()[1].split()[:4] == ["bench-1", "tiny", "0123456789ab", "serving"]


def test_a_board_that_does_not_answer_is_exit_4_and_what_is_known_of_it_is_said(broker: Broker, tmp_path: Path) -> None:
    nobody = cmd(broker, tmp_path, "gate-9", "ping", "--within", "1s")
    assert nobody.returncode == 4
    assert nobody.stderr.startswith("gate-9 did not answer within 1 s")
    assert "the broker knows no board gate-9 of fleet default" in nobody.stderr
    publish(broker, "gate-8", online=False)
    away = cmd(broker, tmp_path, "gate-8", "ping", "--within", "1s")
    assert away.returncode == 4
    assert "gate-8 is offline by its last will; waiting" in away.stderr
    assert "hint: it is offline by its last will" in away.stderr
    publish(broker, "gate-7", online=True)
    mute = cmd(broker, tmp_path, "gate-7", "ping", "--within", "1s")
    assert mute.returncode == 4
    assert "it is online by its state" in mute.stderr


def publish(broker: Broker, device: str, *, online: bool) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    state = State(1, device, "boot", "session", online)
    client.publish(Topics("default", device).state, encode(state), qos=1, retain=True).wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


def test_a_board_that_comes_back_in_time_is_sent_the_command_again(broker: Broker, tmp_path: Path) -> None:
    device = "gate-6"
    topics = Topics("default", device)
    publish(broker, device, online=False)
    asking = subprocess.Popen(
        [sys.executable, "-m", "edgeglm", "fleet", "cmd", device, "set", "window_s=7", "--within", "5m",
         "--broker", f"mqtt://127.0.0.1:{broker.port}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert asking.stderr is not None
    assert "is offline" in asking.stderr.readline()  # so what it has published went to nobody
    time.sleep(1)
    got: list[dict[str, object]] = []

    def obey(client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        got.append(json.loads(message.payload))
        client.publish(topics.reply(str(got[0]["id"])), b"no json", qos=1)
        other = Reply(1, "another", "set", False)
        client.publish(topics.reply(str(got[0]["id"])), encode(other), qos=1)
        answer = Reply(1, str(got[0]["id"]), "set", True, f"done {HOSTILE}")
        client.publish(topics.reply(answer.id), encode(answer), qos=1)

    board = paho.Client(CallbackAPIVersion.VERSION2)
    board.on_message = obey
    board.on_subscribe = lambda *_: board.publish(
        topics.state, encode(State(1, device, "boot", "session-2", True)), qos=1, retain=True
    )
    board.connect("127.0.0.1", broker.port)
    board.subscribe(topics.commands, qos=1)
    board.loop_start()
    try:
        out, err = asking.communicate(timeout=300)
    finally:
        board.disconnect()
        board.loop_stop()
    assert (asking.returncode, err) == (0, "")
    assert out.startswith(f"{device}: done; done \\x1b[31mred")
    assert out.rstrip("\n").isprintable()
    assert [(one["device"], one["args"]) for one in got] == [(device, {"window_s": 7})]


def test_a_broker_that_is_not_there_or_refuses_is_one_clear_error(tmp_path: Path) -> None:
    address = f"mqtt://127.0.0.1:{free_port()}"
    line = [sys.executable, "-m", "edgeglm", "fleet", "cmd", "gate-1", "ping", "--broker", address]
    gone = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path)
    assert gone.returncode == 4
    assert gone.stderr.startswith(f"{address}: cannot reach the broker: ")
    assert gone.stderr.endswith("code: broker-unreachable\n")
    (tmp_path / "passwords").write_text("")
    with Broker(tmp_path / "strict", lines=("allow_anonymous false", f"password_file {tmp_path}/passwords")) as strict:
        environment = os.environ | {"EDGEGLM_MQTT_PASSWORD": "hunter2-of-the-fleet"}
        line[-1] = f"mqtt://ops@127.0.0.1:{strict.port}"
        refused = subprocess.run(
            line, capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path, env=environment
        )
    assert refused.returncode == 4
    assert "the broker refuses this user" in refused.stderr
    assert refused.stderr.endswith("code: broker-refuses\n")
    assert "hunter2" not in refused.stderr


def test_what_is_wrong_on_the_command_line_is_exit_2(broker: Broker, tmp_path: Path) -> None:
    for words, said in (
        (("bench-1", "pong"), "did you mean `ping`?"),
        (("bench-1", "set", "window_s=0"), "a whole number from 1 to 86400"),
        (("bench-1", "ping", "--within", "soon"), "`soon` is no length of time"),
        (("bench 1", "ping"), "cannot be a device"),
        (("bench-1", "ping", "--broker", "http://x"), "no address of a broker"),
    ):
        wrong = cmd(broker, tmp_path, *words)
        assert (wrong.returncode, wrong.stdout) == (2, ""), words
        assert said in wrong.stderr
        assert "Traceback" not in wrong.stderr
