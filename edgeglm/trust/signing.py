"""Keys, certificates and lists of revoked ones, by `cryptography`. Bytes in and out, no files.

All keys are of the curve P-256 (ECDSA with SHA-256): small, fast on a board, and every TLS library has it.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgeglm.trust.names import Certificate, address_of, holder_of, uri_of, user_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeglm.trust.names import Role

_SKEW = timedelta(days=1)  # a board's clock may be behind
_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


class Signer:
    """The authority's key and certificate."""

    def __init__(self, certificate_pem: bytes, key_pem: bytes) -> None:
        """Read both. Raises: ValueError: They are none, or do not belong together."""
        self.certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the key is of no elliptic curve")
        if key.public_key() != self.certificate.public_key():
            raise ValueError("key and certificate do not belong together")
        self._key = key

    @property
    def ends(self) -> datetime:
        """When it counts no more, nor anything it has signed."""
        return self.certificate.not_valid_after_utc

    def sign(self, role: Role, name: str, hosts: Iterable[str], days: int) -> tuple[Certificate, bytes]:
        """Return a certificate and its new key."""
        key = ec.generate_private_key(ec.SECP256R1())
        serial = x509.random_serial_number()
        now = datetime.now(UTC)
        hosts = tuple(hosts)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri_of(role, name, serial))]
        for host in hosts:
            address = address_of(host)
            names.append(x509.DNSName(host) if address is None else x509.IPAddress(address))
        usage = ExtendedKeyUsageOID.SERVER_AUTH if role == "broker" else ExtendedKeyUsageOID.CLIENT_AUTH
        issuer = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_subject(user_of(role, name)))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(now - _SKEW)
            .not_valid_after(min(now + timedelta(days=days), self.ends))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return read_certificate(_pem(certificate)), _key_pem(key)

    def sign_revoked(self, serials: Iterable[int], after: datetime | None) -> bytes:
        """Return a list of revoked certificates that counts as long as the authority: one that ends shuts all out.

        Args:
            serials: Of the certificates.
            after: When the list before it was made: a newer one counts.
        """
        now = datetime.now(UTC) - _SKEW
        made = now if after is None else max(now, after + timedelta(seconds=1))
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(made)
            .next_update(self.ends)
        )
        for serial in sorted(serials):
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(made).build()
            builder = builder.add_revoked_certificate(revoked)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def new_authority(days: int) -> tuple[bytes, bytes]:
    """Return the certificate and the key of a new authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _subject(f"edgeglm fleet authority {secrets.token_hex(4)}")  # two of them can be told apart
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pem(certificate), _key_pem(key)


def read_certificate(pem: bytes) -> Certificate:
    """Return what a certificate of ours says. Raises: ValueError: It is none."""
    certificate = x509.load_pem_x509_certificate(pem)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        role, name = holder_of(names.get_values_for_type(x509.UniformResourceIdentifier)[0])
    except (x509.ExtensionNotFound, IndexError) as error:
        raise ValueError("it does not say whose it is") from error
    hosts = names.get_values_for_type(x509.DNSName) + [str(a) for a in names.get_values_for_type(x509.IPAddress)]
    return Certificate(role, name, certificate.serial_number, certificate.not_valid_after_utc, tuple(hosts), pem)


def read_revoked(pem: bytes) -> tuple[frozenset[int], datetime | None]:
    """Return the serial numbers on a list, and when it was made. Raises: ValueError: It is none."""
    found = x509.load_pem_x509_crl(pem)
    return frozenset(revoked.serial_number for revoked in found), found.last_update_utc


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def _key_usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in _USAGES})


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
