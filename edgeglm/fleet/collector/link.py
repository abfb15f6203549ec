"""The connection to the broker: made again whenever it ends, with one client each.

A message is acknowledged on the connection that it came on, or never: the broker keeps the session, and sends again
what was not acknowledged. gmqtt would make a task of each message to acknowledge it later; at thousands a second that
is a third of all the work, so what it does with a message of QoS 1 is done here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from edgeglm.errors import EdgeglmError
from edgeglm.fleet.collector.rivalry import Ends
from edgeglm.fleet.packets import Corked, acknowledgements, publish

if TYPE_CHECKING:
    from collections.abc import Callable

    import gmqtt

    from edgeglm.fleet.addresses import BrokerAddress
    from edgeglm.log import Log

KEEPALIVE_S = 60
WINDOW = 4000  # messages that the broker sends ahead of their acknowledgement
_SESSION_S = 86_400  # that the broker keeps it: boards keep what is not acknowledged for longer
_MOST_PACKET = 16 << 20
_CONNECT_S = 30.0
_LOOK_S = 0.2
_GATHER_S = 0.01  # that little is waited with, for more to come
_MUCH_BYTES = 32 << 10  # of one read: no longer little
_STABLE_S = 30.0  # a connection that held so long was a good one
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
_FILTERS_AT_ONCE = 100
_REFUSED = 0x80
_TAKEN_OVER = b"\x8e"  # reason of a DISCONNECT (MQTT 5, section 3.14.2.1)
_OTHER_VERSION = (1, 132)  # reasons: MQTT 5 is not spoken here


class Receiver(Protocol):
    """Who takes messages."""

    def message(self, topic: str | bytes, payload: bytes, *, retained: bool) -> bool:
        """Take one; False: not now, the broker keeps it."""


class Unacknowledged(NamedTuple):
    """Messages that were taken, and that the broker still has."""

    connection: int
    ids: list[int]


class Link:
    """One place at one broker."""

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        filters: list[str],
        receiver: Receiver,
        log: Log,
        ready: Callable[[], None] | None = None,
    ) -> None:
        self._address = address
        self._client_id = client_id
        self._filters = filters
        self._receiver = receiver
        self._log = log
        self._ready = ready  # is called once, at the first connection
        self._client: Any = None  # once everything is subscribed to
        self._making: Any = None  # from the start: what waited for us comes before that
        self._version = 5
        self._guessed = False  # that the broker does not speak 5
        self._told = ""
        self._paused = False
        self._connections = 0
        self._taken: list[int] = []
        self._ends = Ends()
        quiet = logging.getLogger("gmqtt")  # what goes wrong is said here, once
        quiet.setLevel(logging.CRITICAL + 1)
        self._quiet = quiet

    @property
    def connected(self) -> bool:
        """Whether there is a connection with everything subscribed to."""
        return self._client is not None

    async def run(self) -> None:
        """Connect again and again, until it is cancelled; then disconnect."""
        loop = asyncio.get_running_loop()
        wait_s = _FIRST_WAIT_S
        while True:
            while self._paused:  # a connection that is not read from is none
                await asyncio.sleep(_LOOK_S)
            began = loop.time()
            try:
                await self._connection()
            except _OtherVersionError:
                continue
            except (OSError, EdgeglmError, _BrokerError) as error:
                self._tell(f"no connection to {self._address}: {_reason(error)}")
            if loop.time() - began > _STABLE_S:
                wait_s = _FIRST_WAIT_S
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311 - not all at once
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)

    def publish(self, messages: list[tuple[str, bytes]]) -> None:
        """Send what may be lost, topic and payload each; nothing is sent without a connection."""
        if self._client is not None and messages:
            is_v5 = self._version == 5
            packets = b"".join([publish(topic, payload, is_v5=is_v5) for topic, payload in messages])
            self._client._connection.send_package(packets)

    def taken(self) -> Unacknowledged:
        """Return which messages were taken since this was asked last."""
        ids, self._taken = self._taken, []
        return Unacknowledged(self._connections, ids)

    def acknowledge(self, messages: Unacknowledged) -> None:
        """Let the broker forget messages, where their connection is still there."""
        if self._making is not None and messages.connection == self._connections and messages.ids:
            self._making._connection.send_package(acknowledgements(messages.ids))

    def pause(self, paused: bool) -> None:
        """Stop reading from the broker, or go on."""
        self._paused = paused
        connection = self._making._connection if self._making is not None else None
        if connection is not None and not connection.is_closing():
            connection._transport.pause_reading() if paused else connection._transport.resume_reading()

    def _gather(self, connection: Any) -> None:
        """Let what comes in little pieces gather in the kernel: each turn of the loop costs as much as a message."""
        loop = asyncio.get_running_loop()
        transport, received = connection._transport, connection._protocol.data_received
        connection._protocol._hard_reader._transport = _Gate(transport, lambda: self._paused)

        def go_on() -> None:
            if not self._paused and not transport.is_closing():
                transport.resume_reading()

        def gathered(data: bytes) -> None:
            received(data)
            if len(data) < _MUCH_BYTES and not transport.is_closing():
                transport.pause_reading()
                loop.call_later(_GATHER_S, go_on)

        connection._protocol.data_received = gathered

    async def _connection(self) -> None:
        """Connect, and stay until the connection ends."""
        import gmqtt

        ended = asyncio.Event()
        answers: asyncio.Queue[tuple[int, ...]] = asyncio.Queue()
        client = gmqtt.Client(
            self._client_id,
            clean_session=False,
            optimistic_acknowledgement=False,
            logger=self._quiet,
            session_expiry_interval=_SESSION_S,
            receive_maximum=WINDOW,
            maximum_packet_size=_MOST_PACKET,
        )
        client.set_config({"reconnect_retries": -2, "reconnect_delay": 0})  # never: that is done here
        why = ""

        def gone(_: Any, packet: bytes, *__: Any) -> None:
            nonlocal why
            if packet[:1] == _TAKEN_OVER and self._version == 5:
                why = ": another client came under this name, such as a collector on a copy of this machine"
            ended.set()

        client.on_disconnect = gone
        client.on_subscribe = lambda _, __, granted, ___: answers.put_nowait(granted)
        receiver = self._receiver
        self._connections += 1
        self._taken = []

        def message(message_id: int, payload: bytes, topic: str | bytes, properties: dict[str, Any]) -> None:
            if receiver.message(topic, payload, retained=bool(properties["retain"])):
                self._taken.append(message_id)

        def unanswered(_: Any, topic: str | bytes, payload: bytes, __: int, properties: dict[str, Any]) -> None:
            receiver.message(topic, payload, retained=bool(properties["retain"]))

        client._package_handler._handle_qos_1_publish_packet = message
        client.on_message = unanswered  # QoS 0
        if self._address.user is not None:
            client.set_auth_credentials(self._address.user, self._address.password())
        try:
            self._making = client
            await self._connect(client, ended)
            connection = client._connection
            self._gather(connection)
            connection._transport = connection._protocol._transport = Corked(connection._transport)
            await self._subscribe(client, ended, answers)
            self._client = client
            self._told = ""
            self._log.stage(f"connected to {self._address} (MQTT {'5' if self._version == 5 else '3.1.1'})")
            if self._ready is not None:
                self._ready()
                self._ready = None
            await ended.wait()
            if self._guessed:
                self._version, self._guessed = 5, False
            asked = self._ends.suspicion(asyncio.get_running_loop().time())
            self._log.warn(f"the connection to {self._address} is gone{why or asked}")
        finally:
            self._client = self._making = None
            with contextlib.suppress(Exception):  # it may be half made, or gone
                async with asyncio.timeout(2.0):  # wait_for of Python 3.11 may swallow a cancellation
                    await client.disconnect()

    async def _connect(self, client: gmqtt.Client, ended: asyncio.Event) -> None:
        from gmqtt import MQTTConnectError
        from gmqtt.mqtt.constants import MQTTv50, MQTTv311

        version = MQTTv50 if self._version == 5 else MQTTv311
        connecting = asyncio.ensure_future(
            client.connect(
                self._address.host,
                self._address.port,
                ssl=self._address.tls_context() or False,
                keepalive=KEEPALIVE_S,
                version=version,
            )
        )
        if not await _first(connecting, ended, _CONNECT_S):
            if ended.is_set() and self._version == 5:
                self._version, self._guessed = 4, True
                raise _OtherVersionError  # some brokers of 3.1.1 close at once, and so do those that are just starting
            if ended.is_set():
                self._version, self._guessed = 5, False
            raise _BrokerError("it closed the connection" if ended.is_set() else "it does not answer")
        try:
            connecting.result()
        except MQTTConnectError as error:
            code = getattr(error, "_code", 0)
            if self._version == 5 and code in _OTHER_VERSION:
                self._version = 4
                raise _OtherVersionError from error
            raise _BrokerError(error.message.removeprefix("Connection Refused: ").lower()) from error

    async def _subscribe(
        self, client: gmqtt.Client, ended: asyncio.Event, answers: asyncio.Queue[tuple[int, ...]]
    ) -> None:
        from gmqtt import Subscription

        for start in range(0, len(self._filters), _FILTERS_AT_ONCE):
            some = self._filters[start : start + _FILTERS_AT_ONCE]
            client.subscribe([Subscription(one, qos=1) for one in some])
            answer = asyncio.ensure_future(answers.get())
            if not await _first(answer, ended, _CONNECT_S):
                raise _BrokerError("it does not answer a subscription")
            refused = [one for one, granted in zip(some, answer.result(), strict=False) if granted >= _REFUSED]
            if refused:
                raise _BrokerError(f"it does not let `{self._address.user or self._client_id}` read {refused[0]}")

    def _tell(self, text: str) -> None:
        """Say what is wrong, once."""
        if text != self._told:
            self._told = text
            self._log.warn(f"{text}; trying again")


class _Gate:
    """A transport as its reader sees it, which stops and goes on by what it has in hand: not while all is paused."""

    def __init__(self, transport: Any, shut: Callable[[], bool]) -> None:
        self._transport, self._shut = transport, shut

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._shut():
            self._transport.resume_reading()


class _BrokerError(Exception):
    """The broker does not do what it should."""


class _OtherVersionError(_BrokerError):
    """The broker does not speak MQTT 5, as it seems."""


async def _first(wanted: asyncio.Future[Any], ended: asyncio.Event, seconds: float) -> bool:
    """Wait for something; return whether it came before the connection ended, and in time."""
    end = asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait({wanted, end}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        end.cancel()
        if not wanted.done():
            wanted.cancel()
    return wanted.done() and not wanted.cancelled()


def _reason(error: Exception) -> str:
    if isinstance(error, EdgeglmError):
        return f"{error.problems[0].where}: {error.problems[0].message}"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
