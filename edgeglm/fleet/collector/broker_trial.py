"""Does the broker keep what waits for a collector that is away? No broker says so by itself, so it is tried, once.

A client with a lasting session subscribes and leaves. Meanwhile more messages are sent to it than brokers keep by
default; then it comes back and counts. That costs the broker a fraction of a second and some hundred kilobytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeglm_agent.wire.topics import Topics

from edgeglm.errors import EdgeglmError
from edgeglm.fleet.collector.certificates import whose
from edgeglm.fleet.packets import acknowledgements

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import gmqtt

    from edgeglm.fleet.addresses import BrokerAddress
    from edgeglm.fleet.collector.shards import Part
    from edgeglm.log import Log

LEAF = "probe"
NAME = "edgeglm-probe"  # stands where a board's name does, and for the fleet where the collector takes all of them
MESSAGES = 1500  # mosquitto, EMQX and HiveMQ keep 1,000 unless told otherwise, beside those under way
_ENOUGH_UNDER_WAY = 500  # at once, without an acknowledgement: with fewer, each commit is small
_SETTLED_S = 1.0
_MARK_EVERY_S = 0.5
_FIRST_S = 10.0
_PATIENCE_S = 60.0
_AGAIN_S = 30.0
_FORGET_S = 2.0


class Kept(NamedTuple):
    """What became of the messages that were sent while nobody was there."""

    arrived: int  # of MESSAGES
    under_way: int  # that it sent ahead of their acknowledgement


class TrialError(Exception):
    """It could not be tried, and why."""


async def tell_what_it_drops(address: BrokerAddress, part: Part, log: Log, *, client_id: str) -> None:
    """Try the broker once it can be reached, and say what it would lose; say nothing where all is well.

    Args:
        address: The broker.
        part: What the collector takes.
        log: Is told.
        client_id: The collector's, which no other has.
    """
    while True:
        try:
            kept = await try_broker(address, part, client_id=client_id)
        except TrialError as error:
            if other := whose(address):
                log.warn(
                    f"{address.certificate} is the certificate of {other}, and this broker gives a collector with it "
                    "nothing to read; have one made with `edgeglm fleet certificate NAME --role collector`"
                )
            log.note(f"whether {address} keeps what waits for a collector could not be tried: {error}")
            return
        except (OSError, EdgeglmError):  # TimeoutError is one too
            await asyncio.sleep(_AGAIN_S)  # the collector itself says that there is no connection
            continue
        if kept.arrived < MESSAGES:
            log.warn(
                f"{address} drops what waits for a collector that is away: of {MESSAGES} messages that it had taken, "
                f"it gave {kept.arrived} to one that came back; boards send their rows again, answers to commands are "
                "gone (mosquitto: max_queued_messages 0; others: docs/fleet.md)"
            )
        if kept.under_way < min(kept.arrived, _ENOUGH_UNDER_WAY):
            log.warn(
                f"{address} lets only {kept.under_way} messages be under way, so few are committed together "
                "(mosquitto: max_inflight_messages 2000; others: docs/fleet.md)"
            )
        return


async def try_broker(address: BrokerAddress, part: Part, *, client_id: str) -> Kept:
    """Return what arrives of ``MESSAGES`` that were sent to a client that was away.

    Args:
        address: The broker.
        part: What the collector takes.
        client_id: The collector's: two clients are called after it.

    Raises:
        TrialError: The broker does not let it be tried.
        OSError, EdgeglmError: There is no connection, or no answer.
    """
    topic = f"{Topics(part.fleet or NAME, NAME).prefix}/{LEAF}"
    receiver, sender = f"{client_id}-probe", f"{client_id}-probe-sender"
    run = secrets.token_bytes(8)
    async with _connected(address, receiver, lasting=False):  # forget what one that was killed has left
        pass
    came = asyncio.Event()

    def first(client: gmqtt.Client, message_id: int, _: bytes) -> None:
        _acknowledge(client, [message_id])
        came.set()

    async with _connected(address, receiver, lasting=True, receive=first) as client:
        await _subscribe(client, topic)
        client.publish(topic, b"first", qos=1)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_S):
                await came.wait()
    if not came.is_set():
        raise TrialError(f"nothing comes of what is sent to {topic}; a collector has to have the right to both")
    try:
        async with _connected(address, sender, lasting=False) as other:
            for number in range(MESSAGES):
                other.publish(topic, run + number.to_bytes(4, "big"), qos=1)
            async with asyncio.timeout(_PATIENCE_S):
                await other._persistent_storage.wait_empty()  # all are acknowledged
            return await _count(address, receiver, topic, run, other)
    finally:
        with contextlib.suppress(OSError, EdgeglmError):
            # a broker that ends as we do takes a connection and never answers: no end of ours waits for that
            async with asyncio.timeout(_FORGET_S), _connected(address, receiver, lasting=False):
                pass


async def _count(address: BrokerAddress, client_id: str, topic: str, run: bytes, sender: gmqtt.Client) -> Kept:
    """Come back; count what comes, at first without an acknowledgement, up to a mark that is sent behind it."""
    seen: set[bytes] = set()
    held: list[int] = []
    marked = asyncio.Event()
    holding = True

    def message(client: gmqtt.Client, message_id: int, payload: bytes) -> None:
        if payload[:8] == run:
            seen.add(payload[8:])
        if payload == run + b"mark":
            marked.set()
        if holding:
            held.append(message_id)
        else:
            _acknowledge(client, [message_id])

    async with _connected(address, client_id, lasting=True, receive=message) as client:
        before = -1
        while len(seen) > before:  # what is sent again for want of an acknowledgement is no news
            before = len(seen)
            await asyncio.sleep(_SETTLED_S)
        holding = False
        under_way = before
        _acknowledge(client, held)
        async with asyncio.timeout(_PATIENCE_S):
            while not marked.is_set():
                sender.publish(topic, run + b"mark", qos=1)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_MARK_EVERY_S):
                        await marked.wait()
        await _until_it_has_read(client, topic)
    return Kept(len(seen - {b"mark"}), under_way)


def _acknowledge(client: gmqtt.Client, message_ids: list[int]) -> None:
    """Let the broker forget messages; what was read before the connection ended, and comes after that, it keeps."""
    if not client._connection.is_closing():  # asyncio logs each write to one that is
        client._connection.send_package(acknowledgements(message_ids))


async def _subscribe(client: gmqtt.Client, topic: str) -> None:
    granted: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()

    def answered(_: object, __: int, codes: tuple[int, ...], ___: object) -> None:
        if not granted.done():
            granted.set_result(codes)

    client.on_subscribe = answered
    client.subscribe(topic, qos=1)
    async with asyncio.timeout(_PATIENCE_S):
        if any(code >= 0x80 for code in await granted):
            raise TrialError(f"it does not let this collector read {topic}")


async def _until_it_has_read(client: gmqtt.Client, topic: str) -> None:
    """Wait until the broker has read all that was sent, and that this client leaves: the next one has its name.

    mosquitto reads one packet at a time of each, and would log a client that came while it was connected already.
    """
    read = asyncio.Event()
    client.on_unsubscribe = lambda *_: read.set()
    client.unsubscribe(topic)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_S):
            await read.wait()


@contextlib.asynccontextmanager
async def _connected(
    address: BrokerAddress, client_id: str, *, lasting: bool, receive: Any = None
) -> AsyncIterator[gmqtt.Client]:
    """Hold a connection; MQTT 3.1.1, whose sessions last or do not, as every broker understands it."""
    import gmqtt
    from gmqtt.mqtt.constants import MQTTv311

    quiet = logging.getLogger("gmqtt")
    quiet.setLevel(logging.CRITICAL + 1)
    client = gmqtt.Client(client_id, clean_session=not lasting, optimistic_acknowledgement=False, logger=quiet)
    client.set_config({"reconnect_retries": -2, "reconnect_delay": 0})
    if address.user is not None:
        client.set_auth_credentials(address.user, address.password())
    client._package_handler._handle_qos_1_publish_packet = lambda number, payload, *_: (
        receive and receive(client, number, payload)
    )
    try:
        async with asyncio.timeout(_PATIENCE_S):
            try:
                await client.connect(
                    address.host, address.port, ssl=address.tls_context() or False, keepalive=60, version=MQTTv311
                )
            except gmqtt.MQTTConnectError as error:
                raise ConnectionRefusedError(str(error.message)) from error
        yield client
    finally:
        with contextlib.suppress(Exception):  # it may be half made, or gone
            async with asyncio.timeout(2.0):
                await client.disconnect()
