"""Whether a broker takes connections: a CONNECT that it answers, not just a port that is open."""

from __future__ import annotations

import secrets
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

_CONNECT, _CONNACK, _DISCONNECT = 0x10, 0x20, b"\xe0\x00"
_TIMEOUT_S = 5.0


def greet(host: str, port: int, context: ssl.SSLContext | None) -> bool:
    """Connect, as MQTT 3.1.1 does with a session that ends at once, and leave; return whether it was let in.

    Args:
        host: An address or a name; of all networks, this machine's own.
        port: Likewise.
        context: Of TLS.

    Raises:
        OSError: Nobody answers, or not yet.
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    with socket.create_connection((host, port), timeout=_TIMEOUT_S) as plain:
        connection = context.wrap_socket(plain) if context else plain
        with connection:
            name = f"edgeglm-{secrets.token_hex(7)}".encode()  # 3.1.1 allows at least 23 bytes
            body = b"\x00\x04MQTT\x04\x02" + struct.pack(">HH", 10, len(name)) + name
            connection.sendall(bytes([_CONNECT, len(body)]) + body)
            answer = b""
            while len(answer) < 4:
                got = connection.recv(4 - len(answer))
                if not got:
                    raise ConnectionError("the broker closed the connection before it answered")
                answer += got
            connection.sendall(_DISCONNECT)
    return answer[0] == _CONNACK and answer[3] == 0
