"""One command to many boards, over one connection: sent to each, and all their answers waited for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.commands import decode_state, encode
from edgeglm_agent.wire.topics import ROOT, Topics, parse_topic

from edgeglm.errors import EnvironmentFailedError, UserError
from edgeglm.fleet.commands import REFUSED, command_for, exchange, read_reply, refused_user
from edgeglm.fleet.plain import plain
from edgeglm.fleet.store.types import Device

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import paho.mqtt.client as paho
    from edgeglm_agent.wire.commands import Command, Reply

    from edgeglm.fleet.addresses import BrokerAddress

_OF_ONE = ("logs", "status")  # whose answers are long
_MOST_NAMED = 10  # boards of each kind in an error


class Answers(NamedTuple):
    """What many boards answered, and which did not."""

    replies: dict[Device, Reply]
    silent: list[Device]
    offline: frozenset[Device]  # of those, by their last will


def check_for_many(op: str) -> None:
    """Raises: UserError: It is a question to one board."""
    if op in _OF_ONE:
        raise UserError(
            f"{op} is asked of one board at a time",
            where="DEVICE",
            hint="name the board; with --json the answers of many are one document",
            code="command-invalid",
        )


def ask_many(
    broker: BrokerAddress,
    devices: Sequence[Device],
    op: str,
    arguments: dict[str, Any],
    *,
    within_s: float,
    heard: Callable[[Device, Reply, float], None],
) -> Answers:
    """Send a command to boards, and return what they answer.

    Args:
        broker: Where.
        devices: Whom.
        op: See ``ask``.
        arguments: See ``ask``.
        within_s: How long answers are waited for; no board obeys later either.
        heard: Is told each answer as it comes, and after how many seconds.

    Raises:
        EnvironmentFailedError: The broker is not reached or refuses.
    """
    request = _Requests(devices, op, arguments, within_s, heard)
    exchange(broker, request, within_s=within_s)
    silent = [device for device in devices if device not in request.replies]
    return Answers(request.replies, silent, frozenset(request.offline.intersection(silent)))


def left_over(answers: Answers, op: str, within_s: float) -> EnvironmentFailedError | None:
    """Return the error for boards that did not do it, or None: all of them did."""
    refused = {device: reply for device, reply in answers.replies.items() if not reply.ok}
    count = len(answers.replies) + len(answers.silent)
    parts = []
    if answers.silent:
        named = [_name(each) + (" (offline)" if each in answers.offline else "") for each in answers.silent]
        parts.append(f"{len(named)} did not answer within {within_s:g} s: {_some(named)}")
    if refused:
        named = [f"{_name(each)} ({plain(reply.said, 100) or 'no reason'})" for each, reply in refused.items()]
        parts.append(f"{len(named)} refused: {_some(named)}")
    if not parts:
        return None
    return EnvironmentFailedError(
        f"of {count} boards {len(answers.replies) - len(refused)} did it; {'; '.join(parts)}",
        where=plain(op, 40),
        hint="the same again reaches those that were away: a board that has done it does it once more",
        code="boards-left",
    )


def _name(device: Device) -> str:
    return plain("/".join(device))


def _some(named: Sequence[str]) -> str:
    more = f", and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return ", ".join(named[:_MOST_NAMED]) + more


class _Requests:
    """One command to each of many boards on its way; all have one id, and each board has topics of its own."""

    def __init__(
        self,
        devices: Sequence[Device],
        op: str,
        arguments: dict[str, Any],
        within_s: float,
        heard: Callable[[Device, Reply, float], None],
    ) -> None:
        first = command_for(devices[0], arguments, within_s)
        self._id = first.id
        self._commands: dict[Device, Command] = {
            device: msgspec.structs.replace(first, device=device.name) for device in devices
        }
        self._op = op
        self._heard = heard
        self._begun = time.monotonic()
        self._subscribed = False
        self.ends = self._begun + within_s
        self.refused = ""
        self.replies: dict[Device, Reply] = {}
        self.offline: set[Device] = set()

    @property
    def done(self) -> bool:
        return len(self.replies) == len(self._commands)

    def on_connect(self, client: paho.Client, _: object, __: object, reason: Any, ___: object) -> None:
        if reason.is_failure:
            self.refused = refused_user(reason)
            return
        fleets = sorted({device.fleet for device in self._commands})
        leaves = (f"res/{self._id}", "state")
        client.subscribe([(f"{ROOT}/{fleet}/+/+/{leaf}", 1) for fleet in fleets for leaf in leaves])

    def on_subscribe(self, client: paho.Client, _: object, __: object, reasons: Sequence[Any], ___: object) -> None:
        if any(reason.value >= REFUSED for reason in reasons):
            self.refused = "the broker does not let this user read the boards' answers"
            return
        self._subscribed = True
        for device in self._commands:
            self._send(client, device)

    def on_message(self, client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        try:
            place = parse_topic(message.topic)
        except (WireError, UnicodeDecodeError):
            return
        device = Device(place.fleet, place.device)
        if device not in self._commands or device in self.replies:
            return
        if place.leaf == "state":
            self._take_state(client, device, message)
        elif (reply := read_reply(message.payload, self._id)) is not None:
            self.replies[device] = reply
            self._heard(device, reply, time.monotonic() - self._begun)

    def _take_state(self, client: paho.Client, device: Device, message: paho.MQTTMessage) -> None:
        try:
            online = decode_state(bytes(message.payload)).online
        except WireError:
            return
        (self.offline.discard if online else self.offline.add)(device)
        if online and not message.retain and self._subscribed:
            self._send(client, device)  # it has just come: what was published before has not reached it

    def _send(self, client: paho.Client, device: Device) -> None:
        client.publish(Topics(*device).command(self._op), encode(self._commands[device]), qos=1)
