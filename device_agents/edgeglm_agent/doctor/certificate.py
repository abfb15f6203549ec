"""This board's certificate: whether a broker will take it.

The standard library reads a certificate only once a handshake has accepted it, so one is done here, in memory, with
the board at both ends: it proves the key, and gives names and dates, though the certificate has expired.
"""

from __future__ import annotations

import ssl
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeglm_agent.board import clock
from edgeglm_agent.doctor._base import Finding

if TYPE_CHECKING:
    from edgeglm_agent.settings.types import Settings, Tls

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: X509_VERIFY_PARAM_set_flags(3)
SOON_S = 30 * 86400  # before its end
_NAME = "certificate"


class CertificateError(ValueError):
    """A certificate or key that cannot be used, and how to mend it."""

    def __init__(self, message: str, hint: str) -> None:
        self.hint = hint
        super().__init__(message)


class CertificateFacts(NamedTuple):
    """What a certificate says."""

    names: tuple[str, ...]  # common names, then alternative ones
    issuer: str
    begins: float  # Unix
    ends: float


def look(settings: Settings) -> list[Finding]:
    """Look at the files of ``[mqtt.tls]``."""
    tls = settings.mqtt.tls if settings.mqtt is not None else None
    if tls is None:
        return []
    findings = [_authorities(tls.ca)] if tls.ca is not None else []
    if tls.certificate is not None and tls.key is not None:
        findings += _own(tls, settings.device or "")
    return findings


def read_certificate(certificate: str, key: str) -> CertificateFacts:
    """Return what a certificate says, once its key has proved to be its own.

    Raises:
        CertificateError: A file is none, is encrypted, or the two do not belong together.
    """
    listens, speaks = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    speaks.check_hostname = False
    speaks.verify_mode = ssl.CERT_NONE
    try:
        for context in (listens, speaks):
            context.load_cert_chain(certificate, key, password=_no_password)
        listens.load_verify_locations(certificate)
    except ssl.SSLError as error:
        raise _cannot_load(error, certificate, key) from error
    listens.verify_mode = ssl.CERT_REQUIRED
    # the certificate is its own anchor: what is asked is what it says, not who vouches for it
    listens.verify_flags = ssl.VerifyFlags(int(listens.verify_flags) | ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)
    said = _shaken(listens, speaks)
    names = [value for part in said.get("subject", ()) for key_, value in part if key_ == "commonName"]
    names += [value for _, value in said.get("subjectAltName", ())]
    issuer = ", ".join(value for part in said.get("issuer", ()) for _, value in part)
    begins, ends = (float(ssl.cert_time_to_seconds(said[key_])) for key_ in ("notBefore", "notAfter"))
    return CertificateFacts(tuple(dict.fromkeys(names)), issuer, begins, ends)


def _shaken(listens: ssl.SSLContext, speaks: ssl.SSLContext) -> dict[str, Any]:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = listens.wrap_bio(to_server, to_client, server_side=True)
    client = speaks.wrap_bio(to_client, to_server)
    try:
        for _ in range(4):
            for end in (client, server):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:  # noqa: PERF203 - it waits for the other end
                    continue
        return dict(server.getpeercert() or {})
    except ssl.SSLError as error:
        hint = "ask the one who made it for a certificate for a TLS client"
        raise CertificateError(f"it cannot be used by a client: {error.reason or error}", hint) from error


def _no_password() -> str:
    hint = "store it unencrypted, for the agent's user alone (0600)"
    raise CertificateError("the key is encrypted, and nobody is there to type its password", hint)


def _cannot_load(error: ssl.SSLError, certificate: str, key: str) -> CertificateError:
    if error.reason == "KEY_VALUES_MISMATCH":
        hint = "copy certificate and key again, of one device, together"
        return CertificateError(f"{key} is not the key of {certificate}", hint)
    hint = "both are PEM files: -----BEGIN CERTIFICATE----- and -----BEGIN PRIVATE KEY-----"
    for path, word in ((certificate, "CERTIFICATE"), (key, "PRIVATE KEY")):
        if f"{word}-----".encode() not in Path(path).read_bytes():
            return CertificateError(f"{path} holds no {word.lower()}", hint)
    return CertificateError(f"{certificate} and {key} cannot be loaded: {error.reason or error}", hint)


def _own(tls: Tls, device: str) -> list[Finding]:
    assert tls.certificate is not None  # looked at by its caller
    assert tls.key is not None
    try:
        facts = read_certificate(tls.certificate, tls.key)
    except CertificateError as error:
        return [Finding(_NAME, "fail", str(error), error.hint)]
    shown = f"of {', '.join(facts.names) or 'nobody'}, by {facts.issuer}"
    findings = [_dates(facts, shown)]
    if device not in facts.names:
        detail = f"{shown}: this device is `{device}`"
        hint = f"a broker lets it speak for another device: give it one of `{device}`, or set device to the name in it"
        findings.append(Finding(_NAME, "fail", detail, hint))
    mode = stat.S_IMODE(Path(tls.key).stat().st_mode)
    if mode & stat.S_IRGRP:
        detail = f"its key can be read by a group (mode {mode:04o})"
        findings.append(Finding(_NAME, "ok", detail))
    return findings


def _dates(facts: CertificateFacts, shown: str) -> Finding:
    now = time.time()
    ends = time.strftime("%Y-%m-%d", time.gmtime(facts.ends))
    renew = "have it renewed, and copy certificate and key here"
    if not clock.plausible():
        detail = f"{shown}; whether it is valid cannot be told by this clock"
        return Finding(_NAME, "warn", detail, "set the clock first")
    if now > facts.ends:
        return Finding(_NAME, "fail", f"{shown}: it expired on {ends}", renew)
    if now < facts.begins:
        begins = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(facts.begins))
        hint = "look at the clocks of this board and of the one that made it"
        return Finding(_NAME, "fail", f"{shown}: it is valid only from {begins} on", hint)
    if facts.ends - now < SOON_S:
        days = int((facts.ends - now) // 86400)
        return Finding(_NAME, "warn", f"{shown}: it expires on {ends}, in {days} days", renew)
    return Finding(_NAME, "ok", f"{shown}, until {ends}")


def _authorities(ca: str) -> Finding:
    name = "authorities"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        hint = "a PEM file: -----BEGIN CERTIFICATE-----"
        return Finding(name, "fail", f"{ca} holds no certificate that can be read: {error.reason or error}", hint)
    known = context.get_ca_certs()
    if not known:
        hint = "name the certificate of the authority that signed the broker's, not the broker's own"
        return Finding(name, "warn", f"{ca} holds no certificate of an authority", hint)
    valid = [one for one in known if ssl.cert_time_to_seconds(str(one["notAfter"])) > time.time()]
    if not valid and clock.plausible():
        return Finding(name, "fail", f"all of {ca} has expired", "get the authority's new certificate")
    return Finding(name, "ok", f"{ca}: {len(valid)} valid of {len(known)}")
