"""One device's connection to the broker.

gmqtt connects again by itself, at once for all devices and with what it thinks is unanswered; here a connection is used
once, and when to make the next one is the run's affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gmqtt
import msgspec
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

from edgeglm.errors import EnvironmentFailedError
from edgeglm.fleet.packets import publish

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from edgeglm.fleet.addresses import BrokerAddress
    from edgeglm.fleet.simulate.device import Device, Message

_CONNECT_S = 30.0  # for the broker to accept
_GOODBYE_S = 5.0
_WILL_DELAY_S = 3  # as boards ask for: one that comes back at once is not told as one that went
_NEVER = -2  # of gmqtt's retries: with 0 it tries once more

logging.getLogger("gmqtt").setLevel(logging.CRITICAL + 1)  # what it warns of, the run counts


class Target:
    """The broker, and how to speak to it.

    Attributes:
        version: Of MQTT: 5, and 3.1.1 once the broker has refused that.
    """

    def __init__(self, broker: BrokerAddress, *, keepalive_s: int = 600) -> None:
        """Take the address.

        Raises:
            UserError: A file that it names cannot be used.
            EnvironmentFailedError: No such host is known.
        """
        self.name = str(broker)
        self._broker = broker
        self._each_its_own = any("{device}" in str(path) for path in (broker.certificate, broker.key))
        self._tls = None if self._each_its_own else broker.tls_context()
        self.user, self.password = broker.user, broker.password()
        self.host, self.port, self.keepalive_s = broker.host, broker.port, keepalive_s
        self.version = MQTTv50
        if not broker.tls:  # its name is looked up once, not for each device
            self.host = _resolved(broker)

    def tls(self, device: str) -> ssl.SSLContext | None:
        """Return what makes a device's connection a trusted one; None without TLS.

        Raises:
            UserError: A file of its certificate cannot be used.
        """
        if not self._each_its_own:
            return self._tls
        certificate, key = (
            path and Path(str(path).replace("{device}", device))
            for path in (self._broker.certificate, self._broker.key)
        )
        return msgspec.structs.replace(self._broker, certificate=certificate, key=key).tls_context()


class Link:
    """A device with its connection, or without one.

    Attributes:
        device: The device.
        failures: Attempts in a row that failed.
        away_until: Seconds since the run began: before that it makes no attempt.
        is_opening: An attempt is under way.
        was_open: The broker has accepted it once.
    """

    __slots__ = (
        "_client",
        "_gone",
        "_queue",
        "away_until",
        "device",
        "failures",
        "is_opening",
        "on_lost",
        "on_message",
        "tick_at",
        "was_open",
    )

    def __init__(self, device: Device, *, on_message: Callable[..., None], on_lost: Callable[[Link], None]) -> None:
        self.device = device
        self.on_message, self.on_lost = on_message, on_lost
        self.failures, self.away_until, self.tick_at = 0, 0.0, 0.0
        self.is_opening = self.was_open = False
        self._client: Any = None
        self._queue: deque[Message] = deque()  # for which the broker has no room yet
        self._gone: asyncio.Future[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the broker has accepted, and the connection stands."""
        return self._client is not None

    async def open(self, target: Target) -> str:
        """Connect; return why that failed, empty: it did not."""
        device = self.device
        will = device.will()
        client = gmqtt.Client(
            device.name,
            clean_session=True,
            will_message=gmqtt.Message(will.topic, will.payload, qos=1, retain=True, will_delay_interval=_WILL_DELAY_S),
        )
        client.set_config({"reconnect_retries": _NEVER})
        if target.user is not None:
            client.set_auth_credentials(target.user, target.password)
        gone = self._gone = asyncio.get_running_loop().create_future()
        client.on_message = self._came
        client.on_disconnect = lambda *_: self._ended(gone)
        attempt = asyncio.ensure_future(
            client.connect(
                target.host,
                target.port,
                ssl=target.tls(device.name) or False,
                keepalive=target.keepalive_s,
                version=target.version,
            )
        )
        try:
            await asyncio.wait({attempt, gone}, timeout=_CONNECT_S, return_when=asyncio.FIRST_COMPLETED)
            why = _outcome(attempt, gone)
        except BaseException:
            _abort(client)
            raise
        finally:
            attempt.cancel()
        if why:
            if client._connection_state.protocol_version == MQTTv311:  # it takes a refusal of version 5 down so
                target.version = MQTTv311
            _abort(client)
            return why
        self._client, self.was_open = client, True
        self._queue.clear()
        client._package_handler._remove_message_callback = self._answered  # called with each answer to a publish
        client.subscribe([gmqtt.Subscription(device.topics.ack, 0), gmqtt.Subscription(device.topics.commands, 1)])
        return ""

    def publish(self, messages: Iterable[Message]) -> None:
        """Publish, where the connection stands; what does not leave is sent again on the next one.

        In one write, and past gmqtt's store of what is unanswered: a device keeps its rows itself.
        """
        if self._client is not None:
            self._queue.extend(messages)
            self._flush()

    def _flush(self) -> None:
        """Send what the broker takes now: it says how many it wants to have unanswered at a time."""
        if self._client is None:
            return
        connection = self._client._connection
        ids, is_v5 = connection._protocol.id_generator, connection._protocol.proto_ver == MQTTv50
        room = ids._max - 1 - len(ids._used_ids)
        packets = []
        for _ in range(min(room, len(self._queue))):
            message = self._queue.popleft()
            packet_id = ids.next_id()
            packets.append(
                publish(message.topic, message.payload, is_v5=is_v5, packet_id=packet_id, retain=message.retain)
            )
        if packets:
            connection.send_package(b"".join(packets))

    def abort(self) -> None:
        """End the connection as a board does that is switched off: the broker tells its will."""
        client, self._client, self._gone = self._client, None, None
        if client is not None:
            _abort(client)

    async def close(self) -> None:
        """Say goodbye, and end the connection."""
        client = self._client
        if client is not None:
            self.publish([self.device.will()])
            self._client, self._gone = None, None
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):  # wait_for of Python 3.11 may swallow a cancellation
                    await client.disconnect()

    def _answered(self, _: int) -> None:
        if self._queue:
            self._flush()

    def _came(self, _: Any, topic: str, payload: bytes, __: int, properties: dict[str, Any]) -> None:
        self.on_message(self, topic, payload, bool(properties.get("retain")))

    def _ended(self, gone: asyncio.Future[None]) -> None:
        if not gone.done():
            gone.set_result(None)
        if self._gone is gone and self._client is not None:  # one that was given up before has nothing to say
            self.abort()
            self.on_lost(self)


def _resolved(broker: BrokerAddress) -> str:
    try:
        found = socket.getaddrinfo(broker.host, broker.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise EnvironmentFailedError(
            f"no host `{broker.host}` is known: {error.strerror}",
            where=str(broker),
            hint="mend the name, or write the address",
            code="broker-unreachable",
        ) from error
    return str(found[0][4][0])


def _outcome(attempt: asyncio.Future[None], gone: asyncio.Future[None]) -> str:
    if attempt.done() and not gone.done():
        error = attempt.exception()
        return "" if error is None else str(error) or type(error).__name__
    return "the broker ended the connection" if gone.done() else f"no answer within {_CONNECT_S:g} s"


def _abort(client: Any) -> None:
    client._is_active = False
    connection = client._connection
    if connection is not None:
        connection._transport.abort()
        if connection._keep_connection_callback is not None:
            connection._keep_connection_callback.cancel()
