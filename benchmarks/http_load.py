"""Ask an HTTP server in a closed loop from many connections, in one process without threads: a client that costs little.

python benchmarks/http_load.py PORT CONNECTIONS SECONDS REQUEST_FILE    prints one line of JSON
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time
from collections import Counter
from pathlib import Path

_HEAD = re.compile(rb"HTTP/1.1 (\d{3}).*?\r\ncontent-length: (\d+)\r\n.*?\r\n\r\n", re.DOTALL | re.IGNORECASE)


class Connection:
    """One client: the next request goes out when the answer to the last is there."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = request
        self.received = b""
        self.sent_at = 0.0

    def ask(self) -> None:
        self.received = b""
        self.sent_at = time.perf_counter()
        self.socket.sendall(self.request)

    def answered(self) -> int:
        """Take what has come; return the status when the response is whole, else 0."""
        part = self.socket.recv(262_144)
        if not part:
            raise ConnectionError("the server closed the connection")
        self.received += part
        head = _HEAD.match(self.received)
        return int(head[1]) if head and len(self.received) == head.end() + int(head[2]) else 0


def load(port: int, connections: int, seconds: float, request: bytes) -> dict[str, object]:
    """Return counts by status, seconds, CPU seconds of this process, and the latencies of what was answered in milliseconds.

    After ``seconds`` nothing new is asked, and what was asked is waited for: or the slowest answers would be missing.
    """
    selector = selectors.DefaultSelector()
    clients = [Connection(port, request) for _ in range(connections)]
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.ask()
    latencies: list[float] = []
    counts: Counter[int] = Counter()
    paused: list[tuple[float, Connection]] = []  # refused: they wait a little, as one does
    cpu, began = time.process_time(), time.perf_counter()
    outstanding = len(clients)
    while outstanding:
        now = time.perf_counter()
        asking = now - began < seconds
        while asking and paused and paused[0][0] <= now:
            paused.pop(0)[1].ask()
            outstanding += 1
        for key, _ in selector.select(0.01):
            client = key.data
            status = client.answered()
            if not status:
                continue
            counts[status] += 1
            now = time.perf_counter()
            if status == 200:
                latencies.append((now - client.sent_at) * 1000)
            if status == 200 and asking:
                client.ask()
                continue
            outstanding -= 1
            if status != 200:
                paused.append((now + 0.05, client))
        if asking and not outstanding:
            time.sleep(0.01)  # all were refused
            outstanding = _asked_again(paused)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    for client in clients:
        client.socket.close()
    latencies.sort()
    return {"counts": counts, "seconds": wall, "cpu_s": cpu, "latencies_ms": latencies}


def _asked_again(paused: list[tuple[float, Connection]]) -> int:
    """Let those ask again that were refused; return how many."""
    count = len(paused)
    while paused:
        paused.pop(0)[1].ask()
    return count


def main() -> None:
    """Load, and print."""
    port, connections, seconds, path = sys.argv[1:]
    print(json.dumps(load(int(port), int(connections), float(seconds), Path(path).read_bytes())))


if __name__ == "__main__":
    main()
