"""What a connection may cost: a mixin for uvicorn's protocols, which by themselves wait for ever."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_HEAD = 32_768  # bytes of a request line and its headers
_GRACE_S = 0.2  # for what was sent before its sender could know that we stop
_DRAIN_READ_S = 5.0  # for a client to send the rest of its request, once we stop
_CONTINUE = b"HTTP/1.1 100"  # for this a client waits
# httptools leaves off reading where another protocol is offered, though we may decline (Java always offers one)
_OFFER = re.compile(rb"\A((?:[^\r\n]+\r\n)+)(Upgrade:)", re.IGNORECASE)
_PHRASES = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


class Doors:
    """What all connections of one server share.

    Attributes:
        counts: Status, or ``gone`` (the client left before its request was whole) -> requests.
        fault: Is told of requests that are no HTTP.
        stopping: No new connection is taken.
        closing: Nor is anything waited for.
    """

    def __init__(self, *, max_connections: int, read_timeout_s: float, fault: Callable[[str], None]) -> None:
        self.max_connections = max_connections
        self.read_timeout_s = read_timeout_s
        self.counts: Counter[int | str] = Counter()
        self.fault = fault
        self.stopping = False
        self.closing = False


class _Joined:
    """A transport that sends a response's head and body as one packet: by itself uvicorn writes them one by one."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._parts.append(data)
        if data.startswith(_CONTINUE):
            self.flush()

    def flush(self) -> None:
        if self._parts:
            self._transport.write(b"".join(self._parts))
            self._parts.clear()

    def close(self) -> None:
        self.flush()
        self._transport.close()


class Guarded(asyncio.Protocol):
    """Stands before ``H11Protocol`` or ``HttpToolsProtocol`` in the order of bases.

    A connection waits for a request (``cycle`` is None or complete), receives one (``more_body``), or answers it.
    """

    doors: Doors
    # of the protocol beside it
    cycle: Any
    transport: Any
    loop: Any
    connections: set[Any]

    def connection_made(self, transport: Any) -> None:
        """Take a connection, or refuse it."""
        super().connection_made(_Joined(transport))  # type: ignore[arg-type] # it is one, by all its methods
        self._since = time.monotonic()  # of the request's first byte; before it, of the connection
        self._head = 0  # bytes of a head that is not whole yet
        self._clogged = 0.0  # since when the client takes nothing
        self._refused = False
        if len(self.connections) > self.doors.max_connections:
            self.refuse(503, "too many connections", retry_after_s=1)

    def data_received(self, data: bytes) -> None:
        """Hand on what has come, and see that a head does not grow without end."""
        if self.transport.is_closing():
            return
        before = self.cycle
        waiting = before is None or before.response_complete
        if waiting:
            if not self._head:
                self._since = time.monotonic()
            self._head += len(data)
            if b"pgrade" in data:
                data = _OFFER.sub(rb"\1X-\2", data, count=1)
        super().data_received(data)
        if self.cycle is not before:
            self._head = 0
        elif waiting and self._head > _MOST_HEAD and not self._refused:
            self.refuse(431, f"more than {_MOST_HEAD} bytes of headers")

    def eof_received(self) -> bool:
        """Answer a client that will send no more, and may still listen; let go of one that has asked nothing."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body:
            return False
        cycle.keep_alive = False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a request that will never be whole."""
        if self._receiving() and not self._refused:
            self.doors.counts["gone"] += 1
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Remember since when the client takes nothing."""
        self._clogged = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Forget it: the client has taken some."""
        self._clogged = 0.0
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Send what was joined."""
        self.transport.flush()
        super().on_response_complete()  # type: ignore[misc] # of the protocol beside it

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self.doors.fault("not HTTP")
        self.refuse(400, msg)

    def shutdown(self) -> None:
        """Close the connection after what is being answered; what arrives within a moment is answered too."""
        self.loop.call_later(0.0 if self.doors.closing else _GRACE_S, self._shut)

    def _shut(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()  # type: ignore[misc] # of the protocol beside it

    def sweep(self, now: float) -> None:
        """Let go of a client that is too slow."""
        limit = self.doors.read_timeout_s
        if self._clogged and now - self._clogged > limit:
            self.transport.abort()
            return
        if self.doors.stopping:
            limit = min(limit, _DRAIN_READ_S)
        if now - self._since <= limit:
            return
        if self.transport.is_closing():
            if now - self._since > 2 * limit:  # the last bytes were never taken
                self.transport.abort()
        elif self._receiving():
            self.refuse(408, f"the request was not whole after {limit:g} s")
        elif self.cycle is None:
            self.transport.close()  # it never said anything

    def refuse(self, status: int, reason: str, *, retry_after_s: int = 0) -> None:
        """Answer without asking the application, and close."""
        self.doors.counts[status] += 1
        self._refused = True
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            body = msgspec.json.encode({"error": {"kind": "http", "reason": reason}})
            again = b"retry-after: %d\r\n" % retry_after_s if retry_after_s else b""
            head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\n" % (status, _PHRASES[status])
            self.transport.write(
                b"%scontent-length: %d\r\n%sconnection: close\r\n\r\n%s" % (head, len(body), again, body)
            )
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

    def _receiving(self) -> bool:
        """Whether a request has begun, and is not whole."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return self._head > 0
        return bool(cycle.more_body)


def guarded(base: type[Any], doors: Doors) -> type[Any]:
    """Return one of uvicorn's protocols, guarded."""
    return type("Connection", (Guarded, base), {"doors": doors})
