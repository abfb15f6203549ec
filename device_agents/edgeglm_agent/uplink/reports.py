"""What the supervisor's thread and the network's thread say to each other."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class Opened(NamedTuple):
    """The broker has accepted."""

    generation: int
    version: str
    aliases: int  # topic aliases that may be used
    most_bytes: int  # of a packet; 0: any
    at_once: int  # publishes without an answer that the broker takes


class Closed(NamedTuple):
    """The connection is gone, or could not be made."""

    generation: int
    why: BaseException | str
    code: int  # the broker's reason, 128 and above; 0: none was given
    accepted: bool  # it had been opened
    wrong_version: bool = False  # this version of MQTT is not for this broker


class Taken(NamedTuple):
    """The broker has answered a publish."""

    generation: int
    tag: int
    code: int  # 128 and above: refused for good


class Subscribed(NamedTuple):
    """The broker has answered a subscription."""

    generation: int
    codes: tuple[tuple[str, int], ...]  # topic, and its answer: 128 and above: refused


class Message(NamedTuple):
    """Something came."""

    topic: str
    payload: bytes
    retained: bool


Report: TypeAlias = Opened | Closed | Taken | Subscribed | Message


class Opening(NamedTuple):
    """What a connection is opened with."""

    generation: int
    version: str  # 5 or 3.1.1
    client_id: str
    will_topic: str
    will: bytes
    subscriptions: tuple[tuple[str, int], ...]  # topic, QoS


class Outgoing(NamedTuple):
    """A message to publish at QoS 1."""

    generation: int
    tag: int
    topic: str
    payload: bytes
    retain: bool = False
    alias: int = 0  # stands for the topic from now on; 0: none
