"""`edgeglm fleet broker --tls`: who is let in, and what each may write and read."""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeglm_agent.wire.topics import Topics

from edgeglm.fleet.broker.mosquitto import find_mosquitto
from edgeglm.fleet.store.sqlite_reader import SqliteReader
from edgeglm.fleet.store.types import Device
from tests.integration.fleet.test_broker import PROGRAMS
from tests.support.agent.broker import free_port
from tests.support.agent.certificates import Authority as OtherAuthority
from tests.support.agent.running import running_agent
from tests.support.fleet.broker import RunningBroker, broker_verb, running_broker
from tests.support.fleet.client import Client, Identity
from tests.support.fleet.collector import RunningCollector, running_collector

PATIENCE_S = 300.0  # guards against a hang; it is no speed limit
GATE, DOOR = Topics("north", "gate-7"), Topics("north", "door-1")


@pytest.fixture(params=PROGRAMS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningBroker]:
    with running_broker(tmp_path / "data", "--tls", "--broker-program", request.param) as running:
        yield running


def issue(broker: RunningBroker, name: str, *options: str, role: str = "device") -> Identity:
    out = broker.folder.parent / f"{role}-{name}"
    made = broker_verb(
        "certificate", name, "--role", role, "--data", str(broker.folder), "-o", str(out), *options, cwd=out.parent
    )
    assert made.returncode == 0, made.stderr
    identity = Identity(*map(Path, made.stdout.split()))
    until_let_in(broker, identity)  # NATS has to be told first
    return identity


def local(broker: RunningBroker, role: str) -> Identity:
    """Return what a broker makes by itself."""
    folder = broker.folder / "tls"
    return Identity(folder / "fleet-ca.pem", folder / f"{role}-local.pem", folder / f"{role}-local.key")


def url(broker: RunningBroker, role: str) -> str:
    """Return the address that the broker itself tells for who works beside it, after the one for boards."""
    give_up = time.monotonic() + PATIENCE_S
    while not (found := re.search(rf"'(mqtts://[^']*/{role}-local\.key)'", broker.log())):
        assert time.monotonic() < give_up, broker.log()
        time.sleep(0.02)
    return found[1]


def let_in(broker: RunningBroker, identity: Identity) -> bool:
    with contextlib.suppress(OSError, ssl.SSLError), Client(broker.port, "knocks", identity=identity) as client:
        return client.connected == 0
    return False


def until_let_in(broker: RunningBroker, identity: Identity) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not let_in(broker, identity):
        assert time.monotonic() < give_up, broker.log()
        time.sleep(0.1)


def write(client: Client, topic: str) -> tuple[str, bytes]:
    """Publish, and return what a reader gets where that is allowed: the broker's answer alone is no proof."""
    payload = f"{topic} {time.monotonic_ns()}".encode()
    with contextlib.suppress(OSError):
        client.publish(topic, payload)  # when it returns the broker has dealt with it
    return topic, payload


def may_write(client: Client, reader: Client, topic: str) -> bool:
    message = write(client, topic)
    give_up = time.monotonic() + PATIENCE_S
    while message not in reader.got:
        if time.monotonic() > give_up:
            return False
        time.sleep(0.02)
    return True


def may_not_write(client: Client, reader: Client, topic: str, then: tuple[Client, str]) -> bool:
    """Tell whether it does not come, once one has come that was sent after it, by who may do that."""
    message = write(client, topic)
    assert may_write(then[0], reader, then[1])
    return message not in reader.got


def test_only_certificates_of_this_authority_are_let_in(broker: RunningBroker, tmp_path: Path) -> None:
    assert broker.address == f"mqtts://127.0.0.1:{broker.port}"
    gate = issue(broker, "gate-7")
    other = OtherAuthority(tmp_path)
    assert let_in(broker, gate)
    assert not let_in(broker, Identity(gate.authority))
    assert not let_in(broker, Identity(gate.authority, *other.issue("gate-7")))
    assert not let_in(broker, Identity(gate.authority, *other.issue("role:collector", file="spoofed")))
    with pytest.raises(ssl.SSLError):
        Client(broker.port, "trusts another", identity=Identity(other.pem, gate.certificate, gate.key))


@pytest.mark.parametrize("name", ["gate-7", "collector", "state"])
def test_a_board_writes_and_reads_its_own_topics_alone_whatever_it_is_called(broker: RunningBroker, name: str) -> None:
    board, own = issue(broker, name), Topics("north", name)
    with (
        Client(broker.port, "c", identity=local(broker, "collector")) as collector,
        Client(broker.port, "o", identity=local(broker, "operator")) as operator,
    ):
        for leaf in ("state", "events", "telemetry", "results", "res/+"):
            assert collector.subscribe(f"edgeglm/v1/+/+/+/{leaf}") < 128
        for topic in (own.telemetry, own.events, own.results, own.state, own.reply("r-1")):
            with Client(broker.port, name, identity=board) as client:
                assert may_write(client, collector, topic), topic
        for topic in (DOOR.telemetry, DOOR.state, DOOR.reply("r-1"), own.telemetry.replace(name, "x")):
            with Client(broker.port, name, identity=board) as client, Client(broker.port, identity=board) as again:
                assert may_not_write(client, collector, topic, (again, own.telemetry)), topic
        with Client(broker.port, name, identity=board) as client:
            with contextlib.suppress(OSError):
                client.subscribe("#")
            for topic in (own.ack, own.commands):
                with contextlib.suppress(OSError):
                    client.subscribe(topic)
        with Client(broker.port, f"{name}-again", identity=board) as client:
            assert client.subscribe(own.ack) < 128
            assert client.subscribe(own.commands) < 128
            assert may_write(collector, client, own.ack)
            assert may_write(operator, client, own.command("ping"))
        with Client(broker.port, f"{name}-nosy", identity=board) as client:
            for topic in (DOOR.ack, DOOR.commands, DOOR.telemetry):
                with contextlib.suppress(OSError):
                    client.subscribe(topic)
            assert client.subscribe(own.ack) < 128
            assert client.subscribe(own.commands) < 128
            assert may_not_write(collector, client, DOOR.ack, (collector, own.ack))
            assert may_not_write(operator, client, DOOR.command("ping"), (operator, own.command("ping")))


def test_a_board_commands_nobody_and_acknowledges_nothing(broker: RunningBroker) -> None:
    board = issue(broker, "gate-7")
    door = issue(broker, "door-1")
    with Client(broker.port, "o", identity=local(broker, "operator")) as operator:
        with Client(broker.port, "door", identity=door) as victim:
            assert victim.subscribe(DOOR.ack) < 128
            assert victim.subscribe(DOOR.commands) < 128
            for topic in (DOOR.ack, DOOR.command("restart")):
                with Client(broker.port, "gate", identity=board) as client:
                    assert may_not_write(client, victim, topic, (operator, DOOR.command("ping")))
        with Client(broker.port, "gate", identity=board) as itself:
            assert itself.subscribe(GATE.commands) < 128
            with Client(broker.port, "gate-2", identity=board) as client:
                assert may_not_write(client, itself, GATE.command("restart"), (operator, GATE.command("ping")))


def test_collectors_command_nobody_and_operators_acknowledge_nothing(broker: RunningBroker) -> None:
    gate, ada = issue(broker, "gate-7"), issue(broker, "ada", role="operator")
    intake = issue(broker, "intake-1", role="collector")
    with (
        Client(broker.port, "gate-7", identity=gate) as board,
        Client(broker.port, "o", identity=local(broker, "operator")) as operator,
    ):
        for topic in (GATE.ack, GATE.commands, f"{GATE.prefix}/desired"):
            assert board.subscribe(topic) < 128
        for identity, topic, allowed in (
            (ada, GATE.command("ping"), True),
            (ada, f"{GATE.prefix}/desired", True),
            (ada, GATE.ack, False),
            (intake, GATE.ack, True),
            (intake, GATE.command("ping"), False),
            (intake, f"{GATE.prefix}/desired", False),
        ):
            with Client(broker.port, "staff", identity=identity) as client:
                if allowed:
                    assert may_write(client, board, topic), (identity.certificate, topic)
                else:
                    then = (operator, GATE.command("ping"))
                    assert may_not_write(client, board, topic, then), (identity.certificate, topic)


def test_an_operator_hears_the_answers_of_many_boards_by_one_subscription(broker: RunningBroker) -> None:
    gate, door = issue(broker, "gate-7"), issue(broker, "door-1")
    with Client(broker.port, "o", identity=local(broker, "operator")) as operator:
        for leaf in ("res/cli-1", "state"):
            assert operator.subscribe(f"edgeglm/v1/north/+/+/{leaf}") < 128
        for identity, topics in ((gate, GATE), (door, DOOR)):
            with Client(broker.port, "board", identity=identity) as client:
                assert may_write(client, operator, topics.reply("cli-1"))
                assert may_write(client, operator, topics.state)


def test_a_revoked_certificate_ends_the_connection_and_lets_nobody_in(broker: RunningBroker, tmp_path: Path) -> None:
    gate, door = issue(broker, "gate-7"), issue(broker, "door-1")
    with Client(broker.port, "gate-7", identity=gate) as client:
        revoked = broker_verb("revoke", "gate-7", "--data", str(broker.folder), cwd=tmp_path)
        assert revoked.returncode == 0, revoked.stderr
        assert len(revoked.stdout.split()) == 1
        give_up = time.monotonic() + PATIENCE_S
        while not client.lost:
            assert time.monotonic() < give_up
            time.sleep(0.05)
    until_let_in(broker, door)
    assert not let_in(broker, gate)
    issue(broker, "gate-7", "-o", str(tmp_path / "new"))  # another board takes its place
    assert not let_in(broker, gate)


def test_certificates_outlast_a_restart(tmp_path: Path) -> None:
    with running_broker(tmp_path / "data", "--tls") as first:
        gate = issue(first, "gate-7")
        own = (tmp_path / "data" / "tls" / "broker-local.pem").read_bytes()
    with running_broker(tmp_path / "data", "--tls") as second:
        assert let_in(second, gate)
        assert (tmp_path / "data" / "tls" / "broker-local.pem").read_bytes() == own
    with running_broker(tmp_path / "data", "--tls", "--name", "broker.example") as third:
        assert let_in(third, gate)
        assert (tmp_path / "data" / "tls" / "broker-local.pem").read_bytes() != own  # it has one name more


def test_rights_can_be_those_of_one_fleet(tmp_path: Path) -> None:
    with running_broker(tmp_path / "data", "--tls", "--fleet", "north") as broker:
        gate = issue(broker, "gate-7")
        south = Topics("south", "gate-7")
        with Client(broker.port, "c", identity=local(broker, "collector")) as collector:
            collector.subscribe("edgeglm/v1/+/+/+/telemetry")
            with Client(broker.port, "gate-7", identity=gate) as client, Client(broker.port, identity=gate) as again:
                assert may_write(client, collector, GATE.telemetry)
                assert may_not_write(client, collector, south.telemetry, (again, GATE.telemetry))


def test_an_agent_and_a_collector_meet_with_issued_certificates(broker: RunningBroker, tmp_path: Path) -> None:
    bench = issue(broker, "bench-1")
    home = tmp_path / "agent"
    home.mkdir()
    settings = (
        f'fleet = "north"\n[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
        f'tls = {{ca = "{bench.authority}", certificate = "{bench.certificate}", key = "{bench.key}"}}\n'
    )
    with running_collector(tmp_path / "fleet.db", url(broker, "collector")), running_agent(home, settings) as agent:
        agent.until(lambda status: status.link.acknowledged_s is not None, "the collector has what the agent sent")
        reader = SqliteReader(tmp_path / "fleet.db")
        found = reader.device(Device("north", "bench-1"))
        reader.close()
        assert found is not None
        assert found.state is not None
        assert found.state.online


def test_the_configuration_for_another_machine_is_one_that_mosquitto_takes(tmp_path: Path) -> None:
    out = tmp_path / "etc"
    written = broker_verb("broker", "--write-config", "etc", "--name", "localhost", "--name", "127.0.0.1", cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    assert {tmp_path / line for line in written.stdout.split()} == {
        path for path in out.iterdir() if path.name != ".gitignore"
    }
    assert (out / "broker.key").stat().st_mode & 0o777 == 0o600
    text = (out / "mosquitto.conf").read_text()
    port = free_port()
    moved = text.replace("/etc/mosquitto", str(out)).replace("/var/lib/mosquitto", str(tmp_path / "database"))
    (tmp_path / "database").mkdir()
    (tmp_path / "moved.conf").write_text(
        moved.replace("listener 8883\n", f"listener {port}\n") + ("user root\n" if os.geteuid() == 0 else "")
    )
    made = broker_verb("certificate", "gate-7", cwd=tmp_path)
    gate = Identity(*(tmp_path / line for line in made.stdout.split()))
    program = find_mosquitto()
    assert program is not None
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen([program, "-c", tmp_path / "moved.conf"], stdout=log, stderr=log)
    try:
        give_up = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError), Client(port, "gate-7", identity=gate) as client:
                assert client.connected == 0
                assert client.publish(GATE.telemetry) in (0, 16)
                break
            assert running.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < give_up
    finally:
        running.kill()
        running.wait()


def commands_of_the_containers() -> str:
    """Return what docs/scaling.md types on the way from one machine to containers, as far as it makes certificates."""
    text = (Path(__file__).parents[3] / "docs" / "scaling.md").read_text(encoding="utf-8")
    block = text.split("## One machine, in containers")[1].split("```console\n")[1].split("```")[0]
    typed = [line.removeprefix("$ ") for line in block.splitlines()]
    ours = [number for number, line in enumerate(typed) if line.startswith("edgeglm fleet")]
    assert len(ours) == 2
    return "\n".join(["set -eu", 'edgeglm() { "$PYTHON" -m edgeglm "$@"; }', *typed[: ours[-1] + 1]])


def test_the_way_of_the_docs_to_containers_keeps_the_authority_that_boards_trust(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "EDGEGLM_BROKER_DATA"}
    environment["PYTHON"] = sys.executable
    made = broker_verb("certificate", "broker.example.org", "--role", "broker", cwd=tmp_path)
    assert f"made a new authority in {tmp_path}/fleet/broker/trust: " in made.stderr
    assert "EDGEGLM_BROKER_DATA" in made.stderr
    (tmp_path / "deploy").mkdir()
    words = ["bash", "-c", commands_of_the_containers()]
    ended = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == 0, ended.stderr
    assert "new authority" not in ended.stderr
    trusted = (tmp_path / "fleet" / "broker" / "trust" / "ca.pem").read_bytes()
    for folder in ("for-broker", "certificates/fleet"):
        assert (tmp_path / "deploy" / folder / "fleet-ca.pem").read_bytes() == trusted
    assert not (tmp_path / "deploy" / "fleet").exists()


def test_many_certificates_are_made_at_once_or_none_of_them(tmp_path: Path) -> None:
    broker_verb("certificate", "broker.example.org", "--role", "broker", cwd=tmp_path)
    issued = tmp_path / "fleet" / "broker" / "trust" / "issued"
    for names in (("gate-1", "gate 2"), ("gate-1", "broker.example.org")):
        (tmp_path / "out" / "broker.example.org").mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / "broker.example.org" / "broker.example.org.key").touch()
        wrong = broker_verb("certificate", *names, "-o", "out", cwd=tmp_path)
        assert (wrong.returncode, wrong.stdout, len([*issued.glob("*.pem")])) == (2, "", 1)
    made = broker_verb("certificate", "gate-1", "gate-2", "gate-1", "-o", "out", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert made.stdout.split() == [
        f"out/{name}/{file}" for name in ("gate-1", "gate-2") for file in ("fleet-ca.pem", f"{name}.pem", f"{name}.key")
    ]
    assert {(tmp_path / file).stat().st_mode & 0o077 for file in made.stdout.split() if file.endswith(".key")} == {0}


def test_all_certificates_are_made_also_when_the_reader_of_their_names_leaves_early(tmp_path: Path) -> None:
    broker_verb("certificate", "broker.example.org", "--role", "broker", cwd=tmp_path)
    names = [f"gate-{number}" for number in range(30)]
    line = f"{sys.executable} -m edgeglm fleet certificate {' '.join(names)} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "certificates/gate-0/fleet-ca.pem\n")
    assert all((tmp_path / "certificates" / name / f"{name}.key").is_file() for name in names)


def test_names_may_be_in_a_file_and_who_holds_certificates_is_listed(tmp_path: Path) -> None:
    broker_verb("certificate", "broker.example.org", "--role", "broker", cwd=tmp_path)
    (tmp_path / "boards.txt").write_text("# the yard\n\ngate-1\ngate 2\n")
    wrong = broker_verb("certificate", "--from", "boards.txt", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("boards.txt:4: ")
    (tmp_path / "boards.txt").write_text("gate-2  # by the door\n")
    made = broker_verb("certificate", "gate-1", "--from", "boards.txt", "--days", "20", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert made.stdout.split()[1::3] == ["certificates/gate-1/gate-1.pem", "certificates/gate-2/gate-2.pem"]
    listed = broker_verb("certificate", "--list", cwd=tmp_path)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [
        "NAME",
        "gate-1",
        "gate-2",
        "broker.example.org",
    ]
    assert listed.stderr.startswith("3 holders, 2 whose certificate ends within 30 days; the authority counts until ")
    document = json.loads(broker_verb("certificate", "--list", "--role", "broker", "--json", cwd=tmp_path).stdout)
    assert [(each["name"], each["role"], each["state"]) for each in document["holders"]] == [
        ("broker.example.org", "broker", "counts")
    ]


@pytest.mark.parametrize(
    "arguments", [(), ("--list", "gate-1"), ("--list", "--from", "boards.txt"), ("gate-1", "--json")]
)
def test_what_does_not_go_together_is_answered_with_what_does(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ended = broker_verb("certificate", *arguments, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [*tmp_path.iterdir()] == []


def test_a_second_authority_is_told_of_when_it_is_made(tmp_path: Path) -> None:
    words = ("broker", "--write-config", "etc", "--name", "broker.example.org")
    first = broker_verb(*words, cwd=tmp_path)
    assert f"made a new authority in {tmp_path}/fleet/broker/trust: " in first.stderr
    again = broker_verb(*words[:2], "again", *words[3:], cwd=tmp_path)
    assert again.returncode == 0
    assert "new authority" not in again.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("broker", "--write-config", "etc"), "broker-nameless"),
        (("broker", "--write-config", ".", "--name", "broker.example"), "broker-config-exists"),
        (("certificate", "a/b"), "certificate-name"),
        (("certificate", "role:collector"), "certificate-name"),
        (("certificate", "gate-7", "--role", "root"), "certificate-role"),
        (("certificate", "gate-7", "--role", "probe"), "certificate-role"),
        (("certificate", "gate-7", "--host", "broker.example"), "certificate-name"),
        (("certificate", "gate-7"), "authority-missing"),
        (("certificate", "--list"), "authority-missing"),
        (("certificate", "--from", "there"), "certificate-names"),
        (("certificate", "--from", "nowhere"), "file-unreadable"),
        (("certificate", "intake-1", "--role", "collector", "--data", "elsewhere"), "authority-missing"),
        (("revoke", "gate-7"), "authority-missing"),
    ],
)
def test_what_the_verbs_cannot_do_is_told_and_leaves_nothing(
    tmp_path: Path, arguments: tuple[str, ...], code: str
) -> None:
    (tmp_path / "there").touch()
    ended = broker_verb(*arguments, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"code: {code}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_collector_with_the_certificate_of_another_role_says_so(broker: RunningBroker, tmp_path: Path) -> None:
    collector = RunningCollector(tmp_path / "fleet.db", url(broker, "operator"))  # NATS does not let it in at all
    try:
        collector.start()
        collector.until_said("operator-local.pem is the certificate of operator local")
        assert "edgeglm fleet certificate NAME --role collector" in " ".join(collector.log().split())
    finally:
        collector.end()
