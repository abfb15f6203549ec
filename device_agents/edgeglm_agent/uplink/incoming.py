"""What comes from the broker: acknowledgements, commands, samples for inputs, and the birth of another agent."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING

from edgeglm_agent.ipc import Arrived
from edgeglm_agent.uplink.commands import Clock, Order, Refusal, judge
from edgeglm_agent.uplink.link import MOST_REPORTS
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.commands import COMMAND_SCHEMA, Reply, decode_state
from edgeglm_agent.wire.telemetry import decode_ack

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm_agent.outbox import Outbox
    from edgeglm_agent.uplink.reports import Message
    from edgeglm_agent.uplink.sending import Sender
    from edgeglm_agent.wire.topics import Topics


_MOST_TOPICS = 4096  # of inputs, whose newest message is known again


class Incoming:
    """Takes messages apart, and counts them.

    Attributes:
        counts: What came, by name; see ``Uplink``.
        inputs: Topics that inputs hear.
        messages: What came for them, in order.
        acknowledged: When the collector acknowledged last, seconds, monotonic.
    """

    def __init__(
        self,
        topics: Topics,
        outbox: Outbox,
        sender: Sender,
        clock: Clock,
        *,
        device: str,
        answer: Callable[[Reply], None],
    ) -> None:
        """Take what to tell: the sender of acknowledgements, the clock of the collector's time.

        Args:
            topics: This board's.
            outbox: It knows its epoch, and remembers commands.
            sender: Is told of acknowledgements.
            clock: Learns the collector's time.
            device: This board's name.
            answer: Sends a reply to a command that is not obeyed.
        """
        self.counts: dict[str, int] = {}
        self.inputs: tuple[str, ...] = ()
        self.messages: deque[Arrived] = deque(maxlen=MOST_REPORTS)  # the supervisor takes them after each poll
        self.acknowledged: float | None = None
        self._topics = topics
        self._outbox = outbox
        self._sender = sender
        self._clock = clock
        self._device = device
        self._answer = answer
        self._newest: dict[bytes, bytes] = {}  # digest of a topic -> that of its newest message

    def count(self, what: str) -> None:
        """Count one."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def take(self, message: Message, now: float) -> Order | None:
        """Take one message; return the command that it is, where that is to be obeyed."""
        topics = self._topics
        if message.topic == topics.ack:
            self._ack(message, now)
        elif message.topic.startswith(topics.commands[:-1]):
            return self._command(message, now)
        elif self.inputs and message.topic:
            if self._is_known(message):
                self.count("inputs-repeated")
                return None
            self.count("inputs")
            self.messages.append(Arrived(message.topic, message.payload))
        else:
            self.count("unexpected")
        return None

    def session_of(self, message: Message) -> str | None:
        """Return whose birth or will a message on this board's own state is: its session; None: it is neither."""
        try:
            state = decode_state(message.payload)
        except WireError:
            self.count("unexpected")
            return None
        return state.session if state.device == self._device else None

    def _is_known(self, message: Message) -> bool:
        """Return whether a retained message came before: each new connection brings it again."""
        topic = hashlib.blake2b(message.topic.encode(), digest_size=16).digest()
        digest = hashlib.blake2b(message.payload, digest_size=16).digest()
        known = self._newest.pop(topic, None) == digest
        self._newest[topic] = digest
        if len(self._newest) > _MOST_TOPICS:
            del self._newest[next(iter(self._newest))]
        return known and message.retained

    def _ack(self, message: Message, now: float) -> None:
        if message.retained:
            self.count("retained-acks")
            return
        try:
            ack = decode_ack(message.payload)
            if ack.epoch != self._outbox.epoch:
                self.count("foreign-acks")
                return
            self._sender.acknowledged(ack, now)
        except WireError:
            self.count("malformed-acks")
            return
        self._clock.learn(ack.now_ms, now)
        self.acknowledged = now
        self.count("acks")

    def _command(self, message: Message, now: float) -> Order | None:
        judged = judge(
            message.topic[len(self._topics.commands) - 1 :],
            message.payload,
            device=self._device,
            retained=message.retained,
            now_ms=self._clock.now_ms(now),
            remember=self._outbox.remember_command,
        )
        if isinstance(judged, Refusal):
            self.count(f"refused-{judged.reason}")
            if judged.id:
                self._answer(Reply(COMMAND_SCHEMA, judged.id, judged.op[:63], ok=False, said=judged.said))
            return None
        self.count("commands")
        return judged
