"""The few packets of MQTT that doctor speaks: a library would hide at which step, and why, a broker says no."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

    from edgeglm_agent.settings.types import Mqtt

V5, V3 = 5, 4  # protocol levels
CONNACK, PUBLISH, PUBACK, SUBACK, DISCONNECT = 2, 3, 4, 9, 14
_KEEPALIVE_S = 30
_MOST_BYTES = 65_536


class NoMqttError(ValueError):
    """What came is no packet that a broker would send."""


def connect_packet(name: str, mqtt: Mqtt, level: int) -> bytes:
    """Return the packet that asks a broker to let a client of this name in."""
    flags, login = 0x02, b""
    if mqtt.username is not None:
        flags |= 0x80
        login += text(mqtt.username)
    if mqtt.password_file is not None:
        flags |= 0x40
        lines = Path(mqtt.password_file).read_bytes().splitlines()
        password = lines[0] if lines else b""
        login += struct.pack(">H", len(password)) + password
    properties = b"\0" if level == V5 else b""
    body = text("MQTT") + bytes([level, flags]) + struct.pack(">H", _KEEPALIVE_S) + properties
    body += text(name) + login
    return packet(0x10, body)


def packet(head: int, body: bytes) -> bytes:
    """Return a packet: its first byte, its length, its body."""
    return bytes([head]) + _length(len(body)) + body


def text(words: str) -> bytes:
    """Return words as a packet holds them."""
    data = words.encode()
    return struct.pack(">H", len(data)) + data


def _length(size: int) -> bytes:
    out = bytearray()
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes([*out, size])


def read_packet(connection: socket.socket) -> tuple[int, bytes]:
    """Return kind and body of the next packet that is no message. Raises: OSError: There is none; NoMqttError."""
    while True:
        kind, size = _head(connection)
        if kind != PUBLISH:
            return kind, _exactly(connection, min(size, _MOST_BYTES))
        while size:  # a message on a topic that was asked for: it may be large
            size -= len(_exactly(connection, min(size, _MOST_BYTES)))


def _head(connection: socket.socket) -> tuple[int, int]:
    head = _exactly(connection, 1)[0]
    if head >> 4 != PUBLISH and head not in (CONNACK << 4, PUBACK << 4, SUBACK << 4, DISCONNECT << 4):
        raise NoMqttError
    size = shift = 0
    while True:
        byte = _exactly(connection, 1)[0]
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return head >> 4, size
        if shift > 21:
            raise NoMqttError


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("closed by the broker")
        data += part
    return data
