"""A real address that takes alarms."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

from edgeglm.fleet.alerts.webhook import SIGNATURE

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 120.0  # guards against a hang


class Receiver(HTTPServer):
    """A real address that takes alarms, or refuses them as it is told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.got: list[tuple[bytes, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/secret-path"

    def until(self, count: int) -> list[dict[str, Any]]:
        give_up = time.monotonic() + PATIENCE_S
        while len(self.got) < count:
            assert time.monotonic() < give_up, f"{len(self.got)} of {count} came"
            time.sleep(0.01)
        return [json.loads(body) for body, _ in self.got]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        code = self.server.answers.pop(0) if self.server.answers else 204
        self.server.got.append((body, self.headers[SIGNATURE]))
        self.send_response(code)
        self.send_header("Location", self.server.url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiving() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
