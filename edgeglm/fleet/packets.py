"""Packets that go out by the thousand: written as bytes, and several to one call of the kernel."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from edgeglm_agent.wire.sketch import pack_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable


_ONE_BYTE = 0x80  # lengths below it


def publish(topic: str, payload: bytes, *, is_v5: bool, packet_id: int | None = None, retain: bool = False) -> bytes:
    """Return a PUBLISH packet (MQTT 5, section 3.3; 3.1.1 has no properties): of QoS 1 with an id, else of QoS 0."""
    name = topic.encode()
    head = bytes([0x30 | (2 if packet_id is not None else 0) | retain])
    number = b"" if packet_id is None else packet_id.to_bytes(2, "big")
    length = 2 + len(name) + len(number) + is_v5 + len(payload)
    packed = bytes((length,)) if length < _ONE_BYTE else pack_numbers((length,))  # lengths are LEB128, as ours are
    return b"".join((head, packed, len(name).to_bytes(2, "big"), name, number, b"\0" if is_v5 else b"", payload))


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
