"""Addresses of brokers and stores: what is taken, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeglm.errors import UserError
from edgeglm.fleet.addresses import PASSWORD_VARIABLE, BrokerAddress, parse_broker, parse_store


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://127.0.0.1", BrokerAddress("127.0.0.1", 1883)),
        ("mqtt://[::1]:1884/", BrokerAddress("::1", 1884)),
        ("mqtts://broker.example.org", BrokerAddress("broker.example.org", 8883, True)),
        (
            "mqtts://ops%40works@b:1?ca=ca.pem&certificate=c.pem&key=c%20d.key&password_file=word",
            BrokerAddress("b", 1, True, "ops@works", Path("ca.pem"), Path("c.pem"), Path("c d.key"), Path("word")),
        ),
    ],
)
def test_an_address_is_read(url: str, address: BrokerAddress) -> None:
    assert parse_broker(url) == address


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1", "no address"),
        ("127.0.0.1:1883", "no address"),
        ("mqtt://", "no address"),
        ("mqtt://host:port", "no address"),
        ("mqtt://[::1", "no address"),
        ("mqtt://host/topic", "behind the port"),
        ("mqtt://host?ca=ca.pem", "no TLS"),
        ("mqtts://host?key=k.pem", "without its certificate"),
        ("mqtts://host?cafile=ca.pem", "unknown setting `cafile`"),
        ("mqtts://host?ca=a&ca=b", "twice"),
        ("mqtts://host?ca=", "names no file"),
    ],
)
def test_what_is_no_address_is_refused_and_why_is_said(url: str, why: str) -> None:
    with pytest.raises(UserError, match=why) as caught:
        parse_broker(url)
    assert caught.value.code == "broker-address"
    assert caught.value.problems[0].hint


@pytest.mark.parametrize("url", ["mqtt://ops:secret-word@host", "mqtt://ops:secret-word@host:port"])
def test_a_password_in_an_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_broker(url)
    assert "secret-word" not in str(caught.value)


def test_a_password_comes_from_its_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "from here")
    assert parse_broker("mqtt://ops@host").password() == b"from here"
    monkeypatch.delenv(PASSWORD_VARIABLE)
    assert parse_broker("mqtt://ops@host").password() is None
    (tmp_path / "word").write_bytes(b"of the file \r\n")
    (tmp_path / "word").chmod(0o600)
    named = parse_broker(f"mqtt://ops@host?password_file={tmp_path / 'word'}")
    assert named.password() == b"of the file "
    assert "of the file" not in repr(named)
    (tmp_path / "word").unlink()
    with pytest.raises(UserError) as caught:
        named.password()
    assert caught.value.code == "file-unreadable"


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_password_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "word").write_bytes(b"hidden")
    (tmp_path / "word").chmod(mode)
    with pytest.raises(UserError, match="others may read") as caught:
        parse_broker(f"mqtts://ops@host?password_file={tmp_path / 'word'}").password()
    assert caught.value.code == "broker-password"
    assert "hidden" not in str(caught.value)


def test_a_password_that_would_cross_a_network_unencrypted_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "hidden")
    said = parse_broker("mqtt://ops@broker.example.org").warning()
    assert "unencrypted" in said
    assert "hidden" not in said
    assert "unencrypted" in parse_broker("mqtt://ops@192.168.7.5?password_file=word").warning()
    for well in (
        "mqtts://ops@broker.example.org",
        "mqtt://ops@127.0.0.1",
        "mqtt://ops@localhost",
        "mqtt://b.example.org",
    ):
        assert parse_broker(well).warning() == ""
    monkeypatch.delenv(PASSWORD_VARIABLE)
    assert parse_broker("mqtt://ops@broker.example.org").warning() == ""


@pytest.mark.parametrize("setting", ["ca={}", "certificate={}"])
def test_a_file_that_is_no_certificate_is_named(tmp_path: Path, setting: str) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("not a certificate")
    with pytest.raises(UserError) as caught:
        parse_broker(f"mqtts://host?{setting.format(wrong)}").tls_context()
    assert (caught.value.code, caught.value.problems[0].where) == ("broker-certificate", str(wrong))


def test_an_address_is_shown_without_what_is_nobodys_business() -> None:
    assert str(parse_broker("mqtts://ops@[::1]:1?ca=/home/ops/ca.pem")) == "mqtts://[::1]:1"


@pytest.mark.parametrize(
    ("url", "path"),
    [("sqlite:///fleet.db", "fleet.db"), ("sqlite:////var/lib/a%20b.db", "/var/lib/a b.db")],
)
def test_a_store_is_a_file(url: str, path: str) -> None:
    assert parse_store(url) == Path(path)


@pytest.mark.parametrize(
    "url", ["fleet.db", "sqlite:", "sqlite:///", "sqlite://fleet.db", "postgresql://me:hush@db/fleet", "postgres://"]
)
def test_what_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_store(url)
    assert caught.value.code == "store-address"
    assert "hush" not in str(caught.value)
