"""`edgeglm fleet broker`: a real broker, started, watched and ended."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from edgeglm.fleet.broker import supervise
from edgeglm.fleet.broker.programs import find_program
from edgeglm.fleet.broker.settings import BrokerSettings
from edgeglm.log import SilentLog
from tests.support.agent.broker import free_port
from tests.support.fleet.broker import broker_verb, is_running, running_broker, until_gone
from tests.support.fleet.client import Client, let_in_again

PROGRAMS = ["mosquitto", "nats"]
TOPIC = "edgeglm/v1/north/1f/gate-7/telemetry"


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_address_is_said_when_clients_are_let_in(tmp_path: Path, program: str) -> None:
    with running_broker(tmp_path / "a folder", "--broker-program", program) as broker:
        assert broker.address == f"mqtt://127.0.0.1:{broker.port}"
        with Client(broker.port, "reader") as reader, Client(broker.port, "writer") as writer:
            assert reader.subscribe("edgeglm/v1/#") < 128
            assert writer.publish(TOPIC, b"hello") in (0, 16)
            assert reader.until(1) == [(TOPIC, b"hello")]


def test_more_than_a_thousand_messages_wait_for_a_collector_that_is_away(tmp_path: Path, program: str) -> None:
    sent = [b"%d" % number for number in range(5000)]
    with running_broker(tmp_path / "data", "--broker-program", program) as broker:
        with Client(broker.port, "collector", lasting=True) as collector:
            collector.subscribe("edgeglm/v1/+/+/+/telemetry")
        with Client(broker.port, "board") as board:
            board.publish_many(TOPIC, sent)
        with Client(broker.port, "collector", lasting=True) as collector:
            assert sorted({payload for _, payload in collector.until(5000)}) == sorted(sent)


def test_what_waits_outlasts_an_orderly_restart(tmp_path: Path, program: str) -> None:
    with running_broker(tmp_path / "data", "--broker-program", program) as broker:
        with Client(broker.port, "collector", lasting=True) as collector:
            collector.subscribe("edgeglm/v1/#")
        with Client(broker.port, "board") as board:
            board.publish_many(TOPIC, [b"1", b"2"])
            board.publish(TOPIC.replace("telemetry", "state"), b"birth", retain=True)
        assert broker.end() == 143
    with running_broker(tmp_path / "data", "--broker-program", program) as broker:
        with Client(broker.port, "collector", lasting=True) as collector:
            assert {payload for _, payload in collector.until(3)} == {b"1", b"2", b"birth"}
        with Client(broker.port) as late:
            late.subscribe("edgeglm/v1/+/+/+/state")
            assert {payload for _, payload in late.until(1)} == {b"birth"}


def test_a_broker_that_is_killed_is_started_again_and_has_what_it_saved(tmp_path: Path, program: str) -> None:
    with running_broker(tmp_path / "data", "--broker-program", program) as broker:
        with Client(broker.port, "collector", lasting=True) as collector:
            collector.subscribe("edgeglm/v1/#")
        with Client(broker.port, "board") as board:
            board.publish_many(TOPIC, [b"%d" % number for number in range(100)])
        time.sleep(3)  # it saves every second
        (pid,) = broker.broker_pids()
        os.kill(pid, signal.SIGKILL)
        until_gone(pid)
        with let_in_again(broker.port, "collector") as collector:
            assert len(set(collector.until(100))) == 100
        assert "was ended by SIGKILL: it is started again" in broker.log()
        assert broker.broker_pids() != [pid]


class _Warnings(SilentLog):
    def __init__(self, enough: int) -> None:
        self.said: list[str] = []
        self.enough = threading.Event()
        self._most = enough

    def warn(self, text: str) -> None:
        if "is started again in" in text:
            self.said.append(text.rpartition(" in ")[2])
            if len(self.said) == self._most:
                self.enough.set()


def test_one_that_cannot_be_started_again_is_tried_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "_STEADY_S", 2.0)
    monkeypatch.setattr(supervise, "_FIRST_WAIT_S", 0.125)
    monkeypatch.setattr(supervise, "_LONGEST_WAIT_S", 0.5)
    settings = BrokerSettings(data=tmp_path / "data", port=free_port())
    log, stop, ready = _Warnings(5), threading.Event(), threading.Event()
    supervisor = supervise.Supervisor(find_program("mosquitto"), settings, log, stop=stop)
    thread = threading.Thread(target=supervisor.run, args=(lambda _: ready.set(),))
    thread.start()
    try:
        assert ready.wait(120)
        time.sleep(2.1)  # it was steady
        configuration = settings.data / "mosquitto.conf"
        configuration.unlink()
        configuration.mkdir()  # it cannot be written, so it cannot be started
        children = Path(f"/proc/self/task/{thread.native_id}/children").read_text(encoding="ascii")
        (pid,) = [int(each) for each in children.split()]
        os.kill(pid, signal.SIGKILL)
        assert log.enough.wait(120)
    finally:
        stop.set()
        thread.join(120)
    assert log.said == ["0.125 s", "0.25 s", "0.5 s", "0.5 s", "0.5 s"]


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_both_orderly(tmp_path: Path, program: str, how: signal.Signals, code: int) -> None:
    with running_broker(tmp_path / "data", "--broker-program", program) as broker:
        (pid,) = broker.broker_pids()
        assert broker.end(how) == code
        assert not is_running(pid)
        assert "Traceback" not in broker.log()


def test_the_broker_ends_with_its_supervisor_and_another_takes_over_at_once(tmp_path: Path, program: str) -> None:
    with running_broker(tmp_path / "data", "--broker-program", program) as broker:
        (pid,) = broker.broker_pids()
        broker.end(signal.SIGKILL)
        with running_broker(tmp_path / "data", "--broker-program", program, port=broker.port) as second:
            assert not is_running(pid)
            assert second.address


def test_one_folder_has_one_broker(tmp_path: Path) -> None:
    with running_broker(tmp_path / "data"):
        second = broker_verb("broker", "--data", "data", "--port", "1", cwd=tmp_path)
    assert (second.returncode, second.stdout) == (4, "")
    assert "code: broker-running" in second.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = broker_verb("broker", "--port", str(port), cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (4, "")
    assert f"127.0.0.1:{port}: something else listens there" in ended.stderr
    assert "code: broker-port" in ended.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "broker.example"])
def test_other_networks_are_refused_without_tls(tmp_path: Path, host: str) -> None:
    ended = broker_verb("broker", "--host", host, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--tls" in ended.stderr
    assert "code: broker-exposed" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_the_broker_keeps_is_for_its_owner_alone(tmp_path: Path, program: str) -> None:
    with running_broker(tmp_path / "data", "--broker-program", program):
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_a_broker_that_cannot_start_is_an_error_with_its_own_words_above(tmp_path: Path) -> None:
    (tmp_path / "data" / "mosquitto").mkdir(parents=True)
    (tmp_path / "data" / "mosquitto" / "mosquitto.db").write_bytes(b"no database")
    ended = broker_verb("broker", "--data", "data", "--port", "0", cwd=tmp_path)
    assert ended.returncode == 2  # a port that is none
    ended = broker_verb("broker", "--data", "data", "--broker-program", "mosquitto", "--port", "21999", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "mosquitto ended with" in ended.stderr
    assert "code: broker-failed" in ended.stderr
