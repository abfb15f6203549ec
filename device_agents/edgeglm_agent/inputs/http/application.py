"""What is answered to a request: an ASGI application of three routes."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from edgeglm_agent.inputs.http.bodies import Bodies, BodyError
from edgeglm_agent.inputs.http.replies import JSON, Refusal, Reply, answered, failure, refused, trace_of
from edgeglm_agent.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from edgeglm_agent.inputs.http.source import HttpSource

    Receive = Callable[[], Awaitable[Mapping[str, Any]]]
    Send = Callable[[Mapping[str, Any]], Awaitable[None]]

INFER, HEALTH, METRICS = "/v1/infer", "/healthz", "/metrics"
_ROUTES = {INFER: ("POST",), HEALTH: ("GET", "HEAD"), METRICS: ("GET", "HEAD")}
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_IN_PLACE = 32_768  # bytes of an image that is decoded at once: handing it to a thread would take as long


class Gone(Exception):  # noqa: N818 - no fault of ours
    """The client has left, or was refused by its connection: there is nobody to answer."""


class Application:
    """Decides about one request after the other; runs in the server's thread."""

    def __init__(self, source: HttpSource, bodies: Bodies, *, token: str, most_bytes: int) -> None:
        self._source = source
        self._bodies = bodies
        self._types = bodies.types()
        self._token = token.encode()
        self._most_bytes = most_bytes

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        trace_id, request_id = trace_of(headers)
        body = _Body(receive, headers, self._source, self._most_bytes)
        try:
            try:
                reply = await self._reply(scope, headers, body, trace_id)
            except Refusal as refusal:
                reply = refused(refusal, trace_id)
            except Gone:
                raise
            except Exception as error:
                log("error", "a request failed by a fault of ours", trace_id=trace_id, error=error)
                reply = refused(Refusal(500, "internal", "a fault of the server; its log says more"), trace_id)
            close = not await body.discarded() or self._source.stopping
            self._source.doors.counts[reply.status] += 1
            named = [
                (b"content-type", reply.kind.encode()),
                (b"content-length", b"%d" % len(reply.body)),
                (b"x-request-id", request_id),
                *reply.headers,
            ]
            if close:
                named.append((b"connection", b"close"))
            await send({"type": "http.response.start", "status": reply.status, "headers": named})
            await send({"type": "http.response.body", "body": reply.body})
        except Gone:
            return
        finally:
            body.let_go()

    async def _reply(
        self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes], body: _Body, trace_id: str
    ) -> Reply:
        path, method = scope["path"], scope["method"]
        allowed = _ROUTES.get(path)
        if allowed is None:
            raise Refusal(404, "http", f"no such path; there are {', '.join(_ROUTES)}")
        if method not in allowed:
            allow = ", ".join(allowed)
            raise Refusal(405, "http", f"{path} takes {allow}", headers=((b"allow", allow.encode()),))
        if path == HEALTH:
            return self._health()
        self._check_token(headers.get(b"authorization", b""))
        if path == METRICS:
            return Reply(200, self._source.metrics().encode(), _PROMETHEUS)
        return await self._infer(headers, body, trace_id)

    def _health(self) -> Reply:
        if self._source.stopping:
            return Reply(503, b'{"status":"stopping"}')
        return (
            Reply(200, b'{"status":"serving"}') if self._source.healthy() else Reply(503, b'{"status":"not serving"}')
        )

    def _check_token(self, authorization: bytes) -> None:
        if not self._token:
            return
        scheme, _, given = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
            raise Refusal(
                401,
                "token",
                "wanted is `Authorization: Bearer` with the token of this server",
                headers=((b"www-authenticate", b"Bearer"),),
            )

    async def _infer(self, headers: Mapping[bytes, bytes], body: _Body, trace_id: str) -> Reply:
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
        if kind not in self._types:
            known = ", ".join(self._types)
            raise Refusal(415, "http", f"Content-Type is `{kind[:100]}`; this model takes {known}")
        source = self._source
        source.check_room()
        data = await body.read()
        try:
            if kind != JSON and len(data) > _IN_PLACE and kind.startswith("image/"):
                asked = await source.in_thread(self._bodies.read, kind, data)
            else:
                asked = self._bodies.read(kind, data)
        except BodyError as error:
            if error.unsupported:
                raise Refusal(415, "http", str(error)) from error
            source.fault("malformed")
            raise Refusal(400, "input", str(error), where=error.where) from error
        body.becomes(asked.nbytes)
        answers, row, failed = await source.ask(asked.samples, trace_id, several=asked.several)
        if failed is not None:
            raise failure(failed, f"instances[{row}]" if asked.several else "")
        return answered(answers, trace_id, headers.get(b"accept", b""), several=asked.several)


class _Body:
    """The body of one request, and the room that it takes."""

    def __init__(self, receive: Receive, headers: Mapping[bytes, bytes], source: HttpSource, most_bytes: int) -> None:
        self._receive = receive
        self._source = source
        self._most_bytes = most_bytes
        self._held = 0
        length = headers.get(b"content-length", b"")
        self._length = int(length) if length.isdigit() and len(length) < 19 else 0
        self._whole = not self._length and b"transfer-encoding" not in headers

    async def read(self) -> bytes:
        """Return all of it. Raises: Refusal (413, 429), Gone."""
        if self._length > self._most_bytes:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        while not self._whole:
            part = await self._next()
            size += len(part)
            if size > self._most_bytes:
                raise self._too_large()
            self.becomes(size)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def becomes(self, size: int) -> None:
        """Take as much room as this, instead of what was taken. Raises: Refusal (429)."""
        if not self._source.hold(size - self._held):
            raise self._source.full("too much is in hand already")
        self._held = size

    def let_go(self) -> None:
        """Give all room back."""
        self._source.hold(-self._held)
        self._held = 0

    async def discarded(self) -> bool:
        """Read on to the end, so that the connection can be used again; False: that is not worth it. Raises: Gone."""
        if not self._whole:
            self.let_go()  # what is thrown away takes no room
        size = 0
        while not self._whole:
            if max(self._length, size) > 2 * self._most_bytes:
                return False
            size += len(await self._next())
        return True

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            raise Gone
        self._whole = not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return part

    def _too_large(self) -> Refusal:
        return Refusal(413, "http", f"a body of more than {self._most_bytes} bytes; send less at a time")
