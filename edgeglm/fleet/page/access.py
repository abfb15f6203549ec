"""Who may see the page: by the name it is asked for under, and by a token where other machines reach it."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlencode

from starlette.responses import PlainTextResponse, RedirectResponse, Response

from edgeglm.errors import UserError
from edgeglm.files import storage_errors
from edgeglm.trust.names import address_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "edgeglm_page"
_COOKIE_S = 30 * 86_400
_LEAST_TOKEN = 16
_MOST_FORM = 4096  # bytes
# what to go on to once the token was shown: none begins with two slashes, which would be a host
_PAGE = re.compile(r"/(models|board/[^/\\\x00-\x1f]+/[^/\\\x00-\x1f]+)?")
_FREE = ("/login", "/alive")  # shown without a token, as all of /static/: they say nothing of boards
_HEADERS = {
    # scripts, styles and data from here alone; nothing inline, no markup made of text, in no one's frame
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    b"img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
}


def token_of(path: Path) -> tuple[str, bool]:
    """Return the token in a file, and whether it was made now: readable by its owner alone.

    Raises:
        UserError: The file holds none, or others may read it.
        StorageError: It cannot be read or written.
    """
    with storage_errors(path):
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            token = secrets.token_urlsafe(32)
            with os.fdopen(number, "w", encoding="ascii") as file:
                file.write(token + "\n")
            return token, True
        with path.open("rb") as there:
            if os.fstat(there.fileno()).st_mode & 0o077:
                raise UserError(
                    "others may read this token", where=str(path), hint=f"chmod 600 {path}", code="page-token"
                )
            token = there.read(1024).decode(errors="replace").strip()
    if len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable():
        raise UserError(
            f"this is no token: at least {_LEAST_TOKEN} printable ASCII characters on one line",
            where=str(path),
            hint="remove the file, and a new one is made",
            code="page-token",
        )
    return token, False


class Guard:
    """Stands before everything: names, token, and what a browser is told to refuse."""

    def __init__(self, app: ASGIApp, *, names: Iterable[str], token: str | None) -> None:
        self._app = app
        self._names = frozenset(names)
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let it through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS.items()]
            await send(message)

        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        answer = self._refusal(scope["path"], scope["method"], headers)
        await (answer or self._app)(scope, receive, with_headers)

    def _refusal(self, path: str, method: str, headers: dict[bytes, str]) -> Response | None:
        if not self._is_ours(headers.get(b"host", "")):
            # a foreign page whose name is made to point here would be of one origin with this one
            said = "this page does not answer to that name; start it with --name, or ask for it by its address\n"
            return PlainTextResponse(said, 421)
        if method not in ("GET", "HEAD") and (method, path) != ("POST", "/login"):
            return PlainTextResponse("this page only shows\n", 405, {"allow": "GET, HEAD"})
        free = path in _FREE or path.startswith("/static/")
        if self._token is None or free or self._may_see(headers):
            return None
        if "text/html" in headers.get(b"accept", ""):
            return RedirectResponse(_login(path), 303)
        return PlainTextResponse(
            "a token is needed: `Authorization: Bearer TOKEN`\n", 401, {"www-authenticate": "Bearer"}
        )

    def _is_ours(self, host: str) -> bool:
        name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
        return name.lower() in self._names or address_of(name) is not None

    def _may_see(self, headers: dict[bytes, str]) -> bool:
        assert self._token is not None
        kind, _, shown = headers.get(b"authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return same(shown.strip(), self._token)
        try:
            cookie = SimpleCookie(headers.get(b"cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and same(cookie.value, cookie_of(self._token))


def same(shown: str, right: str) -> bool:
    """Compare in a time that does not tell how much of it is right."""
    return hmac.compare_digest(shown.encode("utf-8", "replace"), right.encode())


def cookie_of(token: str) -> str:
    """Return what a browser keeps in place of the token."""
    return hmac.new(token.encode(), b"edgeglm fleet page 1", hashlib.sha256).hexdigest()


def _login(to: str, *, wrong: bool = False) -> str:
    """Return where the token is asked for, and where to go on from there: nowhere but to a page of ours."""
    asked = {"wrong": "1"} if wrong else {}
    if to != "/" and _PAGE.fullmatch(to):
        asked["to"] = to
    return f"/login?{urlencode(asked)}" if asked else "/login"


async def log_in(request: Request, token: str | None) -> Response:
    """Take a token from a form; who shows the right one gets a cookie."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_FORM:
            return PlainTextResponse("too long for a token\n", 413)
    form = parse_qs(body.decode(errors="replace"))
    to = form.get("to", ["/"])[0]
    if token is not None and not same(form.get("token", [""])[0].strip(), token):
        return RedirectResponse(_login(to, wrong=True), 303)
    answer = RedirectResponse(quote(to) if _PAGE.fullmatch(to) else "/", 303)
    if token is not None:
        answer.set_cookie(
            COOKIE,
            cookie_of(token),
            max_age=_COOKIE_S,
            httponly=True,
            samesite="strict",
            path="/",
            secure=request.headers.get("x-forwarded-proto") == "https",  # a proxy with TLS stands before us
        )
    return answer
