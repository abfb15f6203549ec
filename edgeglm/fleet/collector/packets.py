"""Packets that go out by the thousand: written as bytes, and several to one call of the kernel."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from edgeglm_agent.wire.sketch import pack_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable


def publishes(messages: Iterable[tuple[str, bytes]], *, version: int) -> bytes:
    """Return PUBLISH packets of QoS 0 (MQTT 5, section 3.3; 3.1.1 has no properties), for topic and payload each."""
    properties = b"\0" if version == 5 else b""
    out: list[bytes] = []
    for topic, payload in messages:
        name = topic.encode()
        length = 2 + len(name) + len(properties) + len(payload)
        out += (b"\x30", pack_numbers((length,)), len(name).to_bytes(2, "big"), name, properties, payload)
    return b"".join(out)


def acknowledgements(message_ids: Iterable[int]) -> bytes:
    """Return PUBACK packets (MQTT 5, section 3.4: without a reason it is success; 3.1.1 the same)."""
    return b"".join([b"\x40\x02" + one.to_bytes(2, "big") for one in message_ids])


class Corked:
    """A transport that writes once in each turn of the loop what was written to it meanwhile."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Write, at the end of this turn."""
        if not self._held:
            asyncio.get_running_loop().call_soon(self._flush)
        self._held.append(data)

    def close(self) -> None:
        """Close it, with everything written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held = self._held, []
        if held and not self._transport.is_closing():
            self._transport.write(b"".join(held))

    def __getattr__(self, name: str) -> Any:
        """Do everything else as the transport does."""
        return getattr(self._transport, name)
