"""What is answered to a browser: three pages, their files, a live stream, and one board's life."""

from __future__ import annotations

import hashlib
import time
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from edgeglm.errors import EdgeglmError
from edgeglm.fleet.page.access import Guard, log_in
from edgeglm.fleet.page.glance import Head, Point
from edgeglm.fleet.page.groups import Group
from edgeglm.fleet.store.types import Device

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from edgeglm.fleet.page.watch import Watch

_MOST_STREAMS = 200
_STILL_S = 15.0  # without news: it is said, so that a proxy keeps the connection and a page knows of it
_TYPES = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml", "html": "text/html"}
_FILES = (
    "page.css", "icon.svg", "dom.js", "live.js", "fleet.js", "board.js", "models.js", "charts.js", "login.js",
    "uplot/uPlot.iife.min.js", "uplot/uPlot.min.css", "uplot/LICENSE",
)  # fmt: skip


class FleetNews(msgspec.Struct):
    """What the first page hears; ``all``: these are all boards, else those whose lines changed."""

    version: int
    now_ms: int
    head: Head
    all: bool
    gone: list[str]
    boards: list[msgspec.Raw]
    groups: list[Group]
    trend: list[Point]


class ModelNews(msgspec.Struct):
    """What the page of models hears."""

    version: int
    now_ms: int
    head: Head
    groups: list[Group]


class BoardNews(msgspec.Struct):
    """What the page of a board hears: whether to ask again."""

    version: int
    now_ms: int
    head: Head
    line: int  # version of its line; 0: it is not known


class Page:
    """The routes, over what is known."""

    def __init__(self, watch: Watch, token: str | None) -> None:
        self._watch = watch
        self._token = token
        self._streams = 0
        self._encoded: tuple[int, dict[tuple[str, int], bytes]] = (0, {})

    def app(self, names: Iterable[str]) -> ASGIApp:
        """Return the whole, guarded."""
        routes = [
            *(Route(f"/static/{name}", _file(name)) for name in _FILES),
            Route("/", _file("fleet.html")),
            Route("/models", _file("models.html")),
            Route("/board/{fleet}/{device}", _file("board.html")),
            Route("/login", _file("login.html"), methods=["GET"]),
            Route("/login", self._log_in, methods=["POST"]),
            Route("/alive", _alive),
            Route("/live", self._live),
            Route("/life/{fleet}/{device}", self._life),
            Route("/metrics", self._metrics),
        ]
        return Guard(Starlette(routes=routes), names=names, token=self._token)

    async def _log_in(self, request: Request) -> Response:
        return await log_in(request, self._token)

    async def _life(self, request: Request) -> Response:
        device = Device(request.path_params["fleet"], request.path_params["device"])
        asked = request.query_params
        try:
            found = await self._watch.life(device, asked.get("span", "1h"), asked.get("slot"))
        except LookupError:
            return PlainTextResponse("no such board, or span\n", 404)
        except EdgeglmError as error:
            return PlainTextResponse(f"{error}\n", 503)
        return Response(found, media_type="application/json", headers={"cache-control": "no-store"})

    async def _metrics(self, _: Request) -> Response:
        from edgeglm.fleet.page.metrics import CONTENT_TYPE, exposition

        return Response(exposition(self._watch), headers={"content-type": CONTENT_TYPE, "cache-control": "no-store"})

    async def _live(self, request: Request) -> Response:
        view, board = request.query_params.get("view", "fleet"), request.query_params.get("board", "")
        if view not in ("fleet", "models", "board"):
            return PlainTextResponse("no such view\n", 404)
        if self._streams >= _MOST_STREAMS:
            return PlainTextResponse("too many pages are open\n", 503, {"retry-after": "60"})
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._stream(view, board), media_type="text/event-stream", headers=headers)

    async def _stream(self, view: str, board: str) -> AsyncIterator[bytes]:
        watch, version = self._watch, 0
        self._streams += 1
        watch.watchers += 1
        try:
            yield b"retry: 2000\n\n"
            while not watch.ended:
                if watch.glance.version <= version and not await watch.beyond(version, _STILL_S):
                    yield b"event: still\ndata:\n\n"
                    continue
                glance = watch.glance
                news = self._news(view, board, version)
                version = glance.version
                yield b"event: news\ndata: " + news + b"\n\n"
        finally:
            watch.watchers -= 1
            self._streams -= 1

    def _news(self, view: str, board: str, since: int) -> bytes:
        """Return what is new since a version, encoded once for all who ask."""
        glance = self._watch.glance
        if self._encoded[0] != glance.version:
            self._encoded = (glance.version, {})
        key = (view + board if view == "board" else view, since)
        found = self._encoded[1].get(key)
        if found is None:
            found = self._encoded[1][key] = msgspec.json.encode(self._made(view, board, since))
        return found

    def _made(self, view: str, board: str, since: int) -> FleetNews | ModelNews | BoardNews:
        glance = self._watch.glance
        if view == "board":
            return BoardNews(glance.version, _now_ms(), glance.head, glance.line_version(board))
        if view == "models":
            return ModelNews(glance.version, _now_ms(), glance.head, glance.groups)
        boards, gone = glance.lines_since(since)
        return FleetNews(
            glance.version,
            _now_ms(),
            glance.head,
            since == 0,
            gone if since else [],
            [msgspec.Raw(line) for line in boards],
            [msgspec.structs.replace(group, distribution=[]) for group in glance.groups],
            glance.trend if since == 0 else glance.trend[-1:],
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _alive(_: Request) -> Response:
    return PlainTextResponse("alive\n")


def _file(name: str) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        content, digest = _content(name)
        headers = {"etag": digest, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == digest:
            return Response(status_code=304, headers=headers)
        kind = _TYPES.get(name.rpartition(".")[2], "text/plain")
        return Response(content, media_type=kind, headers=headers)

    return answer


@cache
def _content(name: str) -> tuple[bytes, str]:
    content = files("edgeglm.fleet.page").joinpath("static", name).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:20]}"'
