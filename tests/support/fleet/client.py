"""A real MQTT client that waits for what it asked for."""

from __future__ import annotations

import contextlib
import secrets
import ssl
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

UNSUPPORTED_VERSION = 132
PATIENCE_S = 300.0  # guards against a hang; it is no speed limit


class Identity(NamedTuple):
    """What a client shows and trusts; without a certificate it shows none."""

    authority: Path
    certificate: Path | None = None
    key: Path | None = None


class Client:
    """One connection; ``got`` is what came, as (topic, payload)."""

    def __init__(self, port: int, name: str = "", *, identity: Identity | None = None, lasting: bool = False) -> None:
        """Connect by MQTT 5, or 3.1.1 where that is refused, and wait until the broker has answered.

        ``lasting``: its session outlives the connection.
        """
        self.got: list[tuple[str, bytes]] = []
        self._moved = threading.Condition()
        for v5 in (True, False):
            self._codes: dict[int, int] = {}  # of packets, by their number
            self.connected: int | None = None  # the reason
            self.lost = False
            self._client = self._opened(port, name, identity, lasting=lasting, v5=v5)
            with self._moved:
                self._moved.wait_for(lambda: self.connected is not None or self.lost, PATIENCE_S)
            if self.connected != UNSUPPORTED_VERSION:
                return
            self._client.loop_stop()

    def _opened(self, port: int, name: str, identity: Identity | None, *, lasting: bool, v5: bool) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=name or f"test-{secrets.token_hex(4)}",
            protocol=paho.MQTTv5 if v5 else paho.MQTTv311,
            clean_session=None if v5 else not lasting,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(1000)
        client.max_queued_messages_set(0)
        if identity is not None:
            context = ssl.create_default_context(cafile=identity.authority)
            if identity.certificate is not None:
                context.load_cert_chain(identity.certificate, identity.key)
            client.tls_set_context(context)
        client.on_connect = lambda _c, _u, _f, reason, _p: self._note(0, reason.value, connected=True)
        client.on_disconnect = lambda *_: self._note(0, 0, lost=True)
        client.on_subscribe = lambda _c, _u, number, reasons, _p: self._note(
            number, max(reason.value for reason in reasons)
        )
        client.on_publish = lambda _c, _u, number, reason, _p: self._note(number, reason.value)
        client.on_message = self._take
        properties = None
        if v5 and lasting:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 86_400
        options = {"clean_start": not lasting, "properties": properties} if v5 else {}
        client.connect("127.0.0.1", port, keepalive=60, **options)
        client.loop_start()
        return client

    def subscribe(self, topic: str, qos: int = 1) -> int:
        """Return the reason that the broker gives: 128 and above refuse."""
        return self._answer(self._client.subscribe(topic, qos)[1])

    def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> int | None:
        """Publish at QoS 1; return the broker's reason, None where it ended the connection instead."""
        return self._answer(self._client.publish(topic, payload, qos=1, retain=retain).mid)

    def publish_many(self, topic: str, payloads: list[bytes]) -> None:
        """Publish at QoS 1, and wait until the broker has said that it has them."""
        numbers = [self._client.publish(topic, payload, qos=1).mid for payload in payloads]
        with self._moved:
            done = self._moved.wait_for(lambda: all(number in self._codes for number in numbers), PATIENCE_S)
        assert done
        assert {self._codes[number] for number in numbers} <= {0, 16}

    def until(self, count: int) -> list[tuple[str, bytes]]:
        """Wait until so many messages have come; one that comes again (not acknowledged in time) counts once."""
        with self._moved:
            self._moved.wait_for(lambda: len(self.got) >= count and len(set(self.got)) >= count, PATIENCE_S)
        return self.got

    def _answer(self, number: int) -> int | None:
        with self._moved:
            self._moved.wait_for(lambda: number in self._codes or self.lost, PATIENCE_S)
            return self._codes.get(number)

    def _note(self, number: int, code: int, *, connected: bool = False, lost: bool = False) -> None:
        with self._moved:
            if connected:
                self.connected = code
            elif lost:
                self.lost = True
            else:
                self._codes[number] = code
            self._moved.notify_all()

    def _take(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        with self._moved:
            self.got.append((message.topic, message.payload))
            self._moved.notify_all()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextlib.contextmanager
def let_in_again(port: int, name: str, *, lasting: bool = True) -> Iterator[Client]:
    """Connect as soon as the broker lets anybody in: one that was killed is being started again."""
    give_up = time.monotonic() + PATIENCE_S
    with contextlib.ExitStack() as opened:
        while True:
            with contextlib.suppress(OSError):
                client = opened.enter_context(Client(port, name, lasting=lasting))
                if client.connected == 0:
                    break  # else it was taken by one that was just ending
            assert time.monotonic() < give_up
            time.sleep(0.1)
        yield client
