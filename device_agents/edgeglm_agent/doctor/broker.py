"""The way to the broker, step by step: name, port, TLS, login, rights. The first that fails says why."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import struct
from typing import TYPE_CHECKING

from edgeglm_agent.doctor._base import Finding
from edgeglm_agent.doctor.packets import (
    CONNACK,
    DISCONNECT,
    PUBACK,
    SUBACK,
    V3,
    V5,
    NoMqttError,
    connect_packet,
    packet,
    read_packet,
    text,
)
from edgeglm_agent.uplink.tls import tls_context
from edgeglm_agent.wire.commands import COMMAND_SCHEMA, Reply, encode
from edgeglm_agent.wire.topics import Topics

if TYPE_CHECKING:
    from edgeglm_agent.settings.types import Mqtt, Settings

_PATIENCE_S = 5.0
_UNSUPPORTED = (0x84, 0x01)
_DENIED = 0x80  # this reason, and those above it
# MQTT 5.0, 3.2.2.2, and MQTT 3.1.1, 3.2.2.3
_REASONS = {
    0x01: "it speaks another version of MQTT",
    0x02: "it does not take this client's name",
    0x03: "it is not available",
    0x04: "user name or password is wrong",
    0x05: "this device is not allowed in",
    0x80: "it gives no reason",
    0x81: "it holds our message to be malformed",
    0x82: "it holds our message to be against the protocol",
    0x84: "it speaks another version of MQTT",
    0x85: "it does not take this client's name",
    0x86: "user name or password is wrong",
    0x87: "this device is not allowed in",
    0x88: "it is not available",
    0x89: "it is busy",
    0x8A: "this device is banned",
    0x8C: "it wants another way of login",
    0x97: "a quota is used up",
    0x9C: "it names another server",
    0x9D: "it has moved for good",
    0x9F: "too many connect at a time",
}
_LOGIN = "look at mqtt.username and password_file, or at the certificate, and at the broker's log and list of users"
_TLS_HINTS = {
    "CERTIFICATE_REQUIRED": "the broker wants a certificate: set mqtt.tls.certificate and key",
    "UNKNOWN_CA": "the broker does not know who signed this board's certificate: give it that authority (its cafile)",
    "CERTIFICATE_EXPIRED": "this board's certificate has expired: have it renewed",
    "BAD_CERTIFICATE": "the broker refuses this board's certificate; its log says why",
    "CERTIFICATE_REVOKED": "this board's certificate was revoked: have a new one made",
    "HANDSHAKE_FAILURE": "the broker refuses; most often it wants a certificate: set mqtt.tls.certificate and key",
    "WRONG_VERSION_NUMBER": "this port does not speak TLS: use 8883, or leave out [mqtt.tls]",
    "UNSUPPORTED_PROTOCOL": "the broker speaks no TLS of today: upgrade it",
}


class _RefusedError(Exception):
    """A step failed."""

    def __init__(self, name: str, detail: str, hint: str) -> None:
        self.finding = Finding(name, "fail", detail, hint)
        super().__init__(detail)


def look(settings: Settings) -> list[Finding]:
    """Go the way that the agent goes, by a connection and a client's name of doctor's own."""
    mqtt = settings.mqtt
    if mqtt is None:
        return [Finding("broker", "ok", "none in the settings: nothing is sent, the outbox keeps what fits")]
    findings: list[Finding] = []
    try:
        port = mqtt.port or (8883 if mqtt.tls is not None else 1883)
        addresses = _resolved(mqtt.host, port)
        findings.append(Finding("host", "ok", f"{mqtt.host} is {', '.join(addresses)}"))
        if mqtt.tls is None and not all(_is_near(address) for address in addresses):
            hint = "add a table [mqtt.tls]; without it everyone on the way reads along, and may speak for the broker"
            findings.append(Finding("tls", "warn", "nothing is encrypted, though the broker is elsewhere", hint))
        findings += _talked(settings, mqtt, port)
    except _RefusedError as refused:
        findings.append(refused.finding)
    return findings


def _talked(settings: Settings, mqtt: Mqtt, port: int) -> list[Finding]:
    levels = {"auto": (V5, V3), "5": (V5,), "3.1.1": (V3,)}[mqtt.version]
    findings: list[Finding] = []
    for level in levels:
        with _connected(mqtt, port) as connection:
            findings = [Finding("port", "ok", f"{port} is open")]
            if isinstance(connection, ssl.SSLSocket):
                findings.append(Finding("tls", "ok", f"{connection.version()}, the broker's certificate is valid"))
            code = _login(connection, settings, mqtt, port, level)
            if code in _UNSUPPORTED and level != levels[-1]:
                continue
            spoken = "5" if level == V5 else "3.1.1"
            if code:
                raise _refused_login(code, spoken)
            findings.append(Finding("login", "ok", f"the broker lets this device in (MQTT {spoken})"))
            findings += _rights(connection, settings, level)
            connection.sendall(b"\xe0\x00")
            return findings
    raise AssertionError  # the last level returns or raises


def _resolved(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        hint = "look for a misspelt mqtt.host, at the network (ip addr), and at the name server (resolvectl status)"
        raise _RefusedError("host", f"{host} cannot be resolved: {error.strerror or error}", hint) from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _is_near(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _connected(mqtt: Mqtt, port: int) -> socket.socket:
    try:
        plain = socket.create_connection((mqtt.host, port), timeout=_PATIENCE_S)
    except OSError as error:
        hint = "start the broker, look at mqtt.port, and at firewalls on the way"
        if isinstance(error, TimeoutError):
            hint = "a firewall drops what is sent, or the host is off: look at both"
        raise _RefusedError("port", f"{mqtt.host}:{port} does not answer: {error.strerror or error}", hint) from error
    if mqtt.tls is None:
        return plain
    try:
        context = tls_context(mqtt.tls)
    except OSError as error:
        plain.close()
        raise _RefusedError("tls", str(error), "mend these files: what is said of the certificate says how") from error
    try:
        wrapped: ssl.SSLSocket = context.wrap_socket(plain, server_hostname=mqtt.host)
    except (OSError, ValueError) as error:
        plain.close()
        raise _tls_refused(error, mqtt) from error
    return wrapped


def _tls_refused(error: Exception, mqtt: Mqtt) -> _RefusedError:
    name = "tls"
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message
        hint = "set mqtt.tls.ca to the certificate of the authority that signed the broker's"
        if "mismatch" in said or "valid for" in said:
            hint = "set mqtt.host, or mqtt.tls.server_name, to a name in the broker's certificate"
        elif "expired" in said:
            hint = "have the broker's certificate renewed; or this board's clock is wrong"
        elif "not yet valid" in said:
            hint = "set this board's clock"
        return _RefusedError(name, f"the broker's certificate is not accepted: {said}", hint)
    if isinstance(error, ssl.SSLError):
        reason = re.sub(r"^(TLSV1|TLSV13|SSLV3)_ALERT_", "", error.reason or "")
        hint = _TLS_HINTS.get(reason, "the broker's log says more")
        words = (error.reason or str(error)).lower().replace("_", " ")
        return _RefusedError(name, f"the handshake with {mqtt.host} failed: {words}", hint)
    if isinstance(error, TimeoutError):
        hint = "this port may not speak TLS: 8883 does as a rule"
        return _RefusedError(name, f"{mqtt.host} does not answer the handshake", hint)
    hint = "this port may not speak TLS, or wants a certificate: set mqtt.tls.certificate and key"
    return _RefusedError(name, f"the handshake with {mqtt.host} failed: {error}", hint)


def _login(connection: socket.socket, settings: Settings, mqtt: Mqtt, port: int, level: int) -> int:
    """Say who this is; return the broker's reason code, 0 for welcome."""
    other = "this port speaks another protocol: 1883 or 8883 are MQTT's"
    try:
        connection.sendall(connect_packet(f"{settings.device}-doctor", mqtt, level))
        kind, body = read_packet(connection)
    except NoMqttError:
        raise _RefusedError("login", "what answers there is no MQTT broker", other) from None
    except TimeoutError:
        raise _RefusedError("login", "the broker says nothing to a login", other) from None
    except OSError as error:
        if isinstance(connection, ssl.SSLSocket) and (alert := _alert(mqtt, port)) is not None:
            raise _tls_refused(alert, mqtt) from error
        hint = "it may want TLS (add [mqtt.tls]), a certificate, or another version of MQTT; its log says which"
        raise _RefusedError("login", "the broker hangs up at the login without a reason", hint) from error
    if kind != CONNACK or len(body) < 2:
        raise _RefusedError("login", "what answers there is no MQTT broker", other)
    return body[1]


def _alert(mqtt: Mqtt, port: int) -> ssl.SSLError | None:
    """Return why a broker ended TLS; None: it did not.

    In TLS 1.3 a client learns after the handshake that its certificate is refused, and what it has sent by then makes
    the system throw the reason away: so this one sends nothing, and listens.
    """
    with _connected(mqtt, port) as connection:
        try:
            connection.recv(1)
        except ssl.SSLError as error:
            return error
        except OSError:
            return None
    return None


def _refused_login(reason: int, version: str) -> _RefusedError:
    why = _REASONS.get(reason, f"reason {reason:#04x}")
    hint = _LOGIN
    if reason in _UNSUPPORTED:
        hint = 'set mqtt.version = "auto", or to the one that the broker speaks'
    elif reason in (0x02, 0x85):
        hint = "the broker takes certain client names only; doctor's is the device's with `-doctor` behind it"
    elif reason in (0x03, 0x88, 0x89, 0x97, 0x9F):
        hint = "try again later; the broker's log says more"
    return _RefusedError("login", f"the broker refuses this device (MQTT {version}): {why}", hint)


def _rights(connection: socket.socket, settings: Settings, level: int) -> list[Finding]:
    """Ask for what the agent hears, and say something that nobody asked for; a broker may deny either, or be silent."""
    topics = Topics(settings.fleet, settings.device or "")
    own = {"acknowledgements": topics.ack, "commands": topics.commands}
    inputs = {f"`{topic}`": topic for topic in _input_topics(settings)}
    properties = b"\0" if level == V5 else b""
    reply = Reply(COMMAND_SCHEMA, "doctor", "ping", ok=True, said="edgeglm-agent doctor was here")
    publish = text(topics.reply("doctor")) + struct.pack(">H", 2) + properties + encode(reply)
    denied: list[str] = []
    try:
        denied = [f"hear {what}" for what in _unheard(connection, own, level)]
        connection.sendall(packet(0x32, publish))
        kind, answer = read_packet(connection)
        if kind == DISCONNECT or (kind == PUBACK and len(answer) > 2 and answer[2] >= _DENIED):
            denied.append("say anything")
            inputs = {}  # the broker has ended it, or is about to
    except (OSError, NoMqttError):
        denied.append("speak below its own topic: the broker hangs up")
        inputs = {}
    try:
        unheard = _unheard(connection, inputs, level) if inputs else []
    except (OSError, NoMqttError):  # some brokers hang up rather than refuse
        unheard = [*inputs]
    hints = [f"let this device read and write {topics.prefix}/#"] if denied else []
    hints += [f"let it read {', '.join(unheard)}, for its inputs"] if unheard else []
    if hints:
        told = ", nor ".join([*denied, *(f"hear {topic}" for topic in unheard)])
        hint = f"{'; '.join(hints)}; docs/agent/telemetry.md has the rules for mosquitto"
        return [Finding("rights", "fail", f"this device may not {told}", hint)]
    if level != V5:
        return [
            Finding("rights", "ok", "the broker denies nothing; MQTT 3.1.1 does not say what is dropped in silence")
        ]
    return [Finding("rights", "ok", f"this device may speak below {topics.prefix}")]


def _unheard(connection: socket.socket, wanted: dict[str, str], level: int) -> list[str]:
    """Subscribe, and return what of it the broker refuses. Raises: OSError, NoMqttError."""
    properties, options = (b"\0", b"\x20") if level == V5 else (b"", b"\0")  # at most once, on MQTT 5 nothing retained
    subscribe = struct.pack(">H", 1) + properties + b"".join(text(topic) + options for topic in wanted.values())
    connection.sendall(packet(0x82, subscribe))
    kind, answer = read_packet(connection)
    codes = answer[-len(wanted) :] if kind == SUBACK else b""
    return [what for what, code in zip(wanted, codes) if code >= _DENIED]  # noqa: B905 - fewer codes


def _input_topics(settings: Settings) -> list[str]:
    """Return the topics that inputs hear; of a shared one doctor would take messages away."""
    topics = [str(getattr(slot.input, "topic", "")) for slot in settings.slots.values()]
    return [topic for topic in dict.fromkeys(topics) if topic and not topic.startswith("$share/")]
