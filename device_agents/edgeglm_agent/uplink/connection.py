"""One connection to the broker, from connect to the end: one paho client, used by the network's thread alone.

paho runs its callbacks under its own locks, so they only say what came.
"""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edgeglm_agent import logs
from edgeglm_agent.uplink.budget import wire_bytes
from edgeglm_agent.uplink.reports import Closed, Message, Opened, Opening, Outgoing, Subscribed, Taken
from edgeglm_agent.wire.topics import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm_agent.settings.types import Mqtt

_CONNACK_TIMEOUT_S = 30.0
_GOODBYE_S = 2.0
_SESSION_S, _WILL_DELAY_S = 10, 3  # a connection that comes back at once is not told as one that went
_MOST_BYTES = 64 * 1024 * 1024  # of a message for an input


class Connection:
    """One paho client, from connect to the end.

    Attributes:
        wire: Bytes on the network so far, both ways.
        ended_for_another: It ends because another is opened: that is no news.
    """

    def __init__(self, opening: Opening, mqtt: Mqtt, say: Callable[[Any], None]) -> None:
        self.wire = 0
        self.ended_for_another = False
        self._opening = opening
        self._mqtt = mqtt
        self._say = say
        self._v5 = opening.version == "5"
        self._tags: dict[int, int] = {}
        self._asked: dict[int, tuple[str, ...]] = {}  # number of a subscription -> its topics
        self._accepted = self._subscribed = self._told = False
        self._deadline = 0.0
        self._trouble = ""
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=opening.client_id,
            clean_session=None if self._v5 else True,
            protocol=paho.MQTTv5 if self._v5 else paho.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _CONNACK_TIMEOUT_S
        client.max_inflight_messages_set(65_535)  # how many wait for an answer is the Uplink's to decide
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_socket_close = self._on_socket_close
        client.on_log = self._on_log
        will = _properties(PacketTypes.WILLMESSAGE) if self._v5 else None
        if will is not None:
            will.WillDelayInterval = _WILL_DELAY_S
        client.will_set(opening.will_topic, opening.will, qos=1, retain=True, properties=will)

    @property
    def alive(self) -> bool:
        """Whether there is a socket."""
        return self._client.socket() is not None

    def connect(self) -> None:
        """Raises: OSError: The broker cannot be reached, or is not the one that is meant."""
        mqtt, client = self._mqtt, self._client
        if mqtt.tls is not None:
            from edgeglm_agent.uplink.tls import tls_context

            context = tls_context(mqtt.tls)
            client.tls_set_context(context)
        if mqtt.username is not None:
            password = None
            if mqtt.password_file is not None:
                with open(mqtt.password_file, encoding="utf-8") as file:  # noqa: PTH123 - pathlib is not needed here
                    password = file.readline().rstrip("\r\n")
                logs.hide(password)
            client.username_pw_set(mqtt.username, password)
        properties = None
        if self._v5:
            properties = _properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = _SESSION_S
            properties.MaximumPacketSize = _MOST_BYTES
        self._deadline = time.monotonic() + 2 * _CONNACK_TIMEOUT_S
        try:
            client.connect(
                mqtt.host,
                mqtt.port or (8883 if mqtt.tls else 1883),
                keepalive=mqtt.keepalive_s,
                clean_start=False if self._v5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
                properties=properties,
            )
        except OSError:
            if mqtt.tls is not None:
                self.wire = context.end_last()  # paho leaves it open when the handshake fails
            raise

    def carry(self, order: Outgoing | tuple[str, int]) -> None:
        """Publish or subscribe; what was meant for an earlier connection is dropped."""
        if not isinstance(order, Outgoing):
            self._subscribe((order,))
            return
        if order.generation != self._opening.generation:
            return
        properties = None
        if order.alias and self._v5:
            properties = _properties(PacketTypes.PUBLISH)
            properties.TopicAlias = order.alias
        sent = self._client.publish(order.topic, order.payload, qos=1, retain=order.retain, properties=properties)
        self._tags[sent.mid] = order.tag

    def _subscribe(self, topics: tuple[tuple[str, int], ...]) -> None:
        if self._v5:
            # a broker takes the retain flag off what is published just now, unless it is told to leave it: commands
            # are refused by the flag; to inputs it is to say, as over 3.1.1, that a message is an older one
            _, mid = self._client.subscribe(
                [(topic, SubscribeOptions(qos=qos, retainAsPublished=topic.startswith(ROOT))) for topic, qos in topics]
            )
        else:
            _, mid = self._client.subscribe([*topics])
        if mid is not None:  # its answer is read by this thread: not yet
            self._asked[mid] = tuple(topic for topic, _ in topics)

    def work(self, ear: socket.socket, timeout_s: float = 30.0) -> None:
        """Wait for the network or an order, and do what there is to do once."""
        client = self._client
        connection = client.socket()
        if connection is None:
            return
        waits = getattr(connection, "pending", lambda: 0)()
        longest = min(timeout_s, max(1.0, client.keepalive / 4)) if self._accepted else 1.0
        write = [connection] if client.want_write() else []
        readable, _, _ = select.select([connection, ear], write, [], 0.0 if waits else longest)
        if waits or connection in readable:
            client.loop_read()
        if write and client.socket() is not None:
            client.loop_write()
        if client.socket() is not None:
            client.loop_misc()
            self.wire = max(self.wire, wire_bytes(connection))
        if self._accepted and not self._subscribed and client.socket() is not None:
            self._subscribed = True
            self._subscribe(self._opening.subscriptions)
        if not self._accepted and time.monotonic() > self._deadline:
            self.lost("the broker does not answer")
            self.end()

    def goodbye(self) -> None:
        """Wait a moment for what was sent to be answered, then disconnect."""
        until = time.monotonic() + _GOODBYE_S
        ear, bell = socket.socketpair()  # nothing else is heard now
        with ear, bell:
            while self._accepted and self._tags and self.alive and time.monotonic() < until:
                self.work(ear, until - time.monotonic())
        self._told = True
        if self.alive:
            self._client.disconnect()

    def lost(self, why: BaseException | str, reason: int = 0, *, wrong_version: bool = False) -> None:
        """Say once that it is over."""
        if not self._told:
            self._told = True
            self._say(Closed(self._opening.generation, why, reason, self._accepted, wrong_version))

    def end(self) -> None:
        """Close what is open, without a goodbye: the broker publishes the will."""
        connection = self._client.socket()
        if connection is not None:
            self._on_socket_close(self._client, None, connection)
            connection.close()
        if not self.ended_for_another:
            self.lost("ended")

    # callbacks: paho holds its locks here

    def _on_connect(self, _: paho.Client, __: Any, ___: Any, code: Any, properties: Any) -> None:
        number = int(code.value)
        if number >= 128:
            wrong = number == 132  # unsupported protocol version; paho makes that of 3.1.1's answer as well
            self.lost(f"the broker refuses: {code}", number, wrong_version=wrong and self._v5)
            return
        self._accepted = True
        self._client.on_log = None
        limit = getattr(properties, "MaximumPacketSize", 0)
        self._say(
            Opened(
                self._opening.generation,
                self._opening.version,
                getattr(properties, "TopicAliasMaximum", 0),
                limit,
                getattr(properties, "ReceiveMaximum", 65_535),
            )
        )

    def _on_disconnect(self, _: paho.Client, __: Any, flags: Any, code: Any, ___: Any) -> None:
        given = int(code.value) if flags.is_disconnect_packet_from_server else 0
        self.lost(self._trouble or f"the connection ended: {code}", given)

    def _on_log(self, _: paho.Client, __: Any, level: int, text: str) -> None:
        if level == paho.MQTT_LOG_ERR:  # TLS 1.3 tells a refused certificate after the handshake, and paho only here
            self._trouble = text.removeprefix("failed to receive on socket: ")

    def _on_message(self, _: paho.Client, __: Any, message: Any) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        self._say(Message(topic, bytes(message.payload), bool(message.retain)))

    def _on_publish(self, _: paho.Client, __: Any, mid: int, code: Any, ___: Any) -> None:
        tag = self._tags.pop(mid, None)
        if tag is not None:
            self._say(Taken(self._opening.generation, tag, int(code.value)))

    def _on_subscribe(self, _: paho.Client, __: Any, mid: int, codes: list[Any], ___: Any) -> None:
        topics = self._asked.pop(mid, ())
        if topics:
            answers = tuple((topic, int(code.value)) for topic, code in zip(topics, codes, strict=False))
            self._say(Subscribed(self._opening.generation, answers))

    def _on_socket_close(self, _: paho.Client, __: Any, connection: Any) -> None:
        self.wire = max(self.wire, wire_bytes(connection))


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call]
