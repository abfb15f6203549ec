"""Malformed requests by the thousand: none crashes the server, each is counted, and the next good one is answered."""

from __future__ import annotations

import concurrent.futures
import importlib.util
import socket
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.agent.http_fuzzer import request
from tests.support.agent.http_server import Serving, serving, until

PARSERS = ["h11", *(["httptools"] if importlib.util.find_spec("httptools") else [])]
CLIENTS = 8


def send(served: Serving, seed: int) -> bool:
    """Send one, end the sending, take what comes back until the server closes; False: nothing came back."""
    with served.connect() as client:
        try:
            client.sendall(request(seed))
            client.shutdown(socket.SHUT_WR)
            return bool(b"".join(iter(lambda: client.recv(65536), b"")))
        except ConnectionError:  # closed while it was still sent
            return True


def rss_kb() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def storm(served: Serving, first: int, count: int) -> None:
    def client(number: int) -> None:
        for seed in range(first + number, first + count, CLIENTS):
            send(served, seed)

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))


def check(count: int, monkeypatch: pytest.MonkeyPatch, parser: str) -> None:
    logged: list[Any] = []
    monkeypatch.setattr("edgeglm_agent.inputs.http.application.log", lambda *said, **more: logged.append((said, more)))
    if parser == "h11":
        monkeypatch.setitem(sys.modules, "httptools", None)
        monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.httptools_impl", None)
    with serving(max_waiting=64, read_timeout_s=5) as served:
        storm(served, 0, 500)  # what is made once is made
        until(lambda: not served.source.connections)
        counted, before = served.counted(), rss_kb()
        assert counted >= 500  # one connection may hold two requests
        storm(served, 500, count)
        until(lambda: not served.source.connections)
        assert served.counted() - counted >= count
        assert rss_kb() - before < 20_000
        assert logged == []  # no fault of ours
        assert served.source.doors.counts[500] == 0
        until(lambda: served.faults == served.source.doors.counts[400])
        assert served.source.pending == 0
        assert not served.source.waiting
        answer = httpx.post(f"{served.url}/v1/infer", json={"inputs": [1, 2]})
        assert answer.json()["answer"] == {"y": [2.0, 4.0]}


@pytest.mark.parametrize("parser", PARSERS)
def test_malformed_requests_are_counted_and_harm_nothing(monkeypatch: pytest.MonkeyPatch, parser: str) -> None:
    check(1_000, monkeypatch, parser)


@pytest.mark.full
@pytest.mark.parametrize("parser", PARSERS)
def test_a_hundred_thousand_malformed_requests(monkeypatch: pytest.MonkeyPatch, parser: str) -> None:
    check(100_000, monkeypatch, parser)
