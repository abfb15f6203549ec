"""The uplink as the supervisor sees it: it is polled, and gives commands to obey."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from edgeglm_agent.status import LinkStatus
from edgeglm_agent.uplink.account import Account
from edgeglm_agent.uplink.attempts import TAKEN_OVER, Attempts
from edgeglm_agent.uplink.commands import Clock, Order
from edgeglm_agent.uplink.ending import Ending
from edgeglm_agent.uplink.incoming import Incoming
from edgeglm_agent.uplink.link import Link
from edgeglm_agent.uplink.reports import Closed, Message, Opened, Opening, Outgoing, Subscribed, Taken
from edgeglm_agent.uplink.rivalry import Rivalry
from edgeglm_agent.uplink.sending import Sender
from edgeglm_agent.uplink.subscriptions import REFUSED, Subscriptions
from edgeglm_agent.uplink.timing import Timing
from edgeglm_agent.wire.commands import COMMAND_SCHEMA, Reply, State, encode
from edgeglm_agent.wire.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from edgeglm_agent.ipc import Arrived
    from edgeglm_agent.outbox import Outbox
    from edgeglm_agent.settings.types import Settings
    from edgeglm_agent.wire.telemetry import Severity

_SETTLE_S = 5.0
_OWN_TAG = 0  # births and replies: their answer is not waited for


class Uplink:
    """The connection to the broker, used by the supervisor's thread; a thread of its own does the network.

    Attributes:
        counts: What came and went, by name: ``acks``, ``malformed-acks``, ``foreign-acks``, ``commands``,
            ``refused-<reason>``, ``unexpected``, ``inputs``, ``inputs-repeated``, ``connections``, ``replies-dropped``.
        refused: Topics that the broker does not let this board hear, and its reason, 128 and above.
    """

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        *,
        wake: Callable[[], None],
        birth: Callable[[], State],
        tell: Callable[[str, Severity, dict[str, Any]], None] = lambda _name, _severity, _detail: None,
        synchronised: Callable[[], bool] = lambda: False,
        wall: Callable[[], float] = time.time,
        timing: Timing | None = None,
    ) -> None:
        """Make it; ``start`` begins.

        Args:
            settings: With ``mqtt``.
            outbox: Whose rows are sent.
            wake: Is called by the network's thread when ``poll`` has something to do; it must only wake.
            birth: What the board says of itself now.
            tell: Takes (event, severity, detail) of what should be told: another agent of this name, a topic that the
                broker refuses, a certificate that ends.
            synchronised: Whether the board's clock is right.
            wall: The board's clock, seconds.
            timing: How long things may take.

        Raises:
            ValueError: The settings name no broker.
        """
        if settings.mqtt is None:
            raise ValueError("settings without a broker have no uplink")
        state = birth()
        self.device = state.device
        self._mqtt = settings.mqtt
        self._outbox = outbox
        self._birth = birth
        timing = timing or Timing()
        self._topics = Topics(settings.fleet, state.device)
        self._synchronised = synchronised
        self._since: float | None = None
        self._link = Link(settings.mqtt, wake=wake)
        self._account = Account(settings.telemetry.daily_bytes, outbox, self._link, wall=wall)
        self._sender = Sender(
            outbox,
            self._topics,
            self._account.budget,
            timing,
            window_s=settings.telemetry.window_s,
            windows_at_once=settings.telemetry.windows_at_once,
        )
        clock = Clock(synchronised=synchronised, wall=wall)
        self._incoming = Incoming(self._topics, outbox, self._sender, clock, device=state.device, answer=self._answer)
        self.counts = self._incoming.counts
        self._subscriptions = Subscriptions(self._topics, tell)
        self.refused = self._subscriptions.refused
        self._attempts = Attempts(settings.mqtt, timing, state.session)
        self._rivalry = Rivalry(self._attempts, state.device, state.session, tell)
        self._ending = Ending(settings.mqtt.tls, tell, synchronised=synchronised, wall=wall)
        self._generation = 0
        self._opened: Opened | None = None
        self._why = "not started"
        self._announced = b""
        self._settle_at = 0.0

    def start(self, now: float | None = None) -> None:
        """Begin to connect, and never give up."""
        self._attempts.at = time.monotonic() if now is None else now

    def stop(self, now: float | None = None) -> None:
        """Send what waits, say that the board goes offline, and close. What is not acknowledged stays in the outbox."""
        if self._opened is not None:
            for outgoing in self._sender.step(time.monotonic() if now is None else now, last=True):
                self._link.publish(outgoing)
            farewell = encode(msgspec.structs.replace(self._birth(), online=False))
            self._publish(self._topics.state, farewell, retain=True)
        self._link.close()
        self._opened = None
        self._attempts.at = None
        self._why = "stopped"

    def set_window(self, window_s: int) -> None:
        """Take the length of a window from now on."""
        self._sender.window_s = window_s

    def subscribe_inputs(self, topics: Iterable[str]) -> None:
        """Hear these topics, for inputs; what came is in ``messages``."""
        new = tuple(dict.fromkeys(topics))
        for topic in new:
            if topic not in self._incoming.inputs and self._opened is not None:
                self._link.subscribe(topic, 1)
        self._incoming.inputs = new

    def messages(self) -> list[Arrived]:
        """Return what came for inputs since the last call."""
        came = [*self._incoming.messages]
        self._incoming.messages.clear()
        return came

    def announce(self) -> None:
        """Publish the birth anew where it has changed."""
        if self._opened is None:
            return
        state = self._birth()
        data = encode(state)
        if data != self._announced:
            self._announced = data
            self._publish(self._topics.state, data, retain=True)

    def reply(
        self, order: Order, *, ok: bool = True, said: str = "", values: Mapping[str, object] | None = None
    ) -> None:
        """Answer a command."""
        self._answer(Reply(COMMAND_SCHEMA, order.command.id, order.op, ok, said, dict(values or {})))

    def poll(self, now: float | None = None) -> list[Order]:
        """Do what there is to do; return the commands to obey.

        Call it when ``wake`` was called, and at least once a second.

        Args:
            now: Seconds, monotonic; none: now.
        """
        now = time.monotonic() if now is None else now
        self._account.budget.refill(now)
        orders: list[Order] = []
        while (report := self._link.fetch()) is not None:
            if isinstance(report, Message):
                self._heard(report, now, orders)
            elif report.generation != self._generation:
                continue
            elif isinstance(report, Opened):
                self._is_open(report, now)
            elif isinstance(report, Taken):
                if report.tag == _OWN_TAG and report.code < REFUSED:
                    self._rivalry.born()  # a birth is said before any reply
                self._sender.taken(report, now)
            elif isinstance(report, Subscribed):
                self._subscriptions.answered(report)
            else:
                self._is_closed(report, now)
        self._account.charge()
        self._ending.look(now)
        if now >= self._settle_at:
            self._settle_at = now + _SETTLE_S
            self._outbox.settle()
        if self._attempts.at is not None and now >= self._attempts.at:
            self._attempt()
        elif self._opened is not None:
            for outgoing in self._sender.step(now):
                self._link.publish(outgoing)
            if self._sender.overdue_answer(now):
                self._incoming.count("dead-connections")
                self._why = "the broker did not answer a publish"
                self._sender.closed(0, now)
                self._let_go()
                self._end(now)
        return orders

    def link_status(self, now: float | None = None) -> LinkStatus:
        """Return how the link is, as `edgeglm-agent status` shows it."""
        now = time.monotonic() if now is None else now
        state = "connected" if self._opened is not None else "connecting" if self._attempts.at is None else "waiting"
        return LinkStatus(
            state=state,
            broker=f"{self._mqtt.host}:{self._mqtt.port or (8883 if self._mqtt.tls else 1883)}",
            version=self._opened.version if self._opened is not None else "",
            why="" if self._opened is not None else self._why,
            since_s=None if self._since is None else now - self._since,
            acknowledged_s=None if self._incoming.acknowledged is None else now - self._incoming.acknowledged,
            bytes_today=self._account.bytes_today,
            daily_bytes=self._account.daily_bytes,
            refused=self._subscriptions.refused_names(),
            counts=self._all_counts(),
        )

    def status(self) -> dict[str, Any]:
        """Return more, for logs and for the command `status`: what is under way, what was counted."""
        return {
            "link": "open" if self._opened is not None else "closed",
            "mqtt": self._opened.version if self._opened is not None else "",
            "why": "" if self._opened is not None else self._why,
            "device_id_taken": self._attempts.disputed(time.monotonic()),
            "bytes_total": self._account.bytes_total,
            "bytes_today": self._account.bytes_today,
            "budget_left": round(self._account.budget.level),
            "unacknowledged_batches": self._sender.flights,
            "resent_rows": self._sender.resent,
            "merged_windows": self._sender.merged,
            "rejected_rows": self._sender.rejected,
            "waiting": dict(self._outbox.waiting),
            "stored_bytes": self._outbox.stored_bytes,
            "lost": dict(self._outbox.lost),
            "disk": self._outbox.trouble,
            "counts": self._all_counts(),
        }

    def _all_counts(self) -> dict[str, int]:
        return dict(self.counts, **({"overrun": self._link.dropped} if self._link.dropped else {}))

    # the connection

    def _attempt(self) -> None:
        self._attempts.at = None
        self._account.attempt()
        self._generation += 1
        state = self._birth()
        will = encode(msgspec.structs.replace(state, online=False))
        hears = self._subscriptions.wanted(self._incoming.inputs, own_state=self._attempts.suspects)
        self._link.open(Opening(self._generation, self._attempts.version, self.device, self._topics.state, will, hears))

    def _is_open(self, opened: Opened, now: float) -> None:
        self._opened, self._since, self._why = opened, now, ""
        self._rivalry.opened()
        self._attempts.opened(now)
        self._incoming.count("connections")
        self._sender.opened(opened, now)
        self._announced = b""
        self.announce()

    def _is_closed(self, closed: Closed, now: float) -> None:
        from edgeglm_agent.uplink.tls import explain

        self._why = explain(closed.why, clock_synchronised=self._synchronised())
        disputed = self._attempts.closed(closed, now)
        # no row is to blame where another agent took the connection
        self._sender.closed(TAKEN_OVER if self._attempts.rival else closed.code, now)
        if disputed:
            self._rivalry.disputed(now)
        if disputed and self._attempts.yields:
            self._attempts.give_way(now)
            self._why = f"another agent connects as `{self.device}`: give each board a name of its own"
            self._away(now)
        else:
            self._end(now, refused=not closed.accepted)

    def _end(self, now: float, *, refused: bool = False) -> None:
        """Try again after a while.

        A connection costs thousands of bytes. Where the budget is used up, and as much again, it is waited until that
        is made up for; but not for long, and not with news, unless the last attempt was refused: who would hear them?
        """
        at_least_s = 0.0
        if refused or not self._sender.news:
            at_least_s = self._account.until_affordable()
        self._attempts.again(now, at_least_s=at_least_s)
        self._away(now)

    def _away(self, now: float) -> None:
        if self._opened is not None or self._since is None:
            self._since = now
        self._opened = None

    def _let_go(self) -> None:
        """End the connection; nothing that it still says counts."""
        self._generation += 1
        self._link.drop()

    def _heard(self, message: Message, now: float, orders: list[Order]) -> None:
        if message.topic == self._topics.state:
            session = self._incoming.session_of(message)
            if session is not None and self._opened is not None:
                self._rivalry.heard(session)
        elif (order := self._incoming.take(message, now)) is not None:
            orders.append(order)

    def _answer(self, reply: Reply) -> None:
        if self._opened is None:
            self._incoming.count("replies-dropped")
            return
        self._publish(self._topics.reply(reply.id), encode(reply))

    def _publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._link.publish(Outgoing(self._generation, _OWN_TAG, topic, payload, retain))
