"""What a broker is configured with: nothing that loses messages, and nobody let in who should not be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeglm.errors import EnvironmentFailedError, MissingExtraError, UserError
from edgeglm.fleet.broker import mosquitto, nats, programs
from edgeglm.fleet.broker.identities import Identities
from edgeglm.fleet.broker.rights import access_list
from edgeglm.fleet.broker.settings import BrokerSettings, check_settings
from edgeglm.log import SilentLog


def settings(folder: Path = Path("/data"), **options: object) -> BrokerSettings:
    return BrokerSettings(data=folder, **options)  # type: ignore[arg-type]


def lines(text: str) -> set[str]:
    return {line for line in text.splitlines() if line and not line.startswith("#")}


def test_mosquitto_is_told_what_its_defaults_would_lose(tmp_path: Path) -> None:
    command = mosquitto.Mosquitto(Path("/usr/sbin/mosquitto")).prepare(settings(tmp_path), None)
    assert command == ["/usr/sbin/mosquitto", "-c", str(tmp_path / "mosquitto.conf")]
    assert lines((tmp_path / "mosquitto.conf").read_text()) >= {
        "max_queued_messages 0",
        "max_queued_bytes 0",
        "max_inflight_messages 2000",
        "persistence true",
        f"persistence_location {tmp_path / 'mosquitto'}/",
        "autosave_interval 1",
        "persistent_client_expiration 1d",
        "listener 1883 127.0.0.1",
        "allow_anonymous true",
    }


def test_mosquitto_with_tls_lets_nobody_in_without_a_certificate(tmp_path: Path) -> None:
    identities = Identities(settings(tmp_path, tls=True, host="0.0.0.0"), SilentLog())
    identities.renew()
    mosquitto.Mosquitto(Path("m")).prepare(settings(tmp_path, tls=True, host="0.0.0.0"), identities)
    found = lines((tmp_path / "mosquitto.conf").read_text())
    assert found >= {
        "listener 1883 0.0.0.0",
        "allow_anonymous false",
        "require_certificate true",
        "use_identity_as_username true",
        f"acl_file {tmp_path / 'mosquitto.acl'}",
        f"crlfile {tmp_path / 'trust' / 'revoked.pem'}",
    }
    assert "allow_anonymous true" not in found


def test_the_access_list_gives_a_board_its_own_topics_and_no_more() -> None:
    found = [line for line in access_list(None).splitlines() if line.startswith("pattern")]
    assert sorted(found) == sorted(
        [
            *(
                f"pattern write edgeglm/v1/+/+/%u/{leaf}"
                for leaf in ("state", "events", "telemetry", "results", "res/+")
            ),
            *(f"pattern read edgeglm/v1/+/+/%u/{leaf}" for leaf in ("state", "ack", "desired", "cmd/+")),
        ]
    )


def test_the_access_list_can_be_that_of_one_fleet() -> None:
    topics = [line.split()[-1] for line in access_list("north").splitlines() if line.startswith(("pattern", "topic"))]
    assert topics
    assert all(topic.startswith("edgeglm/v1/north/+/") for topic in topics)


def test_nats_gives_each_certificate_its_holders_rights_and_no_more(tmp_path: Path) -> None:
    tls = settings(tmp_path, tls=True, fleet="north.sea")
    identities = Identities(tls, SilentLog())
    identities.renew()
    board = identities.authority.issue("device", "gate.7").certificate
    gone = identities.authority.issue("device", "gone").certificate
    identities.authority.revoke("device", "gone")
    found = json.loads(json.dumps(nats.configuration(tls, identities)))
    assert found["mqtt"]["tls"]["verify_and_map"] is True
    assert "consumer_inactive_threshold" not in found["mqtt"]  # who comes back after it would get nothing ever again
    users = {user["user"]: user for user in found["authorization"]["users"]}
    assert gone.uri not in users
    assert all(user["allowed_connection_types"] == ["MQTT"] for user in users.values())
    place = "edgeglm.v1.north//sea.*.gate//7"
    assert users[board.uri]["permissions"] == {
        "publish": {"allow": [f"{place}.{leaf}" for leaf in ("state", "events", "telemetry", "results", "res.*")]},
        "subscribe": {"allow": [f"{place}.{leaf}" for leaf in ("state", "ack", "desired", "cmd.*")] + ["$MQTT.sub.>"]},
    }
    (probe,) = identities.authority.valid("probe")
    assert users[probe.uri]["permissions"]["publish"] == {"deny": [">"]}


def test_a_nats_server_that_was_changed_is_not_started(tmp_path: Path) -> None:
    program = tmp_path / "nats-server"
    program.write_bytes(b"another")
    program.chmod(0o755)
    with pytest.raises(EnvironmentFailedError) as refused:
        nats.Nats(program).prepare(settings(tmp_path), None)
    assert refused.value.code == "broker-changed"


def test_the_nats_server_of_the_package_is_the_one_that_is_pinned() -> None:
    found = nats.find_nats()
    assert found is not None
    nats.check_program(found)


def test_mosquitto_is_preferred_and_nats_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(programs.find_program("auto"), mosquitto.Mosquitto)
    assert isinstance(programs.find_program("nats"), nats.Nats)
    monkeypatch.setattr(programs, "find_mosquitto", lambda: None)
    assert isinstance(programs.find_program("auto"), nats.Nats)
    with pytest.raises(MissingExtraError):
        programs.find_program("mosquitto")
    with pytest.raises(UserError, match="no broker is called `emqx`"):
        programs.find_program("emqx")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        pytest.param({"host": "0.0.0.0"}, "broker-exposed", id="everywhere"),
        pytest.param({"host": "fleet.example"}, "broker-exposed", id="a-name"),
        pytest.param({"host": "localhost.example"}, "broker-exposed", id="a-name-like-this-machine"),
        pytest.param({"host": "no host"}, "broker-host", id="no-host"),
        pytest.param({"tls": True, "names": ("a b",)}, "broker-host", id="no-name"),
        pytest.param({"names": ("broker.example",)}, "broker-host", id="a-name-without-tls"),
        pytest.param({"tls": True, "fleet": "a/b"}, "broker-fleet", id="no-fleet"),
        pytest.param({"fleet": "north"}, "broker-fleet", id="fleet-without-tls"),
        pytest.param({"folder": Path("/a\nallow_anonymous true")}, "broker-folder", id="a-line-break"),
    ],
)
def test_what_would_expose_or_confuse_the_broker_is_refused(options: dict[str, object], code: str) -> None:
    with pytest.raises(UserError) as refused:
        check_settings(settings(**options))  # type: ignore[arg-type]
    assert refused.value.code == code


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_this_machine_alone_may_go_without_tls(host: str) -> None:
    assert check_settings(settings(host=host)).host == host


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ({}, "mqtt://127.0.0.1:1883"),
        ({"host": "0.0.0.0", "tls": True, "port": 8883}, "mqtts://127.0.0.1:8883"),
        ({"host": "::1"}, "mqtt://[::1]:1883"),
        ({"host": "::", "tls": True}, "mqtts://[::1]:1883"),
    ],
)
def test_the_address_is_one_that_this_machine_reaches(options: dict[str, object], address: str) -> None:
    assert settings(**options).address == address  # type: ignore[arg-type]


def test_what_a_broker_shows_is_renewed_when_it_ends_soon_or_lacks_a_name(tmp_path: Path) -> None:
    tls = settings(tmp_path, tls=True)
    identities = Identities(tls, SilentLog())
    assert identities.renew()
    assert not Identities(tls, SilentLog()).renew()
    assert Identities(settings(tmp_path, tls=True, names=("broker.example",)), SilentLog()).renew()
    for identity in (identities.authority.issue("broker", "local", days=29, renew=True),):
        identities.authority.hand_out(identity, identities.folder, replace=True)
    assert identities.renew()
    identities.files("broker").key.unlink()
    assert identities.renew()
