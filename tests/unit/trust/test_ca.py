"""The authority: what is in its certificates, who can read its files, and what it refuses."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgeglm.errors import UserError
from edgeglm.trust.ca import Authority, ending
from edgeglm.trust.names import Role, uri_of, user_of


def common_name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


@pytest.mark.parametrize(
    ("role", "name", "user", "usage"),
    [
        ("device", "gate-7", "gate-7", ExtendedKeyUsageOID.CLIENT_AUTH),
        ("device", "collector", "collector", ExtendedKeyUsageOID.CLIENT_AUTH),
        ("collector", "intake-1", "role:collector", ExtendedKeyUsageOID.CLIENT_AUTH),
        ("operator", "ada", "role:operator", ExtendedKeyUsageOID.CLIENT_AUTH),
        ("broker", "broker.example", "role:broker", ExtendedKeyUsageOID.SERVER_AUTH),
    ],
)
def test_a_certificate_says_who_holds_it_and_can_be_used_for_that_alone(
    tmp_path: Path, role: Role, name: str, user: str, usage: x509.ObjectIdentifier
) -> None:
    authority = Authority(tmp_path)
    identity = authority.issue(role, name)
    found = x509.load_pem_x509_certificate(identity.certificate.pem)
    root = x509.load_pem_x509_certificate(authority.certificate_path.read_bytes())
    found.verify_directly_issued_by(root)
    assert common_name(found) == user
    assert list(found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [usage]
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [uri_of(role, name, found.serial_number)]
    key = serialization.load_pem_private_key(identity.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"
    assert key.public_key() == found.public_key()


def test_a_brokers_certificate_has_its_names_and_addresses(tmp_path: Path) -> None:
    identity = Authority(tmp_path).issue("broker", "b", hosts=["broker.example", "192.0.2.7", "::1"])
    names = (
        x509.load_pem_x509_certificate(identity.certificate.pem)
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert names.get_values_for_type(x509.DNSName) == ["broker.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7", "::1"]
    assert identity.certificate.hosts == ("broker.example", "192.0.2.7", "::1")


def test_no_boards_name_is_the_user_of_another_role(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    users = {user_of(role, "x") for role in ("collector", "operator", "broker", "probe")}
    for user in users:
        with pytest.raises(UserError, match="cannot be a device"):
            authority.issue("device", user)


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a b", "ä", "x" * 64, "../x", "$SYS", "a\n", "%u", "-a", "a:b"])
def test_a_name_that_is_no_level_of_a_topic_gets_no_certificate(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError) as refused:
        Authority(tmp_path).issue("device", name)
    assert refused.value.code == "certificate-name"
    assert list((tmp_path / "issued").glob("*.pem")) == []


def test_keys_are_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        authority = Authority(tmp_path / "trust")
        files = authority.hand_out(authority.issue("device", "gate-7"), tmp_path / "out")
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "trust", tmp_path / "out", *files)}
    assert modes == {
        tmp_path / "trust": 0o700,
        tmp_path / "out": 0o700,
        files.authority: 0o644,
        files.certificate: 0o644,
        files.key: 0o600,
    }
    assert (tmp_path / "trust" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "trust" / ".gitignore").read_text() == "*\n"


def test_what_was_handed_out_is_a_pair_that_tls_takes(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "trust")
    files = authority.hand_out(authority.issue("operator", "ada"), tmp_path)
    assert (files.certificate.name, files.key.name) == ("operator-ada.pem", "operator-ada.key")
    context = ssl.create_default_context(cafile=files.authority)
    context.load_cert_chain(files.certificate, files.key)


def test_files_that_are_there_are_not_overwritten(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "trust")
    identity = authority.issue("device", "gate-7")
    (tmp_path / "gate-7.key").write_text("another")
    with pytest.raises(UserError) as refused:
        authority.hand_out(identity, tmp_path)
    assert refused.value.code == "certificate-file"
    assert (tmp_path / "gate-7.key").read_text() == "another"


def test_a_holder_has_one_certificate_unless_it_is_renewed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    first = authority.issue("device", "gate-7", days=40)
    with pytest.raises(UserError) as refused:
        Authority(tmp_path).issue("device", "gate-7")
    assert refused.value.code == "certificate-exists"
    authority.issue("operator", "gate-7")  # another's
    second = authority.issue("device", "gate-7", renew=True)
    assert [each.serial for each in authority.valid("device", "gate-7")] == [
        first.certificate.serial,
        second.certificate.serial,
    ]


def test_what_ends_soon_is_told_unless_it_was_renewed_or_revoked(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    for name, days in (("late", 31), ("soon", 29), ("renewed", 5), ("revoked", 5), ("over", 0)):
        authority.issue("device", name, days=days)
    authority.issue("device", "renewed", renew=True)
    authority.revoke("device", "revoked")
    assert [each.name for each in authority.expiring()] == ["over", "soon"]


def test_certificates_end_when_they_should_and_never_after_the_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    now = datetime.now(UTC)
    assert abs(authority.issue("device", "a").certificate.ends - now - timedelta(days=730)) < timedelta(minutes=5)
    assert abs(authority.issue("operator", "a").certificate.ends - now - timedelta(days=365)) < timedelta(minutes=5)
    assert authority.issue("device", "b", days=9999).certificate.ends == authority.ends


def test_every_revoked_certificate_of_a_holder_is_on_a_list_that_lasts(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    serials = {authority.issue("device", "gate-7", renew=True).certificate.serial for _ in range(2)}
    kept = authority.issue("device", "gate-8").certificate.serial
    before = x509.load_pem_x509_crl(authority.revoked_path.read_bytes())
    assert {each.serial for each in authority.revoke("device", "gate-7")} == serials
    found = x509.load_pem_x509_crl(authority.revoked_path.read_bytes())
    root = x509.load_pem_x509_certificate(authority.certificate_path.read_bytes())
    assert found.is_signature_valid(root.public_key())  # type: ignore[arg-type]
    assert {revoked.serial_number for revoked in found} == serials
    assert found.next_update_utc == authority.ends
    assert before.last_update_utc < found.last_update_utc
    assert [each.serial for each in Authority(tmp_path).valid("device")] == [kept]
    with pytest.raises(UserError) as refused:
        authority.revoke("device", "gate-7")
    assert refused.value.code == "certificate-unknown"
    authority.issue("device", "gate-7")  # another board of that name


def test_an_authority_is_made_once(tmp_path: Path) -> None:
    first = Authority(tmp_path)
    pem = first.certificate_path.read_bytes()
    second = Authority(tmp_path)
    assert (first.made, second.made) == (True, False)
    assert second.certificate_path.read_bytes() == pem


def test_a_kill_while_it_is_made_leaves_nothing_to_mend(tmp_path: Path) -> None:
    Authority(tmp_path).certificate_path.unlink()  # written last
    assert Authority(tmp_path).made
    Authority(tmp_path).issue("device", "gate-7")


def test_an_authority_that_has_lost_a_file_is_not_made_anew(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("device", "gate-7")
    authority.certificate_path.unlink()
    with pytest.raises(UserError) as refused:
        Authority(tmp_path)
    assert refused.value.code == "authority-damaged"


@pytest.mark.parametrize("file", ["ca.pem", "ca.key"])
def test_a_damaged_authority_is_named(tmp_path: Path, file: str) -> None:
    Authority(tmp_path)
    (tmp_path / file).write_bytes(b"nonsense")
    with pytest.raises(UserError) as refused:
        Authority(tmp_path)
    assert refused.value.code == "authority-damaged"


def test_a_key_of_another_authority_is_refused(tmp_path: Path) -> None:
    Authority(tmp_path / "a")
    Authority(tmp_path / "b")
    (tmp_path / "b" / "ca.key").replace(tmp_path / "a" / "ca.key")
    with pytest.raises(UserError, match="do not belong together"):
        Authority(tmp_path / "a")


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    Authority(tmp_path)
    (tmp_path / "ca.key").chmod(0o640)
    with pytest.raises(UserError) as refused:
        Authority(tmp_path)
    assert refused.value.code == "authority-exposed"


def test_a_certificate_that_is_being_written_is_none_yet(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("device", "gate-7").certificate
    (tmp_path / "issued" / ".device.gate-8.pem.x1.pem").write_bytes(issued.pem[:100])  # a kill leaves it, too
    assert [each.name for each in Authority(tmp_path).issued()] == ["gate-7"]


def test_issuing_and_revoking_read_the_copies_of_that_holder_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("device", "gate-7")
    other = authority.issue("device", "gate-7.south").certificate  # its file's name begins alike
    (tmp_path / "issued" / "device.gate-8.1.pem").write_bytes(b"damaged")
    with pytest.raises(UserError) as refused:
        authority.issue("device", "gate-7")
    assert refused.value.code == "certificate-exists"
    assert [each.name for each in authority.revoke("device", "gate-7")] == ["gate-7"]
    assert [each.serial for each in authority.valid("device", "gate-7.south")] == [other.serial]
    assert authority.issue("device", "gate-7").certificate.name == "gate-7"
    with pytest.raises(UserError) as refused:
        authority.issued()
    assert refused.value.code == "authority-damaged"


def test_an_end_is_worth_a_word_from_thirty_days_before_it() -> None:
    now = datetime.now(UTC)
    assert ending(now + timedelta(days=31)) == ""
    assert ending(now + timedelta(days=29)) == f"ends on {now + timedelta(days=29):%Y-%m-%d}"
    assert ending(now - timedelta(days=1)) == f"has ended on {now - timedelta(days=1):%Y-%m-%d}"
