"""A collector that acknowledges as the design says: after its commit, in its own time, what it has of each epoch.

Run it as a program to kill it: ``python collector.py --port 1883 --store rows.db``. What it has is in the store's table
``rows``, whose primary key (device, epoch, sequence) makes a row that came twice one.
"""

from __future__ import annotations

import argparse
import select
import socket
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.telemetry import Gap, body_of, decode_batch, encode_ack, pack_runs, unpack_ranges
from edgeglm_agent.wire.topics import parse_topic
from paho.mqtt.enums import CallbackAPIVersion


class Known:
    """Which sequence numbers of one epoch are accounted for."""

    def __init__(self) -> None:
        self.through = 0
        self.beyond: set[int] = set()

    def add(self, first: int, last: int) -> None:
        self.beyond.update(range(max(first, self.through + 1), last + 1))
        while self.through + 1 in self.beyond:
            self.through += 1
            self.beyond.discard(self.through)


class Store:
    """Rows, once each, and what they account for."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("pragma journal_mode = wal")
        self.db.execute("pragma synchronous = full")
        self.db.execute(
            "create table if not exists rows (device text, epoch blob, sequence integer, kind integer, body blob,"
            " replaces blob, times integer default 1, primary key (device, epoch, sequence)) without rowid"
        )
        self.known: dict[tuple[str, bytes], Known] = {}
        self.malformed = 0
        for device, epoch, sequence, kind, body, replaces in self.db.execute(
            "select device, epoch, sequence, kind, body, replaces from rows"
        ):
            self._account(device, epoch, sequence, kind, body, replaces)

    def _account(self, device: str, epoch: bytes, sequence: int, kind: int, body: bytes, replaces: bytes) -> None:
        from edgeglm_agent.wire.telemetry import Row
        from msgspec import Raw

        known = self.known.setdefault((device, epoch), Known())
        known.add(sequence, sequence)
        try:
            for first, last in unpack_ranges(replaces):
                known.add(first, last)
            held = body_of(Row(sequence, kind, Raw(body)))
            if isinstance(held, Gap):
                for first, last in unpack_ranges(held.ranges):
                    known.add(first, last)
        except WireError:
            self.malformed += 1

    def commit(self, batches: list[tuple[str, bytes, Any]]) -> None:
        """Keep what came, (device, epoch, rows) each, in one transaction."""
        self.db.execute("begin immediate")
        for device, epoch, rows in batches:
            self.db.executemany(
                "insert into rows (device, epoch, sequence, kind, body, replaces) values (?, ?, ?, ?, ?, ?)"
                " on conflict do update set times = times + 1",
                [(device, epoch, row.sequence, row.kind, bytes(row.body), row.replaces) for row in rows],
            )
        self.db.execute("commit")
        for device, epoch, rows in batches:
            for row in rows:
                self._account(device, epoch, row.sequence, row.kind, bytes(row.body), row.replaces)


class Collector:
    """One connection to the broker; ``run`` until ``stop``."""

    def __init__(self, port: int, path: Path, *, tls: tuple[Path, Path, Path] | None = None, lazy: float = 1.0) -> None:
        """Make it.

        Args:
            port: The broker's, on the loopback.
            path: The store.
            tls: Authority, certificate, key.
            lazy: Share of the time that a sender grants which it takes before it acknowledges.
        """
        self.port, self.path, self.tls, self.lazy = port, path, tls, lazy
        self.acks = 0
        self.states: dict[str, list[bytes]] = {}
        self.answers: list[tuple[str, bytes]] = []
        self.deaf = False  # takes in and keeps, but acknowledges nothing
        self._came: list[Any] = []
        self._due: dict[tuple[str, bytes], tuple[float, str]] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)

    def __enter__(self) -> Collector:
        Store(self.path).db.close()  # its table is there before anyone looks
        self._thread = threading.Thread(target=self.run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        assert self._thread is not None
        self._thread.join(30)

    def run(self) -> None:
        """Connect again and again, and collect."""
        self.store = Store(self.path)
        while not self._stopping.is_set():
            try:
                self._serve()
            except OSError:
                time.sleep(0.05)

    def _serve(self) -> None:
        client = paho.Client(
            CallbackAPIVersion.VERSION2, "collector", clean_session=False, reconnect_on_failure=False, manual_ack=True
        )
        client.max_inflight_messages_set(1000)
        client.on_message = lambda _, __, message: self._came.append(message)
        if self.tls:
            client.tls_set(*map(str, self.tls))
        client.connect("127.0.0.1", self.port, keepalive=60)
        self._came.clear()
        subscribed = False
        while (connection := client.socket()) is not None and not self._stopping.is_set():
            pending = getattr(connection, "pending", lambda: 0)()
            write = [connection] if client.want_write() else []
            wait = max(0.0, min([0.1, *(due - time.monotonic() for due, _ in self._due.values())]))
            readable, _, _ = select.select([connection], write, [], 0 if pending else wait)
            if readable or pending:
                client.loop_read()
            if write and client.socket() is not None:
                client.loop_write()
            client.loop_misc()
            if client.is_connected() and not subscribed:
                subscribed = True
                leaves = ("events", "telemetry", "results", "state", "res/+")
                client.subscribe([(f"edgeglm/v1/+/+/+/{leaf}", 1) for leaf in leaves])
            self._keep(client)
            self._acknowledge(client)
        if client.socket() is not None:
            client.disconnect()

    def _keep(self, client: paho.Client) -> None:
        if not self._came:
            return
        came, self._came = self._came, []
        batches = []
        for message in came:
            place = parse_topic(message.topic)
            if place.leaf == "state":
                self.states.setdefault(place.device, []).append(bytes(message.payload))
            elif place.leaf.startswith("res/"):
                self.answers.append((message.topic, bytes(message.payload)))
            else:
                try:
                    batch = decode_batch(message.payload)
                except WireError:
                    self.store.malformed += 1
                    continue
                batches.append((place.device, batch.epoch, batch.rows))
                ack_topic = message.topic.rsplit("/", 1)[0] + "/ack"
                due = time.monotonic() + batch.ack_within_s * self.lazy
                key = (place.device, batch.epoch)
                earlier = self._due.get(key, (due, ack_topic))[0]
                self._due[key] = (min(due, earlier), ack_topic)
        self.store.commit(batches)
        for message in came:  # after the commit, and never before
            client.ack(message.mid, message.qos)

    def _acknowledge(self, client: paho.Client) -> None:
        now = time.monotonic()
        for key, (due, topic) in [*self._due.items()]:
            if due > now or self.deaf:
                continue
            del self._due[key]
            known = self.store.known[key]
            beyond = pack_runs([(number, number) for number in known.beyond])
            client.publish(topic, encode_ack(key[1], known.through, beyond, now_ms=int(time.time() * 1000)))
            self.acks += 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--store", type=Path, required=True)
    arguments = parser.parse_args()
    Collector(arguments.port, arguments.store).run()
