"""What doctor says of a real broker, and of real certificates."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from edgeglm_agent.board import clock
from edgeglm_agent.doctor import Finding, broker, certificate
from edgeglm_agent.doctor.certificate import CertificateError, read_certificate
from edgeglm_agent.doctor.packets import packet, text
from edgeglm_agent.inputs.mqtt import MqttInput
from edgeglm_agent.settings.types import Mqtt, Settings, Slot, Tls

from tests.support.agent.broker import Broker, free_port, refusing
from tests.support.agent.certificates import Authority

DEVICE = "door-7"


def asked(mqtt: Mqtt, device: str = DEVICE) -> dict[str, Finding]:
    return {finding.name: finding for finding in broker.look(Settings(device=device, mqtt=mqtt))}


def statuses(found: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.status for name, finding in found.items()}


@pytest.fixture(scope="module")
def with_passwords(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("broker")
    passwords = folder / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, DEVICE, "hunter2"], check=True)
    passwords.chmod(0o600)
    lines = ("allow_anonymous false", f"password_file {passwords}")
    with Broker(folder / "b", lines=lines) as started:
        yield started


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def with_certificates(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    own = authority.issue("broker", hosts=("localhost",))
    with Broker(tmp_path_factory.mktemp("broker"), certificate=own, clients=authority.pem) as started:
        yield started


class TestPlain:
    @pytest.fixture
    def running(self, with_passwords: Broker) -> Broker:
        return with_passwords

    @pytest.fixture
    def password(self, tmp_path: Path) -> str:
        (tmp_path / "password").write_text("hunter2\n")
        return str(tmp_path / "password")

    @pytest.mark.parametrize("version", ["auto", "5", "3.1.1"])
    def test_a_broker_that_lets_the_device_in(self, running: Broker, password: str, version: str) -> None:
        mqtt = Mqtt(
            host="localhost",
            port=running.port,
            username=DEVICE,
            password_file=password,
            version=version,  # type: ignore[arg-type]
        )
        found = asked(mqtt)
        assert statuses(found) == {"host": "ok", "port": "ok", "login": "ok", "rights": "ok"}
        spoken = "3.1.1" if version == "3.1.1" else "5"
        assert found["login"].detail == f"the broker lets this device in (MQTT {spoken})"

    @pytest.mark.parametrize("version", ["5", "3.1.1"])
    def test_a_wrong_password_is_named(self, running: Broker, tmp_path: Path, version: str) -> None:
        (tmp_path / "wrong").write_text("hunter3")
        mqtt = Mqtt(
            host="127.0.0.1",
            port=running.port,
            username=DEVICE,
            password_file=str(tmp_path / "wrong"),
            version=version,  # type: ignore[arg-type]
        )
        found = asked(mqtt)["login"]
        assert found.status == "fail"
        assert "the broker refuses this device" in found.detail
        assert "mqtt.username" in found.hint
        assert "hunter3" not in f"{found}"

    def test_a_login_that_is_missing_is_named(self, running: Broker) -> None:
        assert asked(Mqtt(host="127.0.0.1", port=running.port))["login"].detail.endswith(
            "this device is not allowed in"
        )

    def test_tls_where_none_is_spoken(self, running: Broker) -> None:
        found = asked(Mqtt(host="127.0.0.1", port=running.port, tls=Tls()))
        assert statuses(found) == {"host": "ok", "tls": "fail"}
        assert found["tls"].hint

    def test_doctor_does_not_push_out_the_agent_that_runs(self, running: Broker, password: str) -> None:
        import paho.mqtt.client as paho

        agent = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=DEVICE)
        agent.username_pw_set(DEVICE, "hunter2")
        lost = threading.Event()
        agent.on_disconnect = lambda *_: lost.set()
        agent.connect("127.0.0.1", running.port)
        agent.loop_start()
        asked(Mqtt(host="127.0.0.1", port=running.port, username=DEVICE, password_file=password))
        agent.publish("x", "y", qos=1).wait_for_publish(30)
        assert not lost.is_set()
        agent.disconnect()
        agent.loop_stop()


class TestTls:
    @pytest.fixture
    def running(self, with_certificates: Broker) -> Broker:
        return with_certificates

    def mqtt(self, running: Broker, authority: Authority, *own: Path, host: str = "localhost", ca: str = "") -> Mqtt:
        certificate_, key = (str(path) for path in own) if own else (None, None)
        tls = Tls(ca=ca or str(authority.pem), certificate=certificate_, key=key)
        return Mqtt(host=host, port=running.port, tls=tls)

    def test_a_broker_that_knows_the_device_by_its_certificate(self, running: Broker, authority: Authority) -> None:
        found = asked(self.mqtt(running, authority, *authority.issue(DEVICE)))
        assert statuses(found) == {"host": "ok", "port": "ok", "tls": "ok", "login": "ok", "rights": "ok"}
        assert found["tls"].detail.startswith("TLSv1.")

    def test_a_certificate_that_is_missing(self, running: Broker, authority: Authority) -> None:
        found = asked(self.mqtt(running, authority))["tls"]
        assert (found.status, "set mqtt.tls.certificate and key" in found.hint) == ("fail", True)

    def test_a_certificate_that_has_expired(self, running: Broker, authority: Authority) -> None:
        own = authority.issue(DEVICE, lasts=timedelta(hours=-1), file="expired")
        found = asked(self.mqtt(running, authority, *own))["tls"]
        assert (found.status, "expired" in found.hint) == ("fail", True)

    def test_a_certificate_of_an_authority_that_the_broker_does_not_know(
        self, running: Broker, authority: Authority, tmp_path: Path
    ) -> None:
        found = asked(self.mqtt(running, authority, *Authority(tmp_path, "other").issue(DEVICE)))["tls"]
        assert (found.status, "does not know who signed" in found.hint) == ("fail", True)

    def test_a_broker_of_an_authority_that_the_settings_do_not_name(
        self, running: Broker, authority: Authority, tmp_path: Path
    ) -> None:
        found = asked(self.mqtt(running, authority, ca=str(Authority(tmp_path, "other").pem)))
        assert statuses(found) == {"host": "ok", "tls": "fail"}
        assert "set mqtt.tls.ca" in found["tls"].hint

    def test_a_broker_whose_certificate_has_another_name(self, running: Broker, authority: Authority) -> None:
        found = asked(self.mqtt(running, authority, *authority.issue(DEVICE), host="127.0.0.1"))["tls"]
        assert (found.status, "mqtt.tls.server_name" in found.hint) == ("fail", True)

    def test_a_certificate_of_another_device_gives_no_rights(self, running: Broker, authority: Authority) -> None:
        found = asked(self.mqtt(running, authority, *authority.issue("door-8")))["rights"]
        assert (found.status, found.detail) == ("fail", "this device may not say anything")
        assert f"/{DEVICE}/#" in found.hint


class TestInputs:
    """Topics that inputs hear."""

    def asked(self, port: int, version: str, *topics: str) -> Finding:
        slots = {f"slot-{place}": Slot(model="/m", input=MqttInput(topic=topic)) for place, topic in enumerate(topics)}
        mqtt = Mqtt(host="127.0.0.1", port=port, version=version)  # type: ignore[arg-type]
        settings = Settings(device=DEVICE, mqtt=mqtt, slots=slots)
        return next(finding for finding in broker.look(settings) if finding.name == "rights")

    @pytest.mark.parametrize("version", ["5", "3.1.1"])
    def test_one_that_the_broker_refuses_is_named(self, tmp_path: Path, version: str) -> None:
        with Broker(tmp_path / "b", lines=refusing(tmp_path / "b", "plant/pump")) as running:
            found = self.asked(running.port, version, "plant/fan", "plant/pump", "plant/pump")
            assert (found.status, found.detail) == ("fail", "this device may not hear `plant/pump`")
            assert found.hint.startswith("let it read `plant/pump`, for its inputs; ")
            assert self.asked(running.port, version, "plant/fan").status == "ok"

    def test_a_message_that_comes_before_the_answer_is_passed_over(self) -> None:
        message = packet(0x31, text("plant/pump") + b"x" * 300_000)  # retained
        answers = [b"\x20\x02\x00\x00", b"\x90\x04\x00\x01\x01\x01", b"\x40\x02\x00\x02"]
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve() -> None:
                connection, _ = listener.accept()
                with connection:
                    for answer in [*answers, message + b"\x90\x03\x00\x01\x80"]:
                        connection.recv(4096)
                        connection.sendall(answer)
                    connection.recv(4096)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            found = self.asked(listener.getsockname()[1], "3.1.1", "plant/pump")
            thread.join(30)
        assert (found.status, found.detail) == ("fail", "this device may not hear `plant/pump`")


@contextmanager
def listening(answer: bytes | None) -> Iterator[int]:
    """A port that answers whoever connects with these bytes, or with nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                if answer is not None:
                    connection.sendall(answer)
                done.wait(30)

        done = threading.Event()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        done.set()
        thread.join(30)


class TestOthers:
    def test_a_port_that_nobody_listens_on(self) -> None:
        found = asked(Mqtt(host="127.0.0.1", port=free_port()))
        assert statuses(found) == {"host": "ok", "port": "fail"}
        assert "Connection refused" in found["port"].detail

    def test_a_name_that_nobody_knows(self) -> None:
        found = asked(Mqtt(host="broker.invalid"))
        assert statuses(found) == {"host": "fail"}
        assert found["host"].detail.startswith("broker.invalid cannot be resolved: ")

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there is no MQTT broker", id="http"),
            pytest.param(b"\x20\x02\x00\x02", "it does not take this client's name", id="client-id"),
            pytest.param(b"\x20\x03\x00\x9f\x00", "too many connect at a time", id="rate"),
            pytest.param(b"\x20\x02\x00\x77", "reason 0x77", id="unknown"),
        ],
    )
    def test_an_answer_that_is_no_welcome(self, answer: bytes, said: str) -> None:
        with listening(answer) as port:
            found = asked(Mqtt(host="127.0.0.1", port=port, version="5"))["login"]
        assert (found.status, said in found.detail, bool(found.hint)) == ("fail", True, True)

    def test_a_port_that_says_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(broker, "_PATIENCE_S", 0.2)
        with listening(None) as port:
            assert asked(Mqtt(host="127.0.0.1", port=port))["login"].detail == "the broker says nothing to a login"

    def test_an_older_broker_is_asked_again_in_its_version(self) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()

            def serve() -> None:
                for answers in (
                    [b"\x20\x02\x00\x01"],
                    [b"\x20\x02\x00\x00", b"\x90\x04\x00\x01\x01\x01", b"\x40\x02\x00\x02"],
                ):
                    connection, _ = listener.accept()
                    with connection:
                        for answer in answers:
                            connection.recv(4096)
                            connection.sendall(answer)
                        connection.recv(4096)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            found = asked(Mqtt(host="127.0.0.1", port=listener.getsockname()[1]))
            thread.join(30)
        assert found["login"].detail == "the broker lets this device in (MQTT 3.1.1)"
        assert found["rights"].status == "ok"

    def test_a_broker_elsewhere_without_tls_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(broker, "_resolved", lambda *_: ["192.0.2.7"])
        monkeypatch.setattr(broker, "_talked", lambda *_: [])
        found = asked(Mqtt(host="broker.example"))["tls"]
        assert (found.status, found.detail) == ("warn", "nothing is encrypted, though the broker is elsewhere")


class TestCertificate:
    def look(self, authority: Authority, own: tuple[Path, Path], device: str = DEVICE) -> list[Finding]:
        tls = Tls(ca=str(authority.pem), certificate=str(own[0]), key=str(own[1]))
        return certificate.look(Settings(device=device, mqtt=Mqtt(host="b", tls=tls)))

    def test_one_in_order(self, authority: Authority) -> None:
        ca, own = self.look(authority, authority.issue(DEVICE, lasts=timedelta(days=90), file="long"))
        assert (ca.status, ca.detail) == ("ok", f"{authority.pem}: 1 valid of 1")
        assert own.status == "ok"
        assert own.detail.startswith(f"of {DEVICE}, by authority, until 20")

    @pytest.mark.parametrize(
        ("lasts", "status", "said"),
        [
            pytest.param(timedelta(days=7), "warn", "in 6 days", id="soon"),
            pytest.param(timedelta(hours=-1), "fail", "it expired on 20", id="expired"),
        ],
    )
    def test_its_end(self, authority: Authority, lasts: timedelta, status: str, said: str) -> None:
        found = self.look(authority, authority.issue(DEVICE, lasts=lasts, file="ends"))[1]
        assert (found.status, said in found.detail, bool(found.hint)) == (status, True, True)

    def test_its_beginning(self, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
        own = authority.issue(DEVICE, file="begins")
        begins = read_certificate(str(own[0]), str(own[1])).begins
        monkeypatch.setattr(certificate.time, "time", lambda: begins - 3600)
        found = self.look(authority, own)[1]
        assert (found.status, "it is valid only from" in found.detail) == ("fail", True)

    def test_a_clock_of_1970_judges_nothing(self, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
        own = authority.issue(DEVICE, file="clock")
        monkeypatch.setattr(clock, "plausible", lambda: False)
        found = self.look(authority, own)[1]
        assert (found.status, found.hint) == ("warn", "set the clock first")

    def test_one_of_another_device(self, authority: Authority) -> None:
        found = self.look(authority, authority.issue("door-8"))[-1]
        assert (found.status, found.detail) == ("fail", f"of door-8, by authority: this device is `{DEVICE}`")

    def test_a_name_among_the_alternative_ones_is_enough(self, authority: Authority) -> None:
        own = authority.issue("serial-123", hosts=(DEVICE,), file="alternative")
        assert [finding.name for finding in self.look(authority, own)] == ["authorities", "certificate"]

    def test_a_key_of_another(self, authority: Authority) -> None:
        pem, _ = authority.issue(DEVICE, file="one")
        _, key = authority.issue(DEVICE, file="another")
        found = self.look(authority, (pem, key))[1]
        assert (found.status, found.detail) == ("fail", f"{key} is not the key of {pem}")

    def test_a_key_with_a_password(self, authority: Authority, tmp_path: Path) -> None:
        pem, key = authority.issue(DEVICE, file="locked")
        locked = tmp_path / "locked.key"
        command = ["openssl", "ec", "-in", key, "-out", locked, "-aes256", "-passout", "pass:hunter2"]
        subprocess.run(command, check=True, capture_output=True)
        found = self.look(authority, (pem, locked))[1]
        assert (found.status, "encrypted" in found.detail) == ("fail", True)

    @pytest.mark.parametrize("swap", [True, False])
    def test_files_that_are_none(self, authority: Authority, tmp_path: Path, swap: bool) -> None:
        pem, key = authority.issue(DEVICE, file="files")
        other = tmp_path / "other"
        other.write_text("nothing of the kind")
        found = self.look(authority, (key, pem) if swap else (pem, other))[1]
        assert (found.status, " holds no " in found.detail) == ("fail", True)

    def test_an_authority_that_is_none(self, authority: Authority) -> None:
        pem, key = authority.issue(DEVICE, file="leaf")
        tls = Tls(ca=str(key), certificate=str(pem), key=str(key))
        assert certificate.look(Settings(device=DEVICE, mqtt=Mqtt(host="b", tls=tls)))[0].status == "fail"
        tls = Tls(ca=str(pem))
        (found,) = certificate.look(Settings(device=DEVICE, mqtt=Mqtt(host="b", tls=tls)))
        assert (found.status, "not the broker's own" in found.hint) == ("warn", True)

    def test_the_key_never_leaves_the_machine_to_be_looked_at(self, authority: Authority) -> None:
        """The handshake that reads a certificate is done in memory."""
        pem, key = authority.issue(DEVICE, file="memory")
        strace = shutil.which("strace")
        assert strace, "strace is not installed: make system"
        code = (
            f"from edgeglm_agent.doctor.certificate import read_certificate as r; print(r({str(pem)!r}, {str(key)!r}))"
        )
        command = [strace, "-f", "-e", "trace=network", sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ.copy())
        assert DEVICE in done.stdout
        assert "connect(" not in done.stderr

    def test_a_bad_pair_raises_what_is_wrong_and_how_to_mend_it(self, authority: Authority, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        with pytest.raises(CertificateError, match="holds no certificate") as caught:
            read_certificate(str(tmp_path / "empty"), str(authority.issue(DEVICE, file="pair")[1]))
        assert "PEM" in caught.value.hint
