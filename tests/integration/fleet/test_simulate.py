"""Simulated boards against a real broker and the real collector: what they say is in the store, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from edgeglm_agent.wire.commands import Command, Reply, encode
from edgeglm_agent.wire.telemetry import unpack_ranges
from edgeglm_agent.wire.topics import Topics

from edgeglm.fleet.store.sqlite_reader import SqliteReader
from edgeglm.fleet.store.types import DeviceSummary, Span
from tests.support.agent.broker import Broker, free_port
from tests.support.agent.certificates import Authority
from tests.support.agent.relay import Relay, only_version_311
from tests.support.fleet.client import Client
from tests.support.fleet.collector import PATIENCE_S, RunningCollector, running_collector, until

EVER = Span(-(2**61), 2**61)
PROFILE = """\
version: 1
fleet: works
prefix: press-
devices: 200
window_s: 2
ack_within_s: 1
resend_after_s: 2
retry_s: 0.5
longest_retry_s: 2
results_per_window: 0.3
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as one:
        yield one


@pytest.fixture
def collector(broker: Broker, tmp_path: Path) -> Iterator[RunningCollector]:
    with running_collector(tmp_path / "fleet.db", f"mqtt://127.0.0.1:{broker.port}") as one:
        yield one


class Simulation:
    """A real `edgeglm fleet simulate`."""

    def __init__(self, broker: int | str, *arguments: str) -> None:
        """Start it; ``broker``: its port, or its address."""
        address = f"mqtt://127.0.0.1:{broker}" if isinstance(broker, int) else broker
        command = [sys.executable, "-m", "edgeglm", "fleet", "simulate", "--broker", address]
        self.process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        )

    def ended(self, code: int = 0) -> dict[str, Any]:
        """Wait for its end; return its summary."""
        out, said = self.process.communicate(timeout=PATIENCE_S * 2)
        assert self.process.returncode == code, said
        assert "Traceback" not in said
        assert "Fatal" not in said
        found: dict[str, Any] = json.loads(out)
        return found


def profile(tmp_path: Path, more: str = "") -> str:
    (tmp_path / "works.yaml").write_text(PROFILE + more)
    return str(tmp_path / "works.yaml")


def numbers(reader: SqliteReader) -> dict[tuple[str, bytes], Counter[int]]:
    """Return device and epoch -> how often each sequence number is accounted for."""
    found: dict[tuple[str, bytes], Counter[int]] = {}
    for summary in reader.devices():
        device = summary.device
        rows = [*reader.windows(EVER, device), *reader.events(EVER, device), *reader.results(device, EVER)]
        gaps = list(reader.gaps(EVER, device))
        for row in [*rows, *gaps]:
            found.setdefault((device.name, row.epoch), Counter())[row.sequence] += 1
        for gap in gaps:
            for first, last in unpack_ranges(gap.gap.ranges):
                found[device.name, gap.epoch].update(range(first, last + 1))
    return found


def test_every_row_is_acknowledged_and_kept_once_though_the_broker_is_killed(
    broker: Broker, collector: RunningCollector, tmp_path: Path
) -> None:
    simulation = Simulation(broker.port, "--profile", profile(tmp_path), "--duration", "12", "--json")
    until(lambda: connected(collector.store) == 200, "all boards", collector)
    broker.kill()
    time.sleep(1.0)
    broker.start()
    told = simulation.ended()
    assert told["rows"]["outstanding"] == 0
    assert told["rows"]["acknowledged"] == told["rows"]["sent"] > 1000
    assert told["reconnects"] == 200
    assert told["latency_ms"]["p99"] > 0
    reader = SqliteReader(collector.store)
    found = numbers(reader)
    reader.close()
    assert len(found) == 200
    assert sum(sum(counts.values()) for counts in found.values()) == told["rows"]["sent"]
    for counts in found.values():
        assert counts == dict.fromkeys(range(1, max(counts) + 1), 1)


@pytest.mark.full
def test_a_thousand_boards_that_reconnect_at_once_again_and_again_lose_nothing(
    broker: Broker, collector: RunningCollector, tmp_path: Path
) -> None:
    storms = ", ".join(f"{{reconnect-storm: {{share: 1, after_s: {at}, within_s: 0}}}}" for at in (8, 16, 24))
    faults = f"faults: [{storms}]\n"
    arguments = ("--profile", profile(tmp_path, faults), "--devices", "1000", "--duration", "60", "--json")
    told = Simulation(broker.port, *arguments).ended()
    assert told["reconnects"] >= 3000
    assert told["rows"]["outstanding"] == 0
    reader = SqliteReader(collector.store)
    found = numbers(reader)
    reader.close()
    assert len(found) == 1000
    assert sum(sum(counts.values()) for counts in found.values()) == told["rows"]["sent"] > 10_000
    assert all(counts == dict.fromkeys(range(1, max(counts) + 1), 1) for counts in found.values())


def connected(store: Path) -> int:
    reader = SqliteReader(store)
    try:
        return sum(summary.state is not None and summary.state.online for summary in reader.devices())
    finally:
        reader.close()


FAULTS = """\
faults:
  - silent: {share: 0.05, after_s: 4}
  - silent: {share: 0.05, after_s: 3, for_s: 3}
  - drifting: {share: 0.1, after_s: 2, psi: 0.7}
  - erroring: {share: 0.1, rate: 0.25}
  - hot: {share: 0.05, temperature_c: 84}
  - throttled: {share: 0.05, after_s: 2}
  - crash-looping: {share: 0.05, after_s: 1, every_s: 1, failures: 3}
  - unset-clock: {share: 0.05}
  - duplicating: {share: 0.1, rate: 1}
  - malformed: {share: 0.05, rate: 1}
  - impostor: {share: 0.05, every_s: 3}
  - losing: {share: 0.1, every_s: 3, rows: 10}
  - reconnect-storm: {share: 1, after_s: 8, within_s: 1}
"""


def test_every_fault_can_be_seen_in_the_store(broker: Broker, collector: RunningCollector, tmp_path: Path) -> None:
    arguments = ("--profile", profile(tmp_path, FAULTS), "--devices", "40", "--duration", "14", "--json")
    told = Simulation(broker.port, *arguments).ended()
    reader = SqliteReader(collector.store)
    summaries = {summary.device.name: summary for summary in reader.devices()}
    events = Counter(event.event.name for event in reader.events(EVER))
    assert len(summaries) == 40
    assert events["drift-raised"] == 4
    assert events["throttled"] == 2
    assert (events["worker-crashed"], events["worker-quarantined"]) == (6, 2)
    newest = [summary.slots["main"].window for summary in summaries.values()]
    assert sum(bool(window.drift) and window.drift[0].psi_milli >= 600 for window in newest) == 4
    assert sum(window.errors == {"run": 1} for window in newest) == 4
    assert sum(window.board is not None and (window.board.temperature_decic or 0) >= 840 for window in newest) == 2
    assert sum(window.board is not None and window.board.throttled == 0x40004 for window in newest) == 2
    assert sum(is_quarantined(summary) for summary in summaries.values()) == 2
    assert (
        sum(summary.state is not None and not summary.state.clock_synchronised for summary in summaries.values()) == 2
    )
    assert sum(summary.lost_rows > 0 for summary in summaries.values()) >= 4
    assert sum(summary.duplicates for summary in summaries.values()) > 50
    # what nobody can read, and births that are another's, are put aside; rows on another's topic nobody can tell
    assert reader.poison_count() == told["malformed"] + told["impostures"] / 2
    heard = [summary.slots["main"].received_ms for summary in summaries.values()]
    assert sum(received_ms < max(heard) - 5000 for received_ms in heard) == 2  # those that stay silent
    reader.close()
    assert told["rows"]["outstanding"] == 0
    assert told["connections"] == 40 + 38 + 2  # the storm; and those that came back from their silence


def is_quarantined(summary: DeviceSummary) -> bool:
    return summary.state is not None and summary.state.slots["main"].status == "quarantined"


def test_several_processes_share_the_devices_and_a_closed_loop_goes_on(
    broker: Broker, collector: RunningCollector, tmp_path: Path
) -> None:
    loop = ("--acknowledged", "4", "--ack-within", "0", "--processes", "3", "--duration", "5", "--json")
    told = Simulation(broker.port, "--profile", profile(tmp_path), "--devices", "31", *loop).ended()
    assert (told["devices"], told["connected"], told["connections"], told["processes"]) == (31, 31, 31, 3)
    assert told["rows"]["acknowledged"] == told["rows"]["sent"] == told["rows"]["windows"] + told["rows"]["results"]
    assert told["rows"]["sent"] > 31 * 8
    reader = SqliteReader(collector.store)
    assert len(reader.devices()) == 31
    assert sum(sum(counts.values()) for counts in numbers(reader).values()) == told["rows"]["sent"]
    reader.close()


def test_a_broker_that_knows_only_version_3_1_1_is_spoken_to(
    broker: Broker, collector: RunningCollector, tmp_path: Path
) -> None:
    with Relay(broker.port, first=only_version_311) as relay:
        arguments = ("--profile", profile(tmp_path), "--devices", "10", "--duration", "6", "--json")
        told = Simulation(relay.port, *arguments).ended()
    assert told["connections"] == 10
    assert told["rows"]["acknowledged"] == told["rows"]["sent"] > 30


def test_no_more_is_sent_at_once_than_the_broker_takes(tmp_path: Path) -> None:
    with (
        Broker(tmp_path / "broker", lines=("max_inflight_messages 3",)) as broker,
        running_collector(tmp_path / "fleet.db", f"mqtt://127.0.0.1:{broker.port}"),
    ):
        loop = ("--acknowledged", "40", "--ack-within", "0", "--duration", "5", "--json")
        told = Simulation(broker.port, "--profile", profile(tmp_path), "--devices", "3", *loop).ended()
    assert told["connections"] == 3
    assert told["rows"]["acknowledged"] == told["rows"]["sent"] > 3 * 40


def test_devices_that_never_connected_are_told_and_fail_the_run(tmp_path: Path) -> None:
    arguments = ("--profile", profile(tmp_path), "--devices", "4", "--duration", "1", "--json")
    told = Simulation(free_port(), *arguments).ended(4)
    assert (told["never"], told["connections"], told["rows"]["sent"]) == (4, 0, 0)
    assert told["refused"] >= 4


@pytest.mark.parametrize(
    ("number", "code", "processes"), [(signal.SIGINT, 130, "1"), (signal.SIGTERM, 143, "1"), (signal.SIGINT, 130, "2")]
)
def test_a_signal_ends_it_with_its_summary_and_boards_say_goodbye(
    broker: Broker, collector: RunningCollector, tmp_path: Path, number: signal.Signals, code: int, processes: str
) -> None:
    arguments = ("--profile", profile(tmp_path), "--devices", "12", "--processes", processes, "--json")
    simulation = Simulation(broker.port, *arguments)
    until(lambda: connected(collector.store) == 12, "all boards", collector)
    simulation.process.send_signal(number)
    assert simulation.ended(code)["devices"] == 12
    until(lambda: connected(collector.store) == 0, "their goodbyes", collector)


def test_its_processes_end_with_it(broker: Broker, collector: RunningCollector, tmp_path: Path) -> None:
    arguments = ("--profile", profile(tmp_path), "--devices", "12", "--processes", "2", "--json")
    simulation = Simulation(broker.port, *arguments)
    until(lambda: connected(collector.store) == 12, "all boards", collector)
    simulation.process.kill()
    simulation.process.wait(PATIENCE_S)
    until(lambda: connected(collector.store) == 0, "their wills or goodbyes", collector)


def test_a_simulated_board_answers(broker: Broker, tmp_path: Path) -> None:
    topics = Topics("works", "press-0")
    with Client(broker.port, "operator") as operator:
        operator.subscribe(f"{topics.prefix}/res/+")
        simulation = Simulation(broker.port, "--profile", profile(tmp_path), "--devices", "1", "--json")
        give_up, asked = time.monotonic() + PATIENCE_S, 0
        while not operator.got:  # it may not listen yet
            asked += 1
            command = Command(1, f"ask-{asked}", "press-0", int(time.time() * 1000) + 60_000)
            operator.publish(topics.command("ping"), encode(command))
            assert time.monotonic() < give_up
            time.sleep(0.3)
        simulation.process.terminate()
        assert simulation.ended(143)["commands"] >= 1
    reply = msgspec.json.decode(operator.got[0][1], type=Reply)
    assert reply.ok
    assert reply.values["uptime_ms"]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_broker_that_is_not_there_is_said(tmp_path: Path, processes: str) -> None:
    address = f"mqtt://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "edgeglm", "fleet", "simulate", "--broker", address, "--processes", processes]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == 4
    assert f"{address}: not one device could connect" in ended.stderr
    assert ended.stderr.strip().endswith("code: broker-unreachable")
    assert "Traceback" not in ended.stderr


def test_a_profile_that_cannot_be_used_is_said_without_a_traceback(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "edgeglm",
        "fleet",
        "simulate",
        "--profile",
        profile(tmp_path, "fault: []\nslots: x"),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "works.yaml:11: unknown key `fault`" in ended.stderr
    assert "works.yaml:12 slots: expected a list, found the text `x`" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_more_devices_than_files_may_be_open_are_refused_with_a_way_out(tmp_path: Path) -> None:
    run = f"{sys.executable} -m edgeglm fleet simulate --devices 300 --broker mqtt://127.0.0.1:{free_port()}"
    command = ["bash", "-c", f"ulimit -n 200 && exec {run}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == 4
    assert "300 devices in one process need 364 open files; it may have 200" in ended.stderr
    assert "hint: `--processes 3`" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_limit_of_open_files_is_raised_as_far_as_it_may(
    broker: Broker, collector: RunningCollector, tmp_path: Path
) -> None:
    run = f"{sys.executable} -m edgeglm fleet simulate --devices 100 --broker mqtt://127.0.0.1:{broker.port}"
    options = f"--profile {profile(tmp_path)} --duration 6 --json"
    command = ["bash", "-c", f"ulimit -Sn 64 && exec {run} {options}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["connected"] == 100


IMPOSTOR = "faults: [{impostor: {share: 0.2, after_s: 2, every_s: 3}}]"


def test_each_device_shows_its_own_certificate_and_no_impostor_gets_through(tmp_path: Path) -> None:
    folder = tmp_path / "trust"
    folder.mkdir()
    authority = Authority(folder)
    for name in ["collector", *(f"press-{number}" for number in range(5))]:
        authority.issue(name)
    certificate = authority.issue("broker", hosts=("127.0.0.1", "localhost"))
    with Broker(tmp_path / "broker", certificate=certificate, clients=authority.pem) as broker:
        address = f"mqtts://127.0.0.1:{broker.port}?ca={authority.pem}&certificate={folder}/%s.crt&key={folder}/%s.key"
        with running_collector(tmp_path / "fleet.db", address.replace("%s", "collector")) as collector:
            arguments = ("--profile", profile(tmp_path, IMPOSTOR), "--devices", "5", "--duration", "8", "--json")
            told = Simulation(address.replace("%s", "{device}"), *arguments).ended()
            reader = SqliteReader(collector.store)
            found = numbers(reader)
            assert {summary.device.name for summary in reader.devices()} == {f"press-{n}" for n in range(5)}
            assert reader.poison_count() == 0
            reader.close()
    assert told["impostures"] > 0
    assert len(found) == 5  # one epoch each: the impostor's is not among them
    assert (
        sum(sum(counts.values()) for counts in found.values()) == told["rows"]["sent"] == told["rows"]["acknowledged"]
    )
