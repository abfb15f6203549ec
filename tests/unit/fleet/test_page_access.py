"""Who may see the page of the fleet, and what a browser is told to refuse."""

from __future__ import annotations

import asyncio
import hashlib
import re
import stat
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from edgeglm.errors import UserError
from edgeglm.fleet.page.access import COOKIE, Guard, log_in, token_of
from edgeglm.fleet.page.settings import PageSettings, address, check_settings

TOKEN = "a-token-of-many-characters"
STATIC = Path("edgeglm/fleet/page/static")


def ask(
    path: str = "/", *, token: str | None = TOKEN, method: str = "GET", host: str = "127.0.0.1:8480", **options: Any
) -> httpx.Response:
    async def inside(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        answer: Response = PlainTextResponse("boards")
        if request.method == "POST":
            answer = await log_in(request, token)
        await answer(scope, receive, send)

    async def asked() -> httpx.Response:
        guard = Guard(inside, names=("localhost", "fleet.example.org"), token=token)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://page") as client:
            headers = {"host": host} | options.pop("headers", {})
            return await client.request(method, path, headers=headers, **options)

    return asyncio.run(asked())


@pytest.mark.parametrize("host", ["127.0.0.1:8480", "[::1]:8480", "192.168.7.5", "LOCALHOST", "fleet.example.org:80"])
def test_it_answers_to_addresses_and_its_own_names(host: str) -> None:
    assert ask(token=None, host=host).text == "boards"


@pytest.mark.parametrize("host", ["evil.example.com", "127.0.0.1.evil.example.com", "", "localhost.evil.com:8480", "["])
def test_a_name_that_somebody_else_points_here_gets_nothing(host: str) -> None:
    refused = ask(token=None, host=host)
    assert (refused.status_code, "boards" in refused.text) == (421, False)


def test_without_the_token_nothing_of_boards_is_said() -> None:
    for path in ("/", "/live", "/life/a/b", "/metrics", "/static/../", "/loginx", "//login"):
        assert ask(path).status_code == 401, path
    assert ask("/", headers={"accept": "text/html"}).headers["location"] == "/login"
    assert ask("/login").status_code == ask("/static/page.css").status_code == ask("/alive").status_code == 200
    for shown in ("Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \u00e9".encode().decode("latin-1")):
        assert ask(headers={"authorization": shown.encode("latin-1")}).status_code == 401
    for cookie in (f"{COOKIE}=x", f"{COOKIE}={TOKEN}", "\x01;="):
        assert ask(headers={"cookie": cookie}).status_code == 401
    assert ask(headers={"authorization": f"Bearer {TOKEN}"}).text == "boards"


def test_the_right_token_gets_a_cookie_that_scripts_and_other_sites_do_not_have() -> None:
    wrong = ask("/login", method="POST", data={"token": "wrong"})
    assert (wrong.headers["location"], "set-cookie" in wrong.headers) == ("/login?wrong=1", False)
    right = ask("/login", method="POST", data={"token": f" {TOKEN}\n"})
    cookie = right.headers["set-cookie"]
    assert right.headers["location"] == "/"
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    assert ask(headers={"cookie": cookie.partition(";")[0]}).text == "boards"
    assert ask("/login", method="POST", content=b"x" * 5000).status_code == 413


def test_who_shows_the_token_goes_on_to_the_page_that_was_asked_for() -> None:
    page = "/board/north/gate 7"
    asked = ask(quote(page), headers={"accept": "text/html"}).headers["location"]
    assert asked == f"/login?{urlencode({'to': page})}"
    wrong = ask("/login", method="POST", data={"token": "wrong", "to": page})
    assert wrong.headers["location"] == f"/login?wrong=1&{urlencode({'to': page})}"
    assert ask("/login", method="POST", data={"token": TOKEN, "to": page}).headers["location"] == quote(page)


@pytest.mark.parametrize(
    "to",
    [
        "//evil.example.com",
        "https://evil.example.com",
        "/\\evil.example.com",
        "/board//x",
        "/board/a/b/c",
        "/board/a/b\n",
    ],
)
def test_nobody_is_sent_on_to_what_is_no_page_of_ours(to: str) -> None:
    assert ask("/login", method="POST", data={"token": TOKEN, "to": to}).headers["location"] == "/"
    assert ask("/login", method="POST", data={"token": "wrong", "to": to}).headers["location"] == "/login?wrong=1"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_only_shows(method: str) -> None:
    assert ask(method=method, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 405


def test_every_answer_forbids_what_comes_from_elsewhere_and_what_is_inline() -> None:
    for answer in (ask(), ask("/login"), ask(host="evil.example.com"), ask(method="PUT")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_token_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "page.token"
    made, new = token_of(path)
    assert new
    assert len(made) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token_of(path) == (made, False)
    path.chmod(0o640)
    with pytest.raises(UserError, match="others may read"):
        token_of(path)
    path.chmod(0o600)
    for bad in ("", "short", "x" * 20 + "\x01", "\u00e9" * 20):
        path.write_text(bad, encoding="utf-8")
        with pytest.raises(UserError, match="no token"):
            token_of(path)


@pytest.mark.parametrize(
    ("host", "needed"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("::", True), ("fleet", True)],
)
def test_a_token_is_needed_wherever_other_machines_reach_it(host: str, needed: bool) -> None:
    assert check_settings(PageSettings(store="sqlite:///x", host=host)).needs_token is needed
    assert address(PageSettings(store="sqlite:///x", host="::1"), 80) == "http://[::1]:80/"


def test_a_token_is_asked_for_on_this_machine_alone_too_where_a_proxy_lets_others_in() -> None:
    assert PageSettings(store="sqlite:///x", names=("fleet.example.org",)).needs_token
    assert PageSettings(store="sqlite:///x", token_file=Path("page.token")).needs_token
    right = ask("/login", method="POST", data={"token": TOKEN}, headers={"x-forwarded-proto": "https"})
    assert "; secure" in right.headers["set-cookie"].lower()
    assert "; secure" not in ask("/login", method="POST", data={"token": TOKEN}).headers["set-cookie"].lower()


@pytest.mark.parametrize(
    ("store", "path"),
    [
        ("sqlite:///fleet/fleet.db", "fleet/page.token"),
        ("sqlite:////var/lib/edgeglm/other.db", "/var/lib/edgeglm/page.token"),
        ("postgresql://edgeglm@db.example.org/fleet", "fleet/page.token"),
    ],
)
def test_the_token_lies_beside_the_store_unless_told(store: str, path: str) -> None:
    assert PageSettings(store=store, names=("fleet.example.org",)).token_path == Path(path)
    assert PageSettings(store=store, token_file=Path("my.token")).token_path == Path("my.token")


@pytest.mark.parametrize("names", [("a b",), ("",), ("x/y",)])
def test_a_name_that_is_none_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        check_settings(PageSettings(store="sqlite:///x", names=names))
    assert caught.value.code == "page-host"


def test_what_is_shipped_makes_no_markup_of_text_and_asks_nobody_else() -> None:
    for path in [*STATIC.glob("*.js"), *STATIC.glob("*.html"), *STATIC.glob("*.css")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), path
        assert "//" not in re.sub(r"(?m)//.*$" if path.suffix == ".js" else r"/\*.*?\*/", "", text), path
        assert not re.search(r"\son\w+=|<style|style=|<script(?! src=)", text), f"{path}: inline, which is forbidden"


def test_the_charting_library_is_the_one_that_was_released() -> None:
    digests = {
        "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
        "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    }
    for name, digest in digests.items():
        assert hashlib.sha256((STATIC / "uplot" / name).read_bytes()).hexdigest() == digest
        assert digest in Path("docs/decisions.md").read_text(encoding="utf-8")
    assert "MIT License" in (STATIC / "uplot" / "LICENSE").read_text(encoding="utf-8")
