"""Malformed HTTP requests without end: damaged heads, lying lengths, bodies that are something else."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.support.agent.http_bodies import json_bodies, npy_bodies, npz_bodies

_HEADERS = (
    b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: 5, 6", b"Content-Length:",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked, chunked",
    b"Expect: 100-continue", b"Upgrade: websocket\r\nConnection: Upgrade", b"Upgrade: h2c\r\nConnection: Upgrade",
    b"Connection: close", b"Connection: keep-alive, close", b"Host:", b"Host: a\r\nHost: b", b": nothing", b"No colon",
    b"X: \x00\x01", b"X\x80: y", b"X : y", b" folded: y", b"Authorization: Bearer \xff", b"Accept: application/x-npy",
    b"traceparent: 00-" + b"f" * 32 + b"-" + b"0" * 16 + b"-zz", b"X-Request-Id: \xe2\x82\xac",
    b"Content-Encoding: gzip",
    b"Content-Type: application/x-npz", b"Content-Type: application/json; charset=\xff", b"X: " + b"a" * 9_000,
)  # fmt: skip
_LINES = (
    b"GET / HTTP/1.1", b"POST /v1/infer HTTP/1.1", b"POST /v1/infer HTTP/1.0", b"POST /v1/infer HTTP/2.0", b"POST",
    b"PRI * HTTP/2.0", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"POST /v1/infer", b"GET http://[::1 HTTP/1.1",
    b"CONNECT localhost:80 HTTP/1.1", b"POST //v1//infer HTTP/1.1", b"POST /%00%ff%2e%2e HTTP/1.1", b"PUT * HTTP/1.1",
    b"POST /v1/infer?%%% HTTP/1.1", b"HEAD /v1/infer HTTP/1.1", b"GET /metrics HTTP/1.1", b"\x00\x00\x00",
    b"POST /" + b"a" * 5_000 + b" HTTP/1.1", b"post /v1/infer http/1.1", b"OPTIONS /v1/infer HTTP/1.1",
    b"GET\t/\tHTTP/1.1",
)  # fmt: skip


def _wrong_body(random: random.Random) -> bytes:
    """Return a request that is HTTP, with a body that is no sample."""
    kind, make = random.choice(
        [
            (b"application/json", json_bodies),
            (b"application/x-npy", npy_bodies),
            (b"application/x-npz", npz_bodies),
            (b"image/png", npy_bodies),
            (b"image/jpeg", json_bodies),
            (b"text/html", json_bodies),
        ]
    )
    body = make(random)
    return _whole(b"POST /v1/infer HTTP/1.1", [b"Content-Type: " + kind], body)


def _damaged(random: random.Random) -> bytes:
    """Return a good request with a few bytes changed, taken out or doubled."""
    request = bytearray(_whole(b"POST /v1/infer HTTP/1.1", [b"Content-Type: application/json"], b'{"inputs":[1,2,3]}'))
    for _ in range(random.randint(1, 6)):
        place = random.randrange(len(request))
        change = random.randrange(4)
        if change == 0:
            request[place] = random.randrange(256)
        elif change == 1:
            del request[place : place + random.randint(1, 8)]
        elif change == 2:
            request[place:place] = request[place : place + random.randint(1, 30)]
        else:
            request[place:place] = random.randbytes(random.randint(1, 8))
    return bytes(request) or b"\n"


def _wrong_head(random: random.Random) -> bytes:
    headers = random.choices(_HEADERS, k=random.randint(0, 4))
    body = random.choice([b"", b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n", b'{"inputs":[1]}', b"ffffffffffffffff\r\nx"])
    request = _whole(random.choice(_LINES), [b"Host: x", *headers], body, length=random.random() < 0.3)
    return request[: random.randint(1, len(request))] if random.random() < 0.2 else request


def _noise(random: random.Random) -> bytes:
    return random.randbytes(random.randint(1, 300))


def _whole(line: bytes, headers: list[bytes], body: bytes, *, length: bool = True) -> bytes:
    lengths = [b"Content-Length: %d" % len(body)] if length else []
    return b"\r\n".join([line, *headers, *lengths, b"", body])


_MAKERS: tuple[Callable[[random.Random], bytes], ...] = (
    _wrong_body,
    _wrong_body,
    _damaged,
    _damaged,
    _wrong_head,
    _noise,
)


def request(seed: int) -> bytes:
    """Return one request, always the same of the same number; a few are answered with 200."""
    generator = random.Random(seed)
    return generator.choice(_MAKERS)(generator)
