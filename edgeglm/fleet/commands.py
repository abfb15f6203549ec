"""One command to one board: sent, and its answer waited for.

Delivery to a board that is away is not the broker's affair: an old command is worse than none. So a board that comes
back while the answer is waited for is sent the command again; its id is obeyed once.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
import paho.mqtt.client as paho
from edgeglm_agent.suggest import suggestion
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.commands import COMMAND_SCHEMA, Command, Reply, State, check_args, decode_state, encode
from edgeglm_agent.wire.topics import OPS, Topics
from paho.mqtt.enums import CallbackAPIVersion

from edgeglm.errors import EnvironmentFailedError, UserError
from edgeglm.fleet.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeglm.fleet.addresses import BrokerAddress
    from edgeglm.fleet.store.types import Device

LONGEST_S = 7 * 86_400  # a board refuses what is meant for later; as edgeglm_agent.uplink.commands has it
REFUSED = 128  # of a SUBACK's codes, from here on
_LONGEST_WAIT_S = 0.2
_MOST_BYTES = 4 << 20  # of an answer: logs and status are far less


class Answer(NamedTuple):
    """What a board answered, and how soon."""

    reply: Reply
    took_s: float


def parse_arguments(op: str, words: Sequence[str]) -> dict[str, Any]:
    """Return a command's arguments from ``key=value`` words, within the bounds that the board itself checks.

    Raises:
        UserError: There is no such command, or it does not take these.
    """
    if op not in OPS:
        hint = suggestion(op, OPS, what="commands")
        raise UserError(f"there is no command `{plain(op, 40)}`", where="OP", hint=hint, code="command-invalid")
    arguments: dict[str, Any] = {}
    for word in words:
        # what is no text (a byte of another encoding) is told as what it is
        key, equals, value = word.encode(errors="backslashreplace").decode().partition("=")
        if not equals or key in arguments:
            what = f"`{plain(key, 40)}` stands twice" if equals else f"`{plain(word, 80)}` is no key=value"
            raise UserError(what, where=op, hint="write window_s=60", code="command-invalid")
        arguments[key] = value if key == "slot" else _scalar(value)
    try:
        check_args(op, arguments)
    except WireError as error:
        raise UserError(
            plain(error), where=op, hint="docs/fleet.md lists what each command takes", code="command-invalid"
        ) from error
    return arguments


def check_within(within_s: float) -> float:
    """Return it. Raises: UserError: No board takes a command for so long."""
    if within_s > LONGEST_S:
        raise UserError(
            f"{within_s:g} seconds are too long",
            where="--within",
            hint="a board refuses what is meant for later than in seven days",
            code="command-invalid",
        )
    return within_s


def ask(
    broker: BrokerAddress,
    device: Device,
    op: str,
    arguments: dict[str, Any],
    *,
    within_s: float,
    note: Callable[[str], None],
) -> Answer:
    """Send a command, and return what the board answers.

    Args:
        broker: Where.
        device: Whom.
        op: One of ``OPS``.
        arguments: See ``parse_arguments``.
        within_s: How long the answer is waited for; the board obeys no later either.
        note: Is told what a user who waits wants to know.

    Raises:
        EnvironmentFailedError: The broker is not reached or refuses; the board does not answer in time.
    """
    request = _Request(device, op, arguments, within_s, note)
    exchange(broker, request, within_s=within_s)
    if request.reply is None:
        raise EnvironmentFailedError(
            f"{plain(device.name)} did not answer within {within_s:g} s",
            hint=request.why_silent(),
            code="board-no-answer",
        )
    return Answer(request.reply, time.monotonic() - request.sent)


class Exchange(Protocol):
    """What is sent and heard over one connection."""

    ends: float  # by the monotonic clock
    refused: str  # why the broker does not let it be

    @property
    def done(self) -> bool:
        """Whether everything was heard."""

    def on_connect(self, client: paho.Client, _: object, __: object, reason: Any, ___: object) -> None:
        """Subscribe."""

    def on_subscribe(self, client: paho.Client, _: object, __: object, reasons: Sequence[Any], ___: object) -> None:
        """Send."""

    def on_message(self, client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        """Hear."""


def exchange(broker: BrokerAddress, request: Exchange, *, within_s: float) -> None:
    """Connect, and stay until everything was heard, or the time is over.

    Raises: EnvironmentFailedError: The broker is not reached, or refuses.
    """
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=f"edgeglm-{secrets.token_hex(6)}",
        protocol=paho.MQTTv311,  # what every broker speaks
        reconnect_on_failure=False,
    )
    client.connect_timeout = min(within_s, 30.0)
    client.on_connect = request.on_connect
    client.on_subscribe = request.on_subscribe
    client.on_message = request.on_message
    if (context := broker.tls_context()) is not None:
        client.tls_set_context(context)
    if broker.user is not None:
        password = broker.password()
        client.username_pw_set(broker.user, None if password is None else password.decode("utf-8", "replace"))
    try:
        client.connect(broker.host, broker.port, keepalive=30)
    except (OSError, ValueError) as error:
        raise EnvironmentFailedError(
            f"cannot reach the broker: {error}",
            where=str(broker),
            hint="is it running, is this its address, and does it speak TLS there? `edgeglm fleet broker` starts one",
            code="broker-unreachable",
        ) from error
    try:
        while not request.done and time.monotonic() < request.ends:
            code = client.loop(timeout=min(_LONGEST_WAIT_S, max(0.0, request.ends - time.monotonic())))
            if request.refused or code != paho.MQTT_ERR_SUCCESS:
                raise EnvironmentFailedError(
                    request.refused or f"the broker ended the connection: {paho.error_string(code)}",
                    where=str(broker),
                    hint="its log says why: does it want TLS (mqtts://), a certificate, another user, more rights?",
                    code="broker-refuses",
                )
    finally:
        client.disconnect()


def refusal(device: Device, reply: Reply) -> EnvironmentFailedError:
    """Return the error for an answer that says that it was not done."""
    return EnvironmentFailedError(
        f"{plain(device.name)} refuses {plain(reply.op, 40)}: {plain(reply.said, 500) or 'it does not say why'}",
        hint="" if reply.said else f"`edgeglm fleet cmd {plain(device.name)} logs` may say more",
        code="command-refused",
    )


def command_for(device: Device, arguments: dict[str, Any], within_s: float) -> Command:
    """Return a command with an id of its own."""
    return Command(
        schema=COMMAND_SCHEMA,
        id=f"cli-{secrets.token_hex(8)}",
        device=device.name,
        deadline_ms=int((time.time() + within_s) * 1000),
        args=arguments,
    )


def read_reply(payload: bytes | bytearray, command_id: str) -> Reply | None:
    """Return the answer to a command, or None: this is none."""
    if len(payload) > _MOST_BYTES:
        return None
    try:
        reply = msgspec.json.decode(payload, type=Reply)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return reply if reply.id == command_id else None


def refused_user(reason: object) -> str:
    """Return what is said of a broker that lets nobody in by this name."""
    return f"the broker refuses this user: {reason}"


class _Request:
    """One command on its way."""

    def __init__(
        self, device: Device, op: str, arguments: dict[str, Any], within_s: float, note: Callable[[str], None]
    ) -> None:
        self.device = device
        self.topics = Topics(*device)
        self.command = command_for(device, arguments, within_s)
        self.op = op
        self.note = note
        self.ends = time.monotonic() + within_s
        self.sent = time.monotonic()
        self.refused = ""
        self.reply: Reply | None = None
        self.state: State | None = None
        self._subscribed = False

    @property
    def done(self) -> bool:
        return self.reply is not None

    def on_connect(self, client: paho.Client, _: object, __: object, reason: Any, ___: object) -> None:
        if reason.is_failure:
            self.refused = refused_user(reason)
            return
        client.subscribe([(self.topics.reply(self.command.id), 1), (self.topics.state, 1)])

    def on_subscribe(self, client: paho.Client, _: object, __: object, reasons: Sequence[Any], ___: object) -> None:
        if reasons[0].value >= REFUSED:
            self.refused = f"the broker does not let this user read the answers of {plain(self.device.name)}"
            return
        self._subscribed = True
        self._send(client)

    def on_message(self, client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        if message.topic == self.topics.state:
            self._take_state(client, message)
        elif message.topic == self.topics.reply(self.command.id):
            self.reply = read_reply(message.payload, self.command.id) or self.reply

    def _take_state(self, client: paho.Client, message: paho.MQTTMessage) -> None:
        try:
            state = decode_state(bytes(message.payload))
        except WireError:
            return
        before, self.state = self.state, state
        if not state.online and (before is None or before.online):
            self.note(f"{plain(self.device.name)} is offline by its last will; waiting until it may be back")
        elif state.online and not message.retain and self._subscribed:
            self._send(client)  # it has just come: what was published before has not reached it

    def _send(self, client: paho.Client) -> None:
        self.sent = time.monotonic()
        client.publish(self.topics.command(self.op), encode(self.command), qos=1)

    def why_silent(self) -> str:
        """Return what is known of a board that did not answer."""
        if self.state is None:
            return (
                f"the broker knows no board {plain(self.device.name)} of fleet {plain(self.device.fleet)}: "
                "are both names right, and has it ever been connected?"
            )
        if not self.state.online:
            return "it is offline by its last will: `edgeglm fleet show` says since when"
        return (
            "it is online by its state: its way may be slow (--within 2m), its clock may be ahead, or the broker's "
            "rights may not let this user command it; its log says which commands it did not obey"
        )


def _scalar(text: str) -> Any:
    """Return a number or a truth value where the text is one, else the text."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return text
    return value if isinstance(value, int | float | bool) else text
