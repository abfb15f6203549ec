"""A real `edgeglm fleet collect`, as a process, and boards that send until they are acknowledged."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
from edgeglm_agent.wire.telemetry import Row, decode_ack, encode_batch, unpack_ranges
from edgeglm_agent.wire.topics import Topics
from paho.mqtt.enums import CallbackAPIVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PATIENCE_S = 120.0  # guards against a hang; it is no speed limit


class RunningCollector:
    """One that was started; ``kill`` and ``start`` it as often as you like."""

    def __init__(
        self, store: Path, broker: str, *arguments: str, enter: Sequence[str] = (), url: str | None = None
    ) -> None:
        self.store = store  # what its log is named after, too; ``url``: another store than that file
        self.log_path = store.with_name(f"{store.name}.log")
        command = (sys.executable, "-m", "edgeglm", "fleet", "collect", "--broker", broker)
        self._command = [*enter, *command, "--store", url or f"sqlite:///{store}", *arguments]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=dict(os.environ)
            )

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8") if self.log_path.exists() else ""

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; return its exit code."""
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(PATIENCE_S)

    def resident_mb(self, what: str = "VmRSS") -> float:
        """Return how much memory it has now; ``VmHWM``: had at most."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.split(f"{what}:")[1].split()[0]) / 1024

    def until_said(self, text: str, times: int = 1) -> None:
        """Wait until its log says something so many times."""
        until(lambda: self.log().count(text) >= times, f"`{text}` in the log", self)


def until(holds: Callable[[], Any], what: str, collector: RunningCollector | None = None) -> None:
    """Wait until something holds."""
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        said = collector.log()[-3000:] if collector else ""
        assert time.monotonic() < give_up, f"not within {PATIENCE_S:g} s: {what}\n{said}"
        if collector is not None and collector.process is not None:
            assert collector.process.poll() is None, f"the collector ended: {said}"
        time.sleep(0.02)


def until_nothing_more_is_read(collector: RunningCollector, port: int) -> list[float]:
    """Wait until it leaves what comes from a broker where it is; return how many MB it had meanwhile."""
    holds, waits, give_up = list[float](), 0, time.monotonic() + 300
    while len(holds) < 20:
        assert time.monotonic() < give_up, "it took everything"
        last, waits = waits, _unread(port)
        holds = [*holds, collector.resident_mb()] if waits == last > 0 else []
        time.sleep(0.05)
    return holds


def _unread(port: int) -> int:
    """Return how many bytes wait in the kernel for clients of a port on this machine."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return sum(int(line[4].partition(":")[2], 16) for line in lines if int(line[2].partition(":")[2], 16) == port)


@contextlib.contextmanager
def running_collector(
    store: Path, broker: str, *arguments: str, enter: Sequence[str] = (), url: str | None = None
) -> Iterator[RunningCollector]:
    """Start one, wait until it listens, and leave nothing of it running."""
    collector = RunningCollector(store, broker, *arguments, enter=enter, url=url)
    try:
        collector.start()
        collector.until_said("connected to")
        yield collector
    finally:
        if collector.process is not None and collector.process.poll() is None:
            collector.process.kill()
            collector.process.wait()


class Sender:
    """Boards at one connection: each sends its rows again and again until they are acknowledged."""

    def __init__(self, port: int, fleet: str = "works") -> None:
        self._fleet = fleet
        self._rows: dict[tuple[str, bytes], dict[int, Row]] = {}
        self.acks = 0
        self.client = paho.Client(CallbackAPIVersion.VERSION2, f"sender-{os.getpid()}-{time.monotonic_ns()}")
        self.client.max_queued_messages_set(0)
        self.client.on_message = self._on_message
        self.client.on_connect = lambda client, *_: client.subscribe(f"edgeglm/v1/{fleet}/+/+/ack", 1)
        self.client.connect("127.0.0.1", port)
        self.client.reconnect_delay_set(1, 1)
        self.client.loop_start()
        until(self.client.is_connected, "a connection")

    def give(self, device: str, epoch: bytes, rows: Sequence[Row]) -> None:
        """Give a board rows to send."""
        self._rows.setdefault((device, epoch), {}).update({row.sequence: row for row in rows})

    def send(self, *, leaf: str = "telemetry", at_once: int = 10, within_s: int = 0) -> int:
        """Send what is not acknowledged once; return how many rows that were."""
        sent = 0
        for (device, epoch), rows in [*self._rows.items()]:
            left = [*rows.values()]
            topic = getattr(Topics(self._fleet, device), leaf)
            for start in range(0, len(left), at_once):
                payload = encode_batch(epoch, left[start : start + at_once], ack_within_s=within_s)
                self.client.publish(topic, payload, qos=1)
            sent += len(left)
        return sent

    def left(self) -> int:
        """Return how many rows are not acknowledged."""
        return sum(len(rows) for rows in self._rows.values())

    def until_acknowledged(self) -> None:
        """Send until nothing is left."""
        give_up = time.monotonic() + PATIENCE_S
        while self.send():
            again = time.monotonic() + 2.0
            while self.left() and time.monotonic() < again:
                time.sleep(0.01)
            assert time.monotonic() < give_up, f"{self.left()} rows are not acknowledged"

    def _on_message(self, _: object, __: object, message: paho.MQTTMessage) -> None:
        ack = decode_ack(message.payload)
        self.acks += 1
        runs = [(0, ack.through), *unpack_ranges(ack.beyond)]
        rows = self._rows.get((message.topic.split("/")[4], ack.epoch), {})
        for number in [*rows]:
            if any(first <= number <= last for first, last in runs):
                rows.pop(number, None)

    def say(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        """Publish anything, and wait until the broker has it."""
        self.client.publish(topic, payload, qos=qos, retain=retain).wait_for_publish(PATIENCE_S)

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()
